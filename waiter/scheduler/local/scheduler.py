"""Runs services as processes of this machine."""

import os
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Literal

from twisted.application.service import Service as TwistedService
from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from zope.interface import implementer

from waiter.errors import ServiceNotFound, ShuttingDown
from waiter.model.description import ServiceDescription
from waiter.model.instance import Instance
from waiter.model.resources import Resources
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
from waiter.scheduler.local.capacity import Capacity
from waiter.scheduler.local.instance import Ending, LocalInstance, Phase, Probe
from waiter.scheduler.local.interface import IRunner, IRunning
from waiter.scheduler.local.keeper import Keeper
from waiter.scheduler.local.kills import Kills, answer_after
from waiter.scheduler.local.limits import InstanceLimits
from waiter.scheduler.local.logs import LocalLogs
from waiter.scheduler.local.machine import machine_resources
from waiter.scheduler.local.ports import PortPool, lock_directory
from waiter.scheduler.local.rotation import LogRotation
from waiter.scheduler.local.runner import ProcessRunner
from waiter.scheduler.local.service import LocalService
from waiter.scheduler.local.validation import check_runs_here
from waiter.support.ordered import IHasty
from waiter.support.topic import Topic
from waiter.support.users import find_user, own_user


@implementer(IScheduler, IHasty)
class LocalScheduler(TwistedService):
    """
    The instances of this machine.

    Keeps as many instances of each service running as are requested: starts what is missing at once, waits longer and
    longer between instances that fail, holds back what there is no room for on the machine. It never stops an instance to
    lower their number; C{kill} does that.

    Instances outlive a Waiter that dies; the next one on the same directory takes them over.
    """

    _log = Logger()

    #: Nothing lies between it and its instances that could be cut off.
    events_connected: bool | None = None

    def __init__(
        self,
        reactor: Any,
        *,
        directory: Path,
        cluster: str,
        wall: Callable[[], float],
        probe: Probe,
        describe: Callable[[str], Service | None],
        revive: Callable[[str, Mapping[str, Any]], Service | None] | None = None,
        secret: Callable[[], bytes],
        port_range: tuple[int, int] = (10000, 19999),
        port_rest_secs: float = 120.0,
        port_locks: Path | None = None,
        memory_share: float = 0.8,
        cpu_overcommit: float = 4.0,
        machine: Resources | None = None,
        elsewhere: Callable[[], Resources] | None = None,
        user: str | None = None,
        limits: InstanceLimits | None = None,
        log_rotation: LogRotation | None = None,
        on_stop: Literal["stop", "leave"] = "stop",
        stop_grace_secs: float = 10.0,
        runner: IRunner | None = None,
    ) -> None:
        """
        @param directory: under which every service has a directory, and in that every instance.
        @param describe: the service of an id that is known from an earlier server.
        @param revive: makes the service of an instance that runs known from the description in its record, if it can.
        @param secret: what the services' passwords are derived from; asked at each start.
        @param port_locks: where the machine's Waiters lock ports; a place all of them agree on if not given.
        @param memory_share: how much of the machine's memory the instances may declare together.
        @param cpu_overcommit: how many times the machine's CPUs the instances may declare together.
        @param machine: what the machine has; looked up if not given.
        @param elsewhere: what the instances of other servers hold of the machine; looked up if not given.
        @param user: who Waiter runs as; looked up if not given.
        @param limits: of each instance.
        @param log_rotation: how much of what instances write is kept; the default amounts if not given.
        @param on_stop: whether instances are stopped with the service or left running.
        @param stop_grace_secs: the most that an instance's termination grace period may be when everything stops.
        """
        self._reactor = reactor
        self._directory = directory
        self._probe = probe
        self._wall = wall
        self._describe = describe
        self._revive = revive
        self._on_stop = on_stop
        self._stop_grace_secs = stop_grace_secs
        self._user = user or own_user()
        self._capacity = Capacity(
            machine_resources() if machine is None else machine,
            cpu_overcommit=cpu_overcommit,
            memory_share=memory_share,
            elsewhere=elsewhere or self._elsewhere,
        )
        self._runner: IRunner = runner or ProcessRunner(
            reactor,
            directory,
            cluster=cluster,
            wall=wall,
            secret=secret,
            ports=PortPool(port_locks or lock_directory(), port_range, wall=wall, rest_secs=port_rest_secs),
            limits=limits,
            user=self._user,
            rotation=log_rotation,
        )
        self._services: dict[str, LocalService] = {}
        # Those of deleted services too, as long as something of them is left.
        self._instances: dict[str, LocalInstance] = {}
        self._kills = Kills(self._services, self._runner)
        self._logs = LocalLogs(reactor, self._runner, self._instances)
        self._changes: Topic[None] = Topic()
        self._publishing: IDelayedCall | None = None
        self._keeper = Keeper(
            reactor,
            self._services,
            capacity=self._capacity,
            runner=self._runner,
            wall=wall,
            started=self._look_after,
            changed=self._publish,
        )

    def startService(self) -> Deferred[None]:
        """Take over the instances of an earlier server. Fires when they can be listed."""
        super().startService()
        return Deferred.fromCoroutine(self._start())

    def start_no_more(self) -> None:
        """Begin no further instance, for ever: those that are there go on, and are not replaced when they end."""
        self._keeper.stop()

    def hurry(self) -> None:
        """See L{IHasty}: no grace period any more, for those either that are being ended already."""
        self._stop_grace_secs = 0
        if not self.running and self._on_stop == "stop":
            for instance in tuple(self._instances.values()):
                instance.kill(0)

    def stopService(self) -> Deferred[None]:
        """
        Stop the instances, all at the same time, or leave them, as C{on_stop} says. Fires when nothing of them is left;
        cancelling it kills what is there without waiting any longer.
        """
        super().stopService()
        self._keeper.stop()
        if self._publishing is not None:
            self._publishing.cancel()
            self._publishing = None
        if self._on_stop == "leave":
            for instance in self._instances.values():
                instance.leave()
            self._forget_all()
            return succeed(None)
        stopping: Deferred[None] = Deferred(self._stop_now)
        killing = [
            instance.kill(min(instance.grace_secs, self._stop_grace_secs))
            for instance in tuple(self._instances.values())
        ]
        answer_after(killing, stopping, None)
        return stopping.addBoth(self._stopped)

    def services(self) -> Deferred[Mapping[ServiceRecord, ServiceInstances]]:
        """See L{IScheduler}."""
        return succeed({entry.record(): entry.view() for entry in self._services.values()})

    def create(self, service: Service) -> Deferred[bool]:
        """See L{IScheduler}."""
        return execute(self._create, service)

    def redescribe(self, service: Service) -> None:
        """See L{IScheduler}."""
        entry = self._services.get(service.id)
        if entry is not None:
            entry.redescribe(service)
            self._publish()

    def scale(self, service_id: str, instances: int, force: bool = False) -> Deferred[None]:  # noqa: ARG002
        """See L{IScheduler}. Nothing is ever pending here, so C{force} has no meaning."""
        entry = self._services.get(service_id)
        if entry is None:
            return fail(ServiceNotFound(f"There is no service {service_id} on this machine"))
        if entry.requested != instances:
            entry.requested = max(0, instances)
            self._publish()
            self._keeper.turn()
        return succeed(None)

    def waited_for(self, service_ids: AbstractSet[str]) -> None:
        """See L{IScheduler}."""
        self._keeper.waited_for(service_ids)

    def kill(self, instance: Instance) -> Deferred[KillResult]:
        """See L{IScheduler}."""
        return self._kills.kill(instance.service_id, instance.id, "Successfully killed instance")

    def signal(self, service_id: str, instance_id: str, signal: Signal) -> Deferred[KillResult]:
        """See L{IScheduler}. C{FORCE_KILL} also cuts the grace period of a kill that is under way short."""
        return self._kills.signal(service_id, instance_id, signal)

    def delete(self, service_id: str) -> Deferred[DeleteResult]:
        """See L{IScheduler}. The service is forgotten at once, so it can be created again meanwhile."""
        entry = self._services.pop(service_id, None)
        if entry is None:
            return succeed(
                DeleteResult(
                    result="no-such-service-exists", message=f"There is no service {service_id} on this machine"
                )
            )
        self._publish()
        deleted: Deferred[DeleteResult] = Deferred()
        killing = [instance.kill(instance.grace_secs) for instance in tuple(entry.instances.values())]
        answer_after(killing, deleted, DeleteResult(result="deleted", message=f"Deleted {service_id}"))
        # Room may have been kept for it.
        self._keeper.turn()
        return deleted

    def validate(self, description: ServiceDescription) -> None:
        """See L{IScheduler}."""
        check_runs_here(
            description,
            user=self._user,
            privileged=os.geteuid() == 0,
            exists=lambda name: find_user(name) is not None,
        )

    def log_entries(self, service_id: str, instance_id: str, directory: str) -> Deferred[tuple[LogEntry, ...]]:
        """See L{IScheduler}."""
        return self._logs.entries(service_id, instance_id, directory)

    def log(self, service_id: str, instance_id: str, path: str) -> Deferred[ILog]:
        """See L{IScheduler}."""
        return self._logs.log(service_id, instance_id, path)

    def logged_instances(self, service_id: str) -> Deferred[tuple[LoggedInstance, ...]]:
        """See L{IScheduler}."""
        return self._logs.instances(service_id)

    def usage(self, service_id: str) -> Usage | None:
        """See L{IScheduler}."""
        entry = self._services.get(service_id)
        if entry is None:
            return None
        cpus = entry.service.description.cpus
        return Usage(cpus=cpus, mem=entry.service.description.mem, cpu_share=self._runner.cpu_share(cpus))

    def measured(self, service_id: str) -> Mapping[str, Measurement]:
        """See L{IScheduler}."""
        entry = self._services.get(service_id)
        return {} if entry is None else entry.measured()

    def deployment_error_config(self, service_id: str) -> Mapping[str, int]:  # noqa: ARG002
        """See L{IScheduler}. There is only one host here."""
        return {"min-failed-instances": 2, "min-hosts": 1}

    def subscribe(self, changed: Callable[[], object]) -> None:
        """See L{IScheduler}."""
        self._changes.subscribe(lambda _: changed())

    def state(self) -> Mapping[str, object]:
        """See L{IScheduler}."""
        now = self._reactor.seconds()
        return {
            "type": "LocalScheduler",
            "directory": str(self._directory),
            **self._runner.state(),
            "capacity": self._capacity.state(),
            "services": {service_id: entry.state(now) for service_id, entry in sorted(self._services.items())},
        }

    def changed(self, instance: LocalInstance) -> None:
        """An instance shows another face."""
        entry = self._services.get(instance.running.service_id)
        if entry is not None and instance.phase is Phase.HEALTHY:
            entry.healthy(self._reactor.seconds())
        self._publish()

    def ended(self, instance: LocalInstance) -> None:
        """An instance is on its way out; its place may be filled."""
        self._capacity.ending(instance.id)
        entry = self._services.get(instance.running.service_id)
        if entry is not None and instance.id in entry.instances and instance.ending is not Ending.KILLED:
            failed = instance.ending is Ending.FAILED
            if instance.ending is Ending.PORT_TAKEN:
                failed = not entry.port_conflict()
            if failed:
                self._log.warn("{id} failed: {message}", id=instance.id, message=instance.view().message)
                entry.fail(instance.view())
            if instance.ending is not Ending.PORT_TAKEN or failed:
                entry.backoff.failed(self._reactor.seconds(), started_at=instance.started_at)
        self._publish()
        self._keeper.turn()

    def gone(self, instance: LocalInstance) -> None:
        """Nothing is left of an instance."""
        self._capacity.give_back(instance.id)
        self._instances.pop(instance.id, None)
        entry = self._services.get(instance.running.service_id)
        if entry is not None:
            entry.instances.pop(instance.id, None)
        self._publish()
        self._keeper.turn()

    async def _start(self) -> None:
        if not hasattr(os, "pidfd_open"):
            raise RuntimeError(
                "Local instances need Linux 5.3 or later: this system cannot watch processes by descriptor"
            )
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o711)
        for running in await self._runner.adopt():
            service = self._describe(running.service_id)
            if service is None and self._revive is not None:
                service = self._revive(running.service_id, running.core)
            if service is None:
                self._log.warn("{id} runs, but nothing tells what its service is; it is stopped", id=running.id)
                running.note(killed=True)
                running.terminate(0)
                continue
            entry = self._services.setdefault(service.id, self._entry(service))
            entry.requested += 1
            self._look_after(entry, running)

    def _entry(self, service: Service) -> LocalService:
        return LocalService(service, impossible=self._capacity.impossibility(Resources.of(service.description)))

    def _create(self, service: Service) -> bool:
        if service.id in self._services:
            return False
        if not self.running:
            raise ShuttingDown("Waiter is stopping and starts no services")
        self.validate(service.description)
        entry = self._entry(service)
        entry.requested = 1
        self._services[service.id] = entry
        self._publish()
        self._keeper.turn()
        return True

    def _look_after(self, entry: LocalService, running: IRunning) -> None:
        instance = LocalInstance(self._reactor, entry.service, running, probe=self._probe, wall=self._wall)
        self._capacity.promise(instance.id, entry.need)
        self._instances[instance.id] = instance
        entry.instances[instance.id] = instance
        instance.begin(self)
        self._publish()

    def _stop_now(self, _: Deferred[None]) -> None:
        for instance in tuple(self._instances.values()):
            instance.running.force()

    def _stopped(self, result: Any) -> Any:
        self._forget_all()
        return result

    def _elsewhere(self) -> Resources:
        return self._runner.elsewhere()

    def _forget_all(self) -> None:
        self._runner.close()
        self._services.clear()
        self._instances.clear()

    def _publish(self) -> None:
        if self._publishing is None and self.running:
            self._publishing = self._reactor.callLater(0, self._publish_now)

    def _publish_now(self) -> None:
        self._publishing = None
        self._changes.publish(None)
