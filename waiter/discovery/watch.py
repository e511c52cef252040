"""Asks instances that do not work yet about their health, until they do."""

from collections.abc import Callable, Iterable
from heapq import nsmallest
from typing import Protocol

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from waiter.model.description import ServiceDescription
from waiter.model.instance import Flag, Instance
from waiter.scheduler.health import HealthResult
from waiter.scheduler.probing import FIRST_PAUSE_SECS, LONGEST_PAUSE_SECS, starting_pause

#: How many checks are begun in one turn of the reactor.
_CHECKS_PER_TURN = 20


class Probe(Protocol):
    """Checks the health of an instance."""

    def check(self, instance: Instance, description: ServiceDescription) -> Deferred[HealthResult]:
        """Ask once, within a time limit of its own."""


@attrs.frozen(kw_only=True)
class Awaited:
    """
    An instance that is to be asked.

    @ivar waited_for: whether requests wait for its service.
    """

    instance: Instance
    description: ServiceDescription
    waited_for: bool = False


@attrs.define(kw_only=True, eq=False)
class _Watched:
    """
    @ivar since: from when on it may have been starting, in the clock's seconds.
    @ivar due: when it is to be asked next.
    @ivar flags: all that its checks have shown.
    """

    awaited: Awaited
    since: float
    due: float
    result: HealthResult | None = None
    flags: frozenset[Flag] = frozenset()
    check: Deferred[HealthResult] | None = None

    def seen(self, instance: Instance) -> Instance:
        return instance if self.result is None else with_result(instance, self.result, self.flags)


class HealthWatch(Service):
    """
    Checks each instance it is given early and often, and ever less often the longer it takes (see
    L{waiter.scheduler.probing.starting_pause}), until it is healthy, not awaited any more, or taken away.

    However many there are, the work is bounded: in the number of those that are watched and of checks per second. Of those
    that are due the youngest come first.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        probe: Probe,
        noticed: Callable[[Instance], object],
        *,
        is_awaited: Callable[[Instance, ServiceDescription], bool],
        most: int = 500,
        checks_per_sec: float = 500,
    ) -> None:
        """
        @param noticed: told an instance when a check shows something else than the one before. One that is healthy is not
            watched any more.
        @param is_awaited: asked before each check whether it is still worth it.
        @param most: how many instances are watched.
        """
        self.setName("health-watch")
        self._clock = clock
        self._probe = probe
        self._noticed = noticed
        self._is_awaited = is_awaited
        self._most = most
        self._checks_per_sec = checks_per_sec
        self._watched: dict[str, _Watched] = {}
        self._not_before = float("-inf")
        self._next: IDelayedCall | None = None
        self._looking = False

    def stopService(self) -> None:
        """Check nothing any more; what is under way is cancelled."""
        super().stopService()
        self.follow(())

    def __contains__(self, instance_id: object) -> bool:
        """Whether the instance of that id is watched."""
        return instance_id in self._watched

    def __len__(self) -> int:
        """How many are watched."""
        return len(self._watched)

    def seen(self, instance: Instance) -> Instance:
        """The instance with what its checks showed; as it is if none has been answered."""
        watched = self._watched.get(instance.id)
        return instance if watched is None else watched.seen(instance)

    def follow(self, awaited: Iterable[Awaited]) -> None:
        """
        Watch these from now on and no others. If they are too many, those are left out that nobody waits for, and of the
        others those that have been watched longest.
        """
        chosen = {each.instance.id: each for each in self._first(list(awaited))}
        for instance_id in self._watched.keys() - chosen.keys():
            self._drop(instance_id)
        for each in chosen.values():
            self._watch(each, None)
        self._schedule()

    def add(self, awaited: Awaited, result: HealthResult | None = None) -> None:
        """
        Watch this one as well, if there is room.

        @param result: what a check has just shown.
        """
        if len(self._watched) < self._most or awaited.instance.id in self._watched:
            self._watch(awaited, result)
            self._schedule()

    def _first(self, awaited: list[Awaited]) -> list[Awaited]:
        if len(awaited) <= self._most:
            return awaited
        never = float("inf")

        def rank(each: Awaited) -> tuple[bool, float]:
            watched = self._watched.get(each.instance.id)
            return (not each.waited_for, -never if watched is None else -watched.since)

        return nsmallest(self._most, awaited, key=rank)

    def _watch(self, awaited: Awaited, result: HealthResult | None) -> None:
        now = self._clock.seconds()
        instance = awaited.instance
        watched = self._watched.get(instance.id)
        if watched is not None and _place(watched.awaited.instance) != _place(instance):
            # What was found out is of another place or time.
            self._drop(instance.id)
            watched = None
        if watched is None:
            watched = self._watched[instance.id] = _Watched(awaited=awaited, since=now, due=now)
        watched.awaited = awaited
        if result is not None:
            self._take_in(watched, result)

    def _drop(self, instance_id: str) -> None:
        watched = self._watched.pop(instance_id)
        if watched.check is not None:
            watched.check.cancel()

    def _schedule(self) -> None:
        if self._looking:
            return
        if self._next is not None:
            self._next.cancel()
            self._next = None
        waiting = [watched.due for watched in self._watched.values() if watched.check is None]
        if waiting:
            pause = max(min(waiting), self._not_before) - self._clock.seconds()
            self._next = self._clock.callLater(max(0.0, pause), self._look)

    def _look(self) -> None:
        self._next = None
        now = self._clock.seconds()
        due = [watched for watched in self._watched.values() if watched.check is None and watched.due <= now]
        chosen = nsmallest(_CHECKS_PER_TURN, due, key=lambda watched: -watched.since)
        self._not_before = now + max(FIRST_PAUSE_SECS, len(chosen) / self._checks_per_sec)
        # What comes of one may take others away.
        self._looking = True
        for watched in chosen:
            self._check(watched)
        self._looking = False
        self._schedule()

    def _check(self, watched: _Watched) -> None:
        instance, description = watched.awaited.instance, watched.awaited.description
        if self._watched.get(instance.id) is not watched:
            return
        if not self._is_awaited(instance, description):
            del self._watched[instance.id]
            return
        watched.check = maybeDeferred(self._probe.check, instance, description)
        watched.check.addCallbacks(self._checked, self._not_checked, callbackArgs=(watched,), errbackArgs=(watched,))

    def _checked(self, result: HealthResult, watched: _Watched) -> None:
        if not self._over(watched):
            return
        before = watched.result
        self._take_in(watched, result)
        instance = watched.awaited.instance
        if result.healthy:
            del self._watched[instance.id]
        if before is None or (before.healthy, before.status, before.error) != (
            result.healthy,
            result.status,
            result.error,
        ):
            try:
                self._noticed(watched.seen(instance))
            except Exception:  # noqa: BLE001 - the other instances are to be watched all the same
                self._log.failure("What was seen of {instance_id} could not be passed on", instance_id=instance.id)
        self._schedule()

    def _not_checked(self, failure: Failure, watched: _Watched) -> None:
        if not self._over(watched):
            return
        self._log.failure(
            "The health of {instance_id} could not be checked", failure, instance_id=watched.awaited.instance.id
        )
        watched.due = self._clock.seconds() + LONGEST_PAUSE_SECS
        self._schedule()

    def _over(self, watched: _Watched) -> bool:
        """A check has ended; whether anybody wants to know."""
        watched.check = None
        return self._watched.get(watched.awaited.instance.id) is watched

    def _take_in(self, watched: _Watched, result: HealthResult) -> None:
        watched.result = result
        watched.flags |= result.flags
        now = self._clock.seconds()
        watched.due = now + starting_pause(now - watched.since)


def with_result(instance: Instance, result: HealthResult, flags: frozenset[Flag] = frozenset()) -> Instance:
    """
    The instance as a check shows it.

    @param flags: what earlier checks showed; of no interest if it is healthy.
    """
    return attrs.evolve(
        instance,
        healthy=result.healthy,
        flags=instance.flags if result.healthy else instance.flags | result.flags | flags,
        health_check_status=result.status,
        message=instance.message if result.healthy else result.message or instance.message,
    )


def _place(instance: Instance) -> tuple[object, ...]:
    """What is another when an instance that was known before begins to start only now."""
    return (instance.started_at, instance.host, instance.port, instance.extra_ports)
