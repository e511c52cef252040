"""The slot table: what one router knows of the instances of one service."""

from collections.abc import Collection, Iterable
from itertools import chain
from random import Random

from waiter.model.instance import Instance
from waiter.model.outcome import Outcome
from waiter.model.routing import ServiceState
from waiter.reservation.ejection import EjectionRules
from waiter.reservation.free import FreeAtRandom, FreeByRank, FreeInstances
from waiter.reservation.selection import LoadBalancing, pick, serving_order
from waiter.reservation.slots import InstanceSlots


class SlotTable:
    """
    The rows of all instances: who has free slots, who is ejected, who is being killed.

    It has no clock and tells nobody anything; times are in the seconds of whatever clock its owner uses.

    @ivar rows: by instance id. Besides the instances of the latest update these are the ones in use, locked or ejected.
    @ivar free: finds the instance to serve with.
    """

    def __init__(self, ejection: EjectionRules, random: Random) -> None:
        self._ejection = ejection
        self._random = random
        self._load_balancing: LoadBalancing = "oldest"
        self._order: list[InstanceSlots] = []
        self.rows: dict[str, InstanceSlots] = {}
        self.free: FreeInstances = FreeByRank()

    # What the world says

    def update(self, state: ServiceState, now: float, last_request_at: float | None = None) -> None:
        """
        Take over the instances and slots of C{state}. What is in use stays in use, ejections and locks hold on.

        A healthy instance without an entry in C{slots} is another router's; here nothing is known of it.

        @param last_request_at: when the service was last asked for; to be found or started is not to be used.
        """
        healthy = {instance.id for instance in state.healthy if instance.id in state.slots}
        unhealthy = _ids(state.unhealthy)
        expired = _ids(state.expired)
        starting = _ids(state.starting)
        reported = {
            instance.id: instance
            for instance in chain(state.healthy, state.unhealthy, state.expired)
            if instance.id in healthy or instance.id in unhealthy or instance.id in expired
        }
        for instance_id, instance in reported.items():
            row = self.rows.get(instance_id)
            if row is None:
                row = self.rows[instance_id] = InstanceSlots(
                    instance, now if last_request_at is None else last_request_at
                )
            row.instance = instance
            row.assigned = state.slots.get(instance_id, 0)
            row.healthy = instance_id in healthy
            row.unhealthy = instance_id in unhealthy
            row.expired = instance_id in expired
            row.starting = instance_id in starting
            row.reported = True
        for instance_id, row in self.rows.items():
            if instance_id not in reported:
                self._unreport(row, now)
        self.end_ejections(now)
        for row in list(self.rows.values()):
            row.refresh()
            self._drop_if_disposable(row)
        self._arrange()

    def balance(self, load_balancing: LoadBalancing) -> None:
        """Serve with the oldest, the youngest or any instance from now on, and kill accordingly."""
        if load_balancing != self._load_balancing:
            self._load_balancing = load_balancing
            self.free = FreeAtRandom(self._random) if load_balancing == "random" else FreeByRank()
            self._arrange()

    def _unreport(self, row: InstanceSlots, now: float) -> None:
        if row.killed and row.reported:
            # A late or muddled update may name it once more. It must not be taken for a new instance then.
            row.ejected_until = max(row.ejected_until or now, now + self._ejection.max_secs)
        row.reported = row.healthy = row.unhealthy = row.expired = row.starting = False
        row.assigned = 0

    def _arrange(self) -> None:
        self._order = serving_order((row for row in self.rows.values() if row.reported), self._load_balancing)
        self.free.rebuild(self._order)

    # What requests say

    def pick(self, exclude: Collection[str]) -> InstanceSlots | None:
        """The instance to serve with among those that are not excluded, if any of them has a free slot."""
        return pick(self._order, exclude, self._load_balancing, self._random.choice)

    def judge(self, row: InstanceSlots, outcome: Outcome, now: float) -> bool:
        """
        Draw from the end of a request, or of a lock, what it says about the instance.

        Only a success clears its failures, and its ejection with them. What went wrong on the client's side or for an
        unknown reason says nothing. The last serving instance is not ejected for being busy: to refuse everybody for
        seconds would be worse than to try again.

        @return: whether the instance has been ejected, or for longer. C{changed} has to be called after that.
        """
        if outcome is Outcome.SUCCESS:
            row.failures = 0
            if not row.killed:
                row.ejected_until = None
        elif outcome is Outcome.KILLED:
            row.killed = True
            self._eject(row, now)
            return True
        elif outcome is Outcome.INSTANCE_ERROR or (
            outcome is Outcome.INSTANCE_BUSY and not self.is_last_serving(row.instance.id)
        ):
            self._eject(row, now)
            return True
        return False

    def changed(self, row: InstanceSlots) -> None:
        """After a change of condition: make what is free known, and drop a row that nobody needs."""
        row.refresh()
        if row.free and not row.listed:
            self.free.add(row)
        self._drop_if_disposable(row)

    def end_ejections(self, now: float) -> None:
        """Readmit those whose time has come. The failures stay, so that the next one continues the back-off."""
        for row in list(self.rows.values()):
            if row.ejected_until is not None and row.ejected_until <= now:
                row.ejected_until = None
                self.changed(row)

    def _eject(self, row: InstanceSlots, now: float) -> None:
        row.failures += 1
        secs = self._ejection.max_secs if row.killed else self._ejection.period_secs(row.failures)
        row.ejected_until = max(row.ejected_until or now, now + secs)

    def _drop_if_disposable(self, row: InstanceSlots) -> None:
        if row.disposable:
            del self.rows[row.instance.id]

    # What others ask

    @property
    def load_balancing(self) -> LoadBalancing:
        """Whom it serves with first."""
        return self._load_balancing

    @property
    def order(self) -> list[InstanceSlots]:
        """The instances of the latest update, the one to serve with first in front. Not to be changed."""
        return self._order

    @property
    def assigned(self) -> int:
        """All slots this router may use, those of ejected or locked instances included."""
        return sum(row.assigned for row in self.rows.values())

    @property
    def in_use(self) -> int:
        """All slots in use, those included that have been taken away since."""
        return sum(len(row.leases) for row in self.rows.values())

    @property
    def available(self) -> int:
        """All slots that can be given out now."""
        return sum(row.free for row in self.rows.values())

    def is_last_serving(self, instance_id: str) -> bool:
        """Whether no other instance could serve, be it free or not."""
        return not any(row.capacity for row in self._order if row.instance.id != instance_id)

    def failing(self) -> frozenset[str]:
        """The instances that have failed so often that they are to be replaced."""
        threshold = self._ejection.expiry_threshold
        return frozenset(instance_id for instance_id, row in self.rows.items() if row.failures >= threshold)

    def next_readmission(self) -> float | None:
        """When the next ejection ends."""
        return min((row.ejected_until for row in self.rows.values() if row.ejected_until is not None), default=None)

    def oldest_lease_since(self) -> float | None:
        """When the slot or lock that has been held for longest was taken; C{None} if none is held."""
        locks = (row.lock for row in self.rows.values() if row.lock is not None)
        leases = chain.from_iterable(row.leases for row in self.rows.values())
        return min((lease.since for lease in chain(locks, leases)), default=None)


def _ids(instances: Iterable[Instance]) -> set[str]:
    return {instance.id for instance in instances}
