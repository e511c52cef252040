"""Finding an instance with a free slot without looking at all of them."""

from heapq import heappop, heappush
from random import Random
from typing import Protocol

from waiter.reservation.slots import InstanceSlots

# Note [Lazy removal]
#
# Both structures may hold instances without a free slot: these are dropped when they come up, so that taking the last
# slot of an instance costs nothing. What must hold is the other direction: an instance with a free slot is held.
# C{InstanceSlots.listed} says whether it is. Therefore whoever makes a slot free (a release, a change of condition)
# adds the row if it is not listed. With one slot per instance and one request at a time nothing is ever added or dropped.


class FreeInstances(Protocol):
    """The instances that have a free slot, and perhaps others (Note [Lazy removal])."""

    def rebuild(self, order: list[InstanceSlots]) -> None:
        """Start anew with these instances, in serving order."""

    def add(self, row: InstanceSlots) -> None:
        """Hold one of C{order} that has a free slot again and is not listed."""

    def first(self) -> InstanceSlots | None:
        """The instance to serve with, if any has a free slot."""


class FreeByRank:
    """Serves with the first in the serving order: a heap of ranks."""

    def __init__(self) -> None:
        self._order: list[InstanceSlots] = []
        self._heap: list[int] = []

    def rebuild(self, order: list[InstanceSlots]) -> None:
        """Start anew with these instances, in serving order."""
        self._order = order
        self._heap = []
        for rank, row in enumerate(order):
            row.rank = rank
            row.listed = len(row.leases) < row.capacity
            if row.listed:
                # In ascending order, which is a heap.
                self._heap.append(rank)

    def add(self, row: InstanceSlots) -> None:
        """Hold one of C{order} that has a free slot again and is not listed."""
        row.listed = True
        heappush(self._heap, row.rank)

    def first(self) -> InstanceSlots | None:
        """The first in the serving order that has a free slot."""
        heap = self._heap
        while heap:
            row = self._order[heap[0]]
            if len(row.leases) < row.capacity:
                return row
            row.listed = False
            heappop(heap)
        return None


class FreeAtRandom:
    """Serves with any, each as likely as the other; with expired ones only if no other has a free slot."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._lasting: list[InstanceSlots] = []
        self._expired: list[InstanceSlots] = []

    def rebuild(self, order: list[InstanceSlots]) -> None:
        """Start anew with these instances."""
        self._lasting, self._expired = [], []
        for row in order:
            row.listed = False
            if len(row.leases) < row.capacity:
                self.add(row)

    def add(self, row: InstanceSlots) -> None:
        """Hold one of C{order} that has a free slot again and is not listed."""
        row.listed = True
        (self._expired if row.expired else self._lasting).append(row)

    def first(self) -> InstanceSlots | None:
        """One that has a free slot, drawn anew each time."""
        for rows in (self._lasting, self._expired):
            while rows:
                place = int(self._random.random() * len(rows))
                row = rows[place]
                if len(row.leases) < row.capacity:
                    return row
                row.listed = False
                rows[place] = rows[-1]
                rows.pop()
        return None
