"""The cycle: how many instances should each service have, and how large a step towards that to take now."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import attrs
from twisted.application.service import Service as RunningService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from waiter.autoscaler.executor import ScalingExecutor, ScalingOrder
from waiter.autoscaler.scaling import Scaling, ScalingRules, floor_of, scale
from waiter.model.load import ServiceLoad
from waiter.model.routing import RoutingState, ServiceState
from waiter.model.service import Service
from waiter.support.periodic import Periodic
from waiter.support.turns import in_turns

# Note [When a service gets its turn]
#
# 1. Every interval, together with all others.
# 2. At once when somebody waits for it (demand): the service is unknown to the scheduler, has no instance, or not enough.
#    Demand is told from inside the reservation, which must not be re-entered, so it only sets a flag; the turn comes in the
#    reactor's next iteration, one for all requests that asked until then. While a service has instances, demand gives it a turn at
#    most every demand_spacing_secs, so that a service under full load does not pay for a turn with each request.
# 3. At once when the routing state shows it for the first time, has lost it, or shows no instance any more. Without this, a
#    request that waited while the last instance went would wait for the interval.
#
# Each turn moves the target by the time since the service's last one, so it does not matter how many there are.


@attrs.define(kw_only=True)
class _Memory:
    """
    What is remembered of a service between turns.

    @ivar turned_at: when the last turn was, in the clock's seconds.
    @ivar target: the smoothed number of instances.
    @ivar total: how many were requested at the last turn.
    @ivar decision: what the last turn decided, whether it was carried out or not.
    @ivar has_instances: whether there are or will be instances, after what the last turn did.
    """

    rules: ScalingRules
    service: Service
    turned_at: float
    target: float
    total: int
    decision: Scaling
    outstanding: int = 0
    healthy: int = 0
    expired: int = 0
    scaling_state: str | None = None
    has_instances: bool = False


class Autoscaler(RunningService):
    """
    Lets the number of instances of each service follow its outstanding requests.

    It works on the routing state, corrected by what the executor did since (L{Ledger<waiter.autoscaler.ledger.Ledger>}).
    Without a whole routing state or without loads nothing happens, and the time that passes so does not count. Every router
    computes; only the leader acts, except that each may bring a service from nothing to its first instances.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        executor: ScalingExecutor,
        *,
        describe: Callable[[str], Service | None],
        loads: Callable[[], Mapping[str, ServiceLoad] | None],
        is_leader: Callable[[], bool],
        interval_secs: float = 1.0,
        demand_spacing_secs: float = 0.05,
        max_expired_unhealthy: int = 2,
        max_surge: int | None = 10,
    ) -> None:
        """
        @param describe: the service of an id; it must know every service somebody waits for.
        @param loads: the load of every service, over all routers; C{None} if not known.
        @param is_leader: whether this router decides for the cluster.
        @param demand_spacing_secs: how often, at most, demand gives a turn to a service that has instances.
        @param max_expired_unhealthy: how many expired instances, at most, are replaced although they are unhealthy.
        @param max_surge: how many instances beyond what the load asks for, at most, a service may have because expired ones are
            being replaced. C{None} leaves it to the service's C{expired-instance-restart-rate}.
        """
        self.setName("autoscaler")
        self._clock = clock
        self._executor = executor
        self._describe = describe
        self._loads = loads
        self._is_leader = is_leader
        self._demand_spacing_secs = demand_spacing_secs
        self._max_expired_unhealthy = max_expired_unhealthy
        self._max_surge = max_surge
        self._cycle = Periodic(clock, interval_secs, self._turn_all, name="autoscaler")
        self._state: RoutingState | None = None
        self._memories: dict[str, _Memory] = {}
        # Service id to whether somebody waits for it.
        self._urgent: dict[str, bool] = {}
        self._urgent_call: IDelayedCall | None = None
        self._spaced: set[str] = set()
        self._spaced_call: IDelayedCall | None = None

    def startService(self) -> None:
        """Run the first cycle and go on."""
        super().startService()
        self._cycle.startService()

    def stopService(self) -> Deferred[None]:
        """Give no more orders. Those given already are the executor's."""
        super().stopService()
        for call in (self._urgent_call, self._spaced_call):
            if call is not None:
                call.cancel()
        self._urgent_call = self._spaced_call = None
        self._urgent.clear()
        self._spaced.clear()
        return self._cycle.stopService()

    # What it is told

    def demand(self, service_id: str) -> None:
        """Somebody waits for the service. Only sets a flag (Note [When a service gets its turn])."""
        if self._urgent.get(service_id) or service_id in self._spaced or not self.running:
            return
        memory = self._memories.get(service_id)
        if memory is not None and memory.has_instances:
            wait = memory.turned_at + self._demand_spacing_secs - self._clock.seconds()
            if wait > 0:
                self._spaced.add(service_id)
                if self._spaced_call is None:
                    self._spaced_call = self._clock.callLater(wait, self._attend_spaced)
                return
        self._hurry(service_id, demanded=True)

    def update(self, state: RoutingState) -> None:
        """Work with this from now on, unless it is not whole: what is not in it may exist all the same."""
        if not state.whole:
            return
        before, self._state = self._state, state
        self._observe()
        for service_id in self._memories.keys() - state.services.keys():
            del self._memories[service_id]
        if not self.running:
            return
        for service_id, service_state in state.services.items():
            memory = self._memories.get(service_id)
            if memory is None or (service_state.counts.requested == 0 and memory.total > 0):
                self._hurry(service_id, demanded=False)
        gone = () if before is None else before.services.keys() - state.services.keys()
        loads = (self._loads() or {}) if gone else {}
        for service_id in gone:
            if service_id in loads and loads[service_id].waiting:
                self._hurry(service_id, demanded=True)
        if self._urgent and self._urgent_call is None:
            self._urgent_call = self._clock.callLater(0, self._attend_urgent)

    # What it tells

    def scaling_state(self, service_id: str) -> str:
        """C{stable}, C{scale-up} or C{scale-down}."""
        memory = self._memories.get(service_id)
        return "stable" if memory is None or memory.scaling_state is None else memory.scaling_state

    def state(self) -> dict[str, Any]:
        """What the last turn of each service saw and decided, by service id; JSON-able."""
        return {
            service_id: {
                "expired-instances": memory.expired,
                "healthy-instances": memory.healthy,
                "outstanding-requests": memory.outstanding,
                "scale-amount": memory.decision.amount,
                "scale-to-instances": memory.decision.scale_to,
                "scaling-state": self.scaling_state(service_id),
                "target-instances": memory.target,
                "total-instances": memory.total,
            }
            for service_id, memory in self._memories.items()
        }

    # Turns

    def _hurry(self, service_id: str, *, demanded: bool) -> None:
        self._urgent[service_id] = demanded or self._urgent.get(service_id, False)
        if self._urgent_call is None:
            self._urgent_call = self._clock.callLater(0, self._attend_urgent)

    def _attend_urgent(self) -> None:
        self._urgent_call = None
        # Without a whole routing state it is not known what exists; the first one continues here.
        if self._state is not None:
            urgent, self._urgent = self._urgent, {}
            self._attend(self._state, urgent)

    def _attend_spaced(self) -> None:
        self._spaced_call = None
        spaced, self._spaced = self._spaced, set()
        if self._state is not None:
            self._attend(self._state, dict.fromkeys(spaced, True))

    async def _turn_all(self) -> None:
        if self._state is None:
            return
        self._observe()
        known = self._state.services.keys()
        self._executor.retain(known.__contains__)
        loads = self._loads()
        if loads is None:
            for memory in self._memories.values():
                memory.turned_at = self._clock.seconds()
            return
        waited_for = {service_id for service_id, load in loads.items() if load.waiting}
        async for service_id in in_turns(self._clock, known | waited_for):
            self._attend_to(self._state, service_id, lambda: loads, demanded=service_id in waited_for)

    def _observe(self) -> None:
        self._executor.ledger.observe(self._observed, self._clock.seconds())

    def _observed(self, service_id: str) -> int | None:
        state = None if self._state is None else self._state.services.get(service_id)
        return None if state is None else state.counts.requested

    def _attend(self, state: RoutingState, service_ids: Mapping[str, bool]) -> None:
        """@param service_ids: whose turn it is, and whether somebody waits for it."""
        # Whoever has no instances yet does not have to wait until they are put together.
        loads = cache(self._loads)
        for service_id, demanded in service_ids.items():
            self._attend_to(state, service_id, loads, demanded=demanded)

    def _attend_to(
        self,
        state: RoutingState,
        service_id: str,
        loads: Callable[[], Mapping[str, ServiceLoad] | None],
        *,
        demanded: bool,
    ) -> None:
        service_state = state.services.get(service_id)
        observed = None if service_state is None else service_state.counts.requested
        requested = self._executor.ledger.requested(service_id, observed)
        try:
            if requested is None or self._executor.is_deleting(service_id):
                if demanded:
                    self._create(service_id)
            elif service_state is not None:
                known = loads()
                if known is not None:
                    load = known.get(service_id, ServiceLoad())
                    self._turn(service_state, requested, load.outstanding, self._clock.seconds())
        except Exception:  # noqa: BLE001 - one service must not take the others down
            self._log.failure("The turn of {service_id} failed", service_id=service_id)

    def _create(self, service_id: str) -> None:
        service = self._describe(service_id)
        if service is None:
            self._log.error("Somebody waits for {service_id}, which nobody has described", service_id=service_id)
        else:
            self._executor.create(service)

    def _turn(self, state: ServiceState, requested: int, outstanding: int, now: float) -> None:
        service = state.service
        memory = self._memories.get(service.id)
        first = memory is None
        if memory is None or memory.service.description is not service.description:
            memory = self._memories[service.id] = self._remember(state, requested, memory, now)
        settled = self._executor.is_settled(service.id)

        memory.total = requested
        memory.outstanding = outstanding
        memory.healthy = len(state.healthy)
        memory.expired = self._count_expired(state)
        ticks, memory.turned_at = now - memory.turned_at, now
        if first and requested >= floor_of(memory.rules, outstanding):
            memory.decision = Scaling(amount=0, scale_to=requested, target=memory.target)
        else:
            memory.decision = scale(
                memory.rules,
                ticks=ticks,
                total=requested,
                outstanding=outstanding,
                target=memory.target,
                healthy=memory.healthy,
                # What was replaced last may still be counted.
                expired=memory.expired if settled else 0,
            )
            memory.target = memory.decision.target
        self._tell_scaling_state(memory)
        self._act(memory, task_count=state.counts.scheduled, settled=settled)

    def _act(self, memory: _Memory, *, task_count: int, settled: bool) -> None:
        scale_to = memory.decision.scale_to
        if not self._is_leader():
            # Nobody else may be there to start the first ones; all further ones are the leader's.
            from_nothing = memory.total == 0 and memory.outstanding > 0
            scale_to = floor_of(memory.rules, memory.outstanding) if from_nothing else memory.total
        memory.has_instances = memory.total > 0 or scale_to > 0
        if scale_to > memory.total or (scale_to < memory.total and settled):
            self._executor.execute(
                ScalingOrder(service=memory.service, total=memory.total, task_count=task_count, scale_to=scale_to)
            )

    def _remember(self, state: ServiceState, requested: int, before: _Memory | None, now: float) -> _Memory:
        """Begin with what there is; keep the target if only the description is another."""
        rules = ScalingRules.of(state.service.description, max_surge=self._max_surge)
        if before is not None:
            return attrs.evolve(before, rules=rules, service=state.service)
        target = float(max(requested, state.counts.scheduled))
        return _Memory(
            rules=rules,
            service=state.service,
            turned_at=now,
            target=target,
            total=requested,
            decision=Scaling(amount=0, scale_to=requested, target=target),
        )

    def _count_expired(self, state: ServiceState) -> int:
        if not state.expired:
            return 0
        healthy = {instance.id for instance in state.healthy}
        fit = sum(1 for instance in state.expired if instance.id in healthy)
        return fit + min(self._max_expired_unhealthy, len(state.expired) - fit)

    def _tell_scaling_state(self, memory: _Memory) -> None:
        amount = memory.decision.amount
        scaling_state = "scale-up" if amount > 0 else "scale-down" if amount < 0 else "stable"
        if scaling_state != memory.scaling_state:
            memory.scaling_state = scaling_state
            self._executor.set_scaling_down(memory.service.id, scaling_state == "scale-down")
