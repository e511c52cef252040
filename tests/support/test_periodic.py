"""Tests for L{waiter.support.periodic}."""

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from waiter.support.periodic import Periodic


class PeriodicTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.runs = []
        self.answer = lambda: None
        self.periodic = self.make()

    def make(self, **options):
        return Periodic(self.clock, 10, self.act, name="test", **options)

    def act(self):
        self.runs.append(self.clock.seconds())
        return self.answer()

    def pending(self):
        """Let every run return a Deferred from now on; the latest is the last of the list."""
        deferreds = []

        def answer():
            deferreds.append(Deferred())
            return deferreds[-1]

        self.answer = answer
        return deferreds

    def test_interval(self):
        """It runs at the start and then every interval."""
        self.periodic.startService()
        self.clock.pump([5] * 5)
        self.assertEqual(self.runs, [0, 10, 20])
        self.assertEqual(self.periodic.failures, 0)

    def test_not_at_once(self):
        """The first run can come an interval after the start."""
        self.make(at_once=False).startService()
        self.assertEqual(self.runs, [])
        self.clock.advance(10)
        self.assertEqual(self.runs, [10])

    def test_interval_begins_at_the_end(self):
        """The interval is counted from the end of a run, however long it took; runs never overlap."""
        runs = self.pending()
        self.periodic.startService()
        self.clock.advance(25)
        self.assertEqual(self.runs, [0])
        runs[0].callback(None)
        self.clock.advance(9)
        self.assertEqual(self.runs, [0])
        self.clock.advance(1)
        self.assertEqual(self.runs, [0, 35])

    def test_exception(self):
        """A run that raises is logged and counted, and the next one comes as usual."""
        self.answer = lambda: 1 / 0
        self.periodic.startService()
        self.clock.advance(10)
        self.assertEqual(self.runs, [0, 10])
        self.assertEqual(self.periodic.failures, 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_failed_deferred(self):
        """A run that fails later is the same."""
        runs = self.pending()
        self.periodic.startService()
        runs[0].errback(OSError())
        self.clock.advance(10)
        self.assertEqual(self.runs, [0, 10])
        self.assertEqual((self.periodic.failures, len(self.flushLoggedErrors(OSError))), (1, 1))

    def test_expected_failure_is_no_traceback(self):
        periodic = Periodic(self.clock, 1, lambda: fail(OSError("out of reach")), name="seeking", expected=(OSError,))
        with capturedLogs() as events:
            periodic.startService()
        self.assertEqual(periodic.failures, 1)
        self.assertEqual([event["why"] for event in events if "why" in event], ["out of reach"])
        self.assertEqual(self.flushLoggedErrors(OSError), [])
        periodic.stopService()

    def test_cancelled_by_others(self):
        """That somebody cancelled what the run waited for is a failure like others."""
        runs = self.pending()
        self.periodic.startService()
        runs[0].cancel()
        self.assertEqual((self.periodic.failures, len(self.flushLoggedErrors(CancelledError))), (1, 1))

    def test_prompt(self):
        """A prompt runs it now, and the interval begins anew."""
        self.periodic.startService()
        self.clock.advance(4)
        self.periodic.prompt()
        self.clock.advance(9)
        self.assertEqual(self.runs, [0, 4])
        self.clock.advance(1)
        self.assertEqual(self.runs, [0, 4, 14])

    def test_prompt_during_a_run(self):
        """Prompts during a run make one more run follow at once."""
        runs = self.pending()
        self.periodic.startService()
        self.clock.advance(3)
        self.periodic.prompt()
        self.periodic.prompt()
        self.assertEqual(self.runs, [0])
        runs[0].callback(None)
        self.clock.advance(0)
        self.assertEqual(self.runs, [0, 3])
        runs[1].callback(None)
        self.clock.advance(9)
        self.assertEqual(self.runs, [0, 3])

    def test_action_prompts(self):
        """An action that prompts while it is being called runs once more at once, not inside itself."""
        depths = []
        depth = 0

        def answer():
            nonlocal depth
            depth += 1
            depths.append(depth)
            if len(self.runs) < 3:
                self.periodic.prompt()
            depth -= 1

        self.answer = answer
        self.periodic.startService()
        self.clock.pump([0] * 5)
        self.assertEqual((self.runs, depths), ([0, 0, 0], [1, 1, 1]))

    def test_prompt_while_stopped(self):
        """A prompt before the start or after the stop does nothing."""
        self.periodic.prompt()
        self.periodic.startService()
        self.successResultOf(self.periodic.stopService())
        self.periodic.prompt()
        self.clock.advance(100)
        self.assertEqual(self.runs, [0])

    def test_stop_between_runs(self):
        """Stopped between two runs it leaves no timer behind."""
        self.periodic.startService()
        self.successResultOf(self.periodic.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_during_a_run(self):
        """Stopping cancels the run under way; that is no failure."""
        runs = self.pending()
        self.periodic.startService()
        self.periodic.prompt()
        self.successResultOf(self.periodic.stopService())
        self.assertTrue(runs[0].called)
        self.assertEqual((self.periodic.failures, self.clock.getDelayedCalls()), (0, []))

    def test_stop_waits(self):
        """It waits for a run that needs time to end, and asking twice is answered twice."""
        ending = Deferred()
        self.answer = lambda: Deferred().addErrback(lambda _: ending)
        self.periodic.startService()
        first, second = self.periodic.stopService(), self.periodic.stopService()
        self.assertNoResult(first)
        ending.callback(None)
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_action_stops_it(self):
        """An action may stop it; the Deferred fires when the action has ended."""
        stopped = []
        runs = []

        def answer():
            stopped.append(self.periodic.stopService())
            self.assertNoResult(stopped[0])
            runs.append(Deferred())
            return runs[0]

        self.answer = answer
        self.periodic.startService()
        self.successResultOf(stopped[0])
        self.assertTrue(runs[0].called)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_start_again(self):
        """It can be started again."""
        self.periodic.startService()
        self.successResultOf(self.periodic.stopService())
        self.clock.advance(3)
        self.periodic.startService()
        self.clock.advance(10)
        self.assertEqual(self.runs, [0, 3, 13])

    def test_start_again_during_the_last_run(self):
        """Started again while the last run is still ending, it waits for that and does not overlap it."""
        ending = Deferred()
        self.answer = lambda: Deferred().addErrback(lambda _: ending)
        self.periodic.startService()
        stopped = self.periodic.stopService()
        self.answer = lambda: None
        self.periodic.startService()
        self.assertEqual(self.runs, [0])
        ending.callback(None)
        self.successResultOf(stopped)
        self.clock.advance(0)
        self.assertEqual(self.runs, [0, 0])
        self.clock.advance(10)
        self.assertEqual(self.runs, [0, 0, 10])

    def test_start_again_when_stopped(self):
        """Started again in the callback of the stop it has one timer, not two."""
        ending = Deferred()
        self.answer = lambda: Deferred().addErrback(lambda _: ending)
        self.periodic.startService()
        stopped = self.periodic.stopService()
        self.answer = lambda: None
        stopped.addCallback(lambda _: self.periodic.startService())
        ending.callback(None)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
