"""One connection to an instance."""

from collections.abc import Callable
from math import inf
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from waiter.errors import InstanceFailed, WaiterError
from waiter.model.instance import Instance
from waiter.router.answers import Answer, read_answer
from waiter.router.fields import Field, fields_bytes
from waiter.router.interface import IAsker
from waiter.router.limits import Limits
from waiter.router.sockets import send_at_once

_HEAD_END = b"\r\n\r\n"
_NO_BYTES = b"\0"

# Note [Known answers]
#
# An instance's answers begin with the same bytes again and again. The head of an answer whose length is known is remembered
# as raw bytes, together with what it means. The parser starts every message in the same state, so the same bytes mean the
# same: they need no parser, and neither does a body of known length. Either the parser has seen a message to its end or
# nothing of it; where it was left in the middle, a new one takes its place.


class _HeadEnded(Exception):
    """Stops the parser where the answer to a HEAD ends."""


class _Surplus(Exception):
    """Stops the parser where something follows the answer."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class BackendConnection(Protocol):
    """
    Sends requests to an instance, one at a time, and reads the answers.

    @ivar instance: the other end.
    @ivar asker: whose request is under way.
    @ivar uses: how many requests were sent.
    @ivar reusable: whether another request can be sent; says something between two requests only.
    @ivar full: the instance does not read fast enough what is sent to it.
    @ivar lost_cleanly: whether the instance closed the connection, rather than break it.
    @ivar idle_since: when the last request ended, in the clock's seconds.
    @ivar idle_secs: how long it can be used again after that, by the shortest time that the instance has announced.
    """

    # Twisted's or a carrier: more than ITransport has.
    transport: Any

    def __init__(
        self,
        instance: Instance,
        *,
        product: bytes,
        limits: Limits,
        lost: "Callable[[BackendConnection], object]",
    ) -> None:
        """
        @param product: Waiter's name in C{Via}.
        @param lost: told when the connection is gone.
        """
        self.instance = instance
        self.asker: IAsker | None = None
        self.uses = 0
        self.reusable = True
        self.full = False
        self.lost_cleanly = False
        self.idle_since = 0.0
        self.idle_secs = inf
        self._product = product
        self._limits = limits
        self._lost = lost
        self._open = False

        self._parser: Any = HttpResponseParser(self)
        self._known: Answer | None = None
        self._known_bytes = _NO_BYTES
        self._head_only = False
        # The state of one answer.
        self._begun = False
        self._tunnelling = False
        self._until_closed = False
        self._left: int | None = None
        self._answer: Answer | None = None
        self._keep_alive = False
        self._complete = False
        # What a call by the parser has raised: the parser's own error shows it only while no other one is being handled.
        self._refusal: WaiterError | None = None
        # What the parser has found in one segment.
        self._head: Answer | None = None
        self._informed: list[Answer] = []
        self._informed_count = 0
        self._pieces: list[bytes] = []
        # What it is gathering.
        self._in_head = False
        # Fed since the head began, fed now, and of trailers.
        self._head_bytes = 0
        self._piece_bytes = 0
        self._trailer_bytes = 0
        self._reason = b""
        self._fields: list[Field] = []
        self._trailers: list[Field] = []

    def ask(self, asker: IAsker, data: bytes, *, head_only: bool) -> None:
        """
        Send the head of a request and what there is of its body. The rest is written to the transport.

        @param head_only: whether the answer has no body, being one to C{HEAD}.
        """
        self.asker = asker
        self.uses += 1
        self.reusable = False
        self._head_only = head_only
        self._begun = False
        self.transport.write(data)

    def abort(self) -> None:
        """Cut the connection: what it still carries is not wanted."""
        self.asker = None
        self.reusable = False
        if self._open:
            self._open = False
            self.transport.unregisterProducer()
            self.transport.abortConnection()

    def close(self) -> None:
        """End the connection after what was written to it."""
        self.asker = None
        self.reusable = False
        if self._open:
            self._open = False
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def cut(self) -> None:
        """End the connection: in peace if it is idle, otherwise by force, and whoever uses it is told."""
        if self.asker is None:
            self.close()
        elif self._open:
            self.transport.unregisterProducer()
            self.transport.abortConnection()

    # What the transport calls.

    def connectionMade(self) -> None:
        """Begin."""
        self._open = True
        send_at_once(self.transport)
        self.transport.registerProducer(self, True)

    def pauseProducing(self) -> None:
        """The instance does not read fast enough."""
        self.full = True
        if self.asker is not None:
            self.asker.instance_full()

    def resumeProducing(self) -> None:
        """It has read what was sent."""
        self.full = False
        if self.asker is not None:
            self.asker.instance_ready()

    def stopProducing(self) -> None:
        """Nothing can be sent any more. That the connection is lost, C{connectionLost} says, perhaps later."""
        self.reusable = False

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the instance."""
        asker = self.asker
        if asker is None:
            # Nobody asked for anything. The next answer must not seem to begin with this.
            self.abort()
            return
        if not self._begun:
            self._begun = True
            known = self._known
            if known is not None and data.startswith(self._known_bytes) and not self._head_only:
                # Note [Known answers]
                length = known.length
                body = data[len(self._known_bytes) :]
                if len(body) == length:
                    self.reusable = known.keep_alive
                    asker.progress(known, [body] if length else [], True, [])
                    return
                if len(body) < length:
                    self._keep_alive = known.keep_alive
                    self._left = length - len(body)
                    asker.progress(known, [body] if body else [], False, [])
                    return
            self._answer = None
            self._complete = False
            self._informed_count = 0
            self._parse(asker, data, first=True)
        elif self._left is not None:
            self._read_body(asker, data, self._left)
        elif self._until_closed:
            asker.progress(None, [data], False, [])
        elif self._tunnelling:
            asker.instance_sent(data)
        else:
            self._parse(asker, data, first=False)

    def readConnectionLost(self) -> None:
        """The instance sends no more."""
        if self._tunnelling and self.asker is not None:
            self.asker.instance_ended()
            return
        self.lost_cleanly = True
        self._ended()
        self.close()

    def writeConnectionLost(self) -> None:
        """All has been sent that a tunnel's client sent before it closed its side."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        """The connection is gone."""
        self._open = False
        self.reusable = False
        self.lost_cleanly = reason is None or reason.check(ConnectionDone) is not None
        self._ended()
        # They keep this alive in a circle.
        self._parser = self._refusal = None
        self._lost(self)

    # Inside.

    def _ended(self) -> None:
        """No more comes. For some answers that is the way to end, if it was not by force."""
        asker, self.asker = self.asker, None
        if asker is None:
            return
        if self._until_closed and self.lost_cleanly:
            asker.progress(None, [], True, [])
        else:
            asker.broken(
                InstanceFailed(
                    "Request to service backend failed",
                    details={"reason": "the instance closed the connection before it had answered"},
                ),
                self._begun,
            )

    def _fail(self, error: WaiterError) -> None:
        """The instance cannot be understood."""
        asker = self.asker
        self.abort()
        if asker is not None:
            asker.broken(error, True)

    def _read_body(self, asker: IAsker, data: bytes, left: int) -> None:
        if len(data) < left:
            self._left = left - len(data)
            asker.progress(None, [data], False, [])
            return
        self.reusable = self._keep_alive and len(data) == left
        self._left = None
        self._parser = HttpResponseParser(self)
        asker.progress(None, [data if len(data) == left else data[:left]], True, [])

    def _parse(self, asker: IAsker, data: bytes, *, first: bool) -> None:
        clean = True
        self._piece_bytes = len(data)
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._switch(asker, data[upgrade.args[0] :])
            return
        except HttpParserError as error:
            if self._head_only and self._complete:
                # The parser does not say where the head ended. If it was not at the very end, something followed.
                clean = data.endswith(_HEAD_END) and data.count(_HEAD_END) == 1
                self._parser = HttpResponseParser(self)
            elif self._complete:
                clean = False
            else:
                self._fail(self._refusal or _misunderstood(error))
                return
        if self._in_head and self._head_bytes > self._limits.answer_head_bytes:
            self._fail(self._too_large())
            return
        for answer in self._informed:
            asker.informed(answer)
        self._informed = []
        if self.asker is not asker:
            return
        head, pieces, trailers = self._head, self._pieces, self._trailers
        if head is not None and first:
            self._remember(head, data)
        if self._complete:
            self.reusable = clean and self._keep_alive
            self._head, self._pieces, self._trailers = None, [], []
            asker.progress(head, pieces, True, trailers)
        elif head is not None or pieces:
            self._head, self._pieces = None, []
            asker.progress(head, pieces, False, [])

    def _switch(self, asker: IAsker, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            self._fail(InstanceFailed("The instance's answer cannot be understood."))
            return
        self._tunnelling = True
        asker.switched(answer, data)

    def _remember(self, answer: Answer, data: bytes) -> None:
        """See Note [Known answers]."""
        if (
            self._head_only
            or not data.startswith(b"HTTP/1.")
            or not (answer.bodiless or answer.content_length is not None)
        ):
            return
        head = data[: data.find(_HEAD_END) + len(_HEAD_END)]
        # Not one that came after an informational answer.
        if head.startswith(b" %d" % answer.status, 8):
            self._known = answer
            self._known_bytes = head

    def _too_large(self) -> WaiterError:
        return InstanceFailed(
            f"The head of the instance's answer has more than {self._limits.answer_head_bytes} bytes."
        )

    # What the parser calls.

    def on_message_begin(self) -> None:
        """The first byte of an answer."""
        if self._complete:
            raise _Surplus
        self._in_head = True
        self._head_bytes = self._piece_bytes
        self._reason = b""
        self._fields = []

    def on_status(self, reason: bytes) -> None:
        """The reason phrase, or a part of it."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; after a body, a trailer."""
        if self._in_head:
            self._fields.append((name, value))
            return
        self._trailers.append((name, value))
        self._trailer_bytes += len(name) + len(value) + 4
        if self._trailer_bytes > self._limits.answer_head_bytes:
            self._refusal = self._too_large()
            raise self._refusal

    def on_headers_complete(self) -> None:
        """The end of an answer's head."""
        try:
            self._in_head = False
            if self._head_bytes > self._limits.answer_head_bytes < fields_bytes(self._fields):
                raise self._too_large()
            self._trailer_bytes = 0
            version = self._parser.get_http_version()
            if version not in {"1.0", "1.1"}:
                raise InstanceFailed(f"The instance answered with HTTP/{version}.")
            status = self._parser.get_status_code()
            answer = read_answer(status, int(version[2]), self._reason, self._fields, product=self._product)
            if status == 101:
                if not self._parser.should_upgrade():
                    raise InstanceFailed("The instance changed the protocol without saying to which.")
                self._answer = answer
            elif status < 200:
                if answer.content_length or answer.chunked:
                    # There is no such thing, and where it ends the parser and others do not agree on.
                    raise InstanceFailed("The instance sent an informational answer with a body.")
                self._informed_count += 1
                if self._informed_count > self._limits.informational_answers:
                    raise InstanceFailed("The instance sends informational answers and no real one.")
                self._informed.append(answer)
            else:
                self._answer = self._head = answer
                self._keep_alive = answer.keep_alive
                # Note [Known answers]: those that are known have been here once.
                if answer.idle_secs is not None and answer.idle_secs < self.idle_secs:
                    self.idle_secs = answer.idle_secs
                if self._head_only:
                    self._complete = True
                    raise _HeadEnded
                if not answer.bodiless:
                    if answer.content_length is None:
                        self._until_closed = not answer.chunked
                    elif answer.content_length:
                        self._left = answer.content_length
        except WaiterError as error:
            self._refusal = error
            raise

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        self._pieces.append(data)
        if self._left is not None:
            self._left -= len(data)

    def on_message_complete(self) -> None:
        """The end of an answer."""
        answer = self._answer
        if answer is not None and answer.status != 101:
            self._complete = True
            self._left = None


def _misunderstood(error: HttpParserError) -> WaiterError:
    return InstanceFailed("The instance's answer cannot be understood.", details={"reason": str(error)})
