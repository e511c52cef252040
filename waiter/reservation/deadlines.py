"""Many timeouts on one timer."""

from collections.abc import Callable
from heapq import heappop, heappush
from math import ceil, floor
from typing import Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

T = TypeVar("T")

GRAIN_SECS = 0.1
"""How much later than asked a deadline may be noticed. Nobody who waits for an instance can tell the difference."""


class Deadlines(Generic[T]):
    """
    Things that become due, gathered into ticks of L{GRAIN_SECS}.

    Adding and discarding cost the same however many there are, and there is at most one delayed call. A thing is due
    never early and at most one grain late.
    """

    def __init__(self, clock: IReactorTime, due: Callable[[list[T]], object]) -> None:
        """
        @param due: called with the things whose time has come, in the order of their ticks and, in a tick, as added.
        """
        self._clock = clock
        self._due = due
        # Dictionaries as ordered sets. An emptied tick stays until its time, so that no tick is twice in the heap.
        self._ticks: dict[int, dict[T, None]] = {}
        self._heap: list[int] = []
        self._timer: IDelayedCall | None = None
        self._timer_tick = 0

    def add(self, thing: T, at: float) -> int:
        """
        Have C{thing} be due.

        @param at: in the clock's seconds.
        @return: the tick, which C{discard} needs.
        """
        tick = ceil(at / GRAIN_SECS)
        things = self._ticks.get(tick)
        if things is None:
            things = self._ticks[tick] = {}
            heappush(self._heap, tick)
            if self._timer is None or tick < self._timer_tick:
                self._set_timer()
        things[thing] = None
        return tick

    def discard(self, thing: T, tick: int) -> None:
        """Forget C{thing}; does nothing when it was due already."""
        things = self._ticks.get(tick)
        if things is not None:
            things.pop(thing, None)

    def clear(self) -> None:
        """Forget everything. The timer goes on: restarting it for every thing that comes and goes alone would cost more."""
        self._ticks.clear()
        self._heap.clear()

    def stop(self) -> None:
        """Forget everything, the timer included."""
        self.clear()
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            self._timer_tick = self._heap[0]
            delay_secs = self._timer_tick * GRAIN_SECS - self._clock.seconds()
            self._timer = self._clock.callLater(max(0.0, delay_secs), self._fired)

    def _fired(self) -> None:
        self._timer = None
        # The timer's own tick is due whatever rounding says; others may have come due since.
        passed = max(self._timer_tick, floor(self._clock.seconds() / GRAIN_SECS))
        due: list[T] = []
        while self._heap and self._heap[0] <= passed:
            due.extend(self._ticks.pop(heappop(self._heap)))
        self._set_timer()
        if due:
            self._due(due)
