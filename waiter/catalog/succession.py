"""Which version of a token serves while the newest one starts."""

from collections.abc import Callable, Sequence

import attrs

from waiter.catalog.descriptor import Descriptor
from waiter.model.service import Service


@attrs.frozen(kw_only=True)
class Choice:
    """
    What one kind of request may be answered by for some time after an edit.

    @ivar newest: the newest version.
    @ivar others: what it was before, the latest first.
    @ivar until: when only the newest is left, in seconds since the epoch.
    """

    newest: Descriptor
    others: Sequence[Descriptor]
    until: float


def _never(_service_id: str) -> bool:
    return False


def _nothing(_service: Service) -> None:
    return None


@attrs.frozen(kw_only=True)
class Succession:
    """
    The world as far as it matters for that.

    @ivar healthy: whether a service has a healthy instance.
    @ivar exists: whether a service runs, or is about to.
    @ivar start: begins to start a service; may be called as often as one likes.
    """

    healthy: Callable[[str], bool] = _never
    exists: Callable[[str], bool] = _never
    start: Callable[[Service], object] = _nothing

    def choose(self, choice: Choice) -> Descriptor:
        """The newest version if it is healthy or no other is. If it does not run at all it is started."""
        newest = choice.newest
        if self.healthy(newest.service.id):
            return newest
        for other in choice.others:
            if self.healthy(other.service.id):
                if not self.exists(newest.service.id):
                    self.start(newest.service)
                return other
        return newest
