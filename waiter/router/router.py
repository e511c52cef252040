"""The room that faces the clients, as one service."""

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred

from waiter.router.backend import BackendPool
from waiter.router.frontend import FrontendFactory
from waiter.router.listening import ListeningService


class Router(Service):
    """
    Listens last and stops listening first; requests under way are finished before anything they need is stopped.
    """

    def __init__(
        self,
        listening: ListeningService,
        frontend: FrontendFactory,
        backends: BackendPool,
        *,
        drain_timeout_secs: float,
    ) -> None:
        """
        @param drain_timeout_secs: how long requests may go on after the stop, before their connections are cut.
        """
        self.setName("router")
        self._listening = listening
        self._frontend = frontend
        self._backends = backends
        self._drain_timeout_secs = drain_timeout_secs

    def privilegedStartService(self) -> None:
        """Bind the sockets. A socket that cannot be bound ends the program."""
        super().privilegedStartService()
        self._listening.privilegedStartService()

    def startService(self) -> Deferred[None]:
        """Begin to accept."""
        super().startService()
        return maybeDeferred(self._listening.startService)

    def stopService(self) -> Deferred[None]:
        """Stop accepting, wait for the requests under way, close the connections to instances."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await maybeDeferred(self._listening.stopService)
        await self._frontend.drain(self._drain_timeout_secs)
        self._backends.close()
