"""A router directory that a test fills."""

from collections.abc import Callable, Mapping

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from waiter.discovery.routers import IRouterDirectory


@implementer(IRouterDirectory)
class MemoryRouterDirectory(Service):
    """
    Routers that come and go as the test says; the first of them leads.

    @ivar failure: while it is an exception, every Deferred fails with it.
    """

    def __init__(self, router_id: str, url: str) -> None:
        self.failure: BaseException | None = None
        self._members = {router_id: url}
        self._subscribers: list[Callable[[], object]] = []

    def join(self, router_id: str, url: str) -> None:
        """One more router."""
        self._members[router_id] = url
        self._changed()

    def leave(self, router_id: str) -> None:
        """One router less."""
        del self._members[router_id]
        self._changed()

    def members(self) -> Deferred[Mapping[str, str]]:
        return succeed(dict(self._members)) if self.failure is None else fail(self.failure)

    def leader(self) -> Deferred[str | None]:
        return succeed(next(iter(self._members), None)) if self.failure is None else fail(self.failure)

    def subscribe(self, changed: Callable[[], object]) -> None:
        self._subscribers.append(changed)

    def _changed(self) -> None:
        for subscriber in self._subscribers:
            subscriber()
