"""The numbers in the text format of Prometheus."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice

import attrs
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from waiter.telemetry.counters import FleetGauges, RouterMetrics, SchedulerGauges, ServiceGauges, ServiceMetrics
from waiter.telemetry.histogram import Histogram

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

# How many services are rendered in one go: some milliseconds' worth.
_SLICE = 20

Services = Mapping[str, tuple[ServiceMetrics, ServiceGauges]]


def exposition(
    router: RouterMetrics,
    services: Services,
    fleet: FleetGauges | None = None,
    scheduler: SchedulerGauges | None = None,
) -> Iterator[bytes]:
    """
    One reading, piece by piece: a thousand busy services take half a second, which is too long to keep requests waiting.
    Joined, the pieces are the text; some are empty.

    What is 0 because it never happened is left out where there is one line per status, per outcome or per bucket, so that
    idle services cost a few lines each.
    """
    yield _text(_router_families(router))
    if fleet is not None:
        yield _text(_fleet_families(fleet))
    if scheduler is not None:
        yield _text(_scheduler_families(scheduler))
    slices = list(_slices(services)) or [{}]
    for families in (_counter_families, _gauge_families, _histogram_families):
        rendered: list[list[bytes]] = []
        for some in slices:
            texts = [_text([family]) for family in families(some)]
            if rendered:
                for whole, text in zip(rendered, texts, strict=True):
                    whole.append(_without_heading(text))
            else:
                rendered = [[text] for text in texts]
            yield b""
        yield b"".join(chain.from_iterable(rendered))
    yield generate_latest(_process())


def _slices(services: Services) -> Iterator[Services]:
    items = iter(services.items())
    while some := dict(islice(items, _SLICE)):
        yield some


@attrs.frozen(eq=False)
class _Families(Collector):
    families: tuple[Metric, ...]

    def collect(self) -> Iterable[Metric]:
        return self.families


def _text(families: Iterable[Metric]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(tuple(families)))
    return generate_latest(registry)


def _without_heading(text: bytes) -> bytes:
    """The samples of a family: what follows its lines of help and type."""
    return text.split(b"\n", 2)[2]


def _process() -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    return registry


def _router_families(router: RouterMetrics) -> Iterable[Metric]:
    yield GaugeMetricFamily("waiter_connections_open", "Client connections.", value=router.connections_open)
    yield CounterMetricFamily("waiter_connections", "Client connections accepted.", value=router.connections_total)
    yield CounterMetricFamily(
        "waiter_requests", "Requests received, for services and for Waiter itself.", value=router.requests_total
    )
    yield CounterMetricFamily("waiter_api_requests", "Requests for Waiter itself.", value=router.api_requests)
    yield CounterMetricFamily(
        "waiter_refused", "Requests and connections refused before a service was known.", value=router.refused_total
    )
    yield CounterMetricFamily(
        "waiter_tls_failures",
        "TLS handshakes with clients that failed: no TLS, nothing in common, not believed, or the client went away.",
        value=router.tls_failures_total,
    )
    yield CounterMetricFamily(
        "waiter_tls_timeouts", "TLS handshakes with clients that took too long.", value=router.tls_timeouts_total
    )
    yield GaugeMetricFamily("waiter_upgrades_open", "WebSocket tunnels.", value=router.upgrades_open)


def _fleet_families(fleet: FleetGauges) -> Iterable[Metric]:
    yield GaugeMetricFamily("waiter_leader", "Whether this router acts for all.", value=fleet.leads)
    yield GaugeMetricFamily("waiter_routers", "Routers of the cluster.", value=fleet.routers)
    yield GaugeMetricFamily(
        "waiter_zookeeper_connected", "Whether there is a connection to ZooKeeper.", value=fleet.connected
    )


def _scheduler_families(scheduler: SchedulerGauges) -> Iterable[Metric]:
    yield GaugeMetricFamily(
        "waiter_scheduler_in_doubt",
        "Whether what the scheduler said last may not be true any more; nothing is scaled then.",
        value=scheduler.in_doubt,
    )
    yield CounterMetricFamily(
        "waiter_scheduler_failures", "Times that the scheduler could not be asked.", value=scheduler.failures
    )
    yield GaugeMetricFamily(
        "waiter_scheduler_round_seconds", "How long asking the scheduler took last.", value=scheduler.took_secs
    )
    if scheduler.events_connected is not None:
        yield GaugeMetricFamily(
            "waiter_scheduler_events_connected",
            "Whether the scheduler tells of changes at once.",
            value=scheduler.events_connected,
        )


def _counter_families(services: Services) -> Iterable[Metric]:
    total = CounterMetricFamily("waiter_service_requests", "Requests for the service.", labels=["service_id"])
    outcomes = CounterMetricFamily(
        "waiter_service_request_outcomes", "How requests ended.", labels=["service_id", "outcome"]
    )
    responses = CounterMetricFamily("waiter_service_responses", "Answers by status.", labels=["service_id", "status"])
    retries = CounterMetricFamily(
        "waiter_service_retries", "Attempts on another instance after a failed one.", labels=["service_id"]
    )
    interstitials = CounterMetricFamily(
        "waiter_service_interstitials",
        "Requests of browsers that were sent to the page that is shown while the service starts.",
        labels=["service_id"],
    )
    received = CounterMetricFamily(
        "waiter_service_request_bytes", "Bytes of request bodies.", labels=["service_id"], unit="bytes"
    )
    sent = CounterMetricFamily(
        "waiter_service_response_bytes", "Bytes of response bodies.", labels=["service_id"], unit="bytes"
    )
    for service_id, (numbers, _) in services.items():
        total.add_metric([service_id], numbers.total)
        for outcome, count in numbers.outcomes().items():
            if count:
                outcomes.add_metric([service_id, outcome], count)
        for status, count in sorted(numbers.status.items()):
            responses.add_metric([service_id, str(status)], count)
        retries.add_metric([service_id], numbers.retries)
        if numbers.interstitials:
            interstitials.add_metric([service_id], numbers.interstitials)
        received.add_metric([service_id], numbers.request_bytes)
        sent.add_metric([service_id], numbers.response_bytes)
    yield from (total, outcomes, responses, retries, interstitials, received, sent)


def _gauge_families(services: Services) -> Iterable[Metric]:
    requests = GaugeMetricFamily(
        "waiter_service_requests_active",
        "Requests under way: outstanding ones have no answer's end yet, of which some wait for an instance, some for the "
        "answer to begin, and some are being answered.",
        labels=["service_id", "state"],
    )
    slots = GaugeMetricFamily("waiter_service_slots", "Slots of this router.", labels=["service_id", "state"])
    instances = GaugeMetricFamily("waiter_service_instances", "Instances.", labels=["service_id", "state"])
    oldest_wait = GaugeMetricFamily(
        "waiter_service_oldest_wait_seconds", "How long the first in the queue has waited.", labels=["service_id"]
    )
    oldest_lease = GaugeMetricFamily(
        "waiter_service_oldest_lease_seconds", "How long the longest used slot has been in use.", labels=["service_id"]
    )
    for service_id, (numbers, now) in services.items():
        for state, count in numbers.active(now).items():
            requests.add_metric([service_id, state], count)
        for state, count in now.slots().items():
            slots.add_metric([service_id, state], count)
        for state, count in now.instances.items():
            instances.add_metric([service_id, state], count)
        oldest_wait.add_metric([service_id], now.oldest_wait_secs)
        oldest_lease.add_metric([service_id], now.oldest_lease_secs)
    yield from (requests, slots, instances, oldest_wait, oldest_lease)


def _histogram_families(services: Services) -> Iterable[Metric]:
    get_instance = _histogram_family("waiter_service_get_instance_seconds", "Time until a slot was there.")
    backend = _histogram_family(
        "waiter_service_backend_response_seconds", "Time until the head of the instance's answer was there."
    )
    process = _histogram_family("waiter_service_process_seconds", "Time from a request's head to its answer's end.")
    for service_id, (numbers, _) in services.items():
        _add_histogram(get_instance, service_id, numbers.get_instance_secs)
        _add_histogram(backend, service_id, numbers.backend_response_secs)
        _add_histogram(process, service_id, numbers.process_secs)
    yield from (get_instance, backend, process)


def _histogram_family(name: str, documentation: str) -> HistogramMetricFamily:
    return HistogramMetricFamily(name, documentation, labels=["service_id"])


def _add_histogram(family: HistogramMetricFamily, service_id: str, histogram: Histogram) -> None:
    cumulative = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
        cumulative += count
        buckets.append((bound, cumulative))
    if cumulative:
        family.add_metric([service_id], buckets, histogram.sum)
