"""From a client's bytes to its requests."""

from collections.abc import Callable
from typing import Any

from httptools import (
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from waiter.errors import BadRequest, HeadTooLarge, MethodNotAllowed, NotImplementedHere, WaiterError
from waiter.router.fields import Field, fields_bytes
from waiter.router.first_lines import NOT_HTTP, FirstLines
from waiter.router.headers import RequestHeaders, origin_form, read_request
from waiter.router.known_heads import KnownHeads
from waiter.router.limits import Limits
from waiter.router.request import Request

_PIECE = 4096
_LARGE_PIECE = 65536
_NO_BYTES = b"\0"
# The end of the piece is one of them.
_AFTER_ZERO = (b"", b"0", b";", b"\r")

# Note [Small pieces]
#
# The parser cannot be stopped, so whatever requests are in what it is fed come to be at once. It is therefore fed no more
# than a few at a time: 4 KiB. Inside a body there are none. A body of known length is not fed at all. A chunked body is fed
# in larger pieces as long as they cannot contain its end: the last chunk begins with zeros at the beginning of a line.


class RequestReader:
    """
    Reads the requests of one connection.

    The parser cannot be stopped in the middle of what it is fed, so it is fed small pieces, and the caller decides when
    the next one comes.

    @ivar current: the request whose body is being read.
    @ivar in_head: a request has begun and its head is not all there.
    @ivar ended: the client has said that the last request is its last; whatever comes is ignored.
    """

    def __init__(
        self, limits: Limits, first_lines: FirstLines, known_heads: KnownHeads, arrived: Callable[[Request], object]
    ) -> None:
        """
        @param arrived: told each request when its head is there; it must not call back.
        """
        self._limits = limits
        self._first_lines = first_lines
        self._known_heads = known_heads
        self._arrived = arrived
        # Made when it is needed.
        self._parser: Any = None
        self._url = b""
        self._fields: list[Field] = []
        # Fed since the head began, fed now, and of trailers.
        self._head_bytes = 0
        self._piece_bytes = 0
        self._trailer_bytes = 0
        self._left: int | None = None
        # The last chunk may have begun. If it has, no more of the body comes.
        self._ending = False
        # What a call by the parser has raised: the parser's own error shows it only while no other one is being handled.
        self._refusal: WaiterError | None = None
        self._last: Request | None = None
        self._heads = 0
        self.current: Request | None = None
        self.in_head = False
        self.ended = False

        # The headers that came last, if they may come again.
        self._block = _NO_BYTES
        self._headers: RequestHeaders

    @property
    def between(self) -> bool:
        """Whether the last request has been read to its end and nothing of the next one has."""
        return self.current is None and not self.in_head

    @property
    def room(self) -> int:
        """How many bytes may be fed at once."""
        if self._left is not None:
            return self._left
        return _PIECE if self.current is None else _LARGE_PIECE

    def repeated(self, data: bytes) -> Request | None:
        """
        The request that C{data} is, if that is one whole request without a body, with headers that are known (see Note
        [Known heads]). Otherwise C{None}, and nothing has been read. To be called only between two requests.
        """
        end = data.find(b"\r\n")
        if len(data) - end != len(self._block) or not data.endswith(self._block):
            known = self._known_heads.find(data[end:])
            if known is None:
                return None
            self._block, self._headers = known
        line = self._first_lines.read(data[:end])
        if line is None:
            # The other parser says what it is.
            return None
        method, target = line
        headers = self._headers
        self.ended = not headers.keep_alive
        return Request(method, target, headers, complete=True)

    def feed(self, data: bytes) -> bytes:
        """
        Read on.

        @param data: at most C{room} bytes.
        @return: those of them that were not read. They are to be fed again; but if they follow a request that was to change
            the protocol, only when it did not.
        @raise WaiterError: the client cannot be understood. Nothing more can be read.
        """
        if self.ended:
            return b""
        if self._left is not None:
            # The parser would only copy it. It stays behind in this message, so the next one gets a new parser.
            self.on_body(data)
            if self._left == 0:
                self._parser = None
                self.on_message_complete()
            return b""
        rest = b""
        ending = _may_end(data)
        if len(data) > _PIECE and (ending or self._ending):
            data, rest = data[:_PIECE], data[_PIECE:]
            ending = _may_end(data)
        fresh = self.between
        self._heads = 0
        rest = self._parse(data) + rest
        self._ending = self._ending or ending
        if self.in_head:
            # A part of the first piece may have belonged to the message before.
            if self._head_bytes > self._limits.head_bytes + _PIECE:
                raise self._too_large()
        elif fresh and not rest:
            self._remember(data)
        return rest

    def close(self) -> None:
        """Nothing more is read. Lets go of what would keep this alive in a circle."""
        self.ended = True
        self._parser = self._refusal = self.current = None
        self._arrived = _ignore

    def _parse(self, data: bytes) -> bytes:
        self._piece_bytes = len(data)
        self._head_bytes += len(data)
        if self._parser is None:
            self._parser = HttpRequestParser(self)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            return self._upgrade(data[upgrade.args[0] :])
        except HttpParserError as error:
            # To the parser anything is an error that follows "Connection: close".
            if self.ended:
                return b""
            raise self._refusal or _refusal(error) from error
        return b""

    # What the parser calls.

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self.in_head = True
        self._head_bytes = self._piece_bytes
        self._url = b""
        self._fields = []

    def on_url(self, url: bytes) -> None:
        """The target, or a part of it."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; after a body, a trailer."""
        if self.current is None:
            self._fields.append((name, value))
            return
        self.current.trailers.append((name, value))
        self._trailer_bytes += len(name) + len(value) + 4
        if self._trailer_bytes > self._limits.head_bytes:
            self._refusal = self._too_large()
            raise self._refusal

    def on_headers_complete(self) -> None:
        """The end of a request's head."""
        parser = self._parser
        method = parser.get_method()
        version = parser.get_http_version()
        try:
            self._check(method, version)
            headers = read_request(self._fields, int(version[2]))
            target, headers = origin_form(method, self._url, headers)
        except WaiterError as error:
            self._refusal = error
            raise
        self._last = request = Request(method, target, headers)
        self._heads += 1
        self._trailer_bytes = 0
        self._ending = False
        self.in_head = False
        if parser.should_upgrade():
            # The parser takes the request to end here, even if a body follows.
            return
        self.current = request
        if headers.content_length:
            self._left = headers.content_length
        self._arrived(request)

    def on_body(self, data: bytes) -> None:
        """A part of a body."""
        request = self.current
        if request is not None:
            request.arrived += len(data)
            if request.body is not None:
                request.body.append(data)
        if self._left is not None:
            self._left -= len(data)
        self._ending = False

    def on_message_complete(self) -> None:
        """The end of a request."""
        request = self.current
        if request is None:
            return
        self.current = None
        self._left = None
        request.complete = True
        self.ended = not request.headers.keep_alive

    # Inside.

    def _check(self, method: bytes, version: str) -> None:
        if method in NOT_HTTP:
            raise NotImplementedHere(f"The method {method.decode()} is not supported.")
        if version not in {"1.0", "1.1"}:
            raise BadRequest(f"HTTP/{version} is not supported, only HTTP/1.1 and HTTP/1.0 are.")
        if method == b"CONNECT":
            raise MethodNotAllowed("CONNECT is not supported: Waiter is not a forward proxy.")
        if len(self._fields) > self._limits.header_count:
            raise HeadTooLarge(f"The request has more than {self._limits.header_count} headers.")
        limit = self._limits.head_bytes
        if self._head_bytes > limit < len(method) + len(self._url) + 14 + fields_bytes(self._fields):
            raise self._too_large()

    def _upgrade(self, rest: bytes) -> bytes:
        """A request wants to change the protocol: what becomes of it."""
        request = self._last
        if request is None:
            raise BadRequest("The request cannot be understood.")
        headers = request.headers
        upgrade = headers.upgrade
        self._parser = None
        if request.method == b"GET" and headers.bodiless and upgrade is not None and upgrade.lower() == b"websocket":
            request.tunnel = request.complete = True
            self._arrived(request)
            return rest
        # Every other protocol is ignored: the new parser reads the same request without the word.
        fields = b"".join(b"%b: %b\r\n" % (name, value) for name, value in headers.fields if name.lower() != b"upgrade")
        self._parse(b"%b %b HTTP/1.%d\r\n%b\r\n" % (request.method, self._url, headers.minor, fields))
        return rest

    def _remember(self, data: bytes) -> None:
        """Keep the headers of what was just read, if it was one request that L{repeated} may find again."""
        request = self._last
        if self._heads != 1 or request is None or not self.between:
            return
        headers = request.headers
        if (
            not headers.bodiless
            or not headers.minor
            or headers.upgrade is not None
            or not data.startswith(request.method)
            or data.find(b"\r\n\r\n") != len(data) - 4
        ):
            return
        self._headers = headers
        self._block = data[data.find(b"\r\n") :]
        self._known_heads.remember(self._block, headers)

    def _too_large(self) -> WaiterError:
        return HeadTooLarge(f"The request's head has more than {self._limits.head_bytes} bytes.")


def _ignore(request: Request) -> None:
    """What a closed reader tells."""


def _may_end(data: bytes) -> bool:
    """Whether the last chunk of a chunked body may begin in C{data}, or where it ends (Note [Small pieces])."""
    at = data.find(b"\r\n0")
    while at >= 0:
        if data[at + 3 : at + 4] in _AFTER_ZERO:
            return True
        at = data.find(b"\r\n0", at + 1)
    return data.endswith((b"\r", b"\r\n"))


def _refusal(error: HttpParserError) -> WaiterError:
    if isinstance(error, HttpParserInvalidMethodError):
        return NotImplementedHere("The method is not one that Waiter knows.")
    reason = str(error)
    if "PRI" in reason:
        return BadRequest("HTTP/2 is not supported, only HTTP/1.1 and HTTP/1.0 are.")
    return BadRequest(f"The request cannot be understood: {reason}.")
