"""L{waiter.fleet.zookeeper}."""

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.contracts.zookeeper import ZooKeeperClientContract
from tests.doubles.kazoo import MemoryZooKeeper
from tests.fleet.world import ENSEMBLE, TIMEOUT, World, at_once
from waiter.fleet.nodes import ConnectionLost, State, ZooKeeperUnavailable
from waiter.fleet.zookeeper import ZooKeeperClient


class DoubleContractTests(ZooKeeperClientContract, TestCase):
    def setUp(self):
        self.zookeeper = MemoryZooKeeper()

    def make_client(self):
        return ZooKeeperClient(reactor, ENSEMBLE, make_client=self.zookeeper.client, in_thread=at_once)


class ConnectionTests(SynchronousTestCase):
    def setUp(self):
        self.world = World(self)
        self.client = self.world.client()
        self.states = []
        self.client.states.subscribe(self.states.append)

    def start(self):
        self.world.result(self.client.startService())

    def test_nothingIsMadeBeforeItStarts(self):
        self.assertEqual(self.world.zookeeper.clients, [])
        self.assertEqual(self.world.reactor.getDelayedCalls(), [])

    def test_whenThereIsNoServer_startingFailsInTimeAndSaysWhatToDo(self):
        self.world.zookeeper.up = False
        starting = self.client.startService()
        self.world.advance(14.9)
        self.assertNoResult(starting)
        self.world.advance(0.2)
        error = self.world.failure(starting, ZooKeeperUnavailable)
        self.assertIn("zk:2181 within 15 s", str(error))
        self.world.result(self.client.stopService())
        self.assertTrue(self.world.kazoo().stopped)

    def test_whenSessionsAreShorterThanWasAskedFor_thatIsKnownAndSaid(self):
        self.world.zookeeper.granted_secs = 4.0
        said = []
        globalLogPublisher.addObserver(said.append)
        self.addCleanup(globalLogPublisher.removeObserver, said.append)
        self.start()
        self.assertEqual(self.client.session_secs, 4.0)
        self.world.kazoo().lose_connection()
        self.world.kazoo().find_connection()
        self.world.settle()
        warnings = [formatEvent(event) for event in said if event["log_level"] is LogLevel.warn]
        self.assertEqual(len(warnings), 1)
        self.assertIn("grants sessions of 4 s instead of 10 s", warnings[0])
        self.world.kazoo().lose_connection()
        self.world.advance(4.25)
        self.assertEqual(self.client.state, State.LOST)

    def test_otherwiseSessionsAreAsLongAsWasAskedFor(self):
        self.start()
        self.assertEqual(self.client.session_secs, TIMEOUT)

    def test_whenTheConnectionBreaksAndComesBackItIsTheSameSession(self):
        self.start()
        session = self.client.session_id
        self.world.zookeeper.go_down()
        self.world.settle()
        self.assertEqual(self.client.state, State.SUSPENDED)
        self.world.failure(self.client.get("/"), ConnectionLost)
        self.world.zookeeper.come_back()
        self.world.settle()
        self.assertEqual(self.states, [State.CONNECTED, State.SUSPENDED, State.CONNECTED])
        self.assertEqual(self.client.session_id, session)
        self.world.advance(2 * TIMEOUT)
        self.assertEqual(self.client.state, State.CONNECTED)

    def test_whenItIsBrokenForASessionTimeout_itIsLostThoughNobodySaysSo(self):
        self.start()
        self.world.zookeeper.go_down()
        self.world.advance(TIMEOUT - 0.5)
        self.assertEqual(self.client.state, State.SUSPENDED)
        self.world.advance(1)
        self.assertEqual(self.client.state, State.LOST)
        self.world.zookeeper.come_back()
        self.world.settle()
        self.assertEqual(self.states[1:], [State.SUSPENDED, State.LOST, State.CONNECTED])

    def test_whenASessionExpires_thereIsANewOne(self):
        self.start()
        session = self.client.session_id
        self.world.zookeeper.expire(self.world.kazoo())
        self.world.settle()
        self.assertEqual(self.states[1:], [State.SUSPENDED, State.LOST, State.CONNECTED])
        self.assertNotEqual(self.client.session_id, session)

    def test_whenKazooGivesUp_anotherTakesItsPlace(self):
        self.start()
        for word in ("CLOSED", "AUTH_FAILED"):
            dead = self.world.kazoo()
            dead.give_up(word)
            self.world.settle()
            self.assertEqual(self.client.state, State.LOST)
            self.world.advance(21)
            self.assertTrue(dead.stopped)
            self.assertIsNot(self.world.kazoo(), dead)
            self.assertEqual(self.client.state, State.CONNECTED)
            self.world.result(self.client.exists("/"))
            # What the old one says late is not heard.
            dead.state = "CONNECTED"
            dead._become("CLOSED", "LOST")
            self.world.settle()
            self.assertEqual(self.client.state, State.CONNECTED)

    def test_whoWaitsForTheConnectionIsToldAndMayLeave(self):
        self.start()
        self.world.zookeeper.go_down()
        self.world.settle()
        waiting, leaving = self.client.connected(), self.client.connected()
        leaving.cancel()
        self.failureResultOf(leaving, CancelledError)
        self.assertNoResult(waiting)
        self.world.zookeeper.come_back()
        self.world.result(waiting)
        stopped = self.client
        self.world.zookeeper.go_down()
        self.world.settle()
        waiting = stopped.connected()
        stopped.stopService()
        self.world.failure(waiting, ConnectionLost)

    def test_whenItStops_theSessionEndsAndNoTimerStays(self):
        self.start()
        self.world.zookeeper.go_down()
        self.world.settle()
        self.world.result(self.client.stopService())
        self.assertEqual(self.world.reactor.getDelayedCalls(), [])
        self.assertTrue(self.world.kazoo().stopped)

    def test_whenClosingTakesTooLong_stoppingDoesNot(self):
        client = ZooKeeperClient(
            self.world.reactor,
            ENSEMBLE,
            make_client=self.world.zookeeper.client,
            in_thread=lambda _reactor, _call: Deferred(),
            stop_secs=5,
        )
        self.world.result(client.startService())
        stopping = client.stopService()
        self.world.advance(4.5)
        self.assertNoResult(stopping)
        self.world.advance(1)
        self.successResultOf(stopping)

    def test_whenClosingFails_thatIsLogged(self):
        self.start()
        self.world.kazoo().stop = lambda: 1 / 0
        self.world.result(self.client.stopService())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_kazoosMessagesAreLoggedByUs(self):
        from twisted.logger import LogLevel, globalLogPublisher

        self.start()
        heard = []
        globalLogPublisher.addObserver(heard.append)
        self.addCleanup(globalLogPublisher.removeObserver, heard.append)
        self.world.kazoo().said("something broke", 40)
        self.world.settle()
        event = next(event for event in heard if event.get("text") == "something broke")
        self.assertIs(event["log_level"], LogLevel.error)


class CallTests(SynchronousTestCase):
    def setUp(self):
        self.world = World(self)
        self.client = self.world.started_client()

    def test_whenNoAnswerComes_theCallFailsInTime(self):
        self.world.zookeeper.frozen = True
        asked = self.client.get("/")
        self.world.advance(TIMEOUT - 0.5)
        self.assertNoResult(asked)
        self.world.advance(1)
        self.assertIn("reading /: no answer", str(self.world.failure(asked, ConnectionLost)))
        # The answer that comes late is nobody's.
        self.world.zookeeper.go_down()
        self.world.settle()

    def test_whenTheConnectionBreaksMeanwhile_theCallFails(self):
        self.world.zookeeper.frozen = True
        asked = self.client.create("/a")
        self.world.zookeeper.go_down()
        self.world.failure(asked, ConnectionLost)

    def test_whenItStopsMeanwhile_theCallFailsAtOnce(self):
        self.world.zookeeper.frozen = True
        asked = self.client.get("/")
        self.client.stopService()
        self.failureResultOf(asked, ConnectionLost)
        self.world.settle()

    def test_whoCancelsIsToldAtOnceAndTheAnswerIsDropped(self):
        asked = self.client.create("/a")
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.world.settle()
        self.assertIn("/a", self.world.zookeeper.nodes)

    def test_whenAnAnswerIsGivenTwice_itIsTakenOnce(self):
        result = None
        kazoo = self.world.kazoo()
        original = kazoo.get_async

        def get_async(path):
            nonlocal result
            result = original(path)
            return result

        kazoo.get_async = get_async
        asked = self.client.get("/")
        result.rawlink(lambda _: None)
        self.world.result(asked)

    def test_whenTheConnectionBreaks_watchesFire(self):
        children, watch = self.client.get_children_and_watch("/")
        self.world.result(children)
        self.assertNoResult(watch)
        self.world.zookeeper.go_down()
        self.assertEqual(self.world.result(watch).type, "NONE")

    def test_anAnswerComesOnTheReactorsThreadOnly(self):
        asked = self.client.get("/")
        self.assertNoResult(asked)
        self.world.result(asked)

    def test_whatKazooDoesNotTakeFailsInTheDeferred(self):
        self.world.kazoo().get_async = lambda path: 1 / 0
        self.world.failure(self.client.get("/"), ZeroDivisionError)
