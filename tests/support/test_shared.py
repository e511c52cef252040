"""L{waiter.support.shared}."""

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from waiter.support.shared import Shared


class SharedTests(SynchronousTestCase):
    def setUp(self):
        self.source = Deferred()
        self.shared = Shared(self.source)

    def test_everybodyGetsTheResultInOrder(self):
        order = []
        for name in "abc":
            self.shared.wait().addCallback(lambda result, name=name: order.append((name, result)))
        self.source.callback(1)
        self.assertEqual(order, [("a", 1), ("b", 1), ("c", 1)])

    def test_whoComesLateGetsItAtOnce(self):
        self.source.callback(1)
        self.assertTrue(self.shared.fired)
        self.assertEqual(self.successResultOf(self.shared.wait()), 1)
        self.assertEqual(self.successResultOf(Shared(succeed(2)).wait()), 2)

    def test_everybodyGetsTheFailure(self):
        waits = [self.shared.wait() for _ in range(3)]
        self.source.errback(ZeroDivisionError())
        for wait in [*waits, self.shared.wait()]:
            self.failureResultOf(wait, ZeroDivisionError)

    def test_whenNobodyWaits_aFailureIsDropped(self):
        Shared(fail(ZeroDivisionError()))
        self.source.errback(ZeroDivisionError())

    def test_whoCancelsLeavesAlone(self):
        one, other = self.shared.wait(), self.shared.wait()
        one.cancel()
        self.failureResultOf(one, CancelledError)
        self.assertFalse(self.source.called)
        self.source.callback(1)
        self.assertEqual(self.successResultOf(other), 1)

    def test_whenOneCancelsAnotherWhileBeingTold_bothAreTold(self):
        one, other = self.shared.wait(), self.shared.wait()
        one.addCallback(lambda _: other.cancel())
        self.source.callback(1)
        self.failureResultOf(other, CancelledError)
