"""Starts instances as processes of this machine, and finds those of earlier servers."""

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from waiter.model.resources import Resources
from waiter.model.service import Service
from waiter.scheduler.environment import service_password
from waiter.scheduler.local.census import Census
from waiter.scheduler.local.disk import DISK_FULL
from waiter.scheduler.local.environment import instance_environment, without_secrets
from waiter.scheduler.local.explanations import not_started, waits_for
from waiter.scheduler.local.interface import CannotStart, IRunner, IRunning
from waiter.scheduler.local.launcher import command_shell, launch, launcher_script
from waiter.scheduler.local.limits import InstanceLimits, own_limits, shell_lines
from waiter.scheduler.local.log_keeper import LogKeeper
from waiter.scheduler.local.meter import Meter
from waiter.scheduler.local.ports import OutOfPorts, PortLease, PortPool
from waiter.scheduler.local.process import RunningProcess, kill_unwatched
from waiter.scheduler.local.processes import boot_id, read_process
from waiter.scheduler.local.records import InstanceDirectory, InstanceRecord, instance_directories
from waiter.scheduler.local.retention import Retention
from waiter.scheduler.local.rotation import LogRotation
from waiter.scheduler.local.shares import Shares
from waiter.scheduler.local.takeover import Takeover
from waiter.support.periodic import Periodic
from waiter.support.threads import in_thread
from waiter.support.users import User, barrier, find_user

_SWEEP_SECS = 600.0


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
        user: str,
        limits: InstanceLimits | None = None,
        rotation: LogRotation | None = None,
    ) -> None:
        """@param user: who this process runs as."""
        self._reactor = reactor
        # Commands run elsewhere, so their paths must not depend on where Waiter was started.
        self._directory = directory.absolute()
        self._cluster = cluster
        self._wall = wall
        self._secret = secret
        self._ports = ports
        self._census = Census(reactor)
        self._retention = Retention(reactor, wall=wall)
        self._logs = LogKeeper(reactor, rotation or LogRotation())
        self._limits = limits or InstanceLimits()
        self._meter = Meter(reactor, self._census, wall=wall, max_processes=self._limits.max_processes)
        self._shares = Shares(reactor, self._limits)
        self._user = user
        self._home: str | None = None
        self._shell = command_shell()
        self._boot_id = ""
        self._sweeper = Periodic(reactor, _SWEEP_SECS, self._retention.sweep, name="retention")

    def adopt(self) -> Deferred[Sequence[IRunning]]:
        """See L{IRunner}."""
        return Deferred.fromCoroutine(self._adopt())

    def start(self, service: Service) -> RunningProcess:
        """See L{IRunner}."""
        other = self._other_user(service.description.run_as_user)
        try:
            lease = self._ports.take(service.description.ports)
        except OutOfPorts as error:
            raise CannotStart(f"Waits for ports: {error}", temporary=True) from error
        except OSError as error:
            raise _cannot_start(error) from error
        instance_id = f"{service.id}.{secrets.token_hex(8)}"
        directory = InstanceDirectory(self._directory / service.id / instance_id)
        try:
            return self._start(service, instance_id, directory, lease, other)
        except (OSError, ValueError) as error:
            # ValueError: a text that no command line or environment can hold.
            self._ports.abandon(lease)
            self._discard(directory)
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                self._retention.make_room()
            raise _cannot_start(error) from error

    def elsewhere(self) -> Resources:
        """See L{IRunner}."""
        return self._meter.elsewhere

    def path(self, service_id: str, instance_id: str | None = None) -> Path | None:
        """See L{IRunner}."""
        names = (service_id,) if instance_id is None else (service_id, instance_id)
        for name in names:
            if not name or name.startswith(".") or "/" in name or "\0" in name:
                return None
        path = self._directory.joinpath(*names)
        return path if path.is_dir() else None

    def cpu_share(self, cpus: float) -> Mapping[str, object]:
        """See L{IRunner}."""
        return self._shares.granted(cpus)

    def state(self) -> Mapping[str, object]:
        """See L{IRunner}."""
        return {"cpu-share": self._shares.state(), "limits": attrs.asdict(self._limits)}

    def close(self) -> None:
        """See L{IRunner}."""
        self._shares.stop()
        self._logs.stop()
        self._retention.stop()
        if self._sweeper.running:
            self._sweeper.stopService()
        self._meter.stop()

    def _other_user(self, name: str) -> User | None:
        """
        The user to run an instance as; C{None} for the one that this process runs as.

        @raise CannotStart: there is no such user, or none of the instance's files would be in reach.
        """
        if name == self._user:
            return None
        try:
            user = find_user(name)
            where = None if user is None else barrier(user, self._directory)
        except OSError as error:
            raise _cannot_start(error) from error
        if user is None:
            raise CannotStart(f"It could not be started: there is no user '{name}' on this machine.", temporary=False)
        if where is not None:
            raise CannotStart(
                f"It could not be started: user '{name}' may not pass {where}, in which the state directory is. Let other "
                f"users pass it (chmod o+x {where}), or choose another --state-dir.",
                temporary=False,
            )
        return user

    def _start(
        self, service: Service, instance_id: str, directory: InstanceDirectory, lease: PortLease, other: User | None
    ) -> RunningProcess:
        description = service.description
        directory.create(other)
        work = str(directory.work)
        environment = instance_environment(
            description,
            parent=os.environ,
            cluster=self._cluster,
            service_id=service.id,
            instance_id=instance_id,
            ports=lease.ports,
            home=(self._home if other is None else _existing(other.home)) or work,
            sandbox=work,
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
        limits = self._limits.resources(own_limits(), shares_user=other is None and os.geteuid() != 0)
        script = launcher_script(
            description.cmd,
            service_id=service.id,
            exit_path=directory.exit,
            shell=self._shell,
            limits=shell_lines(limits),
        )
        directory.write_script(script, other)
        launcher = launch(directory, environment, lease.locks, other)
        try:
            process = read_process(launcher.pid, with_environment=False)
            record = attrs.evolve(
                record,
                pid=launcher.pid,
                # A launcher that is dead already is a zombie of ours, which no later server can meet.
                start_ticks=process.start_ticks if process else None,
                boot_id=self._boot_id,
            )
            directory.write(record)
            self._shares.place(instance_id, launcher.pid, cpus=description.cpus, mem_mib=description.mem)
            running = self._follow(record, directory, lease, own=True)
        except BaseException:
            # Out of disk or descriptors, most likely.
            launcher.give_up()
            kill_unwatched(launcher.pid)
            self._shares.remove(instance_id)
            raise
        launcher.open_gate()
        self._reactor.callInThread(directory.sync)
        return running

    def _discard(self, directory: InstanceDirectory) -> None:
        try:
            directory.discard()
        except OSError:
            self._retention.delete(directory)

    def _follow(
        self, record: InstanceRecord, directory: InstanceDirectory, lease: PortLease, *, own: bool
    ) -> RunningProcess:
        running = RunningProcess(
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
            kill_at_once=partial(self._shares.kill, record.id),
        )
        self._logs.add(directory)
        return running

    def _ended(self, running: RunningProcess) -> None:
        self._shares.remove(running.id)
        self._logs.remove(running.directory)
        self._retention.ended(running.record, running.directory)

    async def _adopt(self) -> Sequence[IRunning]:
        self._boot_id = boot_id()
        self._home = self._own_home()
        self._shares.start()
        self._sweeper.startService()
        await in_thread(self._reactor, self._logs.recover, instance_directories(self._directory))
        self._logs.start()
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
        if record.pid is not None:
            self._shares.adopt(record.id, record.pid)
        return self._follow(record, directory, self._ports.adopt(record.ports), own=False)

    def _own_home(self) -> str | None:
        user = find_user(self._user)
        return None if user is None else _existing(user.home)


def _existing(home: str) -> str | None:
    return home if Path(home).is_dir() else None


def _cannot_start(error: Exception) -> CannotStart:
    waits = waits_for(error)
    return CannotStart(waits or not_started(error), temporary=waits is not None)
