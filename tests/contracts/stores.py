"""What every L{IStore} does, whatever it keeps its records in."""

import random
import sys
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.application.service import IService
from twisted.internet.defer import CancelledError, DeferredList, gatherResults, maybeDeferred
from twisted.internet.threads import blockingCallFromThread, deferToThread
from zope.interface.verify import verifyObject

from waiter.catalog.interface import Conflict, IStore, StoreUnusable

KEYS = st.sampled_from(["a", "a/b", "a/b/c", "ab", "b", "b ", "ü", "\U0001f600", "%", "_", "a%"])
VALUES = st.binary(max_size=40)
EXPECTED = st.sampled_from(["any", "current", "none", "stale", "future"])
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, VALUES, EXPECTED),
        st.tuples(st.just("delete"), KEYS, EXPECTED),
        st.tuples(st.just("get"), KEYS),
        st.tuples(st.just("keys"), st.one_of(st.just(""), KEYS)),
    ),
    max_size=12,
)


class Model:
    """A store as simple as it can be, to compare with."""

    def __init__(self, namespace):
        self.namespace = namespace
        self.records = {}
        self.highest = {}

    def expected(self, key, kind):
        """The version to ask for, and whether that must be a conflict."""
        current = self.records.get(key, (b"", 0))[1]
        highest = self.highest.get(key, 0)
        asked = {
            "any": None,
            "current": current,
            "none": 0,
            "stale": highest - 1 if highest > 1 else sys.maxsize,
            "future": highest + 1000000,
        }[kind]
        return asked, asked is not None and asked != current

    def written(self, key, value, version):
        self.records[key] = (value, version)
        self.highest[key] = version


class StoreContract:
    """
    Mixed into a C{TestCase}; the subclass says how a store is made.

    The tests wait for Deferreds, so that stores that need the reactor are welcome.
    """

    def make_store(self):
        """A new store, not started. A persistent one is over the same data each time within a test."""
        raise NotImplementedError

    async def started(self):
        store = self.make_store()
        await maybeDeferred(store.startService)
        self.addCleanup(lambda: store.stopService() if store.running else None)
        return store

    async def test_itProvidesTheInterfaces(self):
        store = await self.started()
        verifyObject(IStore, store)
        verifyObject(IService, store)

    async def test_whenThereIsNoRecord_getIsNone(self):
        store = await self.started()
        self.assertIsNone(await store.get("nothing"))

    async def test_whenPut_getHasValueAndVersion(self):
        store = await self.started()
        version = await store.put("key", b"\x00value\xff")
        self.assertGreater(version, 0)
        self.assertEqual(await store.get("key"), (b"\x00value\xff", version))

    async def test_anEmptyValueIsARecord(self):
        store = await self.started()
        version = await store.put("key", b"")
        self.assertEqual(await store.get("key"), (b"", version))

    async def test_whenPutAgain_theVersionGrows(self):
        store = await self.started()
        versions = [await store.put("key", b"%d" % i) for i in range(3)]
        self.assertEqual(versions, sorted(set(versions)))
        self.assertEqual(await store.get("key"), (b"2", versions[-1]))

    async def test_whenTheExpectedVersionIsThere_putWrites(self):
        store = await self.started()
        first = await store.put("key", b"1", 0)
        second = await store.put("key", b"2", first)
        self.assertEqual(await store.get("key"), (b"2", second))

    async def test_whenTheExpectedVersionIsNotThere_putChangesNothing(self):
        store = await self.started()
        version = await store.put("key", b"1")
        for wrong in (0, version - 1 or version + 2, version + 1):
            with self.assertRaises(Conflict):
                await store.put("key", b"2", wrong)
        with self.assertRaises(Conflict):
            await store.put("other", b"2", version)
        self.assertEqual(await store.get("key"), (b"1", version))
        self.assertEqual(await store.keys(""), ["key"])

    async def test_deleteSaysWhetherThereWasARecord(self):
        store = await self.started()
        await store.put("key", b"1")
        self.assertIs(await store.delete("key"), True)
        self.assertIs(await store.delete("key"), False)
        self.assertIsNone(await store.get("key"))

    async def test_whenAnotherVersionIsExpected_deleteChangesNothing(self):
        store = await self.started()
        version = await store.put("key", b"1")
        with self.assertRaises(Conflict):
            await store.delete("key", version + 1)
        with self.assertRaises(Conflict):
            await store.delete("gone", version)
        self.assertEqual(await store.get("key"), (b"1", version))
        self.assertIs(await store.delete("key", version), True)

    async def test_whenDeletedAndMadeAgain_theVersionStillGrows(self):
        store = await self.started()
        before = await store.put("key", b"1")
        await store.delete("key")
        after = await store.put("key", b"1", 0)
        self.assertGreater(after, before)
        with self.assertRaises(Conflict):
            await store.put("key", b"2", before)

    async def test_keysAreThoseWithThePrefixSorted(self):
        store = await self.started()
        for key in ("a/2", "b", "a/1", "a", "a/10", "A/1", "a%", "a_", "aé"):
            await store.put(key, b"")
        self.assertEqual(await store.keys("a/"), ["a/1", "a/10", "a/2"])
        self.assertEqual(await store.keys("a%"), ["a%"])
        self.assertEqual(await store.keys("a"), sorted(["a", "a/1", "a/10", "a/2", "a%", "a_", "aé"]))
        self.assertEqual(len(await store.keys("")), 9)
        self.assertEqual(await store.keys("c"), [])
        self.assertEqual(await store.keys("a\n"), [])

    async def test_whatIsNoKeyOrValueIsRefused(self):
        store = await self.started()
        for key in ("", "a\nb", "a\x00", "\x7f", "\ud800", "a\u2028b", None, b"a"):
            with self.assertRaises(ValueError):
                await store.put(key, b"1")
            with self.assertRaises(ValueError):
                await store.get(key)
            with self.assertRaises(ValueError):
                await store.delete(key)
        for value in ("text", None, b"x" * (store.largest_value + 1)):
            with self.assertRaises(ValueError):
                await store.put("key", value)
        self.assertEqual(await store.keys(""), [])

    async def test_theLargestValueIsKept(self):
        store = await self.started()
        value = random.Random(1).randbytes(store.largest_value)  # noqa: S311 - only not to be made smaller
        await store.put("key", value)
        self.assertEqual((await store.get("key"))[0], value)
        self.assertGreater(store.largest_value, 1000000)

    async def test_ofManyKeysThereAreThoseThatThereAre(self):
        store = await self.started()
        versions = {key: await store.put(key, key.encode()) for key in ("a", "b/c", "d")}
        found = await store.get_many(["d", "b/c", "nothing"])
        self.assertEqual(found, {"b/c": (b"b/c", versions["b/c"]), "d": (b"d", versions["d"])})
        self.assertEqual(await store.get_many(iter([])), {})
        with self.assertRaises(ValueError):
            await store.get_many(["a", ""])

    async def test_theNewestIsThere(self):
        store = await self.started()
        self.assertIsNone(await store.get("key", newest=True))
        version = await store.put("key", b"1")
        self.assertEqual(await store.get("key", newest=True), (b"1", version))
        with self.assertRaises(ValueError):
            await store.get("", newest=True)

    async def test_whenManyDemandTheSameVersion_oneGetsIt(self):
        store = await self.started()
        version = await store.put("key", b"start")
        outcomes = await DeferredList([store.put("key", b"%d" % i, version) for i in range(10)], consumeErrors=True)
        winners = [i for i, (success, _) in enumerate(outcomes) if success]
        self.assertEqual(len(winners), 1)
        self.assertEqual(await store.get("key"), (b"%d" % winners[0], outcomes[winners[0]][1]))
        for success, result in outcomes:
            if not success:
                result.trap(Conflict)

    async def test_whenManyCreateTheSameKey_oneDoes(self):
        store = await self.started()
        outcomes = await DeferredList([store.put("key", b"%d" % i, 0) for i in range(10)], consumeErrors=True)
        self.assertEqual([success for success, _ in outcomes].count(True), 1)

    async def test_writesAskedForTogetherAllHappen(self):
        store = await self.started()
        versions = await gatherResults([store.put(f"key/{i}", b"%d" % i) for i in range(30)])
        self.assertEqual(len(set(versions)), 30)
        self.assertEqual(len(await store.keys("key/")), 30)

    async def test_watchersHearOfEachChangeUnderTheirPrefix(self):
        store = await self.started()
        heard = []
        store.watch("a/", heard.append)
        await store.put("a/1", b"")
        await store.put("b/1", b"")
        await store.put("a/1", b"2")
        await store.delete("a/1")
        self.assertEqual(heard, ["a/1"] * 3)

    async def test_watchersAreNotToldOfWhatDidNotHappen(self):
        store = await self.started()
        await store.put("a/1", b"")
        heard = []
        store.watch("a/", heard.append)
        for failing in (store.put("a/1", b"", 0), store.delete("a/1", 12345678)):
            with self.assertRaises(Conflict):
                await failing
        await store.delete("a/2")
        await store.get("a/1")
        self.assertEqual(heard, [])

    async def test_whenAWatchIsEnded_nothingMoreIsHeard(self):
        store = await self.started()
        heard, others = [], []
        end = store.watch("a/", heard.append)
        store.watch("a/", others.append)
        await store.put("a/1", b"")
        end()
        end()
        await store.put("a/2", b"")
        self.assertEqual((heard, others), (["a/1"], ["a/1", "a/2"]))

    async def test_whenAWatcherRaises_theOthersAndTheWriterDoNotNotice(self):
        store = await self.started()
        heard = []
        store.watch("a/", lambda key: 1 / 0)
        store.watch("a/", heard.append)
        await store.put("a/1", b"")
        self.assertEqual(heard, ["a/1"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_theWatcherHearsBeforeTheWriter(self):
        store = await self.started()
        order = []
        store.watch("", lambda key: order.append("watcher"))
        await store.put("key", b"").addCallback(lambda _: order.append("writer"))
        self.assertEqual(order, ["watcher", "writer"])

    async def test_whenAWriteIsCancelled_theWriterIsToldAtOnce(self):
        store = await self.started()
        writing = store.put("key", b"1")
        writing.cancel()
        try:
            await writing
        except CancelledError:
            pass
        else:
            self.assertIsNotNone(await store.get("key"), "the write was acknowledged")
        await store.put("key", b"2")
        self.assertEqual((await store.get("key"))[0], b"2")

    async def test_aStoreThatIsNotOpenRefuses(self):
        store = self.make_store()
        with self.assertRaises(StoreUnusable):
            await store.get("key")
        await maybeDeferred(store.startService)
        await store.put("key", b"1")
        await maybeDeferred(store.stopService)
        for refused in (
            store.put("key", b"1"),
            store.get("key"),
            store.get_many(["key"]),
            store.delete("key"),
            store.keys(""),
        ):
            with self.assertRaises(StoreUnusable):
                await refused

    async def test_whenStoppedRightAfterAWrite_theWriteHappensOrFails(self):
        store = self.make_store()
        await maybeDeferred(store.startService)
        writing = store.put("key", b"1")
        await maybeDeferred(store.stopService)
        self.assertGreater(await writing, 0)

    async def test_whenNeverStarted_stoppingDoesNothing(self):
        await maybeDeferred(self.make_store().stopService)

    async def test_itAgreesWithASimpleModel(self):
        from twisted.internet import reactor

        store = await self.started()
        numbers = count()

        @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(OPERATIONS)
        def agrees(operations):
            model = Model(f"{next(numbers)}:")
            for operation, *arguments in operations:
                getattr(self, f"_do_{operation}")(
                    model, lambda f, *a: blockingCallFromThread(reactor, f, *a), store, *arguments
                )

        # Hypothesis does not wait for Deferreds, so it runs in a thread and this one answers.
        await deferToThread(agrees)

    def _do_put(self, model, call, store, key, value, kind):
        asked, conflict = model.expected(key, kind)
        if conflict:
            self.assertRaises(Conflict, call, store.put, model.namespace + key, value, asked)
            return
        version = call(store.put, model.namespace + key, value, asked)
        self.assertGreater(version, model.highest.get(key, 0))
        model.written(key, value, version)

    def _do_delete(self, model, call, store, key, kind):
        asked, conflict = model.expected(key, kind)
        if conflict:
            self.assertRaises(Conflict, call, store.delete, model.namespace + key, asked)
            return
        existed = call(store.delete, model.namespace + key, asked)
        self.assertEqual(existed, model.records.pop(key, None) is not None)

    def _do_get(self, model, call, store, key):
        self.assertEqual(call(store.get, model.namespace + key), model.records.get(key))

    def _do_keys(self, model, call, store, prefix):
        expected = sorted(model.namespace + key for key in model.records if key.startswith(prefix))
        self.assertEqual(call(store.keys, model.namespace + prefix), expected)


class PersistentStoreContract(StoreContract):
    """What a store does that keeps its records when the program ends."""

    async def reopened(self, store):
        await maybeDeferred(store.stopService)
        return await self.started()

    async def test_whenReopened_theRecordsAreThere(self):
        store = await self.started()
        version = await store.put("key", b"1")
        await store.put("gone", b"1")
        await store.delete("gone")
        store = await self.reopened(store)
        self.assertEqual(await store.get("key"), (b"1", version))
        self.assertEqual(await store.keys(""), ["key"])

    async def test_whenReopened_versionsGoOn(self):
        store = await self.started()
        before = await store.put("key", b"1")
        await store.delete("key")
        store = await self.reopened(store)
        self.assertGreater(await store.put("key", b"2", 0), before)

    async def test_theSameStoreCanBeStartedAgain(self):
        store = await self.started()
        await store.put("key", b"1")
        await maybeDeferred(store.stopService)
        await maybeDeferred(store.startService)
        self.assertEqual((await store.get("key"))[0], b"1")
