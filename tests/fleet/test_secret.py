"""L{waiter.fleet.secret}."""

from twisted.internet.defer import succeed
from twisted.trial.unittest import SynchronousTestCase

from waiter.catalog.interface import StoreUnusable
from waiter.catalog.memory import MemoryStore
from waiter.fleet.secret import KEY, ClusterSecret


class ClusterSecretTests(SynchronousTestCase):
    def setUp(self):
        self.store = MemoryStore()
        self.store.startService()

    def test_allHaveTheOneThatWasMadeFirst(self):
        first, second = ClusterSecret(self.store), ClusterSecret(self.store)
        self.successResultOf(first.startService())
        self.successResultOf(second.startService())
        self.assertEqual(first.secret(), second.secret())
        self.assertGreaterEqual(len(first.secret()), 32)

    def test_whenAnotherIsFaster_theOthersIsTaken(self):
        get, answers = self.store.get, [succeed(None)]
        self.store.get = lambda key: answers.pop() if answers else get(key)
        self.successResultOf(self.store.put(KEY, b"t" * 32))
        late = ClusterSecret(self.store)
        self.successResultOf(late.startService())
        self.assertEqual(late.secret(), b"t" * 32)

    def test_whatCouldBeGuessedIsRefused(self):
        self.successResultOf(self.store.put(KEY, b"short"))
        self.failureResultOf(ClusterSecret(self.store).startService(), StoreUnusable)

    def test_beforeItIsReadThereIsNone(self):
        self.assertRaises(StoreUnusable, ClusterSecret(self.store).secret)
