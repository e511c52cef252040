"""Tests for L{waiter.support.background}."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from waiter.support.background import Background


class BackgroundTests(SynchronousTestCase):
    def setUp(self):
        self.background = Background()
        self.events = []
        self.waiting = Deferred()

    async def flow(self):
        self.events.append("begun")
        try:
            self.events.append(await self.waiting)
        finally:
            self.events.append("ended")

    def test_runs(self):
        """A flow runs up to its first wait at once, and on when that is over."""
        self.background.start(self.flow(), "A flow")
        self.assertEqual(self.events, ["begun"])
        self.waiting.callback("fired")
        self.assertEqual(self.events, ["begun", "fired", "ended"])
        self.successResultOf(self.background.stop())

    def test_failure(self):
        """What a flow raises is logged."""
        self.background.start(self.flow(), "A flow")
        self.waiting.errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_stop(self):
        """Stopping cancels all flows and is over when they have ended; that is no failure."""
        self.background.start(self.flow(), "A flow")
        self.successResultOf(self.background.stop())
        self.assertEqual(self.events, ["begun", "ended"])

    def test_stop_waits(self):
        """A flow that needs time to end is waited for."""
        ending = Deferred()
        self.waiting.addErrback(lambda _: ending)
        self.background.start(self.flow(), "A flow")
        stopped = self.background.stop()
        self.assertNoResult(stopped)
        ending.callback(None)
        self.successResultOf(stopped)

    def test_refuses(self):
        """After the stop a flow does not begin, until it is restarted."""
        self.successResultOf(self.background.stop())
        self.background.start(self.flow(), "A flow")
        self.assertEqual(self.events, [])
        self.background.restart()
        self.background.start(self.flow(), "A flow")
        self.assertEqual(self.events, ["begun"])

    def test_flow_stops_it(self):
        """A flow that stops it before its first wait is cancelled there."""

        async def flow():
            self.background.stop()
            await self.flow()

        self.background.start(flow(), "A flow")
        self.assertEqual(self.events, ["begun", "ended"])
