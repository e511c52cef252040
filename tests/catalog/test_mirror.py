"""L{waiter.catalog.mirror}, and the two that keep what is said of services in it."""

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from waiter.catalog.interface import StoreUnusable
from waiter.catalog.memory import MemoryStore
from waiter.catalog.mirror import Mirror
from waiter.catalog.references import ReferenceCatalog
from waiter.catalog.suspensions import SuspendedState, Suspensions
from waiter.model.source import References, SourceToken


class SlowReads(MemoryStore):
    """A store whose reads of a record take as long as the test wants."""

    def __init__(self):
        super().__init__()
        self.reads = []

    def get(self, key):
        gate = Deferred()
        self.reads.append(gate)
        return super().get(key).addCallback(lambda record: gate.addCallback(lambda _: record))


class MirrorTests(SynchronousTestCase):
    def setUp(self):
        self.changed = []
        self.store = MemoryStore()
        self.store.startService()

    def made(self, store=None):
        mirror = Mirror(store or self.store, "a/", read=int, changed=self.changed.append)
        self.successResultOf(mirror.start())
        return mirror

    def test_whatIsStoredIsRead(self):
        self.store.put("a/x", b"1")
        self.store.put("b/y", b"2")
        mirror = self.made()
        self.assertEqual((mirror.get("x"), mirror.get("y"), len(mirror)), (1, None, 1))

    def test_othersChangesAreFollowedUntilTheStop(self):
        mirror = self.made()
        self.store.put("a/x", b"1")
        self.store.put("a/x", b"2")
        self.store.delete("a/x")
        self.assertEqual((mirror.get("x"), self.changed), (None, ["x", "x", "x"]))
        mirror.stop()
        self.store.put("a/x", b"3")
        self.assertIsNone(mirror.get("x"))

    def test_ownChangesAreThereWhenTheyAreDone(self):
        mirror = self.made()
        self.successResultOf(Deferred.fromCoroutine(mirror.put("x", b"1")))
        self.assertEqual(mirror.get("x"), 1)
        self.successResultOf(Deferred.fromCoroutine(mirror.delete("x")))
        self.assertIsNone(mirror.get("x"))

    def test_onlyWhatIsThereIsForgotten(self):
        self.store.put("a/x", b"1")
        mirror = self.made()
        deleted = []
        delete = self.store.delete
        self.store.delete = lambda key: deleted.append(key) or delete(key)
        mirror.forget(["x", "y"])
        self.assertEqual((mirror.get("x"), deleted), (None, ["a/x"]))

    def test_whatIsBeingForgottenIsGivenUpAtTheStop_andMayBeForgottenAfterTheNextStart(self):
        self.store.put("a/x", b"1")
        mirror = self.made()
        given_up = []
        patched = self.patch(self.store, "delete", lambda _: Deferred(given_up.append))
        mirror.forget(["x"])
        self.successResultOf(mirror.stop())
        self.assertEqual(len(given_up), 1)
        patched.restore()
        self.successResultOf(mirror.start())
        self.assertEqual(mirror.get("x"), 1)
        mirror.forget(["x"])
        self.assertIsNone(mirror.get("x"))

    def test_theSameAgainIsNoChange(self):
        mirror = self.made()
        self.store.put("a/x", b"1")
        self.store.put("a/x", b"01")
        self.assertEqual((mirror.get("x"), self.changed), (1, ["x"]))

    def test_aRecordThatCannotBeReadIsAsIfItWereNotThere(self):
        self.store.put("a/x", b"one")
        mirror = self.made()
        self.assertIsNone(mirror.get("x"))
        self.store.put("a/x", b"1")
        self.assertEqual(mirror.get("x"), 1)
        self.store.put("a/x", b"one")
        self.assertIsNone(mirror.get("x"))

    def test_aSlowReadDoesNotBringBackWhatWasBefore(self):
        store = SlowReads()
        store.startService()
        mirror = self.made(store)
        store.put("a/x", b"1")
        store.put("a/x", b"2")
        self.assertEqual(len(store.reads), 1)
        store.reads[0].callback(None)
        store.reads[1].callback(None)
        self.assertEqual((mirror.get("x"), len(store.reads)), (2, 2))

    def test_whoLeavesDoesNotKeepTheOthers(self):
        store = SlowReads()
        store.startService()
        mirror = self.made(store)
        first, second, third = (mirror.refresh("x") for _ in range(3))
        second.cancel()
        self.failureResultOf(second)
        store.reads[0].callback(None)
        store.reads[1].callback(None)
        self.successResultOf(first)
        self.successResultOf(third)


class SuspensionTests(SynchronousTestCase):
    def setUp(self):
        self.store = MemoryStore()
        self.store.startService()

    def made(self):
        suspensions = Suspensions(self.store, wall=lambda: 5.0)
        self.successResultOf(suspensions.startService())
        return suspensions

    def test_suspensionsOutliveTheRouterAndReachTheOthers(self):
        here, there = self.made(), self.made()
        changed = []
        there.changes.subscribe(changed.append)
        self.successResultOf(Deferred.fromCoroutine(here.set("s", suspended=True, by="alice")))
        state = SuspendedState(suspended=True, by="alice", at=5.0)
        self.assertEqual([each.get("s") for each in (here, there, self.made())], [state] * 3)
        self.assertEqual(changed, ["s"])
        self.assertIsNone(here.get("t"))

    def test_aForgottenServiceIsForgottenHere(self):
        suspensions = self.made()
        self.successResultOf(Deferred.fromCoroutine(suspensions.set("s", suspended=True, by="alice")))
        suspensions.forget(["s", "t"])
        self.assertIsNone(suspensions.get("s"))
        self.assertEqual(self.successResultOf(self.store.keys("")), [])


ONE, TWO = (SourceToken("one", "E-1"),), (SourceToken("two", "E-2"), SourceToken("three", "E-3"))


class ReferenceTests(SynchronousTestCase):
    def setUp(self):
        self.store = MemoryStore()
        self.store.startService()

    def made(self):
        references = ReferenceCatalog(self.store)
        self.successResultOf(references.startService())
        return references

    def test_tokensAreNotedOnceAndStored(self):
        references = self.made()
        for sources in (ONE, TWO, ONE):
            references.note("s", sources)
        self.assertEqual(references.get("s"), References(sources=(ONE, TWO)))
        self.assertEqual(self.made().get("s"), References(sources=(ONE, TWO)))
        self.assertEqual(references.get("t"), References())

    def test_whatCouldNotBeStoredIsStoredWhenItIsNotedAgain(self):
        references = self.made()
        broken = self.patch(self.store, "put", lambda *_: fail(StoreUnusable("gone")))
        references.note("s", ONE)
        self.assertEqual(len(self.flushLoggedErrors(StoreUnusable)), 1)
        broken.restore()
        references.note("s", ONE)
        self.assertEqual(self.made().get("s"), References(sources=(ONE,)))

    def test_directUseIsStoredWhereThereAreTokens(self):
        references = self.made()
        references.note("s", ())
        self.assertTrue(references.get("s").direct)
        self.assertEqual(self.successResultOf(self.store.keys("")), [])
        references.note("s", ONE)
        self.assertEqual(self.made().get("s"), References(sources=(ONE,), direct=True))

    def test_twoRoutersNoteTogether(self):
        here, there = self.made(), self.made()
        here.note("s", ONE)
        there.note("s", TWO)
        there.note("s", ())
        self.assertEqual(self.made().get("s"), References(sources=(ONE, TWO), direct=True))
        self.assertEqual(here.get("s"), there.get("s"))

    def test_onlyTheLatestAreKept(self):
        references = self.made()
        for version in range(30):
            references.note("s", (SourceToken("one", f"E-{version}"),))
        kept = [source.version for (source,) in references.get("s").sources]
        self.assertEqual(kept, [f"E-{version}" for version in range(10, 30)])

    def test_aForgottenServiceIsForgottenHere(self):
        references = self.made()
        references.note("s", ONE)
        references.note("t", ())
        references.forget(["s", "t"])
        self.assertEqual([references.get(name) for name in "st"], [References()] * 2)
        self.assertEqual(self.successResultOf(self.store.keys("")), [])
