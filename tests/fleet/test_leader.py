"""L{waiter.fleet.leader}."""

from itertools import count

from twisted.trial.unittest import SynchronousTestCase

from tests.fleet.world import TIMEOUT, World
from waiter.fleet.leader import LeaderElection
from waiter.fleet.nodes import State

LATCH = "/waiter/leader-latch"
LEASE = 6.0


class ElectionTests(SynchronousTestCase):
    def setUp(self):
        self.world = World(self)
        self.numbers = count()
        self.elections = []
        self.clients = []

    def elect(self, router_id):
        client = self.world.started_client()
        election = LeaderElection(
            self.world.reactor,
            client,
            LATCH,
            router_id,
            lease=LEASE / TIMEOUT,
            unique=lambda: f"{router_id}-{next(self.numbers)}",
        )
        election.startService()
        self.world.settle()
        self.elections.append(election)
        self.clients.append(client)
        return election

    def leaders(self):
        return [election._router_id for election in self.elections if election.leads]

    def test_beforeItStartsNobodyLeads(self):
        election = LeaderElection(self.world.reactor, self.world.started_client(), LATCH, "a", lease=LEASE / TIMEOUT)
        self.assertFalse(election.leads)
        self.assertIsNone(election.leader_id)

    def test_theFirstLeadsAndAllKnowIt(self):
        for router_id in "abc":
            self.elect(router_id)
        self.assertEqual(self.leaders(), ["a"])
        self.assertEqual([election.leader_id for election in self.elections], ["a"] * 3)
        self.world.advance(60)
        self.assertEqual(self.leaders(), ["a"])
        self.assertEqual(len(self.world.zookeeper.children(LATCH)), 3)

    def test_theNodesAreNamedAsCuratorNamesThemAndSayWhose(self):
        self.elect("a")
        (name,) = self.world.zookeeper.children(LATCH)
        self.assertRegex(name, r"^_c_a-0-latch-\d{10}$")
        self.assertEqual(self.world.zookeeper.nodes[f"{LATCH}/{name}"].data, b"a")

    def test_whenTheLeaderStops_theNextLeadsAtOnce(self):
        for router_id in "abc":
            self.elect(router_id)
        told = []
        self.elections[2].changes.subscribe(told.append)
        self.world.result(self.elections[0].stopService())
        self.assertEqual(self.leaders(), ["b"])
        self.assertEqual(told, ["b"])

    def test_whenTheConnectionBreaks_theLeaderLeadsNoMoreAtOnce(self):
        election = self.elect("a")
        told = []
        election.changes.subscribe(told.append)
        self.world.zookeeper.go_down()
        self.world.settle()
        self.assertFalse(election.leads)
        self.assertIsNone(election.leader_id)
        self.world.zookeeper.come_back()
        self.world.settle()
        self.assertTrue(election.leads)
        self.assertEqual(told, [None, "a"])
        self.assertEqual(len(self.world.zookeeper.children(LATCH)), 1)

    def test_whenTheSessionExpires_anotherLeadsAndThisOneQueuesAnew(self):
        for router_id in "ab":
            self.elect(router_id)
        self.world.zookeeper.expire(self.world.kazoo(0))
        self.world.settle()
        self.assertEqual(self.leaders(), ["b"])
        self.assertEqual(len(self.world.zookeeper.children(LATCH)), 2)
        self.world.result(self.elections[1].stopService())
        self.assertEqual(self.leaders(), ["a"])

    def test_whenNothingIsAnswered_theLeaseEndsBeforeTheSessionCan(self):
        election = self.elect("a")
        self.world.advance(1.5)
        self.world.zookeeper.frozen = True
        self.world.advance(LEASE - 1.5)
        self.assertTrue(election.leads)
        self.world.advance(1.75)
        self.assertFalse(election.leads)
        self.assertLess(LEASE, TIMEOUT)

    def test_whenSessionsAreShorterThanWasAskedFor_theLeaseIs(self):
        self.world.zookeeper.granted_secs = TIMEOUT / 2
        election = self.elect("a")
        self.world.zookeeper.frozen = True
        self.world.advance(LEASE / 2 - 0.25)
        self.assertTrue(election.leads)
        self.world.advance(0.5)
        self.assertFalse(election.leads)

    def test_aLookIsGoodFromWhenItWasAskedNotAnswered(self):
        election = self.elect("a")
        self.world.zookeeper.frozen = True
        self.world.advance(LEASE - 0.5)
        # Asked at 1.5, answered at 5.5.
        self.world.kazoo()._pending[0].set(self.world.zookeeper.children(LATCH))
        self.world.advance(1.5 + LEASE - 5.5 - 0.25)
        self.assertTrue(election.leads)
        self.world.advance(0.5)
        self.assertFalse(election.leads)

    def test_whenTheReactorWasHeldUpForLong_itDoesNotLead(self):
        election = self.elect("a")
        self.world.reactor.rightNow += LEASE + 0.1
        self.assertFalse(election.leads)
        self.world.settle()
        self.world.advance(1.5)
        self.assertTrue(election.leads)

    def test_whenTheAnswerToACreateIsLost_theNodeIsFoundAgain(self):
        world = self.world
        client = world.started_client()
        world.result(_flow(client.create_path(LATCH)))
        kazoo = world.kazoo()
        create_async = kazoo.create_async

        def lost(path, data, **arguments):
            create_async(path, data, **arguments)
            world.zookeeper.frozen = True
            return kazoo.get_async(path)

        kazoo.create_async = lost
        election = LeaderElection(world.reactor, client, LATCH, "a", lease=LEASE / TIMEOUT)
        election.startService()
        world.settle()
        kazoo.create_async = create_async
        world.zookeeper.frozen = False
        world.zookeeper.go_down()
        world.settle()
        world.zookeeper.come_back()
        world.settle()
        self.assertTrue(election.leads)
        self.assertEqual(len(world.zookeeper.children(LATCH)), 1)

    def test_aNodeOfAnEarlierSessionIsNoReasonToLead(self):
        election = self.elect("a")
        old = self.world.kazoo()
        # The session lives on at the server, for a while.
        old.give_up()
        self.world.advance(21)
        self.assertIsNot(self.world.kazoo(), old)
        self.assertEqual(len(self.world.zookeeper.children(LATCH)), 2)
        self.assertFalse(election.leads)
        self.world.zookeeper.end_session(old.session)
        self.world.settle()
        self.assertTrue(election.leads)

    def test_whoHearsOfABrokenConnectionFirstIsNotToldThatItLeads(self):
        client = self.world.started_client()
        heard = []
        client.states.subscribe(lambda state: heard.append((state, election.leads)))
        election = LeaderElection(self.world.reactor, client, LATCH, "a", lease=LEASE / TIMEOUT)
        election.startService()
        self.world.settle()
        self.assertTrue(election.leads)
        self.world.zookeeper.go_down()
        self.world.settle()
        self.assertEqual(heard, [(State.SUSPENDED, False)])

    def test_whenItsNodeIsTakenAway_itQueuesAnew(self):
        election = self.elect("a")
        self.elect("b")
        (first, _) = self.world.zookeeper.children(LATCH)
        self.world.zookeeper.delete(f"{LATCH}/{first}")
        self.world.settle()
        self.assertEqual(self.leaders(), ["b"])
        self.assertEqual(election.leader_id, "b")

    def test_strangeNamesInTheLatchAreLeftAlone(self):
        self.world.result(_flow(self.world.started_client().create_path(f"{LATCH}/readme")))
        self.elect("a")
        self.assertEqual(self.leaders(), ["a"])

    def test_whenItStopsWhileZooKeeperIsAway_itDoesNotFailAndNoTimerStays(self):
        election = self.elect("a")
        self.world.zookeeper.go_down()
        self.world.settle()
        self.world.result(election.stopService())
        self.world.result(self.clients[0].stopService())
        self.assertEqual(self.world.reactor.getDelayedCalls(), [])

    def test_itsStateIsShown(self):
        election = self.elect("a")
        self.world.advance(0.5)
        self.assertEqual(
            election.state(),
            {"leads": True, "leader-id": "a", "latch": "_c_a-0-latch-0000000000", "seen-secs-ago": 0.5},
        )


def _flow(coroutine):
    from twisted.internet.defer import Deferred

    return Deferred.fromCoroutine(coroutine)
