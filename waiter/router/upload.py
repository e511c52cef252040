"""The body of a request on its way to an instance."""

from waiter.errors import BodyTooLarge
from waiter.router.fields import trailer_lines
from waiter.router.request import Request


class Upload:
    """
    Frames a request's body for the instance, and keeps a copy of a short one in case it has to be sent again.

    @ivar whole: a body in chunks is sent as one, with its length. Nothing may be taken before all of it has arrived.
    @ivar taken_bytes: how much of the body was taken.
    @ivar done: the end of it was taken, too.
    """

    __slots__ = ("_again", "_keep_bytes", "_kept", "_most_bytes", "_request", "done", "taken_bytes", "whole")

    def __init__(self, request: Request, *, keep_bytes: int, most_bytes: int | None = None) -> None:
        """
        @param keep_bytes: the longest beginning that is kept.
        @param most_bytes: the longest body that is accepted.
        """
        self._most_bytes = most_bytes
        self._request = request
        self._keep_bytes = keep_bytes
        self._kept: list[bytes] | None = [] if keep_bytes else None
        self._again: list[bytes] = []
        self.whole = False
        self.taken_bytes = 0
        self.done = False

    @property
    def framing(self) -> bytes:
        """The header line that is not among the client's others: it depends on the instance."""
        if not self._request.headers.chunked:
            return b""
        return b"content-length: %d\r\n" % self._request.arrived if self.whole else b"transfer-encoding: chunked\r\n"

    @property
    def replayable(self) -> bool:
        """Whether all that was taken can be taken again."""
        return self._kept is not None or not self.taken_bytes

    def check_length(self) -> None:
        """
        To be asked before anything is taken.

        @raise BodyTooLarge: what is known of the body's length is too much.
        """
        most = self._most_bytes
        if most is not None and max(self._request.headers.content_length or 0, self._request.arrived) > most:
            raise BodyTooLarge(f"The request's body has more than {most} bytes (request.max-body-bytes).")

    def rewind(self) -> None:
        """Begin anew. Must be C{replayable}."""
        if self._kept:
            self._again = self._kept
            self._kept = []
        self.taken_bytes = 0
        self.done = False

    def take(self) -> bytes:
        """What has arrived since the last time, as it is to be sent."""
        request = self._request
        pieces = self._again + request.take()
        self._again = []
        size = sum(map(len, pieces))
        self.taken_bytes += size
        if self._kept is not None:
            if self.taken_bytes > self._keep_bytes:
                self._kept = None
            else:
                self._kept += pieces
        self.done = request.complete
        if self.whole or not request.headers.chunked:
            return b"".join(pieces)
        if size:
            pieces.insert(0, b"%x\r\n" % size)
            pieces.append(b"\r\n")
        if self.done:
            pieces.append(b"0\r\n%b\r\n" % trailer_lines(request.trailers))
        return b"".join(pieces)
