"""L{waiter.fleet.directory} and L{waiter.fleet.fleet}."""

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from tests.contracts.router_directories import DirectoryUnderTest, router_directory_contract
from tests.doubles.kazoo import MemoryZooKeeper
from tests.fleet.world import ENSEMBLE, TIMEOUT, World, at_once
from waiter.fleet.curator import RouterNode
from waiter.fleet.directory import ZooKeeperRouterDirectory
from waiter.fleet.nodes import ConnectionLost
from waiter.fleet.zookeeper import ZooKeeperClient

ROOT = "/waiter/discovery-v2-v2"


def router(router_id, port=9091):
    return RouterNode(
        cluster="c", router_id=router_id, address="10.0.0.1", port=port, fqdn="host", registered_at=1700000000
    )


def directory_of(clock, client, node, **arguments):
    return ZooKeeperRouterDirectory(
        clock,
        client,
        ROOT,
        node,
        **{
            "doubt_secs": 1.5 * TIMEOUT,
            "interval_secs": 1.5,
            "latch": "/waiter/leader-latch",
            **arguments,
        },
    )


def with_double(test):
    zookeeper = MemoryZooKeeper()
    client = ZooKeeperClient(reactor, ENSEMBLE, make_client=zookeeper.client, in_thread=at_once)
    directory = directory_of(reactor, client, router("r"))
    begin, end = directory.startService, directory.stopService
    directory.startService = lambda: client.startService().addCallback(lambda _: begin())
    directory.stopService = lambda: end().addCallback(lambda _: client.stopService())

    async def settled():
        for _ in range(30):
            await deferLater(reactor, 0)

    def join(router_id, url):
        node = RouterNode(cluster="c", router_id=router_id, address="10.0.0.2", port=9091, fqdn="host", registered_at=0)
        zookeeper.create(f"{ROOT}/c/{router_id}", node.encode(), owner=7, sequence=False)

    return DirectoryUnderTest(
        directory=directory,
        router_id="r",
        url="http://10.0.0.1:9091/",
        join=join,
        leave=lambda router_id: zookeeper.delete(f"{ROOT}/c/{router_id}"),
        settle=lambda: Deferred.fromCoroutine(settled()),
    )


class ContractTests(router_directory_contract(with_double)):
    pass


class DirectoryTests(SynchronousTestCase):
    def setUp(self):
        self.world = World(self)
        self.clients = {}
        self.directories = {}

    def join(self, router_id, **arguments):
        client = self.clients[router_id] = self.world.started_client()
        directory = directory_of(self.world.reactor, client, router(router_id), **arguments)
        self.directories[router_id] = directory
        self.world.result(directory.startService())
        self.world.result(directory.members())
        return directory

    def kazoo(self, router_id):
        return self.clients[router_id]._client

    def members(self, directory):
        return sorted(self.world.result(directory.members()))

    def test_routersSeeEachOtherAtOnce(self):
        a = self.join("a")
        told = []
        a.subscribe(lambda: told.append(sorted(a.members_now)))
        b = self.join("b")
        self.assertEqual(told[-1], ["a", "b"])
        self.assertEqual(self.members(b), ["a", "b"])
        self.world.result(b.stopService())
        self.assertEqual(told[-1], ["a"])

    def test_theListIsReadThoughNobodyAsks(self):
        alone = directory_of(self.world.reactor, self.world.started_client(), router("a"), min_routers=2)
        self.world.result(alone.startService())
        self.world.advance(2)
        self.assertFalse(alone.leads)
        b = self.join("b")
        self.assertEqual(sorted(alone.members_now), ["a", "b"])
        self.assertTrue(alone.leads)
        self.world.result(b.stopService())
        self.assertEqual(sorted(alone.members_now), ["a"])

    def test_whenZooKeeperLosesItsData_theListIsFollowedThoughNobodyAsks(self):
        alone = directory_of(self.world.reactor, self.world.started_client(), router("a"))
        self.world.result(alone.startService())
        self.world.zookeeper.go_down()
        self.world.zookeeper.lose_data()
        self.world.advance(TIMEOUT + 1)
        self.world.zookeeper.come_back()
        self.world.advance(3)
        self.join("b")
        self.assertEqual(sorted(alone.members_now), ["a", "b"])

    def test_aSlowReadDoesNotBringBackWhoHasLeft(self):
        a = self.join("a")
        client, slow = self.clients["a"], Deferred()
        get, client.get = client.get, lambda path: slow
        self.world.zookeeper.create(f"{ROOT}/c/b", router("b").encode(), owner=7, sequence=False)
        self.world.settle()
        client.get = get
        self.world.zookeeper.delete(f"{ROOT}/c/b")
        self.world.settle()
        slow.callback((router("b").encode(), None))
        self.world.settle()
        self.assertEqual(sorted(a.members_now), ["a"])

    def test_whileZooKeeperIsAway_theListStays(self):
        a = self.join("a")
        self.join("b")
        told = []
        a.subscribe(lambda: told.append(sorted(a.members_now)))
        self.world.zookeeper.go_down()
        for _ in range(40):
            self.world.advance(1.5)
            self.assertEqual(self.members(a), ["a", "b"])
            self.assertTrue(a.in_doubt)
        self.assertEqual([each for each in told if each != ["a", "b"]], [])

    def test_whenSessionsWereLostInAnOutage_nobodyIsTakenForGoneBeforeTheyHadTheTimeToReturn(self):
        a, b = self.join("a"), self.join("b")
        self.world.zookeeper.go_down()
        self.world.advance(60)
        silent = self.kazoo("b")
        silent.find_connection = lambda: None
        self.world.zookeeper.come_back(expired=[self.kazoo("a").session, silent.session])
        self.world.settle()
        self.assertEqual(self.world.zookeeper.children(f"{ROOT}/c"), ["a"])
        self.assertEqual(self.members(a), ["a", "b"])
        self.world.advance(TIMEOUT)
        self.assertEqual(self.members(a), ["a", "b"])

        del silent.find_connection
        silent.find_connection()
        self.world.settle()
        self.assertEqual(self.world.zookeeper.children(f"{ROOT}/c"), ["a", "b"])
        self.world.advance(TIMEOUT)
        self.assertEqual((self.members(a), self.members(b)), (["a", "b"], ["a", "b"]))
        self.assertFalse(a.in_doubt)

    def test_whenARouterDoesNotReturnFromAnOutage_itIsGoneInTheEnd(self):
        a = self.join("a")
        self.join("b")
        self.world.zookeeper.go_down()
        self.world.advance(5)
        self.kazoo("b").find_connection = lambda: None
        self.world.zookeeper.come_back(expired=[self.kazoo("b").session])
        self.world.advance(1.5 * TIMEOUT - 1)
        self.assertEqual(self.members(a), ["a", "b"])
        self.world.advance(2)
        self.assertEqual(self.members(a), ["a"])

    def test_whenARouterComesDuringTheDoubt_itIsTakenInAtOnce(self):
        a = self.join("a")
        self.world.zookeeper.go_down()
        self.world.settle()
        self.world.zookeeper.come_back()
        self.join("b")
        self.assertTrue(a.in_doubt)
        self.assertEqual(sorted(a.members_now), ["a", "b"])

    def test_whenItsOwnNodeIsMissing_thisRouterIsOnItsListAllTheSame(self):
        a = self.join("a")
        self.world.zookeeper.frozen = False
        self.world.result(a.registration.stopService())
        self.assertEqual(self.members(a), ["a"])

    def test_whenNothingWasEverRead_askingFails(self):
        client = self.world.started_client()
        directory = directory_of(self.world.reactor, client, router("a"))
        self.world.zookeeper.go_down()
        self.world.settle()
        self.world.failure(directory.members(), ConnectionLost)

    def test_whenAnswersStop_theListStaysAndAskingEndsInTime(self):
        a = self.join("a")
        self.join("b")
        self.world.zookeeper.frozen = True
        asked = a.members()
        self.world.advance(TIMEOUT + 1)
        self.assertEqual(sorted(self.world.result(asked)), ["a", "b"])

    def test_whenTheReadingBreaksOffBetweenNodes_theListStays(self):
        a = self.join("a")
        client = self.world.started_client()
        self.world.result(client.create(f"{ROOT}/c/b", router("b").encode()))
        a._known.clear()
        kazoo = self.kazoo("a")

        def get_async(path):
            self.world.zookeeper.frozen = True
            return kazoo.call("get", path, lambda: None)

        kazoo.get_async = get_async
        asked = a.members()
        self.world.settle()
        self.world.zookeeper.go_down()
        self.assertEqual(sorted(self.world.result(asked)), ["a", "b"])

    def test_nodesThatSayNothingOfUseAreLeftOutAndNamedOnce(self):
        a = self.join("a")
        client = self.world.started_client()
        self.world.result(client.create(f"{ROOT}/c/strange", b"{"))
        before = len(self.world.zookeeper.log)
        for _ in range(3):
            self.assertEqual(self.members(a), ["a"])
        gets = [call for call in self.world.zookeeper.log[before:] if call[1] == "get"]
        self.assertEqual(gets, [])

    def test_routersOfAnotherNameAreNotOfThisCluster(self):
        import attrs

        a = self.join("a")
        client = self.world.started_client()
        self.world.result(client.create(f"{ROOT}/c/x", attrs.evolve(router("x"), cluster="other").encode()))
        self.assertEqual(self.members(a), ["a"])

    def test_withTooFewRoutersNobodyLeadsAndThePlaceIsKept(self):
        a = self.join("a", min_routers=2)
        self.assertFalse(a.leads)
        self.assertIsNone(a.leader_id)
        b = self.join("b", min_routers=2)
        self.assertTrue(a.leads)
        self.assertEqual((a.leader_id, b.leader_id), ("a", "a"))
        self.world.result(b.stopService())
        self.assertFalse(a.leads)

    def test_whenTheLeaderChanges_subscribersHear(self):
        a, b = self.join("a"), self.join("b")
        told = []
        b.subscribe(lambda: told.append(b.leader_id))
        self.world.result(a.election.stopService())
        self.assertEqual(told, ["b"])

    def test_readingAgainAndAgainDoesNotPileUpWatches(self):
        a = self.join("a")
        for _ in range(50):
            self.members(a)
        self.world.advance(60)
        self.assertLessEqual(max(map(len, self.world.zookeeper._watches.values())), 1)

    def test_itKnowsSinceWhenItIsAlone(self):
        a = self.join("a")
        self.assertEqual(a.alone_since, float("-inf"))
        b = self.join("b")
        self.assertIsNone(a.alone_since)
        self.world.advance(10)
        self.world.result(b.stopService())
        self.assertEqual(a.alone_since, self.world.reactor.seconds())

    def test_whenItHasStopped_noTimerStays(self):
        a = self.join("a")
        self.world.result(a.stopService())
        self.assertEqual(self.world.zookeeper.children(f"{ROOT}/c"), [])
        self.assertEqual(self.world.zookeeper.children("/waiter/leader-latch"), [])
        self.world.result(self.clients["a"].stopService())
        self.assertEqual(self.world.reactor.getDelayedCalls(), [])
