"""The API over the parts that are behind it in a running router."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.admin.support import NOON, Api
from tests.doubles.scheduler import MemoryScheduler
from waiter.autoscaler.autoscaler import Autoscaler
from waiter.autoscaler.executor import ScalingExecutor
from waiter.catalog.hosts import own_hosts
from waiter.catalog.memory import MemoryStore
from waiter.catalog.resolver import Resolver, Timeouts
from waiter.catalog.services import ServiceCatalog
from waiter.discovery.aggregator import Aggregator
from waiter.discovery.collectors import ServiceCollector
from waiter.model.outcome import Outcome
from waiter.reservation.manager import ReserverManager
from waiter.telemetry.gauges import service_gauges
from waiter.telemetry.metrics import Metrics

HEADERS = {
    "x-waiter-cmd": "./run",
    "x-waiter-cpus": "0.1",
    "x-waiter-mem": "64",
    "x-waiter-name": "real",
    "x-waiter-version": "v1",
}


class RealPartsTests(SynchronousTestCase):
    def setUp(self):
        clock = Clock()
        clock.advance(500)
        self.clock = clock
        self.scheduler = MemoryScheduler(wall=lambda: NOON - 5, starts=True)
        self.scheduler.quiet = True
        store = MemoryStore()
        catalog = ServiceCatalog(store)
        self.catalog = catalog
        self.reservers = ReserverManager(clock, wall=lambda: NOON)
        aggregator = Aggregator(
            clock, router_id="router-1", wall=lambda: NOON, describe=catalog.get, failing=self.reservers.failing
        )
        self.collector = ServiceCollector(
            clock, self.scheduler, aggregator.scheduler_news, probe=None, describe=catalog.get, wall=lambda: NOON
        )
        executor = ScalingExecutor(clock, self.scheduler, self.reservers, killed=aggregator.killed)
        autoscaler = Autoscaler(
            clock, executor, describe=catalog.get, loads=self.reservers.loads, is_leader=lambda: True
        )
        aggregator.states.subscribe(self.reservers.update)
        aggregator.states.subscribe(autoscaler.update)
        aggregator.router_news({"router-1": "http://localhost:9091"})
        for service in (store, catalog, self.reservers, self.collector, executor, autoscaler):
            service.startService()
            self.addCleanup(service.stopService)
        self.metrics = Metrics(gauges=lambda: service_gauges(aggregator.state, self.reservers, clock.seconds()))
        self.api = Api(
            clock=clock,
            aggregator=aggregator,
            reservers=self.reservers,
            autoscaler=autoscaler,
            scheduler=self.scheduler,
            services=catalog,
            resolver=Resolver(
                catalog,
                own_hosts=own_hosts(["localhost"]),
                principal="alice",
                timeouts=Timeouts(queue_timeout_secs=1, socket_timeout_secs=1, streaming_timeout_secs=1),
                validate=self.scheduler.validate,
            ),
            metrics=self.metrics,
            components={"autoscaling-multiplexer": executor.state},
        )
        self.api.clock = clock

    def describe(self):
        answer = self.api.ask(self, "/service-id", headers=HEADERS)
        self.assertEqual(answer.code, 200, answer.content)
        return answer.content.decode()

    def run_service(self):
        service_id = self.describe()
        self.successResultOf(self.scheduler.create(self.catalog.get(service_id)))
        self.collector.prompt()
        self.clock.advance(0)
        return service_id

    def test_serviceThatWasOnlyResolvedIsInactive(self):
        service_id = self.describe()
        self.assertTrue(service_id.startswith("waiter-service-real-"))
        self.assertEqual(self.api.json(self, f"/apps/{service_id}")["status"], "Inactive")
        self.assertEqual(self.api.json(self, "/apps"), [])

    def test_requestInFlightIsSeenEverywhere(self):
        service_id = self.run_service()
        lease = self.reservers.reserver(self.catalog.get(service_id)).reserve(timeout_secs=1)
        (instance,) = self.scheduler.active(service_id)
        (entry,) = self.api.json(self, "/apps?run-as-user=alice&name=real&effective-parameters=true")
        self.assertEqual(entry["service-id"], service_id)
        self.assertEqual(entry["status"], "Running")
        self.assertEqual(entry["request-metrics"]["outstanding"], 1)
        self.assertEqual(entry["last-request-time"], "2026-01-31T12:00:00.000Z")
        self.assertEqual(entry["scaling-state"], "stable")
        body = self.api.json(self, f"/apps/{service_id}")
        self.assertEqual([each["id"] for each in body["instances"]["active-instances"]], [instance.id])
        self.assertIs(body["instances"]["active-instances"][0]["healthy?"], True)
        slots = {service_id: {instance.id: 1}}
        maintainer = self.api.json(self, "/state/maintainer")["state"]
        self.assertEqual(maintainer["service-id->my-instance->slots"], slots)
        self.assertEqual(maintainer["routers"], {"router-1": "http://localhost:9091/"})
        self.assertEqual(
            self.api.json(self, "/state/service-maintainer")["state"]["service-id->my-instance->slots"], slots
        )
        responder = self.api.json(self, f"/state/{service_id}")["state"]["responder-state"]
        state = responder["instance-id->state"][instance.id]
        self.assertEqual((state["slots-assigned"], state["slots-used"]), (1, 1))
        exposition = self.api.ask(self, "/metrics").content.decode()
        self.assertIn(f'waiter_service_slots{{service_id="{service_id}",state="in-use"}} 1.0', exposition)
        self.assertIn(f'waiter_service_instances{{service_id="{service_id}",state="healthy"}} 1.0', exposition)
        lease.release(Outcome.SUCCESS)
        (entry,) = self.api.json(self, "/apps")
        self.assertEqual(entry["request-metrics"]["outstanding"], 0)

    def test_everyComponentIsJson(self):
        self.run_service()
        for name in self.api.json(self, "/state")["details"]:
            self.assertEqual(self.api.ask(self, f"/state/{name}").code, 200, name)
            self.assertIn("state", self.api.json(self, f"/state/{name}"), name)

    def test_deletedServiceIsGoneWhenTheCollectorHasLooked(self):
        service_id = self.run_service()
        asked = self.api.begin("DELETE", f"/apps/{service_id}?timeout=3000")
        self.api.settle()
        self.assertNoResult(asked)
        self.collector.prompt()
        self.api.settle()
        self.assertIs(self.api.read(self, asked).json["routers-agree"], True)
        self.assertEqual(self.api.json(self, f"/apps/{service_id}")["status"], "Inactive")
        self.assertEqual(self.api.json(self, "/apps"), [])
