"""Making room for services that requests wait for."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs
from twisted.application.service import Service as RunningService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from waiter.autoscaler.eviction import Candidate, Victim, choose, needs_another
from waiter.autoscaler.executor import ScalingExecutor
from waiter.autoscaler.stopping import Reservers
from waiter.model.load import ServiceLoad
from waiter.model.resources import NOTHING, Resources
from waiter.model.routing import RoutingState, ServiceState
from waiter.reservation.lease import Lease

_NOBODY = "All instances of other services are in use, pinned or needed; none can be stopped to make room"
_TOO_FEW = "Stopping all idle instances of other services would not make enough room"
_ENDING = "Other instances are ending to make room"


class Waiters(Protocol):
    """What is asked of the scheduler."""

    def waited_for(self, service_ids: frozenset[str]) -> None:
        """Say for which services requests wait."""


@attrs.frozen(kw_only=True, eq=False)
class _Eviction:
    """
    What was decided and cannot be seen in the routing state yet.

    @ivar service_id: the service whose instances are being stopped.
    """

    service_id: str
    instance_ids: frozenset[str]
    gives: Resources

    def is_seen_in(self, state: RoutingState) -> bool:
        """Whether the instances are gone from there."""
        service = state.services.get(self.service_id)
        return service is None or not any(
            instance.id in self.instance_ids for instance in (*service.healthy, *service.unhealthy)
        )


class Evictor(RunningService):
    """
    Stops idle instances, those unused for longest first, where a service that requests wait for has no room for its next
    instance. L{waiter.autoscaler.eviction} has the rules.

    It looks when the whole routing state has changed, when a request has begun to wait and when an instance has become idle, in the
    reactor's next iteration; and now and then as long as instances are held back, because nobody tells when requests give
    up waiting. While what it stopped takes its time to end, nobody else is stopped in its place. Only the leader acts.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        executor: ScalingExecutor,
        reservers: Reservers,
        scheduler: Waiters,
        *,
        loads: Callable[[], Mapping[str, ServiceLoad] | None],
        is_leader: Callable[[], bool],
        interval_secs: float = 1.0,
        idle_spacing_secs: float = 0.05,
    ) -> None:
        """
        @param loads: the load of every service, over all routers; C{None} if not known.
        @param is_leader: whether this router decides for the cluster.
        @param interval_secs: how often to look, at least, as long as instances are held back.
        @param idle_spacing_secs: how often to look, at most, because instances become idle: busy services do not pay for a
            look with each request.
        """
        self.setName("evictor")
        self._clock = clock
        self._executor = executor
        self._reservers = reservers
        self._scheduler = scheduler
        self._loads = loads
        self._is_leader = is_leader
        self._interval_secs = interval_secs
        self._idle_spacing_secs = idle_spacing_secs
        self._state = RoutingState()
        self._held_back: dict[str, ServiceState] = {}
        self._waited_for: frozenset[str] = frozenset()
        self._unseen: list[_Eviction] = []
        self._remarks: dict[str, str] = {}
        self._evicted = 0
        self._looked_at = clock.seconds()
        self._next: IDelayedCall | None = None

    def startService(self) -> None:
        """Begin to look."""
        super().startService()
        self._look_soon()

    def stopService(self) -> None:
        """Look no more. What is being stopped is the executor's."""
        super().stopService()
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._reservers.watch_idle(False)

    # What it is told

    def update(self, state: RoutingState) -> None:
        """Work with this from now on, unless it is not whole: who has gone may have made room already that it does not show."""
        if not state.whole:
            return
        self._state = state
        before, self._held_back = (
            self._held_back,
            {
                service_id: service
                for service_id, service in state.services.items()
                if service.queued_reason is not None
            },
        )
        self._unseen = [eviction for eviction in self._unseen if not eviction.is_seen_in(state)]
        if before or self._held_back:
            self._look_soon()

    def demand(self, service_id: str) -> None:
        """A request has begun to wait."""
        if service_id in self._held_back:
            self._look_soon()

    def became_idle(self, _service_id: str) -> None:
        """An instance serves nobody any more."""
        self._look_within(max(0.0, self._looked_at + self._idle_spacing_secs - self._clock.seconds()))

    def state(self) -> dict[str, Any]:
        """Who waits for room, and what is being done about it; JSON-able."""
        return {
            "evicted-instances": self._evicted,
            "held-back": {
                service_id: {"waited-for": service_id in self._waited_for, "remark": self._remarks.get(service_id)}
                for service_id in self._held_back
            },
            "being-evicted": sorted(instance_id for each in self._unseen for instance_id in each.instance_ids),
        }

    # What it does

    def _look_soon(self) -> None:
        self._look_within(0)

    def _look_within(self, secs: float) -> None:
        if not self.running:
            return
        if self._next is None:
            self._next = self._clock.callLater(secs, self._look)
        elif self._next.getTime() > self._clock.seconds() + secs:
            self._next.reset(secs)

    def _look(self) -> None:
        self._next = None
        self._looked_at = self._clock.seconds()
        self._make_room_if_known()
        if self._held_back:
            self._look_within(self._interval_secs)

    def _make_room_if_known(self) -> None:
        loads = self._loads()
        if loads is None:
            return
        waited_for = frozenset(
            service_id
            for service_id, service in self._held_back.items()
            if service_id in loads and needs_another(service, loads[service_id])
        )
        if waited_for != self._waited_for:
            self._waited_for = waited_for
            self._scheduler.waited_for(waited_for)
        if self._is_leader():
            self._make_room(waited_for, loads)
        else:
            self._reservers.watch_idle(False)

    def _make_room(self, waited_for: frozenset[str], loads: Mapping[str, ServiceLoad]) -> None:
        short = [
            (service.shortage.place, service.shortage.room, service)
            for service in (self._held_back[service_id] for service_id in waited_for)
            if service.shortage is not None
        ]
        self._reservers.watch_idle(bool(short))
        remarks: dict[str, str] = {}
        coming = sum((eviction.gives for eviction in self._unseen), start=NOTHING)
        taken = NOTHING
        for _, room, service in sorted(short, key=lambda each: each[0]):
            need = Resources.of(service.service.description)
            candidates = self._candidates(loads)
            victims = choose(need, room + coming - taken, candidates)
            if victims is None:
                # Who needs less may pass.
                remarks[service.service.id] = _TOO_FEW if candidates else _NOBODY
                continue
            coming += self._evict(victims, service.service.id)
            taken += need
            remarks[service.service.id] = _ENDING
        self._tell(remarks)

    def _candidates(self, loads: Mapping[str, ServiceLoad]) -> list[Candidate]:
        found = []
        for service_id, state in self._state.services.items():
            reserver = self._reservers.find(service_id)
            requested = self._executor.ledger.requested(service_id, state.counts.requested)
            if reserver is None or requested is None:
                continue
            load = loads.get(service_id, ServiceLoad())
            candidate = Candidate.of(state, load, requested, reserver.idle_instances())
            if candidate is not None and not self._executor.can_delete(service_id):
                candidate = attrs.evolve(candidate, total=None)
            if candidate is not None:
                found.append(candidate)
        return found

    def _evict(self, victims: list[Victim], beneficiary: str) -> Resources:
        """Stop them; what that gives back."""
        given = NOTHING
        for victim in victims:
            leases = self._lock(victim)
            if not leases:
                continue
            eviction = _Eviction(
                service_id=victim.service_id,
                instance_ids=frozenset(lease.instance.id for lease in leases),
                gives=victim.gives,
            )
            self._unseen.append(eviction)
            given += victim.gives
            self._evicted += len(leases)
            self._log.info(
                "{instance_ids}: stopped to make room for {beneficiary}, unused for {idle_secs:.1f} s",
                instance_ids=", ".join(sorted(eviction.instance_ids)),
                beneficiary=beneficiary,
                idle_secs=self._clock.seconds() - victim.used_at,
            )
            self._stop(victim, leases).addCallback(self._ended, eviction)
        return given

    def _lock(self, victim: Victim) -> list[Lease]:
        """The locks of all that is to be stopped, or none: what was idle when it was chosen still is."""
        reserver = self._reservers.find(victim.service_id)
        if reserver is None:
            return []
        if victim.goes:
            return reserver.reserve_all_for_kill() or []
        leases = [lease for lease in map(reserver.lock_idle, victim.instance_ids) if lease is not None]
        if len(leases) < len(victim.instance_ids):
            self._executor.unlock(leases)
            return []
        return leases

    def _stop(self, victim: Victim, leases: list[Lease]) -> Deferred[int]:
        """Fires with how many are gone."""
        state = self._state.services[victim.service_id]
        if victim.goes:
            return self._executor.delete_locked(state.service, leases).addCallback(lambda gone: len(leases) * gone)
        requested = self._executor.ledger.requested(victim.service_id, state.counts.requested)
        return self._executor.kill_locked(state.service, requested or len(leases), leases)

    def _ended(self, stopped: int, eviction: _Eviction) -> None:
        if stopped < len(eviction.instance_ids) and eviction in self._unseen:
            # Some are still there, so what they would have given is missing again.
            self._unseen.remove(eviction)

    def _tell(self, remarks: dict[str, str]) -> None:
        for service_id in self._remarks.keys() | remarks.keys():
            words = remarks.get(service_id)
            if words == self._remarks.get(service_id):
                continue
            reserver = self._reservers.find(service_id)
            if reserver is not None:
                reserver.remark(words)
            if words is not None and words != _ENDING:
                self._log.info("{service_id} waits for room. {words}", service_id=service_id, words=words)
        self._remarks = remarks
