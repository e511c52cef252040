"""A WebSocket through Waiter."""

from typing import TYPE_CHECKING

from zope.interface import implementer

from waiter.errors import WaiterError
from waiter.model.outcome import Outcome
from waiter.router.answers import Answer
from waiter.router.backend_connection import BackendConnection
from waiter.router.fields import Field
from waiter.router.interface import IAsker, IResponder
from waiter.router.sockets import half_close

if TYPE_CHECKING:
    from waiter.router.client_connection import ClientConnection
    from waiter.router.exchange import Exchange


@implementer(IResponder, IAsker)
class Tunnel:
    """
    Passes bytes in both directions, each as fast as its receiver takes them, until both sides have ended or one is gone.

    It takes the place of the exchange at the client's connection and of the attempt at the instance's. The exchange keeps
    the slot, and is told the end.
    """

    taking = False
    touched = True
    since = 0.0

    def __init__(
        self, client: "ClientConnection", backend: BackendConnection, exchange: "Exchange", *, idle_secs: float
    ) -> None:
        """
        @param idle_secs: how long it may be quiet in both directions.
        """
        self.request = exchange.request
        self._client = client
        self._backend = backend
        self._exchange = exchange
        self._idle_secs = idle_secs
        self._client_ended = False
        self._instance_ended = False
        self._closed = False

    def open(self, data: bytes) -> None:
        """
        Begin.

        @param data: the first bytes from the instance.
        """
        self._client.parts.metrics.router.upgrades_open += 1
        self._backend.asker = self
        if self._client.full:
            self.client_full()
        if data:
            self.instance_sent(data)
        self._client.tunnel(self)

    def begin(self) -> None:
        """Nothing: L{open} comes before this has to do with the client's connection."""

    def _close(self, outcome: Outcome) -> None:
        if self._closed:
            return
        self._closed = True
        self._client.parts.metrics.router.upgrades_open -= 1
        self._exchange.tunnel_closed(outcome)
        if outcome is Outcome.SUCCESS or outcome is Outcome.SOCKET_TIMEOUT:
            self._backend.close()
            self._client.close()
        else:
            self._backend.abort()
            self._client.abort()

    # The client's side

    def client_sent(self, data: bytes) -> None:
        """Pass it on."""
        self.touched = True
        self._exchange.request.arrived += len(data)
        self._backend.transport.write(data)

    def client_ended(self) -> bool:
        """End the other direction, too, when the instance has ended it."""
        self._client_ended = True
        if self._instance_ended:
            self._close(Outcome.SUCCESS)
        else:
            half_close(self._backend.transport)
        return True

    def client_lost(self, cleanly: bool) -> None:
        """Let the instance notice."""
        self._close(Outcome.SUCCESS if cleanly else Outcome.CLIENT_ERROR)

    def client_full(self) -> None:
        """Read nothing from the instance for now."""
        self._backend.transport.pauseProducing()

    def client_ready(self) -> None:
        """Read on."""
        self._backend.transport.resumeProducing()

    def body_arrived(self) -> None:
        """There is no body."""

    def give_up(self, error: WaiterError) -> None:  # noqa: ARG002 - nobody could be told
        """Break off."""
        self._close(Outcome.GENERIC_ERROR)

    def router_stops(self, secs: float) -> None:
        """Go on: both sides are there."""

    def waited(self, secs: float) -> None:
        """Close what nobody uses."""
        if secs > self._idle_secs:
            self._close(Outcome.SOCKET_TIMEOUT)

    # The instance's side

    def instance_sent(self, data: bytes) -> None:
        """Pass it on."""
        self.touched = True
        self._exchange.response_bytes += len(data)
        self._client.transport.write(data)

    def instance_ended(self) -> None:
        """End the other direction, too, when the client has ended it."""
        self._instance_ended = True
        if self._client_ended:
            self._close(Outcome.SUCCESS)
        else:
            half_close(self._client.transport)

    def broken(self, error: WaiterError, begun: bool) -> None:  # noqa: ARG002 - nobody could be told
        """Let the client notice."""
        self._close(Outcome.SUCCESS if self._backend.lost_cleanly else Outcome.INSTANCE_ERROR)

    def instance_full(self) -> None:
        """Read nothing from the client for now."""
        self._client.hold(True)

    def instance_ready(self) -> None:
        """Read on."""
        self._client.hold(False)

    def informed(self, answer: Answer) -> None:
        """There are no answers any more."""

    def progress(self, answer: Answer | None, pieces: list[bytes], ended: bool, trailers: list[Field]) -> None:
        """There are no answers any more."""

    def switched(self, answer: Answer, data: bytes) -> None:
        """There are no answers any more."""
