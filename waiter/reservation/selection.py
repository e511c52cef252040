"""Whom to serve with, and whom to kill: pure rules over the slot table."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Literal

from waiter.reservation.slots import InstanceSlots

LoadBalancing = Literal["oldest", "youngest", "random"]


def serving_order(rows: Iterable[InstanceSlots], load_balancing: LoadBalancing) -> list[InstanceSlots]:
    """
    The instances, the one to serve with first in front.

    Expired instances come last, and the oldest of them very last: they are to be replaced, the oldest first, and each
    request they get keeps them alive. The others are sorted by their start (an unknown one counts as the earliest), the
    youngest in front if so wished. For C{random} the order only separates the expired from the others.
    """

    def age_order(row: InstanceSlots) -> tuple[float, str]:
        return (row.instance.started_at or 0.0, row.instance.id)

    rows = list(rows)
    lasting = sorted((row for row in rows if not row.expired), key=age_order, reverse=load_balancing == "youngest")
    expired = sorted(
        (row for row in rows if row.expired), key=lambda row: (-(row.instance.started_at or 0.0), row.instance.id)
    )
    return lasting + expired


def pick(
    order: Sequence[InstanceSlots],
    exclude: Collection[str],
    load_balancing: LoadBalancing,
    draw: Callable[[Sequence[InstanceSlots]], InstanceSlots],
) -> InstanceSlots | None:
    """
    The instance to serve with: the first of C{order} that has a free slot and is not excluded. If C{random}, any that has
    a free slot, an expired one only if no other has.

    @param draw: picks one of several at random.
    """
    free = (row for row in order if len(row.leases) < row.capacity and row.instance.id not in exclude)
    first = next(free, None)
    if first is None or load_balancing != "random":
        return first
    return draw([first, *(row for row in free if row.expired == first.expired)])


def choose_victim(
    rows: Collection[InstanceSlots],
    exclude: Collection[str],
    load_balancing: LoadBalancing,
    now: float,
    lingering_secs: float,
) -> InstanceSlots | None:
    """
    The instance to kill when there is one too many, or C{None} if none may be killed.

    In this order: idle expired (the oldest), idle unhealthy (an ejected one first, then the youngest), idle ejected, idle
    healthy (the youngest; with C{youngest} load balancing the oldest), and last expired ones whose requests all linger.

    @param now: the clock's seconds.
    @param lingering_secs: from what age on a request does not keep an expired instance alive.
    """
    replacing = any(row.expired for row in rows)
    replacement_starts = replacing and any(row.starting for row in rows)

    def killable(row: InstanceSlots) -> bool:
        if not row.reported or row.killed or row.lock is not None or row.instance.id in exclude:
            return False
        if row.leases and not (row.expired and all(lease.since < now - lingering_secs for lease in row.leases)):
            return False
        ejected = row.ejected_until is not None
        if replacing and row.healthy and not ejected and not row.expired:
            return False
        return not replacement_starts or (row.unhealthy and not row.starting)

    def worth(row: InstanceSlots) -> tuple[bool, bool, bool, bool, float, tuple[str, float, str]]:
        age = row.instance.started_at or 0.0
        return (
            not row.leases,
            row.expired,
            row.unhealthy,
            row.ejected_until is not None,
            -age if row.expired or load_balancing == "youngest" else age,
            row.instance.order,
        )

    return max(filter(killable, rows), key=worth, default=None)
