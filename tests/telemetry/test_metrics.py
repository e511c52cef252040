"""What is counted, and how it is read."""

import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from waiter.telemetry.counters import FleetGauges, SchedulerGauges
from waiter.telemetry.metrics import Metrics, ServiceGauges

GAUGES = ServiceGauges(
    instances={"healthy": 2, "failed": 0},
    slots_assigned=4,
    slots_in_use=1,
    slots_available=3,
    outstanding=5,
    waiting=4,
    oldest_wait_secs=1.5,
    oldest_lease_secs=2.5,
)


def samples(metrics):
    """Every sample of an exposition: name and labels to value."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
    }


def busy_metrics():
    metrics = Metrics(gauges=lambda: {"s": GAUGES})
    numbers = metrics.service("s")
    numbers.total = 10
    numbers.successful = 7
    numbers.client_error = 2
    numbers.instance_error = 1
    numbers.streaming = 1
    numbers.waiting_to_stream = 2
    numbers.retries = 3
    numbers.interstitials = 6
    numbers.request_bytes = 100
    numbers.response_bytes = 200
    numbers.status = {503: 1, 200: 9}
    for value in (0.001, 0.002, 1000):
        numbers.process_secs.observe(value)
    metrics.router.connections_open = 6
    metrics.router.connections_total = 8
    metrics.router.requests_total = 12
    metrics.router.api_requests = 2
    metrics.router.refused_total = 1
    metrics.router.tls_failures_total = 3
    metrics.router.tls_timeouts_total = 4
    metrics.router.upgrades_open = 1
    return metrics


class MetricsTests(SynchronousTestCase):
    def test_numbersOfAServiceAreKept(self):
        metrics = Metrics()
        metrics.service("s").total += 1
        metrics.service("s").total += 1
        self.assertEqual(metrics.service("s").total, 2)
        self.assertIs(metrics.find("s"), metrics.service("s"))

    def test_findMakesNothing(self):
        metrics = Metrics()
        self.assertIsNone(metrics.find("s"))
        self.assertEqual(metrics.read(), {})

    def test_forgottenServiceBeginsAnew(self):
        metrics = Metrics()
        metrics.service("s").total = 5
        metrics.forget("s")
        metrics.forget("s")
        self.assertEqual(metrics.service("s").total, 0)

    def test_serviceThatIsGoneForLongEnoughIsForgotten(self):
        metrics = Metrics(transient_secs=300)
        metrics.service("gone")
        metrics.service("known")
        metrics.collect_gone({"gone", "known"}, 0)
        metrics.collect_gone({"known"}, 100)
        metrics.collect_gone({"known"}, 399.9)
        self.assertIsNotNone(metrics.find("gone"))
        metrics.collect_gone({"known"}, 400)
        self.assertIsNone(metrics.find("gone"))
        self.assertIsNotNone(metrics.find("known"))

    def test_serviceThatComesBackIsGoneFromTheStartNextTime(self):
        metrics = Metrics(transient_secs=300)
        metrics.service("s")
        metrics.collect_gone((), 0)
        metrics.collect_gone(("s",), 200)
        metrics.collect_gone((), 250)
        metrics.collect_gone((), 500)
        self.assertIsNotNone(metrics.find("s"))
        metrics.collect_gone((), 550)
        self.assertIsNone(metrics.find("s"))

    def test_serviceWithRequestsThatOnlyWaitIsNotForgotten(self):
        gauges = {"s": ServiceGauges(outstanding=1, waiting=1)}
        metrics = Metrics(transient_secs=300, gauges=lambda: gauges)
        numbers = metrics.service("s")
        metrics.collect_gone((), 0)
        metrics.collect_gone((), 1000)
        self.assertIs(metrics.find("s"), numbers)
        gauges["s"] = ServiceGauges()
        metrics.collect_gone((), 1001)
        self.assertIsNone(metrics.find("s"))

    def test_serviceInUseIsNotForgotten(self):
        metrics = Metrics(transient_secs=300)
        numbers = metrics.service("s")
        for name in ("streaming", "waiting_to_stream"):
            setattr(numbers, name, 1)
            metrics.collect_gone((), 0)
            metrics.collect_gone((), 1000)
            self.assertIs(metrics.find("s"), numbers)
            setattr(numbers, name, 0)
        metrics.collect_gone((), 1001)
        self.assertIsNone(metrics.find("s"))

    def test_nothingIsKeptOfServicesThatWereForgotten(self):
        metrics = Metrics(transient_secs=0)
        for number in range(100):
            metrics.service(str(number))
            metrics.collect_gone((), number)
        self.assertEqual((metrics.read(), metrics._gone_since), ({}, {}))


class ExpositionTests(SynchronousTestCase):
    def test_everyNumberIsThere(self):
        found = samples(busy_metrics())
        service = ("service_id", "s")
        for name, labels, value in [
            ("waiter_connections_open", (), 6),
            ("waiter_connections_total", (), 8),
            ("waiter_requests_total", (), 12),
            ("waiter_api_requests_total", (), 2),
            ("waiter_refused_total", (), 1),
            ("waiter_tls_failures_total", (), 3),
            ("waiter_tls_timeouts_total", (), 4),
            ("waiter_upgrades_open", (), 1),
            ("waiter_service_requests_total", (service,), 10),
            ("waiter_service_request_outcomes_total", (("outcome", "successful"), service), 7),
            ("waiter_service_request_outcomes_total", (("outcome", "client-error"), service), 2),
            ("waiter_service_request_outcomes_total", (("outcome", "instance-error"), service), 1),
            ("waiter_service_responses_total", (service, ("status", "200")), 9),
            ("waiter_service_responses_total", (service, ("status", "503")), 1),
            ("waiter_service_retries_total", (service,), 3),
            ("waiter_service_interstitials_total", (service,), 6),
            ("waiter_service_request_bytes_total", (service,), 100),
            ("waiter_service_response_bytes_total", (service,), 200),
            ("waiter_service_requests_active", (service, ("state", "outstanding")), 5),
            ("waiter_service_requests_active", (service, ("state", "waiting-for-available-instance")), 4),
            ("waiter_service_requests_active", (service, ("state", "waiting-to-stream")), 2),
            ("waiter_service_requests_active", (service, ("state", "streaming")), 1),
            ("waiter_service_slots", (service, ("state", "assigned")), 4),
            ("waiter_service_slots", (service, ("state", "in-use")), 1),
            ("waiter_service_slots", (service, ("state", "available")), 3),
            ("waiter_service_instances", (service, ("state", "healthy")), 2),
            ("waiter_service_oldest_wait_seconds", (service,), 1.5),
            ("waiter_service_oldest_lease_seconds", (service,), 2.5),
            ("waiter_service_process_seconds_count", (service,), 3),
            ("waiter_service_process_seconds_sum", (service,), 1000.003),
            ("waiter_service_process_seconds_bucket", (("le", "0.001"), service), 1),
            ("waiter_service_process_seconds_bucket", (("le", "0.0025"), service), 2),
            ("waiter_service_process_seconds_bucket", (("le", "300.0"), service), 2),
            ("waiter_service_process_seconds_bucket", (("le", "+Inf"), service), 3),
        ]:
            self.assertEqual(found.get((name, *labels)), value, (name, labels))
        self.assertIn(("process_resident_memory_bytes",), found)

    def test_otherRoutersAreCountedWhereThereCanBeSome(self):
        metrics = Metrics(fleet=lambda: FleetGauges(leads=True, routers=3, connected=False))
        found = samples(metrics)
        self.assertEqual(
            {name: found[(name,)] for name in ("waiter_leader", "waiter_routers", "waiter_zookeeper_connected")},
            {"waiter_leader": 1, "waiter_routers": 3, "waiter_zookeeper_connected": 0},
        )
        self.assertNotIn(("waiter_leader",), samples(Metrics()))

    def test_itIsToldHowAskingTheSchedulerGoes(self):
        gauges = SchedulerGauges(in_doubt=True, failures=3, took_secs=0.5, events_connected=False)
        found = samples(Metrics(scheduler=lambda: gauges))
        names = ("in_doubt", "failures_total", "round_seconds", "events_connected")
        self.assertEqual([found[(f"waiter_scheduler_{name}",)] for name in names], [1, 3, 0.5, 0])
        without = SchedulerGauges(in_doubt=False, failures=0, took_secs=0)
        self.assertNotIn(("waiter_scheduler_events_connected",), samples(Metrics(scheduler=lambda: without)))

    def test_whatNeverHappenedTakesNoLines(self):
        found = samples(Metrics(gauges=lambda: {"s": ServiceGauges()}))
        names = {key[0] for key in found}
        self.assertIn("waiter_service_requests_total", names)
        for name in ("waiter_service_responses_total", "waiter_service_process_seconds_count"):
            self.assertNotIn(name, names)

    def test_everyFamilyIsDescribedOnceAndInOnePiece(self):
        metrics = Metrics()
        for number in range(100):
            numbers = metrics.service(f"s{number}")
            numbers.total = number
            numbers.status = {200: number}
            numbers.process_secs.observe(1)
        lines = metrics.exposition().decode().splitlines()
        described = [line.split()[2] for line in lines if line.startswith("# HELP")]
        self.assertEqual(len(described), len(set(described)))
        self.assertEqual([line.split()[2] for line in lines if line.startswith("# TYPE")], described)
        runs = []
        for line in lines:
            name = line.split("{")[0].split(" ")[0]
            if not line.startswith("#") and (not runs or runs[-1] != name) and "seconds" not in name:
                runs.append(name)
        self.assertEqual(len(runs), len(set(runs)))
        found = samples(metrics)
        for number in range(100):
            self.assertEqual(found["waiter_service_requests_total", ("service_id", f"s{number}")], number)

    def test_readingComesInPiecesThatGoOnlySoFar(self):
        metrics = Metrics()
        for number in range(100):
            metrics.service(f"s{number}")
        pieces = list(metrics.exposition_pieces())
        self.assertGreater(len(pieces), 15)
        without_process = [line for line in b"".join(pieces).splitlines() if b"process_" not in line]
        self.assertEqual(
            without_process, [line for line in metrics.exposition().splitlines() if b"process_" not in line]
        )

    @given(st.text(min_size=1, max_size=30).filter(lambda text: "\r" not in text))
    def test_anyServiceIdCanBeRead(self, service_id):
        metrics = Metrics()
        metrics.service(service_id).total = 1
        # The format ends lines at \n only.
        text = metrics.exposition().decode().split("\n")
        self.assertTrue(all(line.startswith(("#", "waiter_", "process_")) for line in text if line))


class NestedTests(SynchronousTestCase):
    def test_numbersAreNestedByServiceKindAndName(self):
        tree = busy_metrics().as_json()
        service = tree["services"]["s"]
        timers = service.pop("timers")
        self.assertEqual(
            service,
            {
                "counters": {
                    "request-counts": {
                        "total": 10,
                        "successful": 7,
                        "client-error": 2,
                        "generic-error": 0,
                        "instance-error": 1,
                        "outstanding": 5,
                        "waiting-for-available-instance": 4,
                        "waiting-to-stream": 2,
                        "streaming": 1,
                        "retries": 3,
                        "interstitial": 6,
                    },
                    "request-bytes": 100,
                    "response-bytes": 200,
                    "instance-counts": {
                        "slots-assigned": 4,
                        "slots-available": 3,
                        "slots-in-use": 1,
                        "healthy": 2,
                        "failed": 0,
                    },
                    "response-status": {"200": 9, "503": 1},
                },
                "histograms": {},
                "meters": {},
            },
        )
        self.assertEqual(timers["get-available-instance"], {"count": 0})
        self.assertEqual(timers["process"]["count"], 3)
        self.assertEqual(
            list(timers["process"]["value"]), ["0.0", "0.25", "0.5", "0.75", "0.95", "0.99", "0.999", "1.0"]
        )
        self.assertTrue(math.isclose(timers["process"]["value"]["1.0"], 300))
        self.assertEqual(
            tree["waiter"],
            {
                "counters": {
                    "connections": {"open": 6, "total": 8},
                    "requests": {"total": 12, "waiter-api": 2, "refused": 1},
                    "tls-handshakes": {"failed": 3, "timed-out": 4},
                    "upgrades": {"open": 1},
                }
            },
        )

    def test_parametersChoose(self):
        metrics = busy_metrics()
        metrics.service("t")
        self.assertEqual(list(metrics.as_json()["services"]), ["s", "t"])
        self.assertEqual(list(metrics.as_json(service_id="t")["services"]), ["t"])
        self.assertEqual(metrics.as_json(service_id="x")["services"], {})
        self.assertEqual(metrics.as_json(exclude_services=True)["services"], {})
        self.assertEqual(
            metrics.as_json(name="request-counts.total"),
            {"services": {each: {"counters": {"request-counts": {"total": n}}} for each, n in (("s", 10), ("t", 0))}},
        )
        self.assertEqual(metrics.as_json(name="no such name"), {})
        self.assertEqual(list(metrics.as_json(name="services.t")["services"]), ["t"])
