"""L{waiter.catalog.encrypted} and L{waiter.catalog.seal}."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.contracts.stores import PersistentStoreContract
from waiter.catalog.encrypted import RECORD_KEY, EncryptedStore
from waiter.catalog.interface import StoreUnusable
from waiter.catalog.memory import MemoryStore
from waiter.catalog.seal import OVERHEAD, CannotUnseal, KeyRing, SealRecord, new_salt
from waiter.catalog.sqlite import SQLiteStore

# Tests need not be slow to guess.
COST = 2


def encrypted(inner, *passwords):
    return EncryptedStore(reactor, inner, passwords, cost=COST)


class EncryptedContractTests(PersistentStoreContract, TestCase):
    def setUp(self):
        self.inner = MemoryStore()

    def make_store(self):
        return encrypted(self.inner, "first", "second")


class EncryptedSQLiteContractTests(PersistentStoreContract, TestCase):
    def setUp(self):
        self.path = self.mktemp()

    def make_store(self):
        return encrypted(SQLiteStore(reactor, self.path), "first")


class PlainContractTests(PersistentStoreContract, TestCase):
    def setUp(self):
        self.inner = MemoryStore()

    def make_store(self):
        return encrypted(self.inner)


class PasswordTests(TestCase):
    def setUp(self):
        self.inner = MemoryStore()

    async def opened(self, *passwords):
        store = encrypted(self.inner, *passwords)
        await store.startService()
        return store

    async def closed(self, store):
        await store.stopService()

    async def renewed(self, *passwords):
        """Open a store; returns when its records are encrypted with the first of the passwords."""
        store = await self.opened(*passwords)
        done = Deferred()

        def look(_=None):
            record = SealRecord.read(self.inner._records[RECORD_KEY][0])
            if not record.plain and len(record.key_ids) == 1 and not done.called:
                reactor.callLater(0, done.callback, None)

        end = self.inner.watch(RECORD_KEY, look)
        look()
        await done
        end()
        return store

    async def raw(self, key):
        return self.inner._records[key][0]

    async def refused(self, *passwords):
        try:
            await self.opened(*passwords)
        except StoreUnusable as error:
            self.assertFalse(self.inner.running)
            return str(error)
        return self.fail("it was opened")

    async def test_nothingOfTheValueIsStored(self):
        store = await self.opened("first")
        await store.put("key", b"value" * 50)
        await store.put("key2", b"value" * 50)
        for key in ("key", "key2"):
            self.assertNotIn(b"value", await self.raw(key))
        self.assertNotEqual((await self.raw("key"))[8:], (await self.raw("key2"))[8:])
        self.assertEqual(await store.keys(""), ["key", "key2"])
        self.assertEqual(store.state(), {"inner-state": {"variant": "memory store"}, "variant": "encrypted"})
        await self.closed(store)

    async def test_withAWrongPasswordItIsNotOpened(self):
        store = await self.opened("first")
        await self.closed(store)
        self.assertIn("another password", await self.refused("wrong"))
        self.assertIn("set store.passwords", await self.refused())
        self.inner.startService()
        await self.inner.put(RECORD_KEY, b"{}")
        self.assertIn("does not say how it is encrypted", await self.refused("first"))

    async def test_passwordsCanBeChanged(self):
        store = await self.opened("old")
        version = await store.put("key", b"value")
        await self.closed(store)
        await self.closed(await self.renewed("new", "old"))
        store = await self.opened("new")
        self.assertEqual((await store.get("key"))[0], b"value")
        self.assertGreater((await store.get("key"))[1], version)
        await self.closed(store)
        self.assertIn("another password", await self.refused("old"))

    async def test_aPasswordCannotBeLeftOutTooEarly(self):
        store = await self.opened("old")
        await store.put("key", b"value")
        await self.closed(store)
        store = encrypted(self.inner, "new", "old")
        self.patch(store, "_renew_one", lambda *_: Deferred())
        await store.startService()
        await self.closed(store)
        self.assertIn("may still be encrypted", await self.refused("new"))
        await self.closed(await self.renewed("new", "old"))

    async def test_whatWasThereBeforeIsEncrypted(self):
        store = await self.opened()
        await store.put("key", b"value")
        await self.closed(store)
        self.assertEqual(await self.raw("key"), b"value")
        store = await self.renewed("first")
        self.assertNotIn(b"value", await self.raw("key"))
        self.assertEqual((await store.get("key"))[0], b"value")
        self.inner.put("key", b"slipped in")
        with self.assertRaises(StoreUnusable):
            await store.get("key")
        await self.closed(store)

    async def test_aValueBelongsToItsKey(self):
        store = await self.opened("first")
        await store.put("mine", b"value")
        self.inner.put("yours", await self.raw("mine"))
        with self.assertRaises(StoreUnusable) as raised:
            await store.get("yours")
        self.assertIn("changed by something", str(raised.exception))
        self.assertEqual(list(await store.get_many(["mine", "yours"])), ["mine"])
        await self.closed(store)

    async def test_whenARecordIsDamaged_theOthersAreEncryptedAnew(self):
        store = await self.opened("old")
        for key in "abc":
            await store.put(key, b"value")
        await self.closed(store)
        self.inner.startService()
        await self.inner.put("b", (await self.raw("b"))[:-1] + b"?")
        store = await self.opened("new", "old")
        new = KeyRing(["new"], SealRecord.read(await self.raw(RECORD_KEY)).salt, cost=COST)
        while not new.is_current(await self.raw("c")):
            waited = Deferred()
            reactor.callLater(0.01, waited.callback, None)
            await waited
        await self.closed(store)
        self.assertIn("may still be encrypted", await self.refused("new"))

    async def test_itsOwnRecordIsNobodyElses(self):
        store = await self.opened("first")
        heard = []
        store.watch("", heard.append)
        for asked in (store.get(RECORD_KEY), store.put(RECORD_KEY, b""), store.delete(RECORD_KEY)):
            with self.assertRaises(ValueError):
                await asked
        await self.inner.put(RECORD_KEY, b"{}")
        self.assertEqual((heard, await store.keys("")), ([], []))
        await self.closed(store)

    async def test_twoThatBeginTogetherAgree(self):
        one, other = encrypted(self.inner, "first"), encrypted(self.inner, "first")
        await maybeDeferred(self.inner.startService)
        starting = [one.startService(), other.startService()]
        for each in starting:
            await each
        await one.put("key", b"value")
        self.assertEqual((await other.get("key"))[0], b"value")
        await self.closed(one)
        await self.closed(other)


class KeyRingTests(SynchronousTestCase):
    SALT = new_salt()

    def ring(self, *passwords):
        return KeyRing(passwords, self.SALT, cost=COST)

    @given(st.text(min_size=1, max_size=9), st.binary(max_size=99), st.text("ab/\u00fc", min_size=1, max_size=5))
    def test_whatIsSealedIsUnsealed_byNobodyElse(self, password, value, name):
        ring = self.ring(password)
        sealed = ring.seal(name, value)
        self.assertEqual(len(sealed), len(value) + OVERHEAD)
        self.assertEqual(self.ring("x", password).unseal(name, sealed), value)
        self.assertTrue(ring.is_current(sealed))
        self.assertRaises(CannotUnseal, self.ring(password + "x").unseal, name, sealed)
        self.assertRaises(CannotUnseal, ring.unseal, name + "x", sealed)
        for place in range(0, len(sealed), 7):
            changed = bytearray(sealed)
            changed[place] ^= 1
            self.assertRaises(CannotUnseal, ring.unseal, name, bytes(changed))
        for length in range(0, len(sealed), 11):
            self.assertRaises(CannotUnseal, ring.unseal, name, sealed[:length])
