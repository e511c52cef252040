"""A scheduler that runs nothing: a test says what it has, and reads what it was asked."""

from collections.abc import Callable, Mapping

import attrs
from twisted.application.service import Service as TwistedService
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from waiter.errors import NotFound, ServiceNotFound, WaiterError
from waiter.model.description import ServiceDescription
from waiter.model.instance import Flag, Instance
from waiter.model.resources import Shortage
from waiter.model.service import Service, ServiceInstances, ServiceRecord
from waiter.scheduler.interface import (
    DeleteResult,
    ILog,
    IScheduler,
    KillResult,
    LogEntry,
    LoggedInstance,
    Measurement,
    Signal,
    Usage,
)


@attrs.define(kw_only=True)
class _Held:
    """What the double has of one service."""

    service: Service | None = None
    requested: int = 1
    active: dict[str, Instance] = attrs.field(factory=dict)
    failed: dict[str, Instance] = attrs.field(factory=dict)
    deployment_error: str | None = None
    queued_reason: str | None = None
    shortage: Shortage | None = None


@implementer(IScheduler)
class MemoryScheduler(TwistedService):
    """
    Keeps services and instances in memory.

    C{put}, C{start}, C{change}, C{fail}, C{vanish} and C{forget} are the test's; each tells the subscribers, unless
    C{quiet}.

    @ivar failure: while it is an exception, every Deferred fails with it; C{kill}, which never fails, does not kill.
    @ivar unkillable: ids of instances that survive a kill.
    @ivar refusal: what C{validate} and C{create} raise.
    @ivar config: what C{deployment_error_config} answers.
    @ivar waiting_for: for which services requests wait, as it was told last.
    @ivar measurements: what instances use, by their ids.
    @ivar quiet: whether changes are kept from the subscribers.
    @ivar calls: what was asked, in order: the method's name and its arguments, with ids for services and instances.
    """

    def __init__(self, *, wall: Callable[[], float] = lambda: 0.0, starts: bool | None = None) -> None:
        """
        @param starts: the health with which instances that are requested and missing come up by themselves; C{None} if
            only the test starts any.
        """
        self.failure: BaseException | None = None
        self.unkillable: set[str] = set()
        self.refusal: WaiterError | None = None
        self.config: Mapping[str, int] = {}
        self.measurements: dict[str, Measurement] = {}
        self.quiet = False
        self.waiting_for: frozenset[str] = frozenset()
        self.calls: list[tuple] = []
        self._wall = wall
        self._starts = starts
        self._services: dict[str, _Held] = {}
        self._subscribers: list[Callable[[], object]] = []
        self._unanswered: list[tuple[Deferred, Callable[[], Deferred]]] | None = None
        self._count = 0

    # What tests use.

    def hold(self) -> None:
        """From now on, answer nothing until C{let_go}; what was asked is done and answered then."""
        self._unanswered = []

    def let_go(self) -> None:
        """Answer all that waits, in order, and again at once."""
        waiting, self._unanswered = self._unanswered or [], None
        for deferred, answer in waiting:
            if not deferred.called:
                answer().chainDeferred(deferred)

    def put(self, service: Service | str, *, requested: int = 1, **fields) -> None:
        """Have a service, as a description or only by its id, or change the numbers and words of one."""
        service_id = service if isinstance(service, str) else service.id
        held = self._services.setdefault(service_id, _Held())
        if not isinstance(service, str):
            held.service = service
        held.requested = requested
        for name, value in fields.items():
            setattr(held, name, value)
        self.changed()

    def start(self, service_id: str, *, healthy: bool | None = True, **fields) -> Instance:
        """Have one more active instance, started now."""
        instance = self._new(service_id, healthy, fields)
        self.changed()
        return instance

    def change(self, instance: Instance, **fields) -> Instance:
        """Let an active instance be otherwise."""
        active = self._services[instance.service_id].active
        active[instance.id] = attrs.evolve(active[instance.id], **fields)
        self.changed()
        return active[instance.id]

    def fail(self, instance: Instance, **fields) -> Instance:
        """Let an active instance, or one never seen before, be a failed one."""
        held = self._services[instance.service_id]
        held.active.pop(instance.id, None)
        held.failed[instance.id] = attrs.evolve(instance, healthy=False, **fields)
        self.changed()
        return held.failed[instance.id]

    def vanish(self, instance: Instance) -> None:
        """Let an active instance be gone without a word."""
        del self._services[instance.service_id].active[instance.id]
        self.changed()

    def forget(self, service_id: str) -> None:
        """Let a service be gone without a word."""
        del self._services[service_id]
        self.changed()

    def active(self, service_id: str) -> tuple[Instance, ...]:
        """The active instances."""
        return tuple(self._services[service_id].active.values())

    def requested(self, service_id: str) -> int:
        """How many instances are requested."""
        return self._services[service_id].requested

    def changed(self) -> None:
        """Tell the subscribers, unless quiet."""
        if not self.quiet:
            for subscriber in self._subscribers:
                subscriber()

    # What a scheduler does.

    def services(self) -> Deferred[Mapping[ServiceRecord, ServiceInstances]]:
        return self._when_let(lambda: succeed(self._snapshot()))

    def redescribe(self, service: Service) -> None:
        self.calls.append(("redescribe", service.id))
        if service.id in self._services:
            self._services[service.id].service = service
            self.changed()

    def create(self, service: Service) -> Deferred[bool]:
        self.calls.append(("create", service.id))

        def create() -> Deferred[bool]:
            if self.refusal is not None:
                return fail(self.refusal)
            if service.id in self._services:
                return succeed(False)
            self._services[service.id] = _Held(service=service)
            self._start_missing(service.id)
            self.changed()
            return succeed(True)

        return self._when_let(create)

    def scale(self, service_id: str, instances: int, force: bool = False) -> Deferred[None]:
        self.calls.append(("scale", service_id, instances, force))

        def scale() -> Deferred[None]:
            if service_id not in self._services:
                return fail(ServiceNotFound(f"There is no service {service_id}."))
            self._services[service_id].requested = instances
            self._start_missing(service_id)
            self.changed()
            return succeed(None)

        return self._when_let(scale)

    def waited_for(self, service_ids) -> None:
        self.waiting_for = service_ids

    def kill(self, instance: Instance) -> Deferred[KillResult]:
        self.calls.append(("kill", instance.id))
        return self._when_let(lambda: succeed(self._kill(instance.service_id, instance.id)), fails=False)

    def signal(self, service_id: str, instance_id: str, signal: Signal) -> Deferred[KillResult]:
        self.calls.append(("signal", service_id, instance_id, signal))

        def send() -> Deferred[KillResult]:
            held = self._services.get(service_id)
            if signal is not Signal.EXPIRE or held is None or instance_id not in held.active:
                return succeed(self._kill(service_id, instance_id))
            instance = held.active[instance_id]
            self.change(instance, flags=instance.flags | {Flag.EXPIRED})
            return succeed(self._result(service_id, instance_id, 200, "Expired"))

        return self._when_let(send)

    def delete(self, service_id: str) -> Deferred[DeleteResult]:
        self.calls.append(("delete", service_id))

        def delete() -> Deferred[DeleteResult]:
            if self._services.pop(service_id, None) is None:
                return succeed(DeleteResult(result="no-such-service-exists", message="No such service"))
            self.changed()
            return succeed(DeleteResult(result="deleted", message="Deleted"))

        return self._when_let(delete)

    def validate(self, description: ServiceDescription) -> None:
        if self.refusal is not None:
            raise self.refusal

    def log_entries(self, service_id: str, instance_id: str, directory: str) -> Deferred[tuple[LogEntry, ...]]:
        return fail(NotFound("This scheduler keeps no logs."))

    def log(self, service_id: str, instance_id: str, path: str) -> Deferred[ILog]:
        return fail(NotFound("This scheduler keeps no logs."))

    def logged_instances(self, service_id: str) -> Deferred[tuple[LoggedInstance, ...]]:
        return succeed(())

    def usage(self, service_id: str) -> Usage | None:
        held = self._services.get(service_id)
        if held is None or held.service is None:
            return None
        return Usage(cpus=held.service.description.cpus, mem=held.service.description.mem)

    def measured(self, service_id: str) -> Mapping[str, Measurement]:
        return {name: each for name, each in self.measurements.items() if name.startswith(f"{service_id}.")}

    def deployment_error_config(self, service_id: str) -> Mapping[str, int]:
        return self.config

    def subscribe(self, changed: Callable[[], object]) -> None:
        self._subscribers.append(changed)

    def state(self) -> Mapping[str, object]:
        return {"type": "MemoryScheduler", "supported-include-params": []}

    # How it does it.

    def _when_let(self, answer: Callable[[], Deferred], *, fails: bool = True) -> Deferred:
        def perhaps() -> Deferred:
            return fail(self.failure) if fails and self.failure is not None else answer()

        if self._unanswered is None:
            return perhaps()
        deferred: Deferred = Deferred()
        self._unanswered.append((deferred, perhaps))
        return deferred

    def _snapshot(self) -> dict[ServiceRecord, ServiceInstances]:
        return {
            ServiceRecord(
                id=service_id,
                instances=held.requested,
                task_count=len(held.active),
                deployment_error=held.deployment_error,
                queued_reason=held.queued_reason,
                shortage=held.shortage,
            ): ServiceInstances(active=tuple(held.active.values()), failed=tuple(held.failed.values()))
            for service_id, held in self._services.items()
        }

    def _start_missing(self, service_id: str) -> None:
        held = self._services[service_id]
        while self._starts is not None and len(held.active) < held.requested:
            self._new(service_id, self._starts, {})

    def _new(self, service_id: str, healthy: bool | None, fields: dict) -> Instance:
        self._count += 1
        fields = {
            "id": f"{service_id}.{self._count:04}",
            "started_at": self._wall(),
            "host": "127.0.0.1",
            "port": 10000 + self._count,
            **fields,
        }
        instance = Instance(service_id=service_id, healthy=healthy, **fields)
        self._services[service_id].active[instance.id] = instance
        return instance

    def _kill(self, service_id: str, instance_id: str) -> KillResult:
        held = self._services.get(service_id)
        if held is None or instance_id not in held.active | held.failed:
            return self._result(service_id, instance_id, 404, "No such instance")
        if instance_id in held.failed:
            return self._result(service_id, instance_id, 400, "Dead already")
        if self.failure is not None or instance_id in self.unkillable:
            return self._result(service_id, instance_id, 500, "It did not die")
        del held.active[instance_id]
        held.requested = max(0, held.requested - 1)
        self.changed()
        return attrs.evolve(self._result(service_id, instance_id, 200, "Killed"), killed=True)

    @staticmethod
    def _result(service_id: str, instance_id: str, status: int, message: str) -> KillResult:
        return KillResult(service_id=service_id, instance_id=instance_id, killed=False, message=message, status=status)
