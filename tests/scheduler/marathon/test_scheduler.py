"""What the scheduler does by itself, with a Marathon that says what the test wants."""

from twisted.internet.defer import fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from waiter.scheduler.marathon.errors import MarathonRefused
from waiter.scheduler.marathon.rules import MarathonRules
from waiter.scheduler.marathon.scheduler import MarathonScheduler

A, B = "waiter-service-a", "waiter-service-b"


class FakeClient:
    """
    Apps without tasks.

    @ivar apps: how many instances each is to have, by id.
    @ivar refused: the ids of those that cannot be changed.
    @ivar updates: what was changed.
    @ivar framework: Marathon's name at Mesos, or the error that stands for it.
    """

    def __init__(self):
        self.apps = {A: 3, B: 3}
        self.refused = set()
        self.updates = []
        self.framework = "framework"

    def open(self):
        pass

    def close(self):
        return succeed(None)

    def framework_id(self):
        return fail(self.framework) if isinstance(self.framework, Exception) else succeed(self.framework)

    async def each_app(self):
        for service_id, instances in self.apps.items():
            yield {"id": f"/{service_id}", "instances": instances, "tasks": []}

    def app(self, service_id):
        return succeed({"id": f"/{service_id}", "instances": self.apps[service_id], "tasks": []})

    def update(self, service_id, change):
        self.updates.append((service_id, change["instances"]))
        return fail(MarathonRefused("no", status=403)) if service_id in self.refused else succeed({})


class MarathonSchedulerTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.client = FakeClient()
        self.scheduler = MarathonScheduler(
            self.clock,
            self.client,
            cluster="tests",
            prefix="waiter-service-",
            wall=lambda: 1e9,
            password=lambda _: "secret",
            user="nobody",
            rules=MarathonRules(events=False, sync_deployment_secs=15),
        )
        self.scheduler.startService()
        self.addCleanup(self.scheduler.stopService)

    def listed(self):
        listing = self.scheduler.services()
        self.clock.pump([0, 0, 0])
        return {record.id for record in self.successResultOf(listing)}

    def test_whatStaysStuckIsSetToWhatRunsAndNoneKeepsTheOthersFromIt(self):
        self.client.refused = {A}
        self.listed()
        self.clock.pump([15] * 5)
        self.assertEqual(self.client.updates, [])
        self.clock.advance(15)
        self.assertEqual(self.client.updates, [(A, 0), (B, 0)])

    def test_whatIsScaledAfterItWasListedIsNotStuck(self):
        self.listed()
        self.clock.pump([15] * 5)
        self.client.apps[A] = 5
        self.clock.advance(15)
        self.assertEqual(self.client.updates, [(B, 0)])

    def test_whoMayNotAskForMarathonsNameSeesTheServicesAllTheSame(self):
        self.client.framework = MarathonRefused("GET /v2/info was answered with 403", status=403)
        self.assertEqual(self.listed(), {A, B})
