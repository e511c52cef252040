"""L{waiter.fleet.store} and L{waiter.fleet.change_log} on a ZooKeeper in memory."""

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.contracts.stores import PersistentStoreContract
from tests.doubles.kazoo import MemoryZooKeeper
from tests.fleet.world import ENSEMBLE, TIMEOUT, World, at_once
from waiter.catalog.interface import Conflict, StoreUnusable
from waiter.fleet.change_log import KEPT
from waiter.fleet.store import ZooKeeperStore
from waiter.fleet.zookeeper import ZooKeeperClient


class WithItsClient(ZooKeeperStore):
    """A store that starts its client before itself and stops it afterwards."""

    def startService(self):
        return self._client.startService().addCallback(lambda _: super(WithItsClient, self).startService())

    def stopService(self):
        return super().stopService().addCallback(lambda _: self._client.stopService())


class ContractTests(PersistentStoreContract, TestCase):
    def setUp(self):
        self.zookeeper = MemoryZooKeeper()

    def make_store(self):
        client = ZooKeeperClient(reactor, ENSEMBLE, make_client=self.zookeeper.client, in_thread=at_once)
        return WithItsClient(reactor, client, "/waiter/store")


class StoreTests(SynchronousTestCase):
    def setUp(self):
        self.world = World(self)

    def store(self):
        store = ZooKeeperStore(self.world.reactor, self.world.started_client(), "/waiter/store")
        self.world.result(store.startService())
        return store

    def test_whatOneWritesTheOthersReadAndHearOf(self):
        ours, theirs = self.store(), self.store()
        heard, own = [], []
        ours.watch("token/", heard.append)
        theirs.watch("", own.append)
        self.world.settle()
        version = self.world.result(theirs.put("token/a", b"1"))
        self.world.result(theirs.put("service/a", b"1"))
        self.world.settle()
        self.assertEqual(self.world.result(ours.get("token/a")), (b"1", version))
        self.world.result(theirs.put("token/a", b"2"))
        self.world.result(theirs.delete("token/a"))
        self.world.settle()
        self.assertEqual(heard, ["token/a"] * 3)
        self.assertEqual(own, ["token/a", "service/a", "token/a", "token/a"])

    def test_changesDuringAnOutageAreHeardOfAfterIt(self):
        ours, theirs = self.store(), self.store()
        heard = []
        ours.watch("", heard.append)
        self.world.settle()
        kazoo = self.world.kazoo(0)
        kazoo.lose_connection()
        self.world.settle()
        for number in range(3):
            self.world.result(theirs.put(f"key/{number}", b""))
        self.assertEqual(heard, [])
        kazoo.find_connection()
        self.world.settle()
        self.assertEqual(heard, ["key/0", "key/1", "key/2"])

    def test_whenMoreChangedThanIsKept_allKeysAreTold(self):
        ours, theirs = self.store(), self.store()
        self.world.result(theirs.put("quiet", b""))
        heard = []
        ours.watch("", heard.append)
        self.world.settle()
        self.world.kazoo(0).lose_connection()
        self.world.settle()
        for _ in range(KEPT + 5):
            self.world.result(theirs.put("busy", b""))
        self.world.kazoo(0).find_connection()
        for _ in range(20):
            self.world.settle()
        self.assertIn("quiet", heard)
        self.assertIn("busy", heard)

    def test_whenZooKeeperHasLostItsData_theStoreGoesOnWithoutARestart(self):
        ours, theirs = self.store(), self.store()
        heard = []
        ours.watch("", heard.append)
        self.world.settle()
        for number in range(3):
            self.world.result(theirs.put(f"key/{number}", b""))
        self.lose_data()
        self.world.settle()
        heard.clear()
        # What the other one writes is heard of, though nothing is asked of this one.
        version = self.world.result(theirs.put("key/3", b"new", 0))
        self.assertEqual(heard, ["key/3"])
        self.assertEqual(self.world.result(ours.get("key/3")), (b"new", version))
        self.assertIsNone(self.world.result(ours.get("key/1")))
        self.assertEqual(self.world.result(ours.keys("")), ["key/3"])

    def test_whenItHasLostItsDataAndMuchWasWrittenSince_allKeysAreTold(self):
        ours, theirs = self.store(), self.store()
        heard = []
        ours.watch("", heard.append)
        self.world.settle()
        for number in range(5):
            self.world.result(theirs.put(f"old/{number}", b""))
        heard.clear()
        ours_kazoo = self.world.kazoo(0)
        ours_kazoo.lose_connection()
        self.lose_data(self.world.kazoo(1))
        for number in range(2):
            self.world.result(theirs.put(f"new/{number}", b""))
        self.world.advance(TIMEOUT + 1)
        ours_kazoo.find_connection()
        self.world.settle()
        self.assertEqual(set(heard), {"new/0", "new/1"})

    def lose_data(self, *clients):
        """ZooKeeper loses all it had, its sessions included, and these clients find that out; all of them if none is given."""
        clients = clients or self.world.zookeeper.clients
        for client in clients:
            client.lose_connection()
        self.world.zookeeper.lose_data()
        self.world.advance(TIMEOUT + 1)
        for client in clients:
            client.find_connection()
        self.world.settle()

    def test_oldChangesAreTakenAway(self):
        store = self.store()
        for _ in range(KEPT + 20):
            self.world.result(store.put("key", b""))
        self.world.settle()
        self.assertLessEqual(len(self.world.zookeeper.children("/waiter/store/v1/changes")), KEPT)

    def test_whenADeletedRecordIsMadeAgainBetweenLookingAndWriting_thatIsAConflict(self):
        ours, theirs = self.store(), self.store()
        version = self.world.result(ours.put("key", b"1"))
        kazoo = self.world.kazoo(0)
        exists_async = kazoo.exists_async
        interfered = []

        def exists(path, watch=None):
            answer = exists_async(path, watch)
            if path.endswith("/key") and not interfered:
                interfered.append(path)
                path = path.removesuffix("/")
                self.world.zookeeper.commit(
                    [
                        lambda: self.world.zookeeper.delete(path) and True,
                        lambda: self.world.zookeeper.set("/waiter/store/v1/deletions", b"", -1) and True,
                    ]
                )
                self.world.zookeeper.create(path, b"theirs", owner=0, sequence=False)
            return answer

        kazoo.exists_async = exists
        self.world.failure(ours.put("key", b"2", version), Conflict)
        self.assertEqual(self.world.result(theirs.get("key"))[0], b"theirs")
        self.assertTrue(interfered)

    def test_beforeAConflictIsToldTheServerIsBroughtUpToDate(self):
        store = self.store()
        version = self.world.result(store.put("key", b"1"))
        before = len(self.world.zookeeper.log)
        self.world.failure(store.put("key", b"2", version + 5), Conflict)
        self.assertIn("sync", [name for _, name, _ in self.world.zookeeper.log[before:]])

    def test_whileThereIsNoConnectionACallWaitsAndThenFails(self):
        store = self.store()
        self.world.zookeeper.go_down()
        self.world.settle()
        asked = store.get("key")
        self.world.advance(2)
        self.assertNoResult(asked)
        self.world.zookeeper.come_back()
        self.assertIsNone(self.world.result(asked))
        self.world.zookeeper.go_down()
        self.world.settle()
        asked = store.put("key", b"")
        self.world.advance(5.5)
        self.assertEqual(
            str(self.world.failure(asked, StoreUnusable)),
            "the store in ZooKeeper at zk:2181 cannot be used now: no connection within 5 s",
        )

    def test_whenTheConnectionBreaksDuringAWrite_itFails(self):
        store = self.store()
        self.world.zookeeper.frozen = True
        writing = store.put("key", b"")
        self.world.settle()
        self.world.zookeeper.go_down()
        self.world.failure(writing, StoreUnusable)

    def test_whenItCannotMakeItsNodes_startingFails(self):
        client = self.world.started_client()
        store = ZooKeeperStore(self.world.reactor, client, "/waiter/store")
        self.world.zookeeper.go_down()
        self.world.settle()
        self.world.failure(store.startService(), StoreUnusable)

    def test_keysAreNodesOfOneLevel(self):
        store = self.store()
        for key in (".", "..", "a/b", "\U0001f600", "zookeeper"):
            self.world.result(store.put(key, b""))
        self.assertEqual(
            self.world.zookeeper.children("/waiter/store/v1/records"),
            sorted(["%2E", "%2E%2E", "a%2Fb", "%F0%9F%98%80", "zookeeper"]),
        )

    def test_whenManyAreFasterAgainAndAgain_theWriteFailsInTheEnd(self):
        store = self.store()
        self.world.result(store.put("key", b""))
        kazoo = self.world.kazoo()
        exists_async = kazoo.exists_async
        kazoo.exists_async = lambda path, watch=None: (
            exists_async("/nothing") if path.endswith("/key") else exists_async(path, watch)
        )
        self.assertIn("too many", str(self.world.failure(store.put("key", b"2"), StoreUnusable)))

    def test_whenItStops_itWaitsForWhatIsUnderWay(self):
        store = self.store()
        self.world.zookeeper.frozen = True
        writing = store.put("key", b"")
        self.world.settle()
        stopping = store.stopService()
        self.assertIsInstance(stopping, Deferred)
        self.assertNoResult(stopping)
        self.world.zookeeper.go_down()
        self.world.result(stopping)
        self.failureResultOf(writing, StoreUnusable)
