"""The inside of the router, for people and tests."""

from collections.abc import Callable, Mapping
from typing import Any

from twisted.web.server import Request

from waiter.admin.endpoint import Answer, Routes, json_answer
from waiter.admin.parts import Parts
from waiter.admin.views import instance_view
from waiter.errors import NotFound
from waiter.model.instance import Instance
from waiter.model.routing import RoutingState, ServiceState
from waiter.telemetry.timing import iso_time


def state_routes(parts: Parts) -> Routes:
    """The area below C{/state}."""
    area = _State(parts)
    routes = Routes(parts)
    routes.add("/state", area.overview)
    routes.add("/state/<name>", area.show)
    return routes


class _State:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._components: dict[str, Callable[[], object]] = {
            "autoscaler": parts.autoscaler.state,
            "ejection-expiry": self._ejection_expiry,
            "fallback": self._fallback,
            "leader": self._leader,
            "local-usage": self._local_usage,
            "maintainer": parts.aggregator.view,
            "router-metrics": self._router_metrics,
            "scheduler": self._scheduler,
            "service-maintainer": parts.reservers.state,
            **parts.components,
        }

    def overview(self, _request: Request) -> Answer:
        """The names of all components and where they are."""
        base = self._parts.identity.url
        return json_answer(
            {
                "router-id": self._parts.identity.router_id,
                "routers": sorted(self._routing.routers),
                "details": {name: f"{base}/state/{name}" for name in sorted(self._components)},
            }
        )

    def show(self, _request: Request, name: str) -> Answer:
        """
        One component, or what all of them know of one service.

        @raise NotFound: there is no component and no service of this name.
        """
        component = self._components.get(name)
        state = self._service(name) if component is None else component()
        return json_answer({"router-id": self._parts.identity.router_id, "state": state})

    @property
    def _routing(self) -> RoutingState:
        return self._parts.aggregator.state

    # Components

    def _ejection_expiry(self) -> dict[str, Any]:
        failing = {key: sorted(self._parts.reservers.failing(key)) for key in self._routing.services}
        return {"service-id->instance-ids": {key: ids for key, ids in failing.items() if ids}}

    def _fallback(self) -> dict[str, Any]:
        services = self._routing.services
        return {
            "available-service-ids": sorted(services),
            "healthy-service-ids": sorted(key for key, state in services.items() if state.healthy),
        }

    def _leader(self) -> dict[str, Any]:
        leads = self._parts.is_leader()
        other = None if self._parts.leader_id is None else self._parts.leader_id()
        return {"leader?": leads, "leader-id": self._parts.identity.router_id if leads else other}

    def _local_usage(self) -> dict[str, Any]:
        return {key: self._usage(key) for key in sorted(self._parts.reservers.loads())}

    def _router_metrics(self) -> dict[str, Any]:
        loads = self._parts.reservers.loads().items()
        requests = {key: {"outstanding": load.outstanding, "waiting": load.waiting} for key, load in loads}
        return {"metrics": {"routers": {self._parts.identity.router_id: requests}}}

    def _scheduler(self) -> dict[str, Any]:
        return {"supported-include-params": [], **self._parts.scheduler.state()}

    # One service

    def _service(self, service_id: str) -> dict[str, Any]:
        state = self._routing.services.get(service_id)
        if state is None and self._parts.services.get(service_id) is None:
            raise NotFound("Not found")
        reserver = self._parts.reservers.find(service_id)
        shown: dict[str, Any] = {
            "autoscaler-state": self._parts.autoscaler.state().get(service_id, {}),
            "ejection-expiry-state": {"instance-ids": sorted(self._parts.reservers.failing(service_id))},
            "local-usage": self._usage(service_id),
            "maintainer-state": None if state is None else _service_state(state),
            "responder-state": None if reserver is None else reserver.state(),
            "service-maintainer-state": {"maintainer-chan-available": reserver is not None},
        }
        for name, component in self._parts.components.items():
            known = component()
            if isinstance(known, Mapping) and service_id in known:
                shown[f"{name}-state"] = known[service_id]
        return shown

    def _usage(self, service_id: str) -> dict[str, Any]:
        reserver = self._parts.reservers.find(service_id)
        load = None if reserver is None else reserver.load
        return {"last-request-time": iso_time(self._parts.last_request_at(load))}


def _service_state(state: ServiceState) -> dict[str, Any]:
    healthy = frozenset(_ids(state.healthy))
    expired = frozenset(_ids(state.expired))

    def shown(instances: tuple[Instance, ...]) -> list[dict[str, Any]]:
        return [
            instance_view(instance, healthy=instance.id in healthy, expired=instance.id in expired)
            for instance in instances
        ]

    error = state.deployment_error
    return {
        "deployment-error": None
        if error is None
        else {"key": error.key, "message": error.message, "explanation": error.explanation},
        "expired-instances": _ids(state.expired),
        "failed-instances": shown(state.failed),
        "healthy-instances": shown(state.healthy),
        "instability-issue": state.instability_issue,
        "instance-counts": _counts(state),
        "killed-instances": shown(state.killed),
        "my-instance->slots": dict(state.slots),
        "queued-reason": state.queued_reason,
        "start-secs": state.start_secs,
        "starting-instances": _ids(state.starting),
        "status": state.status,
        "unhealthy-instances": shown(state.unhealthy),
    }


def _ids(instances: tuple[Instance, ...]) -> list[str]:
    return [instance.id for instance in instances]


def _counts(state: ServiceState) -> dict[str, int]:
    counts = state.counts
    return {"healthy": counts.healthy, "requested": counts.requested, "scheduled": counts.scheduled}
