"""One request as a client sends it."""

from waiter.router.fields import Field
from waiter.router.headers import RequestHeaders


class Request:
    """
    A request from the moment its head is there; the rest of it arrives while it is worked on.

    @ivar target: path and query.
    @ivar body: pieces that have arrived and were not taken yet; C{None} when nobody wants them, and they are dropped.
    @ivar arrived: how many bytes of the body have arrived.
    @ivar complete: whether all of it has.
    @ivar trailers: what followed a chunked body.
    @ivar tunnel: it asks to become a WebSocket.
    """

    __slots__ = ("arrived", "body", "complete", "headers", "method", "target", "trailers", "tunnel")

    def __init__(self, method: bytes, target: bytes, headers: RequestHeaders, *, complete: bool = False) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body: list[bytes] | None = []
        self.arrived = 0
        self.complete = complete
        self.trailers: list[Field] = []
        self.tunnel = False

    def take(self) -> list[bytes]:
        """The pieces of the body that have arrived since the last time."""
        body = self.body
        if not body:
            return []
        self.body = []
        return body

    def discard(self) -> None:
        """Drop what has arrived and what will."""
        self.body = None
