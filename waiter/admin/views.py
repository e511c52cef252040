"""Services and instances as the API shows them."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import attrs

from waiter.catalog.suspensions import SuspendedState
from waiter.model.instance import Flag, Instance
from waiter.model.load import ServiceLoad
from waiter.model.routing import RoutingState, ServiceState
from waiter.model.source import References, Sources
from waiter.scheduler.interface import Measurement, Usage
from waiter.telemetry.timing import iso_time

_SHOWN_DEAD = 10


@attrs.frozen(kw_only=True)
class ServiceFacts:
    """
    What is known of one service from all sides.

    @ivar base_url: where this router is found.
    @ivar total: requests that ever came, at this router.
    @ivar last_request_at: seconds since the epoch.
    @ivar usage: of one instance.
    @ivar measured: what each instance really uses, by its id.
    @ivar queued_reason: why requested instances are not started yet, in more words than the state has perhaps.
    @ivar references: by what it was ever asked for.
    @ivar current_for: the tokens whose newest versions describe it.
    @ivar suspended: whether it is suspended, if that was ever said.
    """

    base_url: str
    state: ServiceState
    load: ServiceLoad
    total: int = 0
    last_request_at: float | None = None
    usage: Usage | None = None
    measured: Mapping[str, Measurement] = attrs.field(factory=dict)
    scaling_state: str | None = None
    queued_reason: str | None = None
    references: References = attrs.field(factory=References)
    current_for: Sequence[str] = ()
    suspended: SuspendedState | None = None


def listing_entry(
    facts: ServiceFacts, *, effective: bool = False, healthy_instances: bool = False, references: bool = False
) -> dict[str, Any]:
    """
    A service in the list of all.

    @param effective: whether the description with its defaults is in it, too.
    @param healthy_instances: whether the healthy instances are.
    @param references: whether it is said by what it was ever asked for.
    """
    state = facts.state
    entry: dict[str, Any] = {
        "service-id": state.service.id,
        "url": f"{facts.base_url}/apps/{state.service.id}",
        "instance-counts": {"healthy-instances": len(state.healthy), "unhealthy-instances": len(state.unhealthy)},
        **_common(facts, effective=effective, references=references),
    }
    if healthy_instances:
        entry["instances"] = {
            "healthy-instances": [
                {
                    "id": instance.id,
                    "host": instance.host,
                    "port": instance.port,
                    "started-at": iso_time(instance.started_at),
                }
                for instance in state.healthy
            ]
        }
    return entry


def service_body(
    facts: ServiceFacts,
    routing: RoutingState,
    router_id: str,
    *,
    effective: bool = False,
    log_urls: bool = True,
    references: bool = False,
) -> dict[str, Any]:
    """
    One service.

    @param effective: whether the description with its defaults is in it, too.
    @param log_urls: whether the viewer may see the instances' logs.
    @param references: whether it is said by what it was ever asked for.
    """
    state = facts.state
    active = sorted((*state.healthy, *state.unhealthy), key=lambda instance: instance.order)
    healthy = frozenset(instance.id for instance in state.healthy)
    expired = frozenset(instance.id for instance in state.expired)
    logs = facts.base_url if log_urls else None

    def shown(instances: Sequence[Instance]) -> list[dict[str, Any]]:
        return [
            {
                **instance_view(
                    instance, healthy=instance.id in healthy, expired=instance.id in expired, log_base_url=logs
                ),
                **_measurement(facts.measured.get(instance.id)),
            }
            for instance in instances
        ]

    body = {
        **_common(facts, effective=effective, references=references),
        "instances": {
            "active-instances": shown(active),
            "failed-instances": shown(state.failed[:_SHOWN_DEAD]),
            "killed-instances": shown(state.killed[:_SHOWN_DEAD]),
        },
        "num-active-instances": len(active),
        "num-routers": max(1, len(routing.routers)),
        "router-id": router_id,
    }
    if facts.usage is not None and facts.usage.cpu_share is not None:
        body["cpu-share"] = dict(facts.usage.cpu_share)
    if facts.suspended is not None:
        body["service-suspended-state"] = {
            "suspended": facts.suspended.suspended,
            "last-updated-by": facts.suspended.by,
            "time": iso_time(facts.suspended.at),
        }
    return body


def instance_view(
    instance: Instance, *, healthy: bool, expired: bool = False, log_base_url: str | None = None
) -> dict[str, Any]:
    """
    An instance.

    @param healthy: whether it is among the healthy ones now.
    @param expired: whether it is to be replaced.
    @param log_base_url: the router's URL, if the viewer may see the logs.
    """
    flags = {Flag.EXPIRED, *instance.flags} if expired else instance.flags
    view: dict[str, Any] = {
        "id": instance.id,
        "service-id": instance.service_id,
        "started-at": iso_time(instance.started_at),
        "healthy?": healthy,
        "health-check-status": instance.health_check_status,
        "flags": sorted(flag.value for flag in flags),
        "exit-code": instance.exit_code,
        "host": instance.host,
        "port": instance.port,
        "extra-ports": list(instance.extra_ports),
        "protocol": instance.protocol,
        "log-directory": instance.log_directory,
        "message": instance.explanation,
        "status": instance.status,
    }
    if instance.last_output:
        view["last-output"] = list(instance.last_output)
    if log_base_url is not None:
        view["log-url"] = logs_url(log_base_url, instance.service_id, instance.id, instance.host)
    return view


def logs_url(base_url: str, service_id: str, instance_id: str, host: str | None, directory: str = "") -> str:
    """Where the log files of an instance are listed."""
    query = {"instance-id": instance_id}
    if host:
        query["host"] = host
    if directory:
        query["directory"] = directory
    return f"{base_url}/apps/{service_id}/logs?{urlencode(query)}"


def effective_parameters(state: ServiceState) -> Mapping[str, Any]:
    """The description with its defaults, under outside names."""
    shown: dict[str, Any] = state.service.description.model_dump(by_alias=True, mode="json", exclude_none=True)
    return shown


def _measurement(measured: Measurement | None) -> dict[str, Any]:
    """What an instance uses; nulls if that is not known, as of one that has ended."""
    return {
        "memory-mib": None if measured is None else round(measured.memory_mib, 1),
        "processes": None if measured is None else measured.processes,
        "measured-at": None if measured is None else iso_time(measured.measured_at),
    }


def _sources(group: Sources) -> list[dict[str, str]]:
    return [{"token": source.token, "version": source.version} for source in group]


def _references(references: References) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = [{"token": {"sources": _sources(group)}} for group in references.sources]
    return [{}, *shown] if references.direct else shown


def _common(facts: ServiceFacts, *, effective: bool, references: bool) -> dict[str, Any]:
    state = facts.state
    instances = len(state.healthy) + len(state.unhealthy)
    # What is granted is known only while the scheduler has the service.
    usage = facts.usage or Usage(cpus=state.service.description.cpus, mem=state.service.description.mem)
    shown: dict[str, Any] = {
        "status": state.status,
        "last-request-time": iso_time(facts.last_request_at),
        "request-metrics": {"outstanding": facts.load.outstanding, "total": facts.total},
        "resource-usage": {"cpus": round(usage.cpus * instances, 6), "mem": round(usage.mem * instances, 6)},
        "service-description": dict(state.service.core),
        "source-tokens": [_sources(group) for group in facts.references.sources],
    }
    if facts.current_for:
        shown["current-for-tokens"] = list(facts.current_for)
    if references:
        shown["references"] = _references(facts.references)
    if facts.scaling_state is not None:
        shown["scaling-state"] = facts.scaling_state
    if state.deployment_error is not None:
        error = state.deployment_error
        shown["deployment-error-message"] = "\n".join(filter(None, (error.message, error.explanation)))
    if state.instability_issue is not None:
        shown["instability-issue"] = state.instability_issue
    if facts.queued_reason is not None:
        shown["queued-reason"] = facts.queued_reason
    if effective:
        shown["effective-parameters"] = effective_parameters(state)
    return shown
