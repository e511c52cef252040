"""Who is started first when there is not room for all: a pure rule."""

from collections.abc import Iterable

import attrs

from waiter.model.resources import Resources

#: How long others that need less may be started before one that needs more.
PATIENCE_SECS = 10.0


@attrs.frozen(kw_only=True)
class Place:
    """
    A service that misses instances.

    @ivar need: what one of them needs.
    @ivar waited_for: whether requests wait for it.
    @ivar has_instances: whether there are any already.
    @ivar since: from when on its next instance has had to wait, in the clock's seconds; C{None} if it has not had to.
    """

    service_id: str
    need: Resources
    waited_for: bool = False
    has_instances: bool = False
    since: float | None = None

    def keeps_room(self, now: float) -> bool:
        """
        Whether nobody behind it is started before it although there is room for that one. Otherwise small ones would
        take every piece of room before it is large enough. Nobody is held up by a service that nobody waits for.
        """
        return self.waited_for and self.since is not None and now >= self.since + PATIENCE_SECS


def in_line(places: Iterable[Place]) -> list[Place]:
    """
    The services, the one to be started first in front: those that requests wait for before the others, then those that
    have no instance before those that want more, then those that have waited longest.
    """
    never = float("inf")
    return sorted(
        places,
        key=lambda place: (not place.waited_for, place.has_instances, never if place.since is None else place.since),
    )
