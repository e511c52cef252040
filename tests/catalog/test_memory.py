"""L{waiter.catalog.memory}."""

from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.contracts.stores import StoreContract
from waiter.catalog.memory import MemoryStore


class MemoryStoreContractTests(StoreContract, TestCase):
    def make_store(self):
        return MemoryStore()


class MemoryStoreTests(SynchronousTestCase):
    def test_everythingHappensAtOnce(self):
        store = MemoryStore()
        store.startService()
        version = self.successResultOf(store.put("key", b"1"))
        self.assertEqual(self.successResultOf(store.get("key")), (b"1", version))

    def test_whenAWatcherWritesTheSameKey_theWriterGetsItsOwnVersion(self):
        store = MemoryStore()
        store.startService()
        inner = []

        def write_once(key):
            if not inner:
                inner.append(None)
                inner[0] = self.successResultOf(store.put(key, b"inner"))

        store.watch("", write_once)
        outer = self.successResultOf(store.put("key", b"outer"))
        self.assertLess(outer, inner[0])
        self.assertEqual(self.successResultOf(store.get("key")), (b"inner", inner[0]))
