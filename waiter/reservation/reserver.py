"""Gives the slots of one service to its requests."""

from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred, QueueUnderflow
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from waiter.model.load import ServiceLoad
from waiter.model.outcome import Outcome
from waiter.model.routing import ServiceState
from waiter.model.service import Service
from waiter.reservation.context import ReserverContext
from waiter.reservation.lease import Lease
from waiter.reservation.queue import Waiter, WaitingQueue
from waiter.reservation.refusals import no_instance_in_time, queue_full, service_failing, shutting_down
from waiter.reservation.selection import choose_victim
from waiter.reservation.slots import InstanceSlots
from waiter.reservation.table import SlotTable
from waiter.reservation.views import table_state

# Note [No free slot while somebody waits]
#
# Whenever code outside this package runs, nobody waits while a slot is free. Whatever may make a slot free (a release,
# an update, the end of an ejection or of a lock) ends in _grant(). It follows that a request which finds a free slot may
# take it without looking at the queue: there is nobody in it.
#
# _grant() gives all it can before the first Deferred fires, so this holds inside callbacks, too.


class InstanceReserver:
    """
    Gives the slots that this router has on the instances of one service to requests. Requests that find none wait.

    It belongs to a L{ReserverManager<waiter.reservation.manager.ReserverManager>}, which retires it when its service is
    gone. A retired one passes requests on to its successor, so it may be held for as long as one likes.

    @ivar service: the service, as the latest update had it.
    @ivar retired: whether the manager has let it go.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, service: Service, context: ReserverContext) -> None:
        self._clock = clock
        self._seconds = clock.seconds
        self.service = service
        self._context = context
        self._state = ServiceState(service=service)
        self._table = SlotTable(context.ejection, context.random)
        self._queue = WaitingQueue(clock, overdue=self._overdue, emptied=self._settle)
        self._readmission: IDelayedCall | None = None
        self._last_request_at: float | None = None
        self._scaling_down = False
        self._watched = False
        self._remark: str | None = None
        self._orphaned = False
        self._closed = False
        self.retired = False
        # One look on the request path instead of three: closed, retired, or a deployment error.
        self._barred = False
        self._follow_description()

    # Requests

    def reserve(self, *, timeout_secs: float, priority: int = 0) -> Lease | Deferred[Lease]:
        """
        Take a slot, or wait for one.

        @param timeout_secs: how long to wait at most. That it has passed is noticed up to 0.1 s late.
        @param priority: among those who wait larger ones are served first, equal ones as they came.
        @return: a lease if a slot is free. Otherwise a Deferred that fires with one, or fails with C{NoInstanceInTime},
            C{ServiceFailing} or C{ShuttingDown}. Cancelling it leaves the queue, or gives back a slot just given.
        @raise QueueFull: none is free and as many requests wait as may.
        @raise ServiceFailing: the service has a deployment error.
        @raise ShuttingDown: this router is stopping.
        """
        now = self._last_request_at = self._seconds()
        if self._barred:
            return self._reserve_barred(timeout_secs, priority)
        row = self._table.free.first()
        if row is None:
            return self._wait(timeout_secs, priority)
        lease = Lease(row.instance, now, self._give_back)
        row.leases.add(lease)
        return lease

    def want(self) -> None:
        """
        Have the service started as for a request that waits, which does not wait here.

        @raise ServiceFailing: the service has a deployment error.
        @raise ShuttingDown: this router is stopping.
        """
        self._check_open()
        if self.retired:
            self._context.successor(self.service).want()
            return
        self._last_request_at = self._seconds()
        self._context.demand(self.service.id)

    def try_reserve(self, exclude: frozenset[str]) -> Lease | None:
        """
        Take a slot if one is free now and nothing else stands against it. Never waits, never raises.

        @param exclude: ids of instances that will not do.
        """
        if self._closed:
            return None
        if self.retired:
            return self._context.successor(self.service).try_reserve(exclude)
        row = None if self._barred else self._table.pick(exclude)
        return None if row is None else self._take(row)

    def _reserve_barred(self, timeout_secs: float, priority: int) -> Lease | Deferred[Lease]:
        self._check_open()
        return self._context.successor(self.service).reserve(timeout_secs=timeout_secs, priority=priority)

    def _check_open(self) -> None:
        if self._closed:
            raise shutting_down(self.service.id)
        if self._state.deployment_error is not None:
            raise service_failing(self.service.id, self._state.deployment_error)

    def _wait(self, timeout_secs: float, priority: int) -> Deferred[Lease]:
        try:
            waiting = self._queue.get(timeout_secs=timeout_secs, priority=priority)
        except QueueUnderflow:
            load = self.load
            raise queue_full(self._state, waiting=load.waiting, outstanding=load.outstanding) from None
        self._context.demand(self.service.id)
        return waiting

    def _take(self, row: InstanceSlots) -> Lease:
        lease = Lease(row.instance, self._seconds(), self._give_back)
        row.leases.add(lease)
        return lease

    def _give_back(self, lease: Lease, outcome: Outcome) -> None:
        row = self._table.rows[lease.instance.id]
        leases = row.leases
        leases.discard(lease)
        if not leases:
            row.used_at = self._seconds()
            if self._watched:
                self._context.became_idle(self.service.id)
        if outcome is not Outcome.SUCCESS or row.failures or not row.reported:
            self._learn(row, outcome)
        if len(leases) < row.capacity:
            if not row.listed:
                self._table.free.add(row)
            if self._queue.waiting:
                self._grant()

    def _learn(self, row: InstanceSlots, outcome: Outcome) -> None:
        served = row.capacity > 0
        if self._table.judge(row, outcome, self._seconds()):
            self._plan_readmission()
            if served:
                self._log.info(
                    "{instance_id} serves nothing for a while: {outcome}, failures in a row: {failures}",
                    instance_id=row.instance.id,
                    outcome=outcome.value,
                    failures=row.failures,
                )
        self._table.changed(row)
        self._settle()

    # Those who wait

    def _grant(self) -> None:
        """Give free slots to those who wait, then tell them (Note [No free slot while somebody waits])."""
        self._queue.put_all(self._wanted_slots())

    def _wanted_slots(self) -> Iterator[Lease]:
        while self._queue.waiting:
            row = self._table.free.first()
            if row is None:
                return
            yield self._take(row)

    def _overdue(self, waiters: list[Waiter]) -> None:
        streaming = self._context.waiting_to_stream
        make_error = no_instance_in_time(
            self._state,
            outstanding=self.load.outstanding,
            queued_reason=self.queued_reason,
            counts={
                "requests-waiting-to-stream": None if streaming is None else streaming(self.service.id),
                "slots-assigned": self.slots_assigned,
                "slots-available": self.slots_available,
                "slots-in-use": self.slots_in_use,
                "waiting-for-available-instance": self._queue.waiting,
                "work-stealing-offers-received": 0,
                "work-stealing-offers-sent": 0,
            },
        )
        self._queue.fail(waiters, lambda waiter: make_error(waiter.timeout_secs or 0.0))
        self._settle()

    # Ejections

    def _plan_readmission(self) -> None:
        """Have a timer at the earliest end of an ejection."""
        at = None if self._closed else self._table.next_readmission()
        if self._readmission is not None:
            self._readmission.cancel()
            self._readmission = None
        if at is not None:
            self._readmission = self._clock.callLater(max(0.0, at - self._seconds()), self._readmit)

    def _readmit(self) -> None:
        self._readmission = None
        self._table.end_ejections(self._seconds())
        self._plan_readmission()
        self._grant()
        self._settle()

    # Kills

    def reserve_for_kill(self, *, exclude: frozenset[str] = frozenset()) -> Lease | None:
        """
        Lock the instance that is best killed; no further request is sent to it.

        Release the lease with C{KILLED}, and the instance is never offered again, or with C{NOT_KILLED}, and it is what it
        was before, its failures and ejection included. Any other outcome counts as C{NOT_KILLED}.

        @param exclude: ids of instances not to be chosen.
        @return: C{None} if no instance may be killed.
        """
        if self._closed or self.retired:
            return None
        now = self._seconds()
        row = choose_victim(
            self._table.rows.values(), exclude, self._table.load_balancing, now, self._context.lingering_secs
        )
        return None if row is None else self._lock(row, now)

    def reserve_all_for_kill(self) -> list[Lease] | None:
        """
        Lock all instances, in order to end the service. Which of them had better be killed first does not matter here.

        @return: leases as C{reserve_for_kill} gives them; C{None}, and nothing is locked, if any instance is in use or
            locked already, or somebody waits.
        """
        rows = list(self._table.rows.values())
        in_use = self._queue.waiting or any(row.leases or row.lock is not None for row in rows)
        if self._closed or self.retired or in_use:
            return None
        now = self._seconds()
        return [self._lock(row, now) for row in rows if row.reported and not row.killed]

    def idle_instances(self) -> dict[str, float]:
        """The instances that serve nobody and are not locked, and when each was last used, in the clock's seconds."""
        if self._closed or self.retired:
            return {}
        return {instance_id: row.used_at for instance_id, row in self._table.rows.items() if row.idle}

    def lock_idle(self, instance_id: str) -> Lease | None:
        """Lock this instance as C{reserve_for_kill} does; C{None} if it is not idle."""
        row = None if self._closed or self.retired else self._table.rows.get(instance_id)
        return self._lock(row, self._seconds()) if row is not None and row.idle else None

    def watch_idle(self, watched: bool) -> None:
        """Say whether to tell when an instance becomes idle."""
        self._watched = watched

    def _lock(self, row: InstanceSlots, now: float) -> Lease:
        row.lock = Lease(row.instance, now, self._unlock)
        self._table.changed(row)
        return row.lock

    def _unlock(self, lease: Lease, outcome: Outcome) -> None:
        row = self._table.rows[lease.instance.id]
        row.lock = None
        self._learn(row, Outcome.KILLED if outcome is Outcome.KILLED else Outcome.NOT_KILLED)
        self._grant()

    def set_scaling_down(self, scaling_down: bool) -> None:
        """
        Say whether instances are to go. With random load balancing none would ever be idle, so the youngest serve until
        that is over.
        """
        self._scaling_down = scaling_down
        self._follow_description()

    def remark(self, words: str | None) -> None:
        """What else is known of why instances are held back; shown as long as they are."""
        self._remark = words

    # The world

    def update(self, state: ServiceState) -> None:
        """
        Follow the latest state of the service. Slots taken away while in use are lost when they are given back.

        A deployment error ends all waits with C{ServiceFailing}.
        """
        if state is not self._state and not self._closed and not self.retired:
            self._orphaned = False
            self._follow(state)

    def orphan(self) -> None:
        """
        The service is gone. Its slots are, too, but who waits goes on waiting: it may be about to be created. An C{update}
        takes this back. C{idle} is told when nobody waits and no instance is in use, locked or ejected.
        """
        if not self._orphaned and not self._closed and not self.retired:
            self._orphaned = True
            self._follow(ServiceState(service=self.service))
        self._settle()

    def _follow(self, state: ServiceState) -> None:
        self._state = state
        self.service = state.service
        self._table.update(state, self._seconds(), self._last_request_at)
        self._follow_description()
        self._plan_readmission()
        error = state.deployment_error
        self._barred = error is not None
        if error is None:
            self._grant()
        else:
            self._queue.fail(self._queue.all(), lambda _: service_failing(self.service.id, error))

    def retire(self) -> None:
        """Pass all further requests on to the successor. Only for a reserver that is idle."""
        self.retired = self._barred = True
        self._stop_timers()

    def close(self) -> None:
        """End all waits with C{ShuttingDown} and refuse further requests with it. Leases may still be given back."""
        self._closed = self._barred = True
        self._stop_timers()
        self._queue.fail(self._queue.all(), lambda _: shutting_down(self.service.id))

    def _settle(self) -> None:
        if self._orphaned and not self.retired and not self._table.rows and not self._queue.waiting:
            self._context.idle(self)

    def _stop_timers(self) -> None:
        self._queue.stop()
        if self._readmission is not None:
            self._readmission.cancel()
            self._readmission = None

    def _follow_description(self) -> None:
        description = self.service.description
        self._queue.backlog = description.max_queue_length
        concentrate = self._scaling_down and description.load_balancing == "random"
        self._table.balance("youngest" if concentrate else description.load_balancing)

    # Views

    @property
    def queued_reason(self) -> str | None:
        """Why instances that are requested are not started yet, if they are held back."""
        reason = self._state.queued_reason
        return reason if reason is None or self._remark is None else f"{reason}. {self._remark}"

    @property
    def load(self) -> ServiceLoad:
        """The requests that wait or have a slot."""
        waiting = self._queue.waiting
        return ServiceLoad(
            outstanding=self._table.in_use + waiting, waiting=waiting, last_request_at=self._last_request_at
        )

    @property
    def has_instances(self) -> bool:
        """Whether there are instances that serve or may yet come to."""
        return bool(self._state.healthy or self._state.unhealthy)

    @property
    def slots_assigned(self) -> int:
        """All slots this router may use, those of ejected or locked instances included."""
        return self._table.assigned

    @property
    def slots_in_use(self) -> int:
        """All slots in use, those included that have been taken away since."""
        return self._table.in_use

    @property
    def slots_available(self) -> int:
        """All slots that can be given out now."""
        return self._table.available

    def oldest_wait_secs(self, now: float) -> float:
        """How long the longest wait has lasted at C{now}, the clock's seconds; 0 if nobody waits."""
        since = self._queue.oldest_since()
        return 0.0 if since is None else now - since

    def oldest_lease_secs(self, now: float) -> float:
        """How long a slot or lock has been held at most at C{now}, the clock's seconds; 0 if none is."""
        since = self._table.oldest_lease_since()
        return 0.0 if since is None else now - since

    def failing(self) -> frozenset[str]:
        """The instances that have failed so often that they are to be replaced."""
        return self._table.failing()

    @property
    def slots(self) -> dict[str, int]:
        """The slots of each instance that has any."""
        return {instance_id: row.assigned for instance_id, row in self._table.rows.items() if row.assigned}

    def summary(self, now: float) -> dict[str, Any]:
        """The numbers of it at C{now}, the clock's seconds; JSON-able."""
        load = self.load
        return {
            "oldest-lease-secs": self.oldest_lease_secs(now),
            "oldest-wait-secs": self.oldest_wait_secs(now),
            "outstanding": load.outstanding,
            "slots-assigned": self.slots_assigned,
            "slots-available": self.slots_available,
            "slots-in-use": self.slots_in_use,
            "waiting": load.waiting,
        }

    def state(self) -> dict[str, Any]:
        """Everything about it, JSON-able."""
        now = self._seconds()
        ahead = self._context.wall() - now
        return {**table_state(self._table, self._state, lambda secs: secs + ahead), **self.summary(now)}
