"""Collectors and aggregator together: from the scheduler to the state."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.discovery.examples import batch, collected, instance, service
from tests.doubles.routers import MemoryRouterDirectory
from tests.doubles.scheduler import MemoryScheduler
from waiter.discovery import service_view
from waiter.discovery.aggregator import Aggregator
from waiter.discovery.collectors import RouterCollector, ServiceCollector


class DiscoveryTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.scheduler = MemoryScheduler(wall=self.wall, starts=False)
        self.directory = MemoryRouterDirectory("r", "http://r/")
        self.published = []
        self.aggregator = Aggregator(
            self.clock,
            router_id="r",
            wall=self.wall,
            describe=service,
            failing=lambda _: frozenset(),
            deployment_error_config=self.scheduler.deployment_error_config,
        )
        self.aggregator.states.subscribe(self.published.append)
        self.services = ServiceCollector(
            self.clock, self.scheduler, self.aggregator.scheduler_news, probe=None, describe=service, wall=self.wall
        )
        self.routers = RouterCollector(self.clock, self.directory, self.aggregator.router_news)
        for collector in (self.services, self.routers):
            self.successResultOf(collector.startService())
            self.addCleanup(collector.stopService)

    def wall(self):
        return 1e6 + self.clock.seconds()

    def test_when_both_have_started_the_first_state_is_there(self):
        self.assertEqual([state.whole for state in self.published], [True])

    def test_when_a_service_is_created_and_its_instance_becomes_healthy_each_step_is_published_at_once(self):
        self.scheduler.create(service())
        self.assertEqual(self.published[-1].services["s"].status, "Starting")
        self.clock.advance(2)
        [started] = self.scheduler.active("s")
        self.scheduler.change(started, healthy=True)
        state = self.published[-1].services["s"]
        self.assertEqual((state.status, state.slots, state.start_secs), ("Running", {started.id: 1}, 2.0))
        self.assertEqual(len(self.published), 3)

    def test_when_the_sources_fail_the_last_state_stays(self):
        self.scheduler.create(service())
        state = self.published[-1]
        self.scheduler.failure = self.directory.failure = OSError("out of order")
        self.clock.pump([5] * 3)
        self.flushLoggedErrors(OSError)
        self.assertIs(self.published[-1], state)
        self.assertEqual(self.aggregator.state.services, state.services)

    def test_when_it_kills_an_instance_the_state_follows(self):
        self.scheduler.create(service())
        [started] = self.scheduler.active("s")
        self.scheduler.kill(started)
        self.aggregator.killed(started)
        self.clock.advance(5)
        state = self.published[-1].services["s"]
        self.assertEqual((state.status, state.unhealthy, state.killed[0].id), ("Inactive", (), started.id))


class CostTests(SynchronousTestCase):
    def test_what_is_as_before_is_not_assessed_again(self):
        names = [f"s{number}" for number in range(10)]
        services = {name: service(name) for name in names}

        def found():
            return batch(*(collected(name, healthy=[instance(1, service_id=name)]) for name in names))

        aggregator = Aggregator(
            Clock(), router_id="r", wall=lambda: 10.0, describe=services.get, failing=lambda _: frozenset()
        )
        aggregator.router_news({"r": "http://r/"})
        assessed = []

        def assess(*args, **kwargs):
            assessed.append(args)
            return really_assess(*args, **kwargs)

        really_assess = service_view.assess
        self.patch(service_view, "assess", assess)
        aggregator.scheduler_news(found())
        self.assertEqual(len(assessed), len(names))
        aggregator.scheduler_news(found())
        self.assertEqual(len(assessed), len(names))
