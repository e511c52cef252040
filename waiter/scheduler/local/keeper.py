"""Starts what is missing, one after the other."""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from waiter.model.instance import Instance
from waiter.model.resources import NOTHING, Shortage
from waiter.model.service import Service
from waiter.scheduler.local.capacity import Capacity
from waiter.scheduler.local.instance import HOST
from waiter.scheduler.local.interface import CannotStart, IRunner, IRunning
from waiter.scheduler.local.line import Place, in_line
from waiter.scheduler.local.service import LocalService

#: How soon a start is tried again that this machine had no means for.
_RETRY_SECS = 1.0


class Keeper:
    """
    Brings the number of each service's instances up to what is requested.

    One instance is started in a turn of the reactor, so that requests are seen to between two starts. The pauses after
    failures and the machine's capacity hold starts back; L{waiter.scheduler.local.line} says who is the next to get room.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        services: Mapping[str, LocalService],
        *,
        capacity: Capacity,
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
        self._capacity = capacity
        self._runner = runner
        self._wall = wall
        self._started = started
        self._changed = changed
        self._waited_for: AbstractSet[str] = frozenset()
        self._next: IDelayedCall | None = None
        self._stopped = False

    def turn(self) -> None:
        """Start one instance if one is missing and may be started. Comes back by itself when the next one is due."""
        self._unschedule()
        if self._stopped:
            return
        now = self._clock.seconds()
        pauses = []
        line = []
        for entry in self._services.values():
            if not entry.missing:
                entry.let_go()
            elif (pause := entry.backoff.remaining_secs(now)) > 0:
                pauses.append(pause)
            else:
                line.append(entry)
        if line:
            pauses += self._serve(line, now)
            if self._capacity.elsewhere != NOTHING:
                # Other servers do not say when they give something back.
                pauses.append(_RETRY_SECS)
        if pauses:
            self._next = self._clock.callLater(min(pauses), self._due)

    def waited_for(self, service_ids: AbstractSet[str]) -> None:
        """These are the services that requests wait for."""
        if service_ids != self._waited_for:
            self._waited_for = service_ids
            self.turn()

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

    def _serve(self, line: list[LocalService], now: float) -> list[float]:
        """
        Start the first one that can be started, and note what holds back those before it, or all.

        @return: when to look again at one of them.
        """
        free, room = self._capacity.free, self._capacity.room
        places = in_line(
            Place(
                service_id=entry.service.id,
                need=entry.need,
                waited_for=entry.service.id in self._waited_for,
                has_instances=bool(entry.active),
                since=entry.queued_since,
            )
            for entry in line
        )
        pauses = []
        first: Place | None = None
        for number, place in enumerate(places):
            entry = self._services[place.service_id]
            if first is not None:
                self._hold_back(entry, f"Waits for its turn: {first.service_id} comes first and needs more room", now)
                continue
            refusal = self._capacity.refusal(place.need, free)
            if refusal is None:
                pauses.append(self._start(entry, now))
                if pauses[-1] == 0:
                    break
                continue
            self._hold_back(entry, refusal, now, Shortage(place=number, room=room))
            if place.keeps_room(now):
                first = place
        return pauses

    def _start(self, entry: LocalService, now: float) -> float:
        """
        Start an instance of a service.

        @return: when to look again: 0 if one was started.
        """
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
        # Whoever got something goes to the end of the line.
        entry.let_go()
        self._started(entry, running)
        return 0.0

    def _hold_back(self, entry: LocalService, reason: str, now: float, shortage: Shortage | None = None) -> None:
        begins = entry.queued_since is None
        if entry.hold_back(reason, shortage, now):
            if begins:
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
