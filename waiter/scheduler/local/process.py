"""One instance as a group of processes and a directory."""

import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from waiter.scheduler.interface import Measurement
from waiter.scheduler.local.census import Census
from waiter.scheduler.local.disk import lack_of_room
from waiter.scheduler.local.interface import Excess, IRunning
from waiter.scheduler.local.listening import ListeningSocket, listeners_of
from waiter.scheduler.local.meter import Meter
from waiter.scheduler.local.output import last_output
from waiter.scheduler.local.pidfd import PidWatch
from waiter.scheduler.local.ports import PortLease, PortPool
from waiter.scheduler.local.processes import members, read_process
from waiter.scheduler.local.records import InstanceDirectory, InstanceRecord
from waiter.scheduler.local.termination import Termination
from waiter.support.threads import in_thread


@implementer(IRunning)
class RunningProcess:
    """
    An instance, started by this server or by an earlier one, that is followed by its launcher's process.

    @ivar record: what is on disk.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        record: InstanceRecord,
        directory: InstanceDirectory,
        *,
        lease: PortLease,
        ports: PortPool,
        census: Census,
        meter: Meter,
        wall: Callable[[], float],
        own: bool,
        ended: Callable[["RunningProcess"], object],
        kill_at_once: Callable[[], object] = lambda: None,
    ) -> None:
        """
        Begin to watch the launcher, C{record.pid}, if it has one and it is alive.

        @param own: whether the launcher is a child of this process, which has to reap it.
        @param ended: called once, when nothing of the instance is left.
        @param kill_at_once: kills whatever of it can be killed without being looked for.
        @raise OSError: the launcher cannot be watched.
        """
        self._reactor = reactor
        self.record = record
        self.directory = directory
        self._lease = lease
        self._ports = ports
        self._meter = meter
        self._wall = wall
        self._own = own
        self._ended = ended
        self._census = census
        self._termination = Termination(reactor, census, record.id, self._leader, kill_at_once)
        self._terminating = False
        self._ended_alone = False
        self._over = False
        self._waiting: list[Deferred[None]] = []
        self._exited: Callable[[int | None], object] | None = None
        self._code: int | None = None
        self._alive = False
        self._watch: PidWatch | None = None
        if record.pid is not None:
            self._watch_launcher(record.pid)
        meter.follow(record.id, self._leader)

    def _watch_launcher(self, pid: int) -> None:
        try:
            watch = PidWatch(self._reactor, pid, self._launcher_ended)
        except ProcessLookupError:
            self._code = self.directory.read_exit()
            return
        if not self._own:
            # Looked at under a descriptor, so that what is seen is what is watched: the number may be another's by now.
            now = read_process(pid, with_environment=False)
            if now is not None and now.start_ticks != self.record.start_ticks:
                watch.close()
                self._code = self.directory.read_exit()
                return
        self._watch = watch
        self._alive = True

    @property
    def id(self) -> str:
        """The instance id."""
        return self.record.id

    @property
    def service_id(self) -> str:
        """The service it belongs to."""
        return self.record.service_id

    @property
    def core(self) -> Mapping[str, Any]:
        """The description of its service, as it was given."""
        return self.record.core

    @property
    def ports(self) -> tuple[int, ...]:
        """Its ports, in order."""
        return self.record.ports

    @property
    def created_at(self) -> float:
        """When it was started, in seconds since the epoch."""
        return self.record.created_at

    @property
    def log_directory(self) -> str:
        """Where its output is."""
        return str(self.directory.path)

    @property
    def expired(self) -> bool:
        """Whether it has been marked to be replaced."""
        return self.record.expired

    @property
    def was_healthy(self) -> bool:
        """Whether it ever passed a health check."""
        return self.record.was_healthy

    def watch(self, exited: Callable[[int | None], object]) -> None:
        """See L{IRunning}."""
        self._exited = exited
        if not self._alive:
            # It ended before anybody asked.
            self._reactor.callLater(0, self._tell_exited)

    def limit(self, mem: float, exceeded: Callable[[Excess], object]) -> None:
        """See L{IRunning}."""
        self._meter.limit(self.id, mem, exceeded)

    def measured(self) -> Measurement | None:
        """See L{IRunning}."""
        return self._meter.measured(self.id)

    def kernel_has_killed(self) -> bool:
        """See L{IRunning}."""
        return self._meter.kernel_has_killed()

    def terminate(self, grace_secs: float) -> Deferred[None]:
        """See L{IRunning}."""
        if self._over:
            return succeed(None)
        gone: Deferred[None] = Deferred()
        self._waiting.append(gone)
        if not self._terminating:
            self._terminating = True
            self._ended_alone = not self._alive
            ending = Deferred.fromCoroutine(self._termination.end(grace_secs))
            ending.addErrback(self._not_terminated)
            ending.addCallback(self._finish)
        else:
            self._termination.hasten(grace_secs)
        return gone

    def force(self) -> None:
        """See L{IRunning}."""
        if not self._over:
            self._termination.force()

    def leave(self) -> None:
        """See L{IRunning}."""
        self._exited = None
        self._meter.forget(self.id)
        if self._watch is not None:
            self._watch.close()
        self._ports.abandon(self._lease)

    def taken_port(self) -> int | None:
        """See L{IRunning}."""
        return self._ports.in_use(self.ports)

    def left_behind(self) -> bool:
        """See L{IRunning}."""
        return self._ended_alone and bool(self._termination.found)

    def exit_code(self) -> int | None:
        """See L{IRunning}."""
        return self._code

    def listeners(self) -> Deferred[Sequence[ListeningSocket]]:
        """See L{IRunning}."""
        return Deferred.fromCoroutine(self._listeners())

    def lack_of_room(self) -> str | None:
        """See L{IRunning}."""
        return lack_of_room(self.directory.path)

    def last_output(self) -> tuple[str, ...]:
        """See L{IRunning}."""
        return last_output(self.directory)

    def note(self, **changes: Any) -> None:
        """See L{IRunning}."""
        self._write(**{name: value for name, value in changes.items() if value is not None})

    async def _listeners(self) -> Sequence[ListeningSocket]:
        pids = [process.pid for process in members(await self._census.take(), self.id, self._leader())]
        return await in_thread(self._reactor, listeners_of, pids)

    def _leader(self) -> int | None:
        # A child that was not reaped keeps its number, even dead; another's child only as long as it lives.
        return self.record.pid if self._own or self._alive else None

    def _launcher_ended(self) -> None:
        self._alive = False
        self._code = self._read_code()
        self._tell_exited()

    def _tell_exited(self) -> None:
        exited, self._exited = self._exited, None
        if exited is not None:
            exited(self._code)

    def _read_code(self) -> int | None:
        code = self.directory.read_exit()
        if code is None and self._own and self.record.pid is not None:
            # The launcher ends with its command's code, unless it is killed itself. It stays unreaped.
            with contextlib.suppress(ChildProcessError):
                status = os.waitid(os.P_PID, self.record.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
                if status is not None and status.si_code == os.CLD_EXITED:
                    code = status.si_status
        return code

    def _not_terminated(self, failure: Any) -> None:
        self._log.failure("The processes of {id} could not be looked for", failure, id=self.id)
        if self._alive:
            self._termination.force()

    def _finish(self, _: object) -> None:
        if self._watch is not None:
            self._watch.close()
        if self._alive or self._code is None:
            self._alive = False
            self._code = self._read_code()
        self._reap()
        self._over = True
        self._meter.forget(self.id)
        self._write(ended_at=self._wall(), exit_code=self._code)
        # Only now may the ports be another's.
        self._ports.give_back(self._lease)
        waiting, self._waiting = self._waiting, []
        self._ended(self)
        self._tell_exited()
        for gone in waiting:
            if not gone.called:
                gone.callback(None)

    def _reap(self) -> None:
        self._own = False
        if self.record.pid is not None:
            # It is not a child of this process if an earlier server started it.
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.record.pid, os.WNOHANG)

    def _write(self, **changes: Any) -> None:
        self.record = attrs.evolve(self.record, **changes)
        try:
            self.directory.write(self.record)
        except FileNotFoundError:
            # The directory has been deleted: by somebody, or after the end.
            return
        except OSError as error:
            self._log.error("The record of {id} cannot be written: {error}", id=self.id, error=error)


def kill_unwatched(pid: int) -> None:
    """End a launcher that has just been started and cannot be followed. Waits for it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
