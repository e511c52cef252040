"""What can be done to a service and to its instances by hand."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from waiter.admin.arguments import arguments, first, is_true
from waiter.admin.endpoint import Answer, Routes, json_answer
from waiter.admin.parts import Parts
from waiter.errors import Forbidden, NotFound, ServiceNotFound, WaiterError
from waiter.model.checks import shown
from waiter.model.instance import Instance
from waiter.scheduler.interface import KillResult, Signal

_LONGEST_SECS = 86400


class InstanceGone(WaiterError):
    """The instance was stopped already."""

    status = 400
    cause = "client-error"


def control_routes(parts: Parts, routes: Routes) -> None:
    """Add to the area below C{/apps}."""
    control = _Control(parts)
    for action in ("suspend", "resume"):
        routes.add(f"/apps/<service_id>/{action}", getattr(control, action), methods=None)
    routes.add("/apps/<service_id>/refresh", control.refresh)
    for action in ("kill", "expire"):
        routes.add(f"/apps/<service_id>/instance/<instance_id>/{action}", getattr(control, action), methods=None)


class _Control:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def suspend(self, request: Request, service_id: str) -> Answer:
        """
        Refuse requests for a service until it is resumed. Its instances stay as they are.

        @raise Forbidden: the caller may not.
        """
        return await self._set(request, service_id, suspended=True)

    async def resume(self, request: Request, service_id: str) -> Answer:
        """
        Let requests for a service come again.

        @raise Forbidden: the caller may not.
        """
        return await self._set(request, service_id, suspended=False)

    async def refresh(self, _request: Request, service_id: str) -> Answer:
        """
        Read anew what is stored about a service.

        @raise ServiceNotFound: no service can have this id.
        """
        if not service_id.isprintable():
            raise ServiceNotFound("Service not found", details={"service-id": shown(service_id)})
        await self._parts.suspensions.refresh(service_id)
        await self._parts.overrides.refresh(service_id)
        return json_answer({"service-id": service_id, "success": True})

    async def kill(self, request: Request, service_id: str, instance_id: str) -> Answer:
        """
        Stop an instance: gracefully, or with C{force} at once.

        @raise WaiterError: the caller may not, or there is no such instance.
        """
        forced = is_true(arguments(request), "force")
        return await self._signal(
            request, service_id, instance_id, Signal.FORCE_KILL if forced else Signal.SOFT_KILL, "kill"
        )

    async def expire(self, request: Request, service_id: str, instance_id: str) -> Answer:
        """
        Have an instance replaced.

        @raise WaiterError: the caller may not, or there is no such instance.
        """
        return await self._signal(request, service_id, instance_id, Signal.EXPIRE, "expire")

    async def _set(self, request: Request, service_id: str, *, suspended: bool) -> Answer:
        if self._parts.services.get(service_id) is None:
            # The original's status; nobody is told that it is an error of Waiter's.
            raise WaiterError("Internal error: No description found!", details={"service-id": service_id})
        user = self._may_manage(request, service_id)
        await self._parts.suspensions.set(service_id, suspended=suspended, by=user)
        return json_answer({"action": "suspend" if suspended else "resume", "service-id": service_id, "success": True})

    def _may_manage(self, request: Request, service_id: str) -> str:
        user = self._parts.principal(request)
        if not self._parts.may_manage(user, service_id):
            raise Forbidden(f"{user} not allowed to modify {service_id}", details={"service-id": service_id})
        return user

    async def _signal(self, request: Request, service_id: str, instance_id: str, signal: Signal, action: str) -> Answer:
        if request.method != b"POST":
            return json_answer({"message": "Method not allowed"}, status=405)
        timeout = first(arguments(request), "timeout")
        if timeout is not None and not (
            timeout.isascii() and timeout.isdigit() and 0 < len(timeout) < 10 and int(timeout)
        ):
            return json_answer({"message": f"Invalid timeout specified: {timeout}"}, status=400)
        self._may_manage(request, service_id)
        instance = self._instance(service_id, instance_id)
        secs = _LONGEST_SECS if timeout is None else int(timeout) / 1000
        if signal is Signal.EXPIRE:
            sent = self._parts.scheduler.signal(service_id, instance_id, signal)
        else:
            sent = self._kill(instance, signal)
        result = await _within(self._parts.clock, sent, secs)
        if result is None or (result.status == 200 and (result.killed or signal is Signal.EXPIRE)):
            message, success, status = f"{signal.value} successfully sent to {instance_id}", True, 200
        else:
            message, success, status = result.message, False, result.status
        response = {"message": message, "success": success}
        return json_answer({"signal-response": response, "service-id": service_id, "action": action}, status=status)

    def _kill(self, instance: Instance, signal: Signal) -> Deferred[KillResult]:
        over = self._parts.aggregator.stopping(instance)

        def done(result: Any) -> Any:
            over()
            return result

        sent = self._parts.scheduler.signal(instance.service_id, instance.id, signal)
        return sent.addCallback(self._killed, instance).addBoth(done)

    def _killed(self, result: KillResult, instance: Instance) -> KillResult:
        if result.killed:
            self._parts.aggregator.killed(instance)
        return result

    def _instance(self, service_id: str, instance_id: str) -> Instance:
        state = self._parts.aggregator.state.services.get(service_id)
        details = {"service-id": service_id, "instance-id": instance_id}
        if state is not None:
            for instance in (*state.healthy, *state.unhealthy):
                if instance.id == instance_id:
                    return instance
            if any(instance.id == instance_id for instance in (*state.killed, *state.failed)):
                raise InstanceGone(f"The instance {instance_id} was already stopped.", details=details)
        elif self._parts.services.get(service_id) is None:
            raise NotFound(f"There is no service {service_id}.", details=details)
        raise NotFound(f"The service {service_id} has no instance {instance_id}.", details=details)


def _within(clock: IReactorTime, sent: Deferred[KillResult], secs: float) -> Deferred[KillResult | None]:
    """
    What came of it, or C{None} if that takes too long; it goes on then. Cancelling ends the waiting alone.
    """
    waiting: Deferred[KillResult | None] = Deferred()
    timer = clock.callLater(secs, lambda: waiting.callback(None))

    def stop(outcome: KillResult | None) -> KillResult | None:
        if timer.active():
            timer.cancel()
        return outcome

    waiting.addBoth(stop)

    def done(result: KillResult) -> None:
        if not waiting.called:
            waiting.callback(result)

    sent.addCallbacks(done, lambda failure: None if waiting.called else waiting.errback(failure))
    return waiting
