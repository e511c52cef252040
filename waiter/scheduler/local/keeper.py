"""Starts what is missing, one after the other."""

from collections.abc import Callable, Mapping

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from waiter.model.instance import Instance
from waiter.model.service import Service
from waiter.scheduler.local.instance import HOST
from waiter.scheduler.local.interface import CannotStart, IRunner, IRunning
from waiter.scheduler.local.memory import MemoryGuard
from waiter.scheduler.local.service import LocalService

#: How soon a start is tried again that this machine had no means for.
_RETRY_SECS = 1.0


class Keeper:
    """
    Brings the number of each service's instances up to what is requested.

    One instance is started in a turn of the reactor, so that requests are seen to between two starts. The pauses after
    failures and the machine's memory hold starts back.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        services: Mapping[str, LocalService],
        *,
        guard: MemoryGuard,
        runner: IRunner,
        wall: Callable[[], float],
        started: Callable[[LocalService, IRunning], object],
        changed: Callable[[], object],
    ) -> None:
        """
        @param services: those to look after; the mapping is kept by the caller.
        @param started: called with what was started; must make it count.
        @param changed: called when what is held back or has failed changes.
        """
        self._clock = clock
        self._services = services
        self._guard = guard
        self._runner = runner
        self._wall = wall
        self._started = started
        self._changed = changed
        self._next: IDelayedCall | None = None
        self._stopped = False

    def turn(self) -> None:
        """Start one instance if one is missing and may be started. Comes back by itself when the next one is due."""
        self._unschedule()
        if self._stopped:
            return
        now = self._clock.seconds()
        pauses = []
        for entry in self._in_order():
            pause: float | None = entry.backoff.remaining_secs(now)
            if pause == 0:
                pause = self._start(entry, now)
            if pause is not None:
                pauses.append(pause)
            if pause == 0:
                break
        if pauses:
            self._next = self._clock.callLater(min(pauses), self._due)

    def stop(self) -> None:
        """Start no more, for ever."""
        self._stopped = True
        self._unschedule()

    def _due(self) -> None:
        self._next = None
        self.turn()

    def _unschedule(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _in_order(self) -> list[LocalService]:
        """The services that miss instances: first those that have none, then those that have waited longest."""
        missing = []
        for entry in self._services.values():
            if entry.missing:
                missing.append(entry)
            else:
                entry.let_go()
        never = float("inf")
        return sorted(
            missing,
            key=lambda entry: (len(entry.active) > 0, never if entry.queued_since is None else entry.queued_since),
        )

    def _start(self, entry: LocalService, now: float) -> float | None:
        """
        Start an instance of a service.

        @return: when to look again: 0 if one was started, C{None} if only an event can help.
        """
        refusal = self._guard.refusal(entry.service.description.mem)
        if refusal is not None:
            self._hold_back(entry, refusal, now)
            return None
        try:
            running = self._runner.start(entry.service)
        except CannotStart as error:
            if error.temporary:
                self._hold_back(entry, error.message, now)
                return _RETRY_SECS
            self._log.error("{id} does not start: {message}", id=entry.service.id, message=error.message)
            entry.backoff.failed(now, started_at=now)
            entry.fail(self._not_started(entry.service, error.message))
            self._changed()
            return entry.backoff.remaining_secs(now)
        self._started(entry, running)
        return 0.0

    def _hold_back(self, entry: LocalService, reason: str, now: float) -> None:
        if entry.hold_back(reason, now):
            self._log.info("{id}: {reason}", id=entry.service.id, reason=reason)
            self._changed()

    def _not_started(self, service: Service, message: str) -> Instance:
        now = self._wall()
        return Instance(
            id=f"{service.id}.not-started-{now:.3f}",
            service_id=service.id,
            started_at=now,
            healthy=False,
            host=HOST,
            message=message,
            status="Failed",
        )
