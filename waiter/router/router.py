"""The room that faces the clients, as one service."""

from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from zope.interface import implementer

from waiter.router.backend import BackendPool
from waiter.router.frontend import FrontendFactory
from waiter.support.ordered import IHasty


@implementer(IHasty)
class Router(Service):
    """
    The connections of clients and to instances. Stopped after whatever accepts clients and calls for instances, and before
    all that requests under way still need.
    """

    def __init__(
        self,
        frontend: FrontendFactory,
        backends: BackendPool,
        *,
        drain_timeout_secs: float,
        draining: Callable[[], object],
    ) -> None:
        """
        @param drain_timeout_secs: how long requests may go on after the stop, before their connections are cut.
        @param draining: called when that begins, before it is decided for whom it is worth waiting.
        """
        self.setName("router")
        self._frontend = frontend
        self._backends = backends
        self._drain_timeout_secs = drain_timeout_secs
        self._draining = draining

    def stopService(self) -> Deferred[None]:
        """
        Wait for the requests under way, then close the connections to instances. Cancelling it breaks off what still goes
        on.
        """
        super().stopService()
        self._draining()
        return Deferred.fromCoroutine(self._stop())

    def hurry(self) -> None:
        """Answer or break off at once whatever goes on."""
        self._frontend.hurry()

    async def _stop(self) -> None:
        try:
            await self._frontend.drain(self._drain_timeout_secs)
        finally:
            self._frontend.cut()
            self._backends.close()
