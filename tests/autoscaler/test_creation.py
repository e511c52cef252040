"""Tests for L{waiter.autoscaler.creation}."""

from itertools import pairwise

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.autoscaler.support import service
from waiter.autoscaler.creation import ServiceCreator
from waiter.errors import ServiceFailing, ServiceUnavailable
from waiter.support.background import Background


class CreationTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.background = Background()
        self.calls = []
        self.created = []
        self.told = []
        self.service = service()
        self.creator = ServiceCreator(
            self.clock,
            self.background,
            self.call,
            created=self.created.append,
            failed=lambda service_id, error: self.told.append(error),
        )

    def call(self, asked):
        answer = Deferred()
        self.calls.append(answer)
        return answer

    def create(self):
        self.creator.create(self.service)

    def fail(self, error):
        self.calls[-1].errback(error)
        self.flushLoggedErrors(type(error))

    def assert_patient_again(self):
        """However long ago a failure was, the next one is taken for the first, and told to nobody yet."""
        self.clock.advance(11)
        self.create()
        self.fail(OSError())
        self.assertEqual(self.told, [])

    def test_one_call_at_a_time(self):
        """However often a service is asked for, one call is under way."""
        for _ in range(100):
            self.create()
        self.assertEqual(len(self.calls), 1)
        self.assertTrue(self.creator.is_running(self.service.id))
        self.calls[0].callback(True)
        self.assertEqual(self.created, [self.service.id])
        self.assertFalse(self.creator.is_running(self.service.id))

    def test_existed_already(self):
        """That the scheduler knew the service already is a success."""
        self.create()
        self.calls[0].callback(False)
        self.assertEqual(self.created, [self.service.id])

    def test_refused(self):
        """The scheduler's refusal is told at once to those who wait, and to who asks during the pause after it."""
        refusal = ServiceUnavailable("There is no room for it.")
        self.create()
        self.fail(refusal)
        self.assertEqual(self.told, [refusal])
        self.clock.advance(0.5)
        self.create()
        self.assertEqual((self.told, len(self.calls)), ([refusal, refusal], 1))

    def test_may_pass(self):
        """Another failure is tried again first, and told only when it has lasted."""
        self.create()
        self.fail(OSError("connection refused"))
        self.assertEqual(self.told, [])
        for _ in range(110):
            self.clock.advance(0.1)
            self.create()
            if len(self.calls) > 1 and not self.calls[-1].called:
                self.fail(OSError("connection refused"))
        self.assertIsInstance(self.told[0], ServiceFailing)
        self.assertGreaterEqual(self.clock.seconds(), 10)
        self.assertIn("connection refused", self.told[0].message)

    def test_growing_pauses(self):
        """The pauses double up to half a minute."""
        at = []
        for _ in range(2000):
            self.clock.advance(0.1)
            calls = len(self.calls)
            self.create()
            if len(self.calls) > calls:
                at.append(self.clock.seconds())
                self.fail(OSError())
        pauses = [round(later - earlier) for earlier, later in pairwise(at)]
        self.assertEqual(pauses[:7], [1, 2, 4, 8, 16, 30, 30])

    def test_not_without_demand(self):
        """Nobody asks, nothing is tried."""
        self.create()
        self.fail(OSError())
        self.clock.advance(1000)
        self.assertEqual(len(self.calls), 1)

    def test_works_again(self):
        """A success ends the story of the failures."""
        self.create()
        self.fail(OSError())
        self.clock.advance(1)
        self.create()
        self.calls[1].callback(True)
        self.assertEqual(self.created, [self.service.id])
        self.assert_patient_again()

    def test_no_answer(self):
        """A call without an answer is given up after a minute and tried again."""
        self.create()
        self.clock.advance(60)
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.clock.advance(1)
        self.create()
        self.assertEqual(len(self.calls), 2)

    def test_hold(self):
        """What is asked for while a service is held is done when it is let go, once."""
        self.creator.hold(self.service.id)
        self.create()
        self.create()
        self.assertEqual(self.calls, [])
        self.creator.resume(self.service.id, create=True)
        self.assertEqual(len(self.calls), 1)

    def test_hold_without_demand(self):
        """If nobody asked meanwhile, or it is not to be done after all, nothing is."""
        self.creator.hold(self.service.id)
        self.creator.resume(self.service.id, create=True)
        self.creator.hold(self.service.id)
        self.create()
        self.creator.resume(self.service.id, create=False)
        self.assertEqual(self.calls, [])

    def test_stop(self):
        """Stopping cancels the call; nobody is told."""
        self.create()
        self.successResultOf(self.background.stop())
        self.assertEqual((self.created, self.told), ([], []))
        self.create()
        self.assertEqual(len(self.calls), 1)

    def test_forgets(self):
        """Old failures are forgotten."""
        self.create()
        self.fail(OSError())
        self.creator.forget_old()
        self.create()
        self.assertEqual(len(self.calls), 1)
        self.clock.advance(62)
        self.creator.forget_old()
        self.assert_patient_again()
