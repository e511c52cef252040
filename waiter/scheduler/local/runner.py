"""Starts instances as processes of this machine, and finds those of earlier servers."""

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from waiter.model.resources import Resources
from waiter.model.service import Service
from waiter.scheduler.local.census import Census
from waiter.scheduler.local.environment import instance_environment, service_password, without_secrets
from waiter.scheduler.local.explanations import not_started, waits_for
from waiter.scheduler.local.interface import CannotStart, IRunner, IRunning
from waiter.scheduler.local.launcher import command_shell, launch, launcher_script
from waiter.scheduler.local.meter import Meter
from waiter.scheduler.local.ports import OutOfPorts, PortLease, PortPool
from waiter.scheduler.local.process import RunningProcess, kill_unwatched
from waiter.scheduler.local.processes import boot_id, read_process
from waiter.scheduler.local.records import InstanceDirectory, InstanceRecord
from waiter.scheduler.local.retention import Retention
from waiter.scheduler.local.takeover import Takeover
from waiter.support.periodic import Periodic

_SWEEP_SECS = 3600.0


@implementer(IRunner)
class ProcessRunner:
    """
    Runs instances below one directory, C{services} in the state directory.

    Starting one blocks the reactor for about two milliseconds: the record must be there before the process is. That
    record and process outlive Waiter is certain at once; that the record outlives the machine is seen to in a thread
    afterwards, because after a boot there is nothing that it could name.
    """

    def __init__(
        self,
        reactor: Any,
        directory: Path,
        *,
        cluster: str,
        wall: Callable[[], float],
        secret: Callable[[], bytes],
        ports: PortPool,
        census: Census | None = None,
        retention: Retention | None = None,
        max_processes: int | None = None,
        parent_environment: Mapping[str, str] | None = None,
    ) -> None:
        """
        @param max_processes: how many processes an instance may have.
        @param parent_environment: what instances inherit some of; that of this process if not given.
        """
        self._reactor = reactor
        # Commands run elsewhere, so their paths must not depend on where Waiter was started.
        self._directory = directory.absolute()
        self._cluster = cluster
        self._wall = wall
        self._secret = secret
        self._ports = ports
        self._census = census or Census(reactor)
        self._meter = Meter(reactor, self._census, wall=wall, max_processes=max_processes)
        self._retention = retention or Retention(reactor, wall=wall)
        self._parent_environment = os.environ if parent_environment is None else parent_environment
        self._shell = command_shell()
        self._boot_id = ""
        self._sweeper = Periodic(reactor, _SWEEP_SECS, self._retention.sweep, name="retention")

    def adopt(self) -> Deferred[Sequence[IRunning]]:
        """See L{IRunner}."""
        return Deferred.fromCoroutine(self._adopt())

    def start(self, service: Service) -> RunningProcess:
        """See L{IRunner}."""
        try:
            lease = self._ports.take(service.description.ports)
        except OutOfPorts as error:
            raise CannotStart(f"Waits for ports: {error}", temporary=True) from error
        except OSError as error:
            raise _cannot_start(error) from error
        instance_id = f"{service.id}.{secrets.token_hex(8)}"
        directory = InstanceDirectory(self._directory / service.id / instance_id)
        try:
            return self._start(service, instance_id, directory, lease)
        except (OSError, ValueError) as error:
            # ValueError: a text that no command line or environment can hold.
            self._ports.abandon(lease)
            self._retention.delete(directory)
            raise _cannot_start(error) from error

    def elsewhere(self) -> Resources:
        """See L{IRunner}."""
        return self._meter.elsewhere

    def path(self, service_id: str, instance_id: str) -> Path | None:
        """See L{IRunner}."""
        for name in (service_id, instance_id):
            if not name or name.startswith(".") or "/" in name or "\0" in name:
                return None
        path = self._directory / service_id / instance_id
        return path if path.is_dir() else None

    def close(self) -> None:
        """See L{IRunner}."""
        if self._sweeper.running:
            self._sweeper.stopService()
        self._meter.stop()

    def _start(
        self, service: Service, instance_id: str, directory: InstanceDirectory, lease: PortLease
    ) -> RunningProcess:
        description = service.description
        directory.create()
        environment = instance_environment(
            description,
            parent=self._parent_environment,
            cluster=self._cluster,
            service_id=service.id,
            instance_id=instance_id,
            ports=lease.ports,
            sandbox=str(directory.work),
            password=service_password(self._secret(), service.id),
        )
        record = InstanceRecord(
            id=instance_id,
            service_id=service.id,
            cluster=self._cluster,
            run_as_user=description.run_as_user,
            core=service.core,
            environment=without_secrets(environment),
            ports=lease.ports,
            created_at=self._wall(),
        )
        directory.write(record)
        script = launcher_script(description.cmd, service_id=service.id, exit_path=directory.exit, shell=self._shell)
        directory.script.write_text(script, encoding="utf-8")
        directory.script.chmod(0o700)
        pid = launch(directory, environment, lease.locks)
        try:
            launcher = read_process(pid, with_environment=False)
            record = attrs.evolve(
                record,
                pid=pid,
                # A launcher that is dead already is a zombie of ours, which no later server can meet.
                start_ticks=launcher.start_ticks if launcher else None,
                boot_id=self._boot_id,
            )
            directory.write(record)
            running = self._follow(record, directory, lease, own=True)
        except OSError:
            # Out of disk or descriptors.
            kill_unwatched(pid)
            raise
        self._reactor.callInThread(directory.sync)
        return running

    def _follow(
        self, record: InstanceRecord, directory: InstanceDirectory, lease: PortLease, *, own: bool
    ) -> RunningProcess:
        return RunningProcess(
            self._reactor,
            record,
            directory,
            lease=lease,
            ports=self._ports,
            census=self._census,
            meter=self._meter,
            wall=self._wall,
            own=own,
            ended=self._ended,
        )

    def _ended(self, running: RunningProcess) -> None:
        self._retention.ended(running.record, running.directory)

    async def _adopt(self) -> Sequence[IRunning]:
        self._boot_id = boot_id()
        self._sweeper.startService()
        takeover = Takeover(
            self._reactor,
            self._directory,
            wall=self._wall,
            census=self._census,
            retention=self._retention,
            follow=self._follow_again,
        )
        alive = await takeover.run()
        self._meter.start()
        return alive

    def _follow_again(self, record: InstanceRecord, directory: InstanceDirectory) -> RunningProcess:
        return self._follow(record, directory, self._ports.adopt(record.ports), own=False)


def _cannot_start(error: Exception) -> CannotStart:
    waits = waits_for(error)
    return CannotStart(waits or not_started(error), temporary=waits is not None)
