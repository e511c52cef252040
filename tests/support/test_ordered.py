"""Tests for L{waiter.support.ordered}."""

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from waiter.support.ordered import IHasty, OrderedService


class Child(Service):
    """Notes what happens to it; C{starting} and C{stopping} are what it answers."""

    def __init__(self, name, events):
        self.setName(name)
        self.events = events
        self.starting = None
        self.stopping = None

    def startService(self):
        super().startService()
        self.events.append(f"start {self.name}")
        if isinstance(self.starting, Exception):
            raise self.starting
        return self.starting

    def stopService(self):
        super().stopService()
        self.events.append(f"stop {self.name}")
        if isinstance(self.stopping, Exception):
            raise self.stopping
        return self.stopping


@implementer(IHasty)
class HastyChild(Child):
    """Ends its stop when it is hurried."""

    def hurry(self):
        self.events.append(f"hurry {self.name}")
        if self.stopping is not None and not self.running:
            self.stopping.callback(None)


class OrderedServiceTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.events = []
        self.service = OrderedService(self.clock, stop_deadline_secs=10, failed=lambda: self.events.append("failed"))
        self.a, self.b, self.c = (Child(name, self.events) for name in "abc")
        for child in (self.a, self.b, self.c):
            child.setServiceParent(self.service)

    def test_whenTheStartOfAChildTakesItsTimeOthersHaveTheirTurnBeforeTheNext(self):
        self.b.startService = lambda: self.clock.advance(0.1)
        starting = self.service.startService()
        self.assertEqual(self.events, ["start a"])
        self.assertNoResult(starting)
        self.clock.advance(0)
        self.successResultOf(starting)
        self.assertEqual(self.events, ["start a", "start c"])

    def test_whenItIsStoppedBetweenTheStartsNoFurtherChildStarts(self):
        self.a.starting = Deferred()
        starting = self.service.startService()
        self.clock.advance(0.1)
        self.a.starting.callback(None)
        self.successResultOf(self.service.stopService())
        self.successResultOf(starting)
        self.assertEqual(self.events, ["start a", "stop a"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def start(self):
        """Start all and forget about it."""
        self.successResultOf(self.service.startService())
        self.events.clear()

    def test_starts_in_order(self):
        """Each child starts when the one before is ready."""
        self.b.starting = Deferred()
        started = self.service.startService()
        self.assertEqual(self.events, ["start a", "start b"])
        self.assertNoResult(started)
        self.b.starting.callback(None)
        self.assertEqual(self.events, ["start a", "start b", "start c"])
        self.successResultOf(started)
        self.assertTrue(self.service.running)

    def test_a_failure_that_is_expected_is_told_in_its_own_words(self):
        """It needs no traceback; all else is as with any failure to start."""
        said = []
        self.service = OrderedService(
            self.clock, stop_deadline_secs=10, failed=lambda: said.append("failed"), expected=(OSError,)
        )
        self.a.disownServiceParent()
        self.a.setServiceParent(self.service)
        self.a.starting = OSError("the disk is full")

        def hear(event):
            said.append(formatEvent(event))

        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)
        self.successResultOf(self.service.startService())
        self.assertEqual(said, ["a did not start: the disk is full", "failed"])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_stops_in_reverse(self):
        """Each child stops when the one after it has stopped."""
        self.start()
        self.b.stopping = Deferred()
        stopped = self.service.stopService()
        self.assertEqual(self.events, ["stop c", "stop b"])
        self.assertNoResult(stopped)
        self.b.stopping.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.events, ["stop c", "stop b", "stop a"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_deadline(self):
        """A child that does not stop in time is given up and does not keep the others."""
        self.start()
        self.c.stopping = Deferred()
        stopped = self.service.stopService()
        self.clock.advance(9)
        self.assertEqual(self.events, ["stop c"])
        self.clock.advance(1)
        self.successResultOf(stopped)
        self.assertEqual(self.events, ["stop c", "stop b", "stop a"])
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_stop_failures(self):
        """A child whose stop fails, now or later, does not keep the others."""
        self.start()
        self.c.stopping = ZeroDivisionError()
        self.b.stopping = Deferred()
        stopped = self.service.stopService()
        self.b.stopping.errback(OSError())
        self.successResultOf(stopped)
        self.assertEqual(self.events, ["stop c", "stop b", "stop a"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError, OSError)), 2)

    def assert_failed_start(self, error):
        self.assertEqual(self.events, ["start a", "start b", "stop b", "stop a", "failed"])
        self.assertEqual(len(self.flushLoggedErrors(error)), 1)
        self.assertFalse(self.service.running)

    def test_start_raises(self):
        """If a child does not start, those that had are stopped, and then it is told."""
        self.b.starting = ZeroDivisionError()
        self.successResultOf(self.service.startService())
        self.assert_failed_start(ZeroDivisionError)

    def test_start_fails_later(self):
        """It is the same if it turns out later that a child does not start."""
        self.b.starting = Deferred()
        started = self.service.startService()
        self.b.starting.errback(OSError())
        self.successResultOf(started)
        self.assert_failed_start(OSError)

    def test_stop_during_the_start(self):
        """Stopped while a child is starting, that start is cancelled, and all that had begun are stopped; nothing has failed."""
        self.b.starting = Deferred()
        started = self.service.startService()
        self.successResultOf(self.service.stopService())
        self.successResultOf(started)
        self.assertTrue(self.b.starting.called)
        self.assertEqual(self.events, ["start a", "start b", "stop b", "stop a"])

    def test_stop_after_a_failed_start(self):
        """Stopped while it is already stopping because of a child that did not start, it waits for that and does nothing twice."""
        self.a.stopping = Deferred()
        self.b.starting = ZeroDivisionError()
        self.service.startService()
        self.flushLoggedErrors(ZeroDivisionError)
        stopped = self.service.stopService()
        self.assertNoResult(stopped)
        self.assertFalse(self.a.stopping.called)
        self.a.stopping.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.events, ["start a", "start b", "stop b", "stop a", "failed"])

    def test_stopped_twice(self):
        """Stopped twice, each child is stopped once, and both wait for the end."""
        self.start()
        self.b.stopping = Deferred()
        first, second = self.service.stopService(), self.service.stopService()
        self.b.stopping.callback(None)
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(self.events, ["stop c", "stop b", "stop a"])

    def test_failed_stops_it(self):
        """Whoever is told of the failure may stop it."""
        self.service._failed = lambda: self.events.append(self.service.stopService())
        self.b.starting = ZeroDivisionError()
        self.successResultOf(self.service.startService())
        self.flushLoggedErrors(ZeroDivisionError)
        self.successResultOf(self.events[-1])

    def test_never_started(self):
        """Stopping what never started does nothing."""
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.events, [])

    def test_start_again(self):
        """It can be started again."""
        self.start()
        self.successResultOf(self.service.stopService())
        self.start()
        self.assertTrue(all(child.running for child in (self.a, self.b, self.c)))

    def hurried(self):
        """What is said while it is hurried."""
        said = []

        def hear(event):
            said.append(formatEvent(event))

        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)
        self.service.hurry()
        return said

    def test_hurriedItWaitsLittleForTheChildWhoseTurnItIsAndForThoseThatFollow(self):
        """They are cut short after the hurried deadline each, and that is no failure."""
        self.start()
        self.c.stopping, self.b.stopping = Deferred(), Deferred()
        stopped = self.service.stopService()
        self.clock.advance(5)
        said = self.hurried()
        self.clock.advance(0.9)
        self.assertEqual(self.events, ["stop c"])
        self.clock.advance(0.1)
        self.assertEqual(self.events, ["stop c", "stop b"])
        self.clock.advance(1)
        self.successResultOf(stopped)
        self.assertEqual(self.events, ["stop c", "stop b", "stop a"])
        self.assertEqual(said, ["c was not waited for any longer", "b was not waited for any longer"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_hurriedItTellsTheChildrenThatCanHurry(self):
        """Those that stop now and those that are to stop; hurrying once more changes nothing."""
        hasty = HastyChild("d", self.events)
        hasty.setServiceParent(self.service)
        self.start()
        hasty.stopping = Deferred()
        stopped = self.service.stopService()
        self.service.hurry()
        self.successResultOf(stopped)
        self.assertEqual(self.events, ["stop d", "hurry d", "stop c", "stop b", "stop a"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_hurryingWhileNothingStopsDoesNothing(self):
        """Also afterwards all is as ever."""
        HastyChild("d", self.events).setServiceParent(self.service)
        self.start()
        self.service.hurry()
        self.c.stopping = Deferred()
        stopped = self.service.stopService()
        self.clock.advance(9)
        self.assertNoResult(stopped)
        self.assertEqual(self.events, ["stop d", "stop c"])
        self.c.stopping.callback(None)
        self.successResultOf(stopped)

    def test_aChildThatFailsWhileItIsHurriedIsLogged(self):
        """With its traceback, as ever."""
        self.start()
        self.c.stopping = Deferred()
        stopped = self.service.stopService()
        self.service.hurry()
        self.c.stopping.errback(ZeroDivisionError())
        self.successResultOf(stopped)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
