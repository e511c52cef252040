"""Requests that wait for a slot."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, QueueOverflow, QueueUnderflow
from twisted.internet.interfaces import IReactorTime

from waiter.model.outcome import Outcome
from waiter.reservation.deadlines import Deadlines
from waiter.reservation.lease import Lease

ANY_INSTANCE: frozenset[str] = frozenset()


class Lane:
    """
    Waiters that are alike: the same priority and the same excluded instances. First come, first served.
    """

    __slots__ = ("exclude", "priority", "waiters")

    def __init__(self, priority: int, exclude: frozenset[str]) -> None:
        self.priority = priority
        self.exclude = exclude
        # Not a plain dict: taking the first item of one, again and again, walks over all that went before.
        self.waiters: OrderedDict[Waiter, None] = OrderedDict()

    @property
    def first(self) -> "Waiter":
        """Who came first. There must be one."""
        return next(iter(self.waiters))


class Waiter:
    """
    One request in the queue.

    It is in a lane as long as it waits. After that C{verdict} is what its Deferred is about to be fired with.

    @ivar number: grows from waiter to waiter.
    @ivar since: when it came, in the clock's seconds.
    @ivar timeout_secs: how long it waits at most; C{None} for ever.
    @ivar tick: its deadline in the L{Deadlines}.
    """

    __slots__ = ("deferred", "lane", "number", "since", "tick", "timeout_secs", "verdict")

    def __init__(
        self,
        number: int,
        lane: Lane,
        since: float,
        timeout_secs: float | None,
        cancelled: "Callable[[Waiter], None]",
    ) -> None:
        self.number = number
        self.lane: Lane | None = lane
        self.since = since
        self.timeout_secs = timeout_secs
        self.tick: int | None = None
        self.verdict: Lease | Exception | None = None
        self.deferred: Deferred[Lease] = Deferred(lambda _: cancelled(self))


class WaitingQueue:
    """
    A C{DeferredQueue(size=0, backlog=...)} by contract: C{get} returns a Deferred that a later C{put} fires, and raises
    C{QueueUnderflow} when the backlog is full. What is put is never kept: C{put} raises C{QueueOverflow} when nobody takes it.

    Beyond the contract, waiters have a timeout, a priority and instances they do not want; leaving costs the same however
    many wait. A waiter never stands in the way of one behind it that takes what it does not want.

    Deferreds are fired only when all of a change has been made, one after the other and never one inside another: what a
    callback does to the queue is carried out at once, and the Deferreds which that fires have their turn afterwards.

    @ivar backlog: how many may wait.
    @ivar waiting: how many do.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        backlog: int | None = None,
        overdue: Callable[[list[Waiter]], object],
        emptied: Callable[[], object] = lambda: None,
    ) -> None:
        """
        @param overdue: called with waiters whose timeout has passed; has to C{fail} them.
        @param emptied: called when the last waiter has left by cancelling.
        """
        self._clock = clock
        self.backlog = backlog
        self._emptied = emptied
        self._deadlines: Deadlines[Waiter] = Deadlines(clock, overdue)
        self._lanes: dict[tuple[int, frozenset[str]], Lane] = {}
        self._number = 0
        # Decided, but their Deferreds have not been fired yet.
        self._decided: deque[Waiter] = deque()
        self._delivering = False
        self.waiting = 0

    def get(
        self, *, timeout_secs: float | None = None, exclude: frozenset[str] = ANY_INSTANCE, priority: int = 0
    ) -> Deferred[Lease]:
        """
        Wait for a slot. Cancelling leaves the queue; if a slot has been given by then, it is given back.

        @param exclude: ids of instances not to be given.
        @param priority: larger ones are served first.
        @raise QueueUnderflow: as many wait as may.
        """
        if self.backlog is not None and self.waiting >= self.backlog:
            raise QueueUnderflow
        lane = self._lanes.get((priority, exclude))
        if lane is None:
            lane = self._lanes[priority, exclude] = Lane(priority, exclude)
        self._number += 1
        now = self._clock.seconds()
        waiter = Waiter(self._number, lane, now, timeout_secs, self._cancelled)
        lane.waiters[waiter] = None
        self.waiting += 1
        if timeout_secs is not None:
            waiter.tick = self._deadlines.add(waiter, now + timeout_secs)
        return waiter.deferred

    def wants(self, instance_id: str) -> bool:
        """Whether somebody would take a slot of this instance."""
        return any(instance_id not in lane.exclude for lane in self._lanes.values())

    def put(self, lease: Lease) -> None:
        """
        Give a slot to the first of those with the highest priority who do not exclude its instance.

        @raise QueueOverflow: nobody takes it; it remains the caller's.
        """
        self.put_all((lease,))

    def put_all(self, leases: Iterable[Lease]) -> None:
        """
        Give each slot as C{put} does, and tell the waiters when all are given.

        @param leases: may be a generator that looks at the queue before it yields the next one.
        @raise QueueOverflow: nobody takes one of them; that and the later ones remain the caller's.
        """
        try:
            for lease in leases:
                self._decide(self._next_for(lease.instance.id), lease)
        finally:
            self._deliver()

    def fail(self, waiters: Iterable[Waiter], error: Callable[[Waiter], Exception]) -> None:
        """
        End the wait of these with an error of their own each, and tell them when all are out of the queue.

        @param waiters: from C{overdue} or C{all}.
        """
        for waiter in waiters:
            self._decide(waiter, error(waiter))
        self._deliver()

    def all(self) -> list[Waiter]:
        """Everybody who waits, in the order they came."""
        return sorted(
            (waiter for lane in self._lanes.values() for waiter in lane.waiters), key=lambda waiter: waiter.number
        )

    def stop(self) -> None:
        """Cancel the timer of an empty queue. Whoever waits afterwards starts it again."""
        self._deadlines.stop()

    def oldest_since(self) -> float | None:
        """When the one who waits longest came, in the clock's seconds; C{None} if nobody waits."""
        return min((lane.first.since for lane in self._lanes.values()), default=None)

    def _next_for(self, instance_id: str) -> Waiter:
        lanes = [lane for lane in self._lanes.values() if instance_id not in lane.exclude]
        if not lanes:
            raise QueueOverflow
        if len(lanes) == 1:
            return lanes[0].first
        return max(lanes, key=lambda lane: (lane.priority, -lane.first.number)).first

    def _decide(self, waiter: Waiter, verdict: Lease | Exception) -> None:
        self._leave(waiter)
        waiter.verdict = verdict
        self._decided.append(waiter)

    def _leave(self, waiter: Waiter) -> None:
        lane = waiter.lane
        if lane is None:
            raise RuntimeError("A waiter left the queue twice")
        waiter.lane = None
        del lane.waiters[waiter]
        if not lane.waiters:
            del self._lanes[lane.priority, lane.exclude]
        self.waiting -= 1
        if not self.waiting:
            self._deadlines.clear()
        elif waiter.tick is not None:
            self._deadlines.discard(waiter, waiter.tick)

    def _cancelled(self, waiter: Waiter) -> None:
        if waiter.lane is not None:
            self._leave(waiter)
            if not self.waiting:
                self._emptied()
            return
        verdict, waiter.verdict = waiter.verdict, None
        if isinstance(verdict, Lease):
            # Nothing was sent to the instance, so nothing was learned about it.
            verdict.release(Outcome.GENERIC_ERROR)

    def _deliver(self) -> None:
        if self._delivering:
            return
        self._delivering = True
        try:
            while self._decided:
                waiter = self._decided.popleft()
                verdict, waiter.verdict = waiter.verdict, None
                if isinstance(verdict, Lease):
                    waiter.deferred.callback(verdict)
                elif verdict is not None:
                    waiter.deferred.errback(verdict)
        finally:
            self._delivering = False
