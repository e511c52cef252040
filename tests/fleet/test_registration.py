"""L{waiter.fleet.registration}."""

from twisted.trial.unittest import SynchronousTestCase

from tests.fleet.world import TIMEOUT, World
from waiter.fleet.nodes import ZooKeeperError
from waiter.fleet.registration import RouterRegistration

PATH = "/waiter/discovery-v2-v2/c/r1"


class RegistrationTests(SynchronousTestCase):
    def setUp(self):
        self.world = World(self)
        self.client = self.world.started_client()
        self.registration = RouterRegistration(self.world.reactor, self.client, PATH, b"data")

    def start(self):
        self.world.result(self.registration.startService())

    def node(self):
        node = self.world.zookeeper.nodes.get(PATH)
        return None if node is None else (node.data, node.owner)

    def test_whenItHasStarted_theNodeIsThereForThisSession(self):
        self.start()
        self.assertEqual(self.node(), (b"data", self.client.session_id))
        self.assertTrue(self.registration.registered)

    def test_whenItStops_theNodeGoesAndNoTimerStays(self):
        self.start()
        timers = len(self.world.reactor.getDelayedCalls())
        self.world.result(self.registration.stopService())
        self.assertIsNone(self.node())
        self.assertFalse(self.registration.registered)
        self.assertEqual(len(self.world.reactor.getDelayedCalls()), timers - 1)

    def test_whenSomebodyTakesTheNodeAway_itIsMadeAgainAtOnce(self):
        self.start()
        for _ in range(3):
            self.world.zookeeper.delete(PATH)
            self.world.settle()
            self.assertEqual(self.node(), (b"data", self.client.session_id))

    def test_whenTheSessionExpires_theNodeIsMadeAgainInTheNewOne(self):
        self.start()
        before = self.client.session_id
        self.world.zookeeper.expire(self.world.kazoo())
        self.world.settle()
        self.assertNotEqual(self.client.session_id, before)
        self.assertEqual(self.node(), (b"data", self.client.session_id))

    def test_whenTheConnectionBreaksAndTheSessionLives_theNodeStays(self):
        self.start()
        made = self.world.zookeeper.nodes[PATH].czxid
        self.world.zookeeper.go_down()
        self.world.advance(3 * TIMEOUT)
        self.assertFalse(self.registration.registered)
        self.world.zookeeper.come_back()
        self.world.settle()
        self.assertTrue(self.registration.registered)
        self.assertEqual(self.world.zookeeper.nodes[PATH].czxid, made)

    def test_whenTheNodeIsOfAnEarlierSession_itIsReplaced(self):
        self.start()
        self.world.result(self.registration.stopService())
        self.world.zookeeper.create(PATH, b"old", owner=77, sequence=False)
        self.start()
        self.assertEqual(self.node(), (b"data", self.client.session_id))

    def test_whenZooKeeperLosesEverything_theNodeAndThoseAboveAreMadeAgain(self):
        self.start()
        self.world.zookeeper.go_down()
        self.world.zookeeper.lose_data()
        self.world.zookeeper.come_back()
        self.world.advance(TIMEOUT + 1)
        self.world.kazoo().find_connection()
        self.world.settle()
        self.assertEqual(self.node(), (b"data", self.client.session_id))

    def test_whenMakingItIsInterrupted_itIsTriedAgain(self):
        self.start()
        self.world.zookeeper.frozen = True
        self.world.zookeeper.end_session(self.client.session_id)
        self.world.settle()
        self.world.zookeeper.go_down()
        self.world.settle()
        self.world.zookeeper.frozen = False
        self.world.zookeeper.come_back()
        self.world.settle()
        self.assertEqual(self.node(), (b"data", self.client.session_id))
        self.assertTrue(self.registration.registered)

    def test_whenZooKeeperIsAwayAtTheStart_theStartIsOverWhenItIsBack(self):
        self.world.zookeeper.frozen = True
        starting = self.registration.startService()
        self.world.zookeeper.go_down()
        self.world.advance(3 * TIMEOUT)
        self.assertNoResult(starting)
        self.world.zookeeper.frozen = False
        self.world.zookeeper.come_back()
        self.world.result(starting)
        self.assertEqual(self.node(), (b"data", self.client.session_id))

    def test_whenZooKeeperRefuses_startingFails(self):
        from kazoo.exceptions import NoAuthError

        kazoo = self.world.kazoo()

        def refuse():
            raise NoAuthError

        kazoo.create_async = lambda path, data, **arguments: kazoo.call("create", path, refuse)
        error = self.world.failure(self.registration.startService(), ZooKeeperError)
        self.assertIn("NoAuth", str(error))

    def test_whenZooKeeperIsAway_stoppingDoesNotFail(self):
        self.start()
        self.world.zookeeper.go_down()
        self.world.settle()
        self.world.result(self.registration.stopService())

    def test_lookingForItDoesNotPileUpWatches(self):
        self.start()
        self.world.advance(60)
        self.assertEqual(len(self.world.zookeeper._watches[PATH]), 1)
