"""The row of one instance in the slot table."""

from waiter.model.instance import Instance
from waiter.reservation.lease import Lease


class InstanceSlots:
    """
    What one router knows and does with one instance.

    Whoever changes a field that decides whether the instance serves calls L{refresh} afterwards.

    @ivar instance: as the latest update described it.
    @ivar assigned: how many slots this router may use.
    @ivar leases: the slots in use. There may be more of them than C{assigned} after an update took slots away.
    @ivar used_at: when it was used last, or it became known if nobody has ever asked for the service; in the clock's seconds.
    @ivar healthy: it is healthy and has been assigned to this router. C{unhealthy}, C{expired} and C{starting} hold for
        instances of all routers.
    @ivar reported: the latest update named it. A row outlives that while it is in use, locked or ejected.
    @ivar ejected_until: when it may serve again, in the clock's seconds; C{None} if it is not ejected.
    @ivar failures: failures in a row.
    @ivar killed: it was killed. Nothing takes that back: instance ids are never used again.
    @ivar lock: the lease of whoever is about to kill it.
    @ivar capacity: how many slots may be in use before none is free: C{assigned} while it serves, otherwise 0.
    @ivar rank: its place in the serving order, the best being 0.
    @ivar listed: whether the structure that finds free instances holds it.
    """

    __slots__ = (
        "assigned",
        "capacity",
        "ejected_until",
        "expired",
        "failures",
        "healthy",
        "instance",
        "killed",
        "leases",
        "listed",
        "lock",
        "rank",
        "reported",
        "starting",
        "unhealthy",
        "used_at",
    )

    def __init__(self, instance: Instance, used_at: float) -> None:
        self.instance = instance
        self.used_at = used_at
        self.assigned = 0
        self.leases: set[Lease] = set()
        self.healthy = False
        self.unhealthy = False
        self.expired = False
        self.starting = False
        self.reported = False
        self.ejected_until: float | None = None
        self.failures = 0
        self.killed = False
        self.lock: Lease | None = None
        self.capacity = 0
        self.rank = 0
        self.listed = False

    def refresh(self) -> None:
        """Compute C{capacity} anew. Only healthy instances serve; expired ones may be."""
        serves = (
            self.healthy
            and not self.unhealthy
            and not self.starting
            and self.ejected_until is None
            and not self.killed
            and self.lock is None
        )
        self.capacity = self.assigned if serves else 0

    @property
    def free(self) -> int:
        """How many slots can be given out now."""
        return max(0, self.capacity - len(self.leases))

    @property
    def idle(self) -> bool:
        """Whether it serves nobody, and nobody has locked it."""
        return self.reported and not self.leases and self.lock is None and not self.killed

    @property
    def disposable(self) -> bool:
        """Whether nothing is lost when the row goes."""
        return not self.reported and not self.leases and self.lock is None and self.ejected_until is None

    @property
    def tags(self) -> list[str]:
        """Its condition in the words of the API."""
        conditions = {
            "ejected": self.ejected_until is not None,
            "expired": self.expired,
            "healthy": self.healthy,
            "killed": self.killed,
            "locked": self.lock is not None,
            "starting": self.starting,
            "unhealthy": self.unhealthy,
        }
        return [tag for tag, holds in conditions.items() if holds]
