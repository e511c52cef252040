"""L{waiter.autoscaler.going} and L{waiter.autoscaler.renewal}."""

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.autoscaler.support import service
from waiter.autoscaler.going import Broken, Replaced
from waiter.autoscaler.renewal import Renewal
from waiter.model.instance import Instance
from waiter.model.load import ServiceLoad
from waiter.model.routing import ServiceState
from waiter.model.staleness import Staleness

SERVICE = service(grace_period_secs=10)
IDLE, BUSY = ServiceLoad(), ServiceLoad(outstanding=1)


def instance(host="h1"):
    return Instance(id=f"{SERVICE.id}.{host}", service_id=SERVICE.id, started_at=0.0, host=host, port=1)


class ReplacedTests(SynchronousTestCase):
    def reason(self, stale, load=IDLE, idle_secs=0.0, now=1000.0):
        return Replaced({SERVICE.id: stale}.get, lambda: now)(ServiceState(service=SERVICE), load, idle_secs)

    def test_aReplacedServiceGoesWhenNobodyCanFallBackToIt(self):
        self.assertIsNone(self.reason(Staleness(since=900.0, keep_secs=100.0)))
        self.assertIn("other services", self.reason(Staleness(since=899.0, keep_secs=100.0)))

    def test_whatServesStays(self):
        self.assertIsNone(self.reason(Staleness(since=0.0, keep_secs=100.0), load=BUSY))

    def test_whatIsNotReplacedStays(self):
        self.assertIsNone(self.reason(None, idle_secs=1e9))

    def test_whereItIsNotKnownSinceWhenIdlenessCounts(self):
        stale = Staleness(since=None, keep_secs=100.0)
        self.assertIsNone(self.reason(stale, idle_secs=100.0))
        self.assertIsNotNone(self.reason(stale, idle_secs=101.0))


class BrokenTests(SynchronousTestCase):
    def setUp(self):
        self.now = 0.0
        self.rule = Broken(lambda: self.now, min_hosts=2, timeout_secs=60)

    def reason(self, *failed, healthy=()):
        state = ServiceState(service=SERVICE, failed=tuple(map(instance, failed)), healthy=tuple(healthy))
        return self.rule(state, BUSY, 0.0)

    def test_aServiceThatNeverWorksGoes(self):
        self.assertIsNone(self.reason("h1", "h2"))
        self.now = 70.0
        self.assertIsNone(self.reason("h1", "h2"))
        self.now = 70.1
        # Where it failed may have become other hosts: that does not give it more time.
        self.assertIn("healthy", self.reason("h3"))

    def test_afterThatItHasAllTheTimeAgain(self):
        self.reason("h1", "h2")
        self.now = 71.0
        self.reason("h1", "h2")
        self.assertIsNone(self.reason("h1", "h2"))

    def test_aHealthyInstanceGivesItAllTheTimeAgain(self):
        self.reason("h1", "h2")
        self.now = 50.0
        self.reason("h1", "h2", healthy=[instance()])
        self.now = 100.0
        self.assertIsNone(self.reason("h1", "h2"))
        self.now = 171.0
        self.assertIsNotNone(self.reason("h1", "h2"))

    def test_oneHostMayBeToBlameItself(self):
        self.reason("h1")
        self.now = 1000.0
        self.assertIsNone(self.reason("h1", "h1"))

    def test_withoutFailuresItMayJustBeStarting(self):
        self.reason("h1", "h2")
        self.now = 1000.0
        self.assertIsNone(self.reason())


class RenewalTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.clock.advance(1000)
        self.load = ServiceLoad(last_request_at=900.0)
        # The wall shows 5000 s more.
        self.stale = Staleness(since=5950.0, keep_secs=1)
        self.token = "one"
        self.started = []
        self.renewal = Renewal(
            self.clock,
            loads=lambda: {"s": self.load},
            staleness=lambda _: self.stale,
            token_of=lambda _: self.token,
            start=self.start,
            wall=lambda: self.clock.seconds() + 5000,
        )
        self.renewal.startService()
        self.addCleanup(self.renewal.stopService)

    async def start(self, name):
        self.started.append(name)

    def ask(self, at):
        self.load = attrs.evolve(self.load, last_request_at=at)
        self.clock.advance(5)

    def test_aRequestForAReplacedServiceStartsTheNextOne(self):
        self.ask(949.0)
        self.assertEqual(self.started, [])
        self.ask(951.0)
        self.assertEqual(self.started, ["one"])

    def test_eachRequestCountsOnce(self):
        self.ask(951.0)
        self.clock.advance(5)
        self.assertEqual(self.started, ["one"])
        self.ask(1009.0)
        self.assertEqual(self.started, ["one", "one"])

    def test_otherwiseNothingIsStarted(self):
        for stale, token in ((None, "one"), (Staleness(since=None, keep_secs=1), "one"), (self.stale, None)):
            self.stale, self.token = stale, token
            self.ask(self.clock.seconds())
        self.load = ServiceLoad()
        self.clock.advance(5)
        self.assertEqual(self.started, [])

    def test_stoppingEndsTheWait(self):
        cancelled = []

        async def start(_):
            await Deferred(cancelled.append)

        self.renewal._start = start
        self.ask(951.0)
        self.successResultOf(self.renewal.stopService())
        self.assertEqual(len(cancelled), 1)
