"""The hands of the autoscaler: the one place where instances are added and taken away."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs
from twisted.application.service import Service as RunningService
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from waiter.autoscaler.creation import ServiceCreator
from waiter.autoscaler.ledger import Ledger
from waiter.autoscaler.stopping import InstanceStopper, Reserver, Reservers, always_approved, lock, nobody_told
from waiter.errors import WaiterError
from waiter.model.instance import Instance
from waiter.model.routing import DeploymentError, ServiceState
from waiter.model.service import Service
from waiter.reservation.lease import Lease
from waiter.scheduler.interface import IScheduler, SchedulerUnavailable
from waiter.support.background import Background


@attrs.frozen(kw_only=True)
class ScalingOrder:
    """
    What the autoscaler wants done.

    @ivar total: how many instances are requested from the scheduler now.
    @ivar task_count: how many it has.
    @ivar scale_to: how many there should be.
    """

    service: Service
    total: int
    task_count: int
    scale_to: int


@attrs.define(kw_only=True)
class _Desk:
    """
    What is going on with one service.

    @ivar next_scale: the number, and whether to force it, to set after the one being set.
    @ivar kills: how many rounds of kills are under way.
    @ivar last_kill_at: when the last round began that killed or still may, in the clock's seconds.
    """

    scaling: bool = False
    next_scale: tuple[int, bool] | None = None
    kills: int = 0
    last_kill_at: float | None = None
    deleting: bool = False
    counters: Counter[str] = attrs.field(factory=Counter)

    @property
    def is_busy(self) -> bool:
        return self.scaling or self.kills > 0 or self.deleting


class ScalingExecutor(RunningService):
    """
    Carries out, through the scheduler, what the autoscaler and the collector of idle services decide.

    For each service at most one change of the requested number, one creation and one deletion are under way, and a round of
    kills begins only when the effect of the one before can be seen. A number that comes while another is being set waits
    (only the latest does) and is set right after it, unless that one could not be set; kills do not stand in its way. A step up
    is never lost because something else is pending.

    Only instances that serve nobody are stopped: the reserver chooses and locks them. Each lock is released, whatever
    happens, within the service's termination grace period and C{kill_deadline_secs}.

    As a service there is nothing to start; stopping it cancels what is under way, which releases all locks. It must stop
    after those who give it orders.

    @ivar ledger: what was asked of the scheduler and cannot be seen yet.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        scheduler: IScheduler,
        reservers: Reservers,
        *,
        killed: Callable[[Instance], object],
        stopping: Callable[[Instance], Callable[[], object]] = nobody_told,
        approve: Callable[[Instance], Deferred[bool]] = always_approved,
        quanta_cpus: float = 64,
        quanta_mem: float = 524288,
        inter_kill_wait_secs: float = 1.0,
        kills_per_turn: int = 16,
        kill_deadline_secs: float = 30.0,
        scale_deadline_secs: float = 30.0,
        settle_secs: float = 10.0,
    ) -> None:
        """
        @param killed: told each instance that was stopped.
        @param stopping: told each instance that is about to be killed; returns what is called when that is over.
        @param approve: asked before an instance is stopped; the place where other routers object. Cancelled when the
            deadline passes.
        @param quanta_cpus: the most CPUs one step up may add; one instance may always be added.
        @param quanta_mem: the most MiB of memory one step up may add.
        @param inter_kill_wait_secs: how long after a turn that stopped instances of a service the next one may.
        @param kills_per_turn: the most instances of a service that are stopped at a time.
        @param kill_deadline_secs: how long a kill or deletion may take beyond the service's termination grace period.
        @param scale_deadline_secs: how long the scheduler may take to accept a number.
        @param settle_secs: how long to wait at most until what was asked for shows; see L{Ledger}.
        """
        self.setName("scaling-executor")
        self._clock = clock
        self._scheduler = scheduler
        self._reservers = reservers
        self._quanta_cpus = quanta_cpus
        self._quanta_mem = quanta_mem
        self._inter_kill_wait_secs = inter_kill_wait_secs
        self._kills_per_turn = kills_per_turn
        self._scale_deadline_secs = scale_deadline_secs
        self.ledger = Ledger(settle_secs=settle_secs)
        self._stopper = InstanceStopper(
            clock, scheduler, killed=killed, stopping=stopping, approve=approve, deadline_secs=kill_deadline_secs
        )
        self._background = Background()
        self._creator = ServiceCreator(
            clock, self._background, scheduler.create, created=self._created, failed=self._refuse_waiting
        )
        self._desks: dict[str, _Desk] = {}

    def startService(self) -> None:
        """Take orders, again after a stop."""
        super().startService()
        self._background.restart()

    def stopService(self) -> Deferred[None]:
        """Take no more orders and cancel what is under way. Fires when all locks are released."""
        super().stopService()
        return self._background.stop()

    # Views

    def is_settled(self, service_id: str) -> bool:
        """Whether all that was done is observed, and nothing is being done that is not."""
        desk = self._desks.get(service_id)
        return (
            self.ledger.is_settled(service_id)
            and (desk is None or not (desk.scaling or desk.deleting))
            and not self._creator.is_running(service_id)
        )

    def is_deleting(self, service_id: str) -> bool:
        """Whether the service is being deleted."""
        desk = self._desks.get(service_id)
        return desk is not None and desk.deleting

    def can_delete(self, service_id: str) -> bool:
        """Whether nothing is under way that a deletion of the service would have to wait for."""
        desk = self._desks.get(service_id)
        return (desk is None or not desk.is_busy) and not self._creator.is_running(service_id)

    def state(self) -> dict[str, Any]:
        """What is going on and how often what was done, by service id; JSON-able."""
        return {
            service_id: {
                "scaling": desk.scaling,
                "killing": desk.kills > 0,
                "deleting": desk.deleting,
                "settled": self.is_settled(service_id),
                "counters": dict(desk.counters),
            }
            for service_id, desk in self._desks.items()
        }

    # Orders

    def create(self, service: Service) -> None:
        """
        Make the scheduler know the service and start its first instance. May be called as often as one likes.

        While the service is being deleted that waits for the end of the deletion. If the scheduler refuses, those who wait
        for the service are told (see L{ServiceCreator}), and a later call tries again after a pause.
        """
        self._creator.create(service)

    def execute(self, order: ScalingOrder) -> None:
        """
        Do the step from C{order.total} to C{order.scale_to}.

        Upwards as far as the quanta allow. Downwards by stopping what exists beyond C{scale_to}; if there is less than
        that, by lowering the requested number.
        """
        desk = self._desk(order.service.id)
        amount = order.scale_to - order.total
        surplus = order.task_count - order.scale_to
        if self._background.stopped or desk.deleting:
            return
        if amount > 0:
            self._scale(desk, order.service.id, order.total + self._within_quanta(order.service, amount), force=False)
        elif amount < 0 and surplus > 0:
            # Each kill lowers the requested number, which must not fall below what is wanted.
            self._scale_down(desk, order, min(surplus, -amount))
        elif amount < 0 and surplus < 0:
            self._scale(desk, order.service.id, order.scale_to, force=True)
        else:
            desk.counters["noop"] += 1

    def set_scaling_down(self, service_id: str, scaling_down: bool) -> None:
        """Let the reserver know whether instances are to become idle."""
        reserver = self._reservers.find(service_id)
        if reserver is not None:
            reserver.set_scaling_down(scaling_down)

    def delete(self, service: Service) -> Deferred[bool]:
        """
        Stop a service that nobody uses. Its instances are locked before this returns.

        @return: whether it is gone now. C{False} if an instance is in use, something is under way with the service, another
            router objects or the scheduler fails; then everything is as before. Never fails; cancelling it changes nothing.
        """
        if self._background.stopped or not self.can_delete(service.id):
            return succeed(False)
        reserver = self._reservers.find(service.id)
        leases = [] if reserver is None else reserver.reserve_all_for_kill()
        return succeed(False) if leases is None else self.delete_locked(service, leases)

    def delete_locked(self, service: Service, leases: list[Lease]) -> Deferred[bool]:
        """The same with all instances locked already. Only if C{can_delete}. The locks are released in the end."""
        done: Deferred[bool] = Deferred(canceller=lambda deferred: deferred.callback(False))
        work = self._delete(self._desk(service.id), service, leases, done)
        self._background.start(work, f"Deleting {service.id}")
        return done

    def kill_locked(self, service: Service, total: int, leases: list[Lease]) -> Deferred[int]:
        """
        Stop these instances, which are locked. The locks are released in the end.

        @param total: how many instances are requested from the scheduler now.
        @return: how many are gone. Never fails; cancelling it changes nothing.
        """
        done: Deferred[int] = Deferred(canceller=lambda deferred: deferred.callback(0))
        work = self._kill_all(self._desk(service.id), service, total, None, leases, done)
        self._background.start(work, f"Stopping instances of {service.id}")
        return done

    def unlock(self, leases: list[Lease]) -> None:
        """Release locks of instances that are not to be stopped after all."""
        self._stopper.unlock(leases, killed=False)

    def retain(self, service_ids: Callable[[str], bool]) -> None:
        """Forget about services for which C{service_ids} is false and nothing is under way."""
        for service_id, desk in tuple(self._desks.items()):
            if not desk.is_busy and not service_ids(service_id):
                del self._desks[service_id]
        self._creator.forget_old()

    def _desk(self, service_id: str) -> _Desk:
        desk = self._desks.get(service_id)
        if desk is None:
            desk = self._desks[service_id] = _Desk()
        return desk

    # Creating

    def _created(self, service_id: str) -> None:
        self.ledger.created(service_id, self._clock.seconds())

    def _refuse_waiting(self, service_id: str, error: WaiterError) -> None:
        """The scheduler knows nothing of the service, so no routing state will ever tell those who wait."""
        reserver = self._reservers.find(service_id)
        if reserver is not None:
            trouble = DeploymentError(key="scheduler-error", message=error.message)
            reserver.update(ServiceState(service=reserver.service, deployment_error=trouble))
            # The next request may try again.
            reserver.orphan()

    # The requested number

    def _within_quanta(self, service: Service, amount: int) -> int:
        description = service.description
        affordable = min(self._quanta_cpus // description.cpus, self._quanta_mem // description.mem)
        return max(1, min(amount, int(affordable)))

    def _scale(self, desk: _Desk, service_id: str, instances: int, *, force: bool) -> None:
        if desk.scaling:
            desk.next_scale = (instances, force)
        else:
            self._background.start(self._set_numbers(desk, service_id, (instances, force)), f"Scaling {service_id}")

    async def _set_numbers(self, desk: _Desk, service_id: str, number: tuple[int, bool]) -> None:
        desk.scaling = True
        try:
            todo: tuple[int, bool] | None = number
            while todo is not None:
                if not await self._set_number(desk, service_id, *todo):
                    # What waits was ordered before that was known. Set later, it may be what nobody wants any more.
                    return
                done, todo, desk.next_scale = todo, desk.next_scale, None
                todo = None if todo == done else todo
        finally:
            desk.scaling = False
            desk.next_scale = None

    async def _set_number(self, desk: _Desk, service_id: str, instances: int, force: bool) -> bool:
        kind = "scale-force" if force else "scale-up"
        desk.counters[f"{kind}.total"] += 1
        change = self.ledger.begin(service_id, instances)
        done = False
        try:
            setting = maybeDeferred(self._scheduler.scale, service_id, instances, force)
            await setting.addTimeout(self._scale_deadline_secs, self._clock)
            done = True
        except CancelledError:
            raise
        except SchedulerUnavailable as error:
            self._log.warn("{service_id} could not be scaled: {error}", service_id=service_id, error=str(error))
        except Exception:  # noqa: BLE001 - the next turn orders it again
            self._log.failure(
                "{service_id} could not be scaled to {instances}", service_id=service_id, instances=instances
            )
        finally:
            desk.counters[f"{kind}.success" if done else f"{kind}.fail"] += 1
            self.ledger.end(change, instances if done else None, self._clock.seconds())
        return done

    # Kills

    def _scale_down(self, desk: _Desk, order: ScalingOrder, count: int) -> None:
        service_id = order.service.id
        desk.counters["scale-down.total"] += 1
        now = self._clock.seconds()
        too_early = desk.last_kill_at is not None and now < desk.last_kill_at + self._inter_kill_wait_secs
        if too_early or (desk.kills > 0 and not self.ledger.is_settled(service_id)):
            desk.counters["scale-down.ignore"] += 1
            return
        reserver = self._reservers.find(service_id)
        leases = [] if reserver is None else lock(reserver, min(count, self._kills_per_turn))
        if reserver is None or not leases:
            desk.counters["scale-down.unavailable"] += 1
            return
        work = self._kill_all(desk, order.service, order.total, reserver, leases)
        self._background.start(work, f"Stopping instances of {service_id}")

    async def _kill_all(
        self,
        desk: _Desk,
        service: Service,
        total: int,
        reserver: Reserver | None,
        leases: list[Lease],
        done: Deferred[int] | None = None,
    ) -> None:
        now = self._clock.seconds()
        before, desk.last_kill_at = desk.last_kill_at, now
        desk.kills += 1
        change = self.ledger.begin(service.id, total - len(leases))
        count = 0
        try:
            count = await self._stopper.kill_all(service, reserver, leases, desk.counters)
        finally:
            desk.kills -= 1
            if count == 0 and desk.last_kill_at == now:
                desk.last_kill_at = before
            self.ledger.end(change, total - count if count else None, self._clock.seconds())
            if done is not None and not done.called:
                done.callback(count)

    # Deletion

    async def _delete(self, desk: _Desk, service: Service, leases: list[Lease], done: Deferred[bool]) -> None:
        desk.deleting = True
        self._creator.hold(service.id)
        deleted = False
        try:
            deleted = await self._stopper.delete(service, leases, desk.counters)
        finally:
            desk.deleting = False
            if deleted:
                self.ledger.deleted(service.id, self._clock.seconds())
            self._stopper.unlock(leases, killed=deleted)
            self._creator.resume(service.id, create=deleted)
            if not done.called:
                done.callback(deleted)
