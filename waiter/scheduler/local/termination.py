"""Ends all processes of one instance."""

import os
import signal
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from waiter.scheduler.local.census import Census
from waiter.scheduler.local.pidfd import PidWatch
from waiter.scheduler.local.processes import Process, members

#: How long a process that was killed may take to go before everything is looked at again.
_LOOK_AGAIN_SECS = 1.0
#: How many processes of one instance are watched at a time: descriptors are not without end.
_WATCHED = 64


class Termination:
    """
    The end of one instance: SIGTERM to its processes, and when the grace period is over SIGKILL, again and again until a
    look at the whole machine finds none.

    The launcher's pid names its group and session only while C{leader} says so: a number that may mean another process by
    now is never signalled.
    """

    def __init__(
        self,
        reactor: Any,
        census: Census,
        instance_id: str,
        leader: Callable[[], int | None],
        kill_at_once: Callable[[], object] = lambda: None,
    ) -> None:
        """
        @param leader: the launcher's pid, or C{None} when it may have been used again.
        @param kill_at_once: kills whatever can be killed without being looked for.
        """
        self._reactor = reactor
        self._census = census
        self._instance_id = instance_id
        self._leader = leader
        self._kill_at_once = kill_at_once
        self._deadline = float("inf")
        self._wake: Deferred[None] | None = None
        self.found: int | None = None

    async def end(self, grace_secs: float) -> None:
        """
        End everything; returns when nothing is left. Never fails as long as the machine's processes can be read.

        @param grace_secs: how long after SIGTERM the SIGKILL comes; 0 for SIGKILL alone.
        """
        self._deadline = min(self._deadline, self._reactor.seconds() + grace_secs)
        asked: set[tuple[int, int]] = set()
        if grace_secs > 0:
            self._signal_group(signal.SIGTERM)
        while True:
            present = members(await self._census.take(), self._instance_id, self._leader())
            if self.found is None:
                self.found = len(present)
            if not present:
                return
            forced = self._reactor.seconds() >= self._deadline
            if forced:
                self._kill_group()
            await self._signal_and_wait(present, asked, forced=forced)

    def hasten(self, grace_secs: float) -> None:
        """Let the SIGKILL come C{grace_secs} from now, if that is earlier than it would."""
        deadline = self._reactor.seconds() + grace_secs
        if deadline < self._deadline:
            self._deadline = deadline
            self._awake()

    def force(self) -> None:
        """Send SIGKILL to the group at once: for when there is no time to look for the others."""
        self._kill_group()
        self.hasten(0)

    async def _signal_and_wait(self, present: Iterable[Process], asked: set[tuple[int, int]], *, forced: bool) -> None:
        """Signal what the group's signal does not reach, and wait until all have ended or it is time to do more."""
        leader = self._leader()
        watches: set[PidWatch] = set()
        waiting: Deferred[None] = Deferred()
        self._wake = waiting

        def watch(process: Process) -> PidWatch:
            def ended() -> None:
                watches.discard(one)
                if not watches:
                    self._awake()

            one = PidWatch(self._reactor, process.pid, ended)
            watches.add(one)
            return one

        for process in present:
            name = (process.pid, process.start_ticks)
            try:
                watched = watch(process) if len(watches) < _WATCHED else None
            except ProcessLookupError:
                continue
            except OSError:
                watched = None
            if not process.still_there():
                # Its number may be another's by now.
                if watched is not None:
                    watches.discard(watched)
                    watched.close()
                continue
            if forced:
                _kill(process, watched, signal.SIGKILL)
            elif name not in asked and process.group != leader:
                _kill(process, watched, signal.SIGTERM)
            asked.add(name)
        left = _LOOK_AGAIN_SECS if forced else max(0.0, self._deadline - self._reactor.seconds())
        timer: IDelayedCall = self._reactor.callLater(left, self._awake)
        if not watches:
            # All are gone already, or none could be watched.
            timer.reset(min(left, 0.01))
        try:
            await waiting
        finally:
            self._wake = None
            if timer.active():
                timer.cancel()
            for one in tuple(watches):
                one.close()

    def _awake(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            wake.callback(None)

    def _kill_group(self) -> None:
        self._kill_at_once()
        self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: int) -> None:
        leader = self._leader()
        if leader is not None:
            try:
                os.killpg(leader, number)
            except (ProcessLookupError, PermissionError):
                return


def _kill(process: Process, watched: PidWatch | None, number: int) -> None:
    if watched is not None:
        watched.signal(number)
        return
    try:
        os.kill(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return
