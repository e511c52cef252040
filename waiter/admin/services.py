"""The services: all, one, and the end of one."""

from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.server import Request

from waiter.admin.arguments import arguments, first, includes, is_true, milliseconds
from waiter.admin.control import control_routes
from waiter.admin.encoding import json_bytes
from waiter.admin.endpoint import Answer, Routes, gathered, json_answer, media_of
from waiter.admin.filters import service_filter
from waiter.admin.instance_watch import InstanceListing
from waiter.admin.logs import Logs
from waiter.admin.negotiation import CONTENT_TYPES
from waiter.admin.overrides import override_routes, override_view
from waiter.admin.parts import Parts
from waiter.admin.views import ServiceFacts, listing_entry, service_body
from waiter.errors import Forbidden, ServiceNotFound
from waiter.model.load import ServiceLoad
from waiter.model.routing import RoutingState, ServiceState
from waiter.model.source import References
from waiter.model.token import Token

_NO_LOAD = ServiceLoad()
_DELETE_STATUS = {"deleted": 200, "no-such-service-exists": 404}


def service_routes(parts: Parts) -> Routes:
    """The area below C{/apps}."""
    area = _Services(parts)
    logs = Logs(parts)
    routes = Routes(parts)
    routes.add("/apps", area.list)
    routes.add("/apps/instances", InstanceListing(parts).watch)
    routes.add("/apps/<service_id>", area.show)
    routes.add("/apps/<service_id>", area.delete, methods=("DELETE",))
    override_routes(parts, routes)
    control_routes(parts, routes)
    routes.add("/apps/<service_id>/logs", logs.listing)
    routes.add("/apps/<service_id>/logs/<instance_id>/<path:path>", logs.file)
    return routes


class _Services:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def list(self, request: Request) -> Answer:
        """
        All services the scheduler has, by id; query parameters choose among them. Programs, which ask for JSON, get one on a
        line; people get lines they can read.

        @raise BadRequest: a filter is too complicated.
        """
        given = arguments(request)
        wanted = service_filter(given, self._parts.references.get)
        references = includes(given, "references")
        fallback = includes(given, "token-fallback")
        effective = is_true(given, "effective-parameters") or includes(given, "effective-parameters")
        healthy = includes(given, "healthy-instances")
        # Without naming a user one sees what one may manage.
        principal = None if first(given, "run-as-user") else self._parts.principal(request)
        routing = self._parts.aggregator.state
        indent = None if media_of(request) == "json" else 2

        def entries() -> Iterator[bytes]:
            for service_id in sorted(routing.services):
                state = routing.services[service_id]
                if (principal is None or self._parts.may_manage(principal, service_id)) and wanted(state.service):
                    entry = listing_entry(
                        self._facts(state), effective=effective, healthy_instances=healthy, references=references
                    )
                    if fallback:
                        entry |= self._fallback(state)
                    yield json_bytes(entry, indent=indent)
                else:
                    yield b""

        lines = filter(None, await gathered(self._parts.clock, entries()))
        return Answer(body=b"[" + b",\n".join(lines) + b"]\n", content_type=CONTENT_TYPES["json"])

    def show(self, request: Request, service_id: str) -> Answer:
        """
        One service, even if nothing of it runs.

        @raise ServiceNotFound: no such service was ever described.
        """
        given = arguments(request)
        routing = self._parts.aggregator.state
        state = self._state(service_id, routing)
        body = service_body(
            self._facts(state),
            routing,
            self._parts.identity.router_id,
            effective=is_true(given, "effective-parameters") or includes(given, "effective-parameters"),
            log_urls=self._parts.may_manage(self._parts.principal(request), service_id),
            references=includes(given, "references"),
        )
        override = self._parts.overrides.get(service_id)
        if override is not None:
            body["service-description-overrides"] = override_view(override)
        if includes(given, "token-fallback"):
            body |= self._fallback(state)
        if includes(given, "metrics"):
            body["metrics"] = self._metrics(service_id)
        return json_answer(body)

    async def delete(self, request: Request, service_id: str) -> Answer:
        """
        Stop all instances of a service and forget it; with C{timeout} wait until no router sees it any more.

        @raise BadRequest: C{timeout} is not a whole number of milliseconds.
        @raise Forbidden: the caller may not.
        """
        timeout_secs = milliseconds(arguments(request), "timeout")
        if not self._parts.may_manage(self._parts.principal(request), service_id):
            raise Forbidden("User not allowed to delete service", details={"service-id": service_id})
        result = await self._parts.scheduler.delete(service_id)
        deleted = result.result == "deleted"
        body: dict[str, Any] = {
            "message": result.message,
            "result": result.result,
            "service-id": service_id,
            "success": deleted,
        }
        if deleted and timeout_secs > 0:
            body["routers-agree"] = await self._gone(service_id, timeout_secs)
        return json_answer(body, status=_DELETE_STATUS.get(result.result, 400))

    def _state(self, service_id: str, routing: RoutingState) -> ServiceState:
        state = routing.services.get(service_id)
        if state is not None:
            return state
        service = self._parts.services.get(service_id)
        if service is None:
            raise ServiceNotFound("Service not found", details={"service-id": service_id})
        return ServiceState(service=service)

    def _facts(self, state: ServiceState) -> ServiceFacts:
        parts = self._parts
        service_id = state.service.id
        reserver = parts.reservers.find(service_id)
        load = _NO_LOAD if reserver is None else reserver.load
        numbers = parts.metrics.find(service_id)
        references = parts.references.get(service_id)
        return ServiceFacts(
            base_url=parts.identity.url,
            state=state,
            load=load,
            total=0 if numbers is None else numbers.total,
            last_request_at=parts.last_request_at(load),
            usage=parts.scheduler.usage(service_id),
            measured=parts.scheduler.measured(service_id),
            scaling_state=parts.autoscaler.scaling_state(service_id),
            queued_reason=(None if reserver is None else reserver.queued_reason) or state.queued_reason,
            references=references,
            current_for=tuple(token.name for token in self._current_for(references)),
            suspended=parts.suspensions.get(service_id),
        )

    def _current_for(self, references: References) -> Iterator[Token]:
        for group in references.sources:
            if len(group) == 1:
                token = self._parts.tokens.get(group[0].token)
                if token is not None and token.etag == group[0].version:
                    yield token

    def _fallback(self, state: ServiceState) -> dict[str, Any]:
        """Where requests for a service go while it is not healthy, if that is elsewhere."""
        if state.healthy:
            return {}
        tokens = self._current_for(self._parts.references.get(state.service.id))
        service_id = next(filter(None, map(self._parts.fallback_of, tokens)), None)
        return {} if service_id is None else {"token-fallback": {"service-id": service_id}}

    def _metrics(self, service_id: str) -> dict[str, Any]:
        """The numbers of one service by router, and of all routers together: as yet there is one."""
        numbers = self._parts.metrics.as_json(service_id=service_id)["services"].get(service_id, {})
        counters = numbers.get("counters", {})
        asked = 1 if counters.get("request-counts", {}).get("total") else 0
        return {
            "aggregate": {"counters": counters, "routers-sent-requests-to": asked},
            "routers": {self._parts.identity.router_id: numbers},
        }

    def _gone(self, service_id: str, timeout_secs: float) -> Deferred[bool]:
        """
        Fires with true when the service is in no routing state any more, with false when the time is up. Cancelling ends
        the waiting.
        """
        gone: Deferred[bool] = Deferred()

        def look(state: RoutingState) -> None:
            if service_id not in state.services and not gone.called:
                gone.callback(True)

        unsubscribe = self._parts.aggregator.states.subscribe(look)
        timer = self._parts.clock.callLater(timeout_secs, lambda: gone.callback(False))

        def stop(outcome: Any) -> Any:
            unsubscribe()
            if timer.active():
                timer.cancel()
            return outcome

        gone.addBoth(stop)
        look(self._parts.aggregator.state)
        return gone
