"""The numbers as nested JSON: by service, kind and name."""

from collections.abc import Mapping
from typing import Any

from waiter.telemetry.counters import RouterMetrics, ServiceGauges, ServiceMetrics
from waiter.telemetry.histogram import Histogram

QUANTILES = ("0.0", "0.25", "0.5", "0.75", "0.95", "0.99", "0.999", "1.0")


def nested(
    router: RouterMetrics, services: Mapping[str, tuple[ServiceMetrics, ServiceGauges]], *, name: str | None = None
) -> dict[str, Any]:
    """
    One reading, JSON-able. There are no rates in it: two readings of a counter give them.

    @param name: keep only what has this in its path, names joined by dots.
    """
    tree: dict[str, Any] = {
        "services": {service_id: _service(*numbers) for service_id, numbers in services.items()},
        "waiter": _router(router),
    }
    return tree if name is None else _only(tree, name, "")


def _service(numbers: ServiceMetrics, now: ServiceGauges) -> dict[str, Any]:
    return {
        "counters": {
            "request-counts": {
                "total": numbers.total,
                **numbers.outcomes(),
                **numbers.active(now),
                "retries": numbers.retries,
                "interstitial": numbers.interstitials,
            },
            "request-bytes": numbers.request_bytes,
            "response-bytes": numbers.response_bytes,
            "instance-counts": {
                **{f"slots-{state}": count for state, count in now.slots().items()},
                **now.instances,
            },
            "response-status": {str(status): count for status, count in sorted(numbers.status.items())},
        },
        "histograms": {},
        "meters": {},
        "timers": {
            "get-available-instance": _timer(numbers.get_instance_secs),
            "backend-response": _timer(numbers.backend_response_secs),
            "process": _timer(numbers.process_secs),
        },
    }


def _router(router: RouterMetrics) -> dict[str, Any]:
    return {
        "counters": {
            "connections": {"open": router.connections_open, "total": router.connections_total},
            "requests": {
                "total": router.requests_total,
                "waiter-api": router.api_requests,
                "refused": router.refused_total,
            },
            "tls-handshakes": {"failed": router.tls_failures_total, "timed-out": router.tls_timeouts_total},
            "upgrades": {"open": router.upgrades_open},
        }
    }


def _timer(histogram: Histogram) -> dict[str, Any]:
    """Seconds by quantile, estimated from the buckets."""
    timer: dict[str, Any] = {"count": histogram.count}
    if timer["count"]:
        timer["value"] = {quantile: histogram.quantile(float(quantile)) for quantile in QUANTILES}
    return timer


def _only(tree: Mapping[str, Any], name: str, path: str) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in tree.items():
        here = f"{path}.{key}" if path else key
        if name in here:
            kept[key] = value
        elif isinstance(value, Mapping):
            inner = _only(value, name, here)
            if inner:
                kept[key] = inner
    return kept
