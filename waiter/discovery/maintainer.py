"""The routing state as C{/state/maintainer} shows it, under the names the API has for its parts."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from waiter.model.instance import Instance
from waiter.model.routing import RoutingState, ServiceState


def maintainer_view(state: RoutingState, router_id: str) -> dict[str, Any]:
    """
    All of a state, JSON-able.

    @param router_id: this router's, whose slots they are.
    """

    def each(shown: Callable[[ServiceState], Any], *, always: bool = True) -> dict[str, Any]:
        views = {service_id: shown(service) for service_id, service in state.services.items()}
        return views if always else {service_id: view for service_id, view in views.items() if view}

    return {
        "router-id": router_id,
        "iteration": state.iteration,
        "time": _moment(state.time if state.iteration else None),
        "routers": {router: f"{url.removesuffix('/')}/" for router, url in state.routers.items()},
        "router-details": {router: _details(router, url) for router, url in state.routers.items()},
        "all-available-service-ids": sorted(state.services),
        "service-id->healthy-instances": each(lambda service: _instances(service.healthy)),
        "service-id->unhealthy-instances": each(lambda service: _instances(service.unhealthy)),
        "service-id->expired-instances": each(lambda service: _instances(service.expired)),
        "service-id->starting-instances": each(lambda service: _instances(service.starting)),
        "service-id->failed-instances": each(lambda service: _instances(service.failed)),
        "service-id->killed-instances": each(lambda service: _instances(service.killed)),
        "service-id->instance-counts": each(
            lambda service: {
                "healthy": service.counts.healthy,
                "requested": service.counts.requested,
                "scheduled": service.counts.scheduled,
            }
        ),
        "service-id->deployment-error": each(
            lambda service: service.deployment_error and service.deployment_error.key, always=False
        ),
        "service-id->instability-issue": each(lambda service: service.instability_issue, always=False),
        "service-id->queued-reason": each(lambda service: service.queued_reason, always=False),
        "service-id->start-secs": each(lambda service: service.start_secs),
        "service-id->my-instance->slots": each(lambda service: dict(service.slots)),
    }


def _instances(instances: Iterable[Instance]) -> list[dict[str, Any]]:
    return [
        {
            "id": instance.id,
            "service-id": instance.service_id,
            "started-at": _moment(instance.started_at),
            "healthy?": instance.healthy,
            "host": instance.host,
            "port": instance.port,
            "extra-ports": list(instance.extra_ports),
            "protocol": instance.protocol,
            "flags": sorted(flag.value for flag in instance.flags),
            "exit-code": instance.exit_code,
            "health-check-status": instance.health_check_status,
            "log-directory": instance.log_directory,
            "message": instance.explanation,
            "status": instance.status,
        }
        for instance in instances
    ]


def _details(router_id: str, url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "id": router_id,
        "name": router_id,
        "address": parts.hostname,
        "port": parts.port,
        "custom-details": {"router-fqdn": parts.hostname, "router-ssl-port": None},
    }


def _moment(secs: float | None) -> str | None:
    if secs is None:
        return None
    return datetime.fromtimestamp(secs, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
