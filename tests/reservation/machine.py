"""
A state machine that does everything to a reserver, in any order, beside a model that is too simple to be wrong.

The model knows each instance's condition, who holds which slot and who waits. It is told of an event before the code under
test is, so that it can judge every grant at the moment it is made. It predicts nothing that is for the code to decide (who of
those who may is served in which callback), but says of everything whether it was allowed, and after each step whether
anything has been left undone.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from unittest import mock

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.reservation.making import make_manager, make_service, make_state, routing
from waiter.errors import NoInstanceInTime, QueueFull, ServiceFailing
from waiter.model.instance import Instance
from waiter.model.outcome import Outcome
from waiter.model.routing import DeploymentError, RoutingState
from waiter.reservation.lease import Lease

MOST_WAITERS = 6
LINGERING_SECS = 20.0
FORGET_DEAD_SECS = 300.0
EJECTION_SECS = (10.0, 20.0, 40.0, 80.0, 160.0)
PLACES = 3

EXCLUDE = [*[()] * 4, (0,), (1,), (0, 1), (2,)]
ACTIONS = [
    "nothing",
    "release",
    "release all",
    "reserve",
    "reserve",
    "release and reserve",
    "cancel",
    "update",
    "kill",
    "fail",
]
CONDITION = [*["healthy"] * 5, "absent", "expired", "unhealthy", "starting", "foreign"]
INDEX = range(10)


def one_of_each(*options: Sequence[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """One of each of these. Drawn as a single number: the time of such tests is spent in drawing."""

    def decode(number: int) -> tuple[Any, ...]:
        chosen = []
        for choices in options:
            number, place = divmod(number, len(choices))
            chosen.append(choices[place])
        return tuple(chosen)

    return st.integers(0, math.prod(map(len, options)) - 1).map(decode)


CONDITIONS = one_of_each(*[CONDITION, [1, 2, 0, 3]] * PLACES).map(
    lambda flat: tuple(zip(flat[::2], flat[1::2], strict=True))
)
SLOT_OUTCOMES = [
    Outcome.SUCCESS,
    Outcome.INSTANCE_ERROR,
    Outcome.INSTANCE_BUSY,
    Outcome.CLIENT_ERROR,
    Outcome.GENERIC_ERROR,
]
CROWD = st.lists(one_of_each([0, 0, 1], ACTIONS, INDEX), min_size=2, max_size=MOST_WAITERS)
LOCK_OUTCOMES = [Outcome.NOT_KILLED, Outcome.KILLED, Outcome.GENERIC_ERROR, Outcome.NOT_KILLED]
YES_OR_NO = [False, True]


@attrs.define(eq=False)
class KnownInstance:
    """What the model knows of one instance."""

    id: str
    started_at: float
    condition: str = "absent"
    assigned: int = 0
    ejected_until: float | None = None
    failures: int = 0
    killed: bool = False
    lock: Lease | None = None
    leases: list[Lease] = attrs.field(factory=list)
    gone_at: float = 0.0

    @property
    def expired(self) -> bool:
        return self.condition == "expired"

    @property
    def serves(self) -> bool:
        fit = self.condition in {"healthy", "expired"}
        return fit and self.assigned > 0 and self.ejected_until is None and not self.killed and self.lock is None

    @property
    def free(self) -> int:
        return max(0, self.assigned - len(self.leases)) if self.serves else 0


@attrs.define(eq=False)
class Request:
    """One request, from its arrival to its end."""

    number: int
    priority: int
    deadline: float
    action: str
    index: int
    deferred: Deferred[Lease] | None = None
    lease: Lease | None = None
    fired: int = 0
    left: bool = False
    early: bool = False


class ReserverMachine(RuleBasedStateMachine):
    """Requests, their ends, updates, failures, kills and time."""

    load_balancing = "oldest"

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.service = make_service(max_queue_length=MOST_WAITERS, load_balancing=self.load_balancing)
        self.manager = make_manager(self.clock, lingering_request_secs=LINGERING_SECS)
        self.first_reserver = self.manager.reserver(self.service)
        self.instances: dict[str, KnownInstance] = {}
        self.places = [f"{place}00" for place in range(1, PLACES + 1)]
        self.failing = False
        self.waiting: list[Request] = []
        self.held: list[Request] = []
        self.locks: list[Lease] = []
        self.requests = 0
        self.locking = False
        # Leases that were granted and have neither been delivered nor given back: nobody's, between two steps.
        self.underway: dict[Lease, set[int]] = {}
        self.depth = 0
        self.violations: list[str] = []
        # What an update from inside a callback, or on demand, brings.
        self.next_update: Any = None
        self.update_on_demand = False
        self.manager.demands.subscribe(self.demanded)
        self.patch = mock.patch("waiter.reservation.reserver.Lease", partial(watched_lease(), self))
        self.patch.start()

    def teardown(self) -> None:
        self.patch.stop()

    def wrong(self, what: str) -> None:
        self.violations.append(what)

    def expect(self, holds: object, what: str) -> None:
        if not holds:
            self.wrong(what)

    def attempt(self, function: Callable[..., object], *arguments: Any) -> None:
        """Do what never fails."""
        try:
            function(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is wrong
            self.wrong(f"{function} failed: {error!r}")

    # What the watched leases tell

    def granted(self, lease: Lease) -> None:
        """A lease has been made: the moment at which a slot is taken."""
        known = self.instances.get(lease.instance.id)
        if known is None:
            self.wrong("a slot of an unknown instance")
        elif self.locking:
            self.expect(known.lock is None and not known.killed, "locked twice, or a dead one locked")
        else:
            self.expect(known.free > 0, f"a slot that is not free: {known}")
            known.leases.append(lease)
            self.underway[lease] = {request.number for request in self.waiting}

    def given_back(self, lease: Lease, outcome: Outcome) -> None:
        """A lease is about to be given back for the first time."""
        known = self.instances[lease.instance.id]
        self.underway.pop(lease, None)
        if lease is known.lock:
            known.lock = None
            if outcome is Outcome.KILLED:
                known.killed = True
                self.eject(known)
            return
        known.leases.remove(lease)
        if outcome is Outcome.SUCCESS:
            known.failures = 0
            if not known.killed:
                known.ejected_until = None
        elif outcome is Outcome.INSTANCE_ERROR or (
            outcome is Outcome.INSTANCE_BUSY
            and any(other.serves for other in self.instances.values() if other is not known)
        ):
            self.eject(known)

    def eject(self, known: KnownInstance) -> None:
        known.failures += 1
        secs = FORGET_DEAD_SECS if known.killed else EJECTION_SECS[min(known.failures, len(EJECTION_SECS)) - 1]
        known.ejected_until = max(known.ejected_until or 0.0, self.clock.seconds() + secs)

    # What happens

    @initialize(conditions=CONDITIONS)
    def begin(self, conditions: Any) -> None:
        """There is a service."""
        self.apply((conditions, False))

    @rule(request=one_of_each([0, 0, 0, 1], [0.05, 1.0, 15.0, 500.0], ACTIONS, INDEX, YES_OR_NO))
    def arrive(self, request: tuple[Any, ...]) -> None:
        """A request comes, now and then by way of a reserver that may have been retired long ago."""
        self.reserve(*request)

    @rule(crowd=CROWD)
    def arrive_together(self, crowd: list[tuple[Any, ...]]) -> None:
        """Requests come faster than slots."""
        for priority, action, index in crowd:
            self.reserve(priority, 500.0, action, index, kept=False)

    @rule(crowd=CROWD, conditions=CONDITIONS)
    def start_cold(self, crowd: list[tuple[Any, ...]], conditions: Any) -> None:
        """Requests gather while there is no instance; then several slots come at once."""
        self.apply(([("absent", 0)] * PLACES, False))
        self.arrive_together(crowd)
        self.apply((conditions, False))

    def reserve(self, priority: int, timeout_secs: float, action: str, index: int, kept: bool) -> None:
        self.requests += 1
        request = Request(
            number=self.requests,
            priority=priority,
            deadline=self.clock.seconds() + timeout_secs,
            action=action,
            index=index,
        )
        best = self.best()
        waiting = len(self.waiting)
        reserver = self.first_reserver if kept else self.manager.reserver(self.service)
        try:
            result = reserver.reserve(timeout_secs=timeout_secs, priority=priority)
        except ServiceFailing:
            self.expect(self.failing, "failing without a deployment error")
            return
        except QueueFull:
            # Callbacks may be under way for some that have left the queue already.
            self.expect(best is None and waiting >= MOST_WAITERS, "refused with room in the queue")
            return
        self.expect(not self.failing or self.update_on_demand, "served in spite of a deployment error")
        if isinstance(result, Lease):
            self.underway.pop(result, None)
            self.expect(best is not None, "a slot was free that is not")
            # From inside a callback: those who have been given a slot each and will be told next are no rivals.
            self.expect(len(self.waiting) <= len(self.underway), "took a slot that somebody waits for")
            if best is not None and self.load_balancing == "oldest":
                self.expect(result.instance.id == best.id, f"served by {result.instance.id} instead of {best.id}")
            request.lease = result
            self.held.append(request)
        else:
            self.expect(best is None, "waits although a slot is free")
            request.deferred = result
            self.waiting.append(request)
            # Met on demand, it is told here and not by the queue, which knows nothing of callbacks added later.
            request.early = result.called
            result.addCallbacks(partial(self.served, request), partial(self.refused, request))

    def best(self, exclude: frozenset[str] = frozenset()) -> KnownInstance | None:
        """The rule of the oldest, in other words."""
        free = [known for known in self.instances.values() if known.free and known.id not in exclude]
        lasting = [known for known in free if not known.expired]
        if lasting:
            return min(lasting, key=lambda known: (known.started_at, known.id))
        return min(free, key=lambda known: (-known.started_at, known.id), default=None)

    def served(self, request: Request, lease: Lease) -> None:
        """A waiter is told that it has a slot."""
        self.told(request)
        rivals = self.underway.pop(lease, None)
        self.expect(rivals is not None, "a lease that was not granted, or not to this one")
        for other in self.waiting:
            before = (-other.priority, other.number) < (-request.priority, request.number)
            if before and rivals and other.number in rivals:
                self.wrong(f"{request.number} was served before {other.number}")
        request.lease = lease
        self.held.append(request)
        self.depth += not request.early
        self.attempt(self.act, request)
        self.depth -= not request.early

    def refused(self, request: Request, failure: Failure) -> None:
        """A waiter is told that it waits in vain."""
        if failure.check(CancelledError):
            self.expect(request.left, "cancelled by nobody")
            return
        self.told(request)
        if failure.check(NoInstanceInTime):
            self.expect(self.clock.seconds() >= request.deadline - 1e-6, "a timeout that came too early")
        elif not failure.check(ServiceFailing):
            self.wrong(f"an unexpected failure: {failure}")

    def told(self, request: Request) -> None:
        request.fired += 1
        self.expect(request.fired == 1 and not request.left, "told twice, or after it had left")
        self.expect(self.depth == 0 or request.early, "told from inside another one's callback")
        if request in self.waiting:
            self.waiting.remove(request)

    def act(self, request: Request) -> None:
        """What a served request does at once, from inside its callback."""
        action = request.action
        if action in {"release", "release and reserve"}:
            self.end(request, Outcome.SUCCESS, twice=False)
        if action == "fail":
            self.end(request, Outcome.INSTANCE_ERROR, twice=True)
        if action == "release all":
            while self.held:
                self.end(self.held[0], Outcome.CLIENT_ERROR, twice=False)
        if action in {"reserve", "release and reserve"}:
            self.reserve(0, 15.0, "nothing", 0, kept=False)
        if action == "cancel" and self.waiting:
            self.cancel(request.index)
        if action == "update" and self.next_update is not None:
            self.apply(self.next_update)
        if action == "kill":
            self.lock()

    @precondition(lambda self: self.waiting)
    @rule(index=st.sampled_from(INDEX))
    def cancel(self, index: int) -> None:
        """A client goes away while it waits."""
        request = self.waiting.pop(index % len(self.waiting))
        request.left = True
        assert request.deferred is not None
        self.attempt(request.deferred.cancel)

    @precondition(lambda self: len(self.waiting) > 1)
    @rule()
    def cancel_all(self) -> None:
        """All clients go away."""
        while self.waiting:
            self.cancel(0)

    @precondition(lambda self: self.held)
    @rule(end=one_of_each(INDEX, SLOT_OUTCOMES, YES_OR_NO))
    def release(self, end: tuple[int, Outcome, bool]) -> None:
        """A request ends, in any order and any way, and perhaps two paths say so."""
        index, outcome, twice = end
        self.end(self.held[index % len(self.held)], outcome, twice)

    def end(self, request: Request, outcome: Outcome, twice: bool) -> None:
        self.held.remove(request)
        assert request.lease is not None
        self.give_back(request.lease, outcome, twice)

    def give_back(self, lease: Lease, outcome: Outcome, twice: bool) -> None:
        for _ in range(1 + twice):
            self.attempt(lease.release, outcome)

    @precondition(lambda self: self.held)
    @rule(index=st.sampled_from(INDEX))
    def crash(self, index: int) -> None:
        """An instance dies, and all its requests with it."""
        chosen = self.held[index % len(self.held)].lease
        assert chosen is not None
        for request in list(self.held):
            if request in self.held and request.lease is not None and request.lease.instance == chosen.instance:
                self.end(request, Outcome.INSTANCE_ERROR, twice=False)

    @rule(exclude=st.sampled_from(EXCLUDE))
    def try_reserve(self, exclude: tuple[int, ...]) -> None:
        """A request that was answered 503 looks for another instance."""
        excluded = frozenset(f"s.{self.places[place]}" for place in exclude)
        free = None if self.failing else self.best(excluded)
        lease = self.manager.reserver(self.service).try_reserve(excluded)
        self.expect((lease is None) == (free is None), "a retry that overlooks a free slot, or takes one that is not")
        if lease is not None:
            self.expect(lease.instance.id not in excluded, "an excluded instance")
            self.underway.pop(lease)
            self.requests += 1
            request = Request(self.requests, 0, 0.0, "nothing", 0, lease=lease)
            self.held.append(request)

    @rule(conditions=CONDITIONS, failing=st.sampled_from([False] * 9 + [True]))
    def update(self, conditions: Any, failing: bool) -> None:
        """The world changes."""
        self.apply((conditions, failing))

    @rule(conditions=CONDITIONS, on_demand=st.booleans())
    def prepare_update(self, conditions: Any, on_demand: bool) -> None:
        """The next update from inside a callback will be this one; or the next request that waits brings it."""
        self.next_update = (conditions, False)
        self.update_on_demand = on_demand

    def demanded(self, service_id: str) -> None:
        self.expect(service_id == "s", "demand for another service")
        if self.update_on_demand and self.next_update is not None:
            self.apply(self.next_update)

    @rule()
    def vanish(self) -> None:
        """The service is gone from the routing state."""
        self.failing = False
        for known in self.instances.values():
            self.set_condition(known, "absent", 0)
        self.attempt(self.manager.update, RoutingState())

    def apply(self, update: Any) -> None:
        conditions, failing = update
        self.failing = failing
        self.replace_the_forgotten()
        slots, groups = {}, {"expired": [], "unhealthy": [], "starting": []}
        foreign = []
        for place, (condition, number) in zip(self.places, conditions, strict=True):
            known = self.instances.setdefault(f"s.{place}", KnownInstance(f"s.{place}", float(place)))
            self.set_condition(known, condition, number)
            if condition in {"healthy", "expired"}:
                slots[place] = number
            if condition in groups:
                groups[condition].append(place)
            if condition == "foreign":
                foreign.append(place)
        error = DeploymentError(key="k", message="m") if failing else None
        state = make_state(self.service, slots, deployment_error=error, **groups)
        if foreign:
            others: tuple[Instance, ...] = make_state(self.service, dict.fromkeys(foreign, 1)).healthy
            state = attrs.evolve(state, healthy=state.healthy + others)
        self.attempt(self.manager.update, routing(state))

    def set_condition(self, known: KnownInstance, condition: str, slots: int) -> None:
        condition = "absent" if condition == "foreign" else condition
        now = self.clock.seconds()
        if condition == "absent" and known.condition != "absent":
            known.gone_at = now
            if known.killed:
                known.ejected_until = max(known.ejected_until or now, now + FORGET_DEAD_SECS)
        known.condition = condition
        known.assigned = slots if condition in {"healthy", "expired"} else 0
        self.pass_time()

    def replace_the_forgotten(self) -> None:
        """A dead instance that has not been heard of for long will not be: the scheduler starts others in its place."""
        for index, place in enumerate(self.places):
            known = self.instances.get(f"s.{place}")
            if known is not None and known.killed and known.condition == "absent" and known.ejected_until is None:
                self.places[index] = str(int(place) + 1)

    @rule(at_once=st.booleans())
    def kill(self, at_once: bool) -> None:
        """An instance is to be killed, and perhaps dies at once."""
        before = len(self.locks)
        self.lock()
        if at_once and len(self.locks) > before:
            self.give_back(self.locks.pop(), Outcome.KILLED, twice=False)

    @rule(outcome=st.sampled_from(LOCK_OUTCOMES))
    def end_service(self, outcome: Outcome) -> None:
        """All instances are to be killed at once."""
        reserver = self.manager.find("s")
        if reserver is None:
            return
        known = list(self.instances.values())
        used = self.waiting or self.held or self.locks
        wanted = {one.id for one in known if one.condition != "absent" and not one.killed}
        self.locking = True
        locks = reserver.reserve_all_for_kill()
        self.locking = False
        self.expect((locks is None) == bool(used), "a service in use was locked, or an idle one was not")
        if locks is not None:
            self.expect({lock.instance.id for lock in locks} == wanted, "not all were locked")
            for lock in locks:
                self.instances[lock.instance.id].lock = lock
            for lock in locks:
                self.give_back(lock, outcome, twice=False)

    def lock(self) -> None:
        reserver = self.manager.find("s")
        if reserver is None:
            return
        spared = [known for known in self.instances.values() if self.must_be_spared(known)]
        self.locking = True
        lock = reserver.reserve_for_kill()
        self.locking = False
        if lock is None:
            return
        known = self.instances[lock.instance.id]
        self.expect(known not in spared, "an instance was locked that is needed")
        known.lock = lock
        self.locks.append(lock)

    def must_be_spared(self, known: KnownInstance) -> bool:
        lingering_since = self.clock.seconds() - LINGERING_SECS
        busy = bool(known.leases) and (
            not known.expired or any(lease.since >= lingering_since for lease in known.leases)
        )
        return busy or known.condition == "absent" or known.killed or known.lock is not None

    @precondition(lambda self: self.locks)
    @rule(end=one_of_each(INDEX, LOCK_OUTCOMES, YES_OR_NO))
    def unlock(self, end: tuple[int, Outcome, bool]) -> None:
        """A kill succeeds or not."""
        index, outcome, twice = end
        self.give_back(self.locks.pop(index % len(self.locks)), outcome, twice)

    @rule(secs=st.sampled_from([0.05, 0.2, 1.0, 5.0, 10.0, 25.0, 170.0, 400.0]))
    def advance(self, secs: float) -> None:
        """Time passes, everything in its turn."""
        end = self.clock.seconds() + secs
        while self.clock.getDelayedCalls() and self.clock.getDelayedCalls()[0].getTime() < end:
            self.move_clock(self.clock.getDelayedCalls()[0].getTime())
        self.move_clock(end)

    def move_clock(self, to: float) -> None:
        step = max(0.0, to - self.clock.seconds())
        self.pass_time(step)
        self.attempt(self.clock.advance, step)
        self.pass_time()

    def pass_time(self, step: float = 0.0) -> None:
        """End what time ends, and forget the failures of those that nobody knows any longer."""
        now = self.clock.seconds() + step
        for known in self.instances.values():
            if known.ejected_until is not None and known.ejected_until <= now:
                known.ejected_until = None
            gone = known.condition == "absent" and not known.leases and known.lock is None
            if gone and known.ejected_until is None:
                known.failures = 0

    # What holds after each step

    @invariant()
    def nothing_was_wrong(self) -> None:
        """What was noticed inside a callback, where an exception would be swallowed."""
        assert not self.violations, self.violations

    @invariant()
    def no_slot_is_lost(self) -> None:
        """Every slot in use has a user who was told."""
        assert not self.underway, "granted and never delivered"
        in_use = sum(len(known.leases) for known in self.instances.values())
        assert in_use == len(self.held)

    @invariant()
    def nobody_waits_for_a_free_slot(self) -> None:
        """The point of it all."""
        for request in self.waiting:
            assert self.best() is None, f"{request.number} waits for nothing"

    @invariant()
    def nobody_waits_too_long(self) -> None:
        """A timeout is noticed within a tenth of a second, a deployment error at once."""
        for request in self.waiting:
            assert not self.failing, "waits in spite of a deployment error"
            assert self.clock.seconds() <= request.deadline + 0.1 + 1e-6, "waits beyond its timeout"

    @invariant()
    def numbers_agree(self) -> None:
        """What the reserver counts is what the model counts."""
        self.pass_time()
        reserver = self.manager.find("s")
        known = list(self.instances.values())
        if reserver is None:
            assert not self.waiting, "retired while somebody waits"
            assert not self.held, "retired while a slot is in use"
            assert not self.locks, "retired while an instance is locked"
            return
        load = reserver.load
        assert load.waiting == len(self.waiting), f"{load.waiting} wait instead of {len(self.waiting)}"
        assert load.outstanding == len(self.waiting) + len(self.held)
        assert reserver.slots_in_use == len(self.held)
        assert reserver.slots_assigned == sum(one.assigned for one in known)
        assert reserver.slots_available == sum(one.free for one in known)
        failures = {one.id: one.failures for one in known if one.failures}
        state = reserver.state()
        assert state["instance-id->consecutive-failures"] == failures
        assert self.manager.failing("s") == {one.id for one in known if one.failures >= 5}
        rows = state["instance-id->state"]
        for one in known:
            tags = rows.get(one.id, {"status-tags": []})["status-tags"]
            assert ("ejected" in tags) == (one.ejected_until is not None), (one, tags)
            assert ("locked" in tags) == (one.lock is not None), (one, tags)


class YoungestMachine(ReserverMachine):
    """The same with another order of serving."""

    load_balancing = "youngest"


class RandomMachine(ReserverMachine):
    """The same with chance."""

    load_balancing = "random"


def watched_lease() -> Callable[..., Lease]:
    """
    A lease that tells the model when it is made and when it is first given back.

    The class is made anew each time, so that it inherits from C{Lease} as a test may have changed it.
    """

    class WatchedLease(Lease):
        __slots__ = ("machine",)

        def __init__(self, machine: ReserverMachine, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.machine = machine
            machine.granted(self)

        def release(self, outcome: Outcome) -> None:
            if not self.released:
                self.machine.given_back(self, outcome)
            super().release(outcome)

    return WatchedLease
