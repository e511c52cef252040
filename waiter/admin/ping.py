"""C{/waiter-ping}: ask a service whether it is well, and start it if it does not run."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.web.server import Request

from waiter.admin.arguments import arguments, includes
from waiter.admin.endpoint import Answer, Routes, cid_of, error_body, json_answer
from waiter.admin.health_request import HealthAnswer
from waiter.admin.parts import Parts
from waiter.admin.resolving import waiter_headers
from waiter.admin.views import effective_parameters
from waiter.catalog.descriptor import Descriptor
from waiter.catalog.headers import TIMEOUT
from waiter.catalog.hosts import authority
from waiter.catalog.timeouts import asked_secs
from waiter.errors import InstanceUnreachable, Maintenance, ServiceSuspended, WaiterError
from waiter.model.instance import Instance
from waiter.model.outcome import Outcome
from waiter.model.routing import ServiceState
from waiter.telemetry.timing import iso_time

_DEFAULT_SECS = 300.0
# Before all others: whoever pings wants to know how the service is, not how long its queue is.
_PRIORITY = 1


def ping_routes(parts: Parts) -> Routes:
    """The area."""
    routes = Routes(parts)
    routes.add("/waiter-ping", _Ping(parts).ping, methods=("GET", "POST"))
    return routes


class _Ping:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def ping(self, request: Request) -> Answer:
        """
        The health-check request, answered by an instance of the service that a request with this host and these headers
        would be for; what came of it is in the body.
        """
        given = arguments(request)
        host, headers = request.getHeader(b"host") or b"", waiter_headers(request.requestHeaders)
        resolver = self._parts.resolver
        find = resolver.resolve if includes(given, "fallback") else resolver.resolve_newest
        try:
            found = find(host, headers)
            descriptor = await found if isinstance(found, Deferred) else found
        except WaiterError as error:
            result = "waiter-response" if isinstance(error, Maintenance) else "descriptor-error"
            return json_answer(_unknown(self._refusal(request, error, result)))
        if _redirects(request, descriptor):
            return self._redirect(request, host)
        response = await self._ask(request, descriptor, dict(headers).get(TIMEOUT))
        service = descriptor.service
        state = self._parts.aggregator.state.services.get(service.id) or ServiceState(service=service)
        excluded = "service-state" in given.get("exclude", ())
        answer = json_answer(
            {
                "ping-response": response,
                "service-description": effective_parameters(state),
                "service-state": {"result": "excluded", "service-id": service.id} if excluded else self._state(state),
            }
        )
        if descriptor.debug:
            answer.headers[b"x-waiter-service-id"] = service.id.encode()
        return answer

    async def _ask(self, request: Request, descriptor: Descriptor, limit: bytes | None) -> dict[str, Any]:
        asking = Deferred.fromCoroutine(self._served(descriptor, cid_of(request).encode()))
        try:
            return await asking.addTimeout(asked_secs(limit, _DEFAULT_SECS), self._parts.clock)
        except TookTooLong:
            return {"result": "timed-out", "status": 504, "headers": {}, "body": ""}
        except WaiterError as error:
            return self._refusal(request, error, "received-response")

    async def _served(self, descriptor: Descriptor, cid: bytes) -> dict[str, Any]:
        """
        An instance's answer. An instance that gives none is as good as none, as long as there is time.

        @raise WaiterError: no instance can be had.
        """
        suspended = None if descriptor.conditions is None else descriptor.conditions.suspended
        if suspended is not None:
            raise ServiceSuspended(
                "Service has been suspended",
                details={
                    "service-id": descriptor.service.id,
                    "suspended-at": iso_time(suspended.at),
                    "last-updated-by": suspended.by,
                },
            )
        reserver = self._parts.reservers.reserver(descriptor.service)
        until = self._parts.clock.seconds() + descriptor.queue_timeout_secs
        while True:
            left_secs = until - self._parts.clock.seconds()
            reserved = reserver.reserve(timeout_secs=max(0.0, left_secs), priority=_PRIORITY)
            lease = await reserved if isinstance(reserved, Deferred) else reserved
            outcome = Outcome.CLIENT_ERROR
            try:
                answer = await self._parts.health_requests.ask(lease.instance, descriptor.service.description, cid)
                outcome = Outcome.SUCCESS
                return _received(lease.instance, answer)
            except InstanceUnreachable:
                # Where it is not reached for the first time, another one may be, as for any request.
                outcome = Outcome.INSTANCE_ERROR
                if left_secs <= 0:
                    raise
            finally:
                lease.release(outcome)

    def _redirect(self, request: Request, host: bytes) -> Answer:
        """Pings have to come by https, too, where requests have."""
        status = 301 if request.method == b"GET" else 307
        answer = json_answer(
            _unknown({"result": "waiter-response", "status": 301, "headers": {}, "body": ""}), status=status
        )
        named = authority(host)
        name = b"localhost" if named is None else named.host.encode()
        answer.headers[b"location"] = b"https://%b%b" % (b"[%b]" % name if b":" in name else name, request.uri)
        return answer

    def _state(self, state: ServiceState) -> dict[str, Any]:
        exists = state.service.id in self._parts.aggregator.state.services
        return {
            "exists?": exists,
            "healthy?": bool(state.healthy),
            "service-id": state.service.id,
            "status": state.status,
        }

    def _refusal(self, request: Request, error: WaiterError, result: str) -> dict[str, Any]:
        content_type, body = error_body(self._parts, request, error)
        return {
            "result": result,
            "status": error.status,
            "headers": {"content-type": content_type.decode()},
            "body": body.decode("utf-8", "replace"),
        }


def _redirects(request: Request, descriptor: Descriptor) -> bool:
    conditions = descriptor.conditions
    if conditions is None or not conditions.https_only or request.isSecure():
        return False
    return (request.getHeader(b"x-forwarded-proto") or b"http").strip().lower() == b"http"


def _received(instance: Instance, answer: HealthAnswer) -> dict[str, Any]:
    return {
        "result": "received-response",
        "status": answer.status,
        "headers": answer.headers,
        "body": answer.body.decode("utf-8", "replace"),
        "instance": {"host": instance.host, "id": instance.id, "port": instance.port},
    }


def _unknown(response: dict[str, Any]) -> dict[str, Any]:
    """What is told where it is not known which service was meant."""
    state = {"exists?": False, "healthy?": False, "service-id": None, "status": "Inactive"}
    return {"ping-response": response, "service-description": None, "service-state": state}
