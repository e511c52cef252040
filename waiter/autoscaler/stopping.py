"""Stopping instances that serve nobody."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from waiter.model.instance import Instance
from waiter.model.outcome import Outcome
from waiter.model.routing import ServiceState
from waiter.model.service import Service
from waiter.reservation.lease import Lease
from waiter.scheduler.interface import IScheduler


class Reserver(Protocol):
    """What is asked of the reserver of a service."""

    @property
    def service(self) -> Service:
        """Its service."""

    def reserve_for_kill(self, *, exclude: frozenset[str] = ...) -> Lease | None:
        """Lock the instance that is best stopped; C{None} if none may be."""

    def reserve_all_for_kill(self) -> list[Lease] | None:
        """Lock all instances; C{None}, and nothing is locked, if one is in use or locked already."""

    def idle_instances(self) -> Mapping[str, float]:
        """The instances that serve nobody and are not locked, and when each was last used."""

    def lock_idle(self, instance_id: str) -> Lease | None:
        """Lock this instance; C{None} if it is not idle."""

    def remark(self, words: str | None) -> None:
        """What else is known of why instances are held back."""

    def set_scaling_down(self, scaling_down: bool) -> None:
        """Serve so that some instances become idle."""

    def update(self, state: ServiceState) -> None:
        """A deployment error ends all waits."""

    def orphan(self) -> None:
        """The service does not exist."""


class Reservers(Protocol):
    """What is asked of the reservation."""

    def find(self, service_id: str, /) -> Reserver | None:
        """The reserver of a service."""

    def watch_idle(self, watched: bool, /) -> None:
        """Say whether to tell when an instance becomes idle."""


def always_approved(_: Instance) -> Deferred[bool]:
    """What is asked before a kill where there is nobody to ask."""
    return succeed(True)


def nobody_told(_: Instance) -> Callable[[], object]:
    """What is told of a kill where nobody wants to know."""
    return _nothing


def _nothing() -> None:
    pass


def lock(reserver: Reserver, count: int) -> list[Lease]:
    """Lock as many as C{count} instances, those first that are best stopped."""
    leases: list[Lease] = []
    while len(leases) < count and (lease := reserver.reserve_for_kill()) is not None:
        leases.append(lease)
    return leases


class InstanceStopper:
    """
    Kills locked instances and deletes services whose instances are locked. Each gets its service's termination grace period
    and C{deadline_secs} to go.

    Cancelling what it returns ends the waiting: the scheduler may or may not do what it was asked for, and the locks are
    released as if it had not.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        scheduler: IScheduler,
        *,
        killed: Callable[[Instance], object],
        stopping: Callable[[Instance], Callable[[], object]],
        approve: Callable[[Instance], Deferred[bool]],
        deadline_secs: float,
    ) -> None:
        """
        @param killed: told each instance that was stopped.
        @param stopping: told each instance that is about to be killed; returns what is called when that is over.
        @param approve: asked before an instance is stopped.
        """
        self._clock = clock
        self._scheduler = scheduler
        self._killed = killed
        self._stopping = stopping
        self._approve = approve
        self._deadline_secs = deadline_secs

    def unlock(self, leases: list[Lease], *, killed: bool) -> None:
        """Release locks, and make it known if the instances are gone."""
        for lease in leases:
            try:
                lease.release(Outcome.KILLED if killed else Outcome.NOT_KILLED)
                if killed:
                    self._killed(lease.instance)
            except Exception:  # noqa: BLE001 - the other locks must be released all the same
                self._log.failure("Releasing {instance_id} failed", instance_id=lease.instance.id)

    async def kill_all(
        self, service: Service, reserver: Reserver | None, leases: list[Lease], counters: Counter[str]
    ) -> int:
        """
        Kill the locked instances, all at a time, and release their locks, whatever happens.

        @param reserver: what to ask for another one if others object to one; C{None} if then none is to be stopped in its
            place.
        @return: how many are gone. Never fails.
        """
        vetoed: set[str] = set()
        kills = [Deferred.fromCoroutine(self._kill_one(service, reserver, lease, vetoed, counters)) for lease in leases]
        results = await DeferredList(kills, consumeErrors=True)
        return sum(1 for success, killed in results if success and killed)

    async def delete(self, service: Service, leases: list[Lease], counters: Counter[str]) -> bool:
        """
        Delete a service whose instances are locked. The caller unlocks them.

        @return: whether it is gone. Fails only by being cancelled.
        """
        counters["delete.total"] += 1
        try:
            for lease in leases:
                if not await self._within_deadline(service, self._approve, lease.instance):
                    counters["delete.vetoed"] += 1
                    return False
            result = await self._within_deadline(service, self._scheduler.delete, service.id)
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - it is still there, and may be deleted later
            counters["delete.fail"] += 1
            self._log.failure("{service_id} could not be deleted", service_id=service.id)
            return False
        if result.result == "error":
            counters["delete.fail"] += 1
            self._log.warn("{service_id} was not deleted: {message}", service_id=service.id, message=result.message)
            return False
        counters["delete.success"] += 1
        return True

    async def _kill_one(
        self, service: Service, reserver: Reserver | None, lease: Lease | None, vetoed: set[str], counters: Counter[str]
    ) -> bool:
        """Kill the locked instance or, as long as others object, another one in its place."""
        while lease is not None:
            killed = False
            over = self._stopping(lease.instance)
            try:
                if await self._within_deadline(service, self._approve, lease.instance):
                    counters["scale-down.attempt"] += 1
                    result = await self._within_deadline(service, self._scheduler.kill, lease.instance)
                    killed = bool(result.killed)
                    counters["scale-down.success" if killed else "scale-down.kill-fail"] += 1
                    if not killed:
                        self._log.warn(
                            "{instance_id} was not stopped: {message}",
                            instance_id=lease.instance.id,
                            message=result.message,
                        )
                    return killed
            except CancelledError:
                raise
            except Exception:  # noqa: BLE001 - it counts as not killed
                counters["scale-down.fail"] += 1
                self._log.failure("{instance_id} could not be stopped", instance_id=lease.instance.id)
                return False
            finally:
                self.unlock([lease], killed=killed)
                over()
            counters["scale-down.vetoed-instance"] += 1
            vetoed.add(lease.instance.id)
            lease = None if reserver is None else reserver.reserve_for_kill(exclude=frozenset(vetoed))
        return False

    def _within_deadline(
        self, service: Service, call: Callable[..., Deferred[Any]], *arguments: object
    ) -> Deferred[Any]:
        secs = service.description.termination_grace_period_secs + self._deadline_secs
        return maybeDeferred(call, *arguments).addTimeout(secs, self._clock)
