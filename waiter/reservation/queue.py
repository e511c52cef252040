"""Requests that wait for a slot."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from itertools import chain

from twisted.internet.defer import Deferred, QueueOverflow, QueueUnderflow
from twisted.internet.interfaces import IReactorTime

from waiter.model.outcome import Outcome
from waiter.reservation.deadlines import Deadlines
from waiter.reservation.lease import Lease


class Waiter:
    """
    One request in the queue.

    When it waits no more, C{verdict} is what its Deferred is about to be fired with.

    @ivar waits: whether it is in the queue.
    @ivar number: grows from waiter to waiter.
    @ivar priority: larger ones are served first.
    @ivar since: when it came, in the clock's seconds.
    @ivar timeout_secs: how long it waits at most; C{None} for ever.
    @ivar tick: its deadline in the L{Deadlines}.
    """

    __slots__ = ("deferred", "number", "priority", "since", "tick", "timeout_secs", "verdict", "waits")

    def __init__(
        self,
        number: int,
        priority: int,
        since: float,
        timeout_secs: float | None,
        cancelled: "Callable[[Waiter], None]",
    ) -> None:
        self.number = number
        self.priority = priority
        self.waits = True
        self.since = since
        self.timeout_secs = timeout_secs
        self.tick: int | None = None
        self.verdict: Lease | Exception | None = None
        self.deferred: Deferred[Lease] = Deferred(lambda _: cancelled(self))


class WaitingQueue:
    """
    A C{DeferredQueue(size=0, backlog=...)} by contract: C{get} returns a Deferred that a later C{put} fires, and raises
    C{QueueUnderflow} when the backlog is full. What is put is never kept: C{put} raises C{QueueOverflow} when nobody takes it.

    Beyond the contract, waiters have a timeout and a priority; leaving costs the same however many wait.

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
        # By priority. Not plain dicts: taking the first item of one, again and again, walks over all that went before.
        self._waiters: dict[int, OrderedDict[Waiter, None]] = {}
        self._number = 0
        # Decided, but their Deferreds have not been fired yet.
        self._decided: deque[Waiter] = deque()
        self._delivering = False
        self.waiting = 0

    def get(self, *, timeout_secs: float | None = None, priority: int = 0) -> Deferred[Lease]:
        """
        Wait for a slot. Cancelling leaves the queue; if a slot has been given by then, it is given back.

        @param priority: larger ones are served first.
        @raise QueueUnderflow: as many wait as may.
        """
        if self.backlog is not None and self.waiting >= self.backlog:
            raise QueueUnderflow
        alike = self._waiters.get(priority)
        if alike is None:
            alike = self._waiters[priority] = OrderedDict()
        self._number += 1
        now = self._clock.seconds()
        waiter = Waiter(self._number, priority, now, timeout_secs, self._cancelled)
        alike[waiter] = None
        self.waiting += 1
        if timeout_secs is not None:
            waiter.tick = self._deadlines.add(waiter, now + timeout_secs)
        return waiter.deferred

    def put(self, lease: Lease) -> None:
        """
        Give a slot to the first of those with the highest priority.

        @raise QueueOverflow: nobody waits; it remains the caller's.
        """
        self.put_all((lease,))

    def put_all(self, leases: Iterable[Lease]) -> None:
        """
        Give each slot as C{put} does, and tell the waiters when all are given.

        @param leases: may be a generator that looks at the queue before it yields the next one.
        @raise QueueOverflow: nobody waits for one of them; that and the later ones remain the caller's.
        """
        try:
            for lease in leases:
                self._decide(self._first(), lease)
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
        return sorted(chain.from_iterable(self._waiters.values()), key=lambda waiter: waiter.number)

    def stop(self) -> None:
        """Cancel the timer of an empty queue. Whoever waits afterwards starts it again."""
        self._deadlines.stop()

    def oldest_since(self) -> float | None:
        """When the one who waits longest came, in the clock's seconds; C{None} if nobody waits."""
        return min((next(iter(alike)).since for alike in self._waiters.values()), default=None)

    def _first(self) -> Waiter:
        if not self._waiters:
            raise QueueOverflow
        return next(iter(self._waiters[max(self._waiters)]))

    def _decide(self, waiter: Waiter, verdict: Lease | Exception) -> None:
        self._leave(waiter)
        waiter.verdict = verdict
        self._decided.append(waiter)

    def _leave(self, waiter: Waiter) -> None:
        if not waiter.waits:
            raise RuntimeError("A waiter left the queue twice")
        waiter.waits = False
        alike = self._waiters[waiter.priority]
        del alike[waiter]
        if not alike:
            del self._waiters[waiter.priority]
        self.waiting -= 1
        if not self.waiting:
            self._deadlines.clear()
        elif waiter.tick is not None:
            self._deadlines.discard(waiter, waiter.tick)

    def _cancelled(self, waiter: Waiter) -> None:
        if waiter.waits:
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
