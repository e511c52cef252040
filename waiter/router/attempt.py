"""One request at one instance: what is sent there and what comes back."""

from typing import TYPE_CHECKING, Any

import attrs
from zope.interface import implementer

from waiter.errors import BodyTooLarge, InstanceFailed, InstanceTimedOut, RequestTimeout, StreamTimeout, WaiterError
from waiter.router.answers import Answer, client_head
from waiter.router.backend_connection import BackendConnection
from waiter.router.conditions import without_cors
from waiter.router.fields import Field, trailer_lines
from waiter.router.interface import IAsker
from waiter.router.pace import Pace
from waiter.router.sockets import unsent_bytes
from waiter.router.telling import lines_for_instance
from waiter.router.upload import Upload

if TYPE_CHECKING:
    from waiter.router.exchange import Exchange

# From this size on, copying pieces into one costs more than sending them one by one.
_LARGE = 16384
_TOO_SLOW = "The client sends its body too slowly."


@implementer(IAsker)
class Attempt:
    """
    Sends a request over a connection to an instance and passes the answer on to the client, as the bytes come.

    Who takes them slowly slows down who sends them. What becomes of the request is for its exchange to say: it is told
    when the answer begins and when it ends, or that there is none.

    @ivar held: the instance's connection is not read, because the client does not take what has been read.
    """

    __slots__ = (
        "_backend",
        "_chunking",
        "_client",
        "_download_pace",
        "_exchange",
        "_unsent",
        "_upload",
        "_upload_pace",
        "held",
    )

    def __init__(self, exchange: "Exchange", backend: BackendConnection, upload: Upload | None) -> None:
        """
        @param upload: the request's body; C{None} if there is none.
        """
        self._exchange = exchange
        self._client = exchange.client
        self._backend = backend
        self._upload = upload
        self._chunking = False
        self._unsent: int | None = None
        # Of a body that is not all there, and of an answer that is not taken at once.
        self._upload_pace: Pace | None = None
        self._download_pace: Pace | None = None
        self.held = False

    def ask(self) -> None:
        """Send the request, as far as it is there."""
        exchange, backend, upload = self._exchange, self._backend, self._upload
        request = exchange.request
        client = self._client
        lines = lines_for_instance(request.headers, exchange.descriptor, client.forwarding, client.parts)
        if upload is None:
            data = b"%b %b HTTP/1.1\r\n%bx-cid: %b\r\n\r\n" % (request.method, request.target, lines, exchange.cid)
        else:
            more = upload.framing
            if request.headers.expects_continue and not exchange.continued:
                if self._client.parts.backends.speaks_old(backend.instance):
                    exchange.tell_to_continue()
                else:
                    more += b"expect: 100-continue\r\n"
            data = b"%b %b HTTP/1.1\r\n%b%bx-cid: %b\r\n\r\n%b" % (
                request.method,
                request.target,
                lines,
                more,
                exchange.cid,
                upload.take(),
            )
            exchange.taking = not (upload.done or backend.full)
            if not upload.done:
                self._upload_pace = self._pace(upload.taken_bytes)
        backend.ask(self, data, head_only=request.method == b"HEAD")

    def drop(self) -> None:
        """Give up: the instance may notice by the end of the connection."""
        self._backend.abort()

    # The body

    def body_arrived(self) -> None:
        """Pass on what has arrived of the body."""
        upload = self._upload
        if upload is None:
            return
        try:
            upload.check_length()
        except BodyTooLarge as error:
            self._exchange.give_up(error)
            return
        data = upload.take()
        if upload.done:
            self._exchange.taking = False
        elif self._sends_too_slowly(upload):
            self._exchange.give_up(RequestTimeout(_TOO_SLOW))
            return
        if data:
            self._backend.transport.write(data)

    def instance_full(self) -> None:
        """Let the client wait with its body."""
        self._exchange.taking = False

    def instance_ready(self) -> None:
        """Go on with the body."""
        upload = self._upload
        if upload is not None and not upload.done:
            self._exchange.taking = self._exchange.touched = True
            if self._upload_pace is not None:
                # What the instance did not take, the client could not send.
                self._upload_pace.restart(self._now(), upload.taken_bytes)
            self._client.pump()

    def _sends_too_slowly(self, upload: Upload) -> bool:
        """Once the answer has begun, it is between the instance and the client how long the rest of the body may take."""
        pace = self._upload_pace
        return pace is not None and self._exchange.answer is None and pace.too_slow(self._now(), upload.taken_bytes)

    def _pace(self, at: int) -> Pace:
        limits = self._client.parts.limits
        return Pace(limits.client_bytes_per_sec, limits.pace_secs, now=self._now(), at=at)

    def _now(self) -> float:
        return self._client.parts.clock.seconds()

    # The answer

    def informed(self, answer: Answer) -> None:
        """Pass on what the client can make use of."""
        headers = self._exchange.request.headers
        self._exchange.touched = True
        if answer.status == 100:
            if headers.expects_continue:
                self._exchange.tell_to_continue()
        elif headers.minor:
            self._client.transport.write(answer.lines + b"\r\n")

    def progress(self, answer: Answer | None, pieces: list[bytes], ended: bool, trailers: list[Field]) -> None:
        """Pass on what has come of the answer."""
        exchange = self._exchange
        exchange.touched = True
        out = []
        if answer is not None:
            if answer.status == 503 and exchange.ask_elsewhere(self, reusable=ended and self._is_sent):
                return
            out.append(self._head(answer))
        size = 0
        if pieces:
            size = len(pieces[0]) if len(pieces) == 1 else sum(map(len, pieces))
            exchange.response_bytes += size
            if self._chunking:
                out += (b"%x\r\n" % size, *pieces, b"\r\n")
            else:
                out += pieces
        if ended and self._chunking:
            out.append(b"0\r\n%b\r\n" % trailer_lines(trailers))
        if size > _LARGE and len(out) > 1:
            self._client.transport.writeSequence(out)
        else:
            self._client.transport.write(b"".join(out))
        if ended:
            exchange.answered(self)

    @property
    def _is_sent(self) -> bool:
        return self._upload is None or self._upload.done

    def _head(self, answer: Answer) -> bytes:
        exchange = self._exchange
        request = exchange.request
        more = exchange.begin_answer(answer)
        if exchange.cors_lines:
            answer = attrs.evolve(answer, lines=without_cors(answer.lines))
        exchange.keep, self._chunking, head = client_head(
            answer,
            minor=request.headers.minor,
            head_only=request.method == b"HEAD",
            keep=exchange.may_keep(),
            cid=exchange.cid,
            more=more,
        )
        return head

    def give_back(self, now: float) -> None:
        """
        The answer has ended: keep the connection for others if it is of use.

        @param now: the clock's seconds.
        """
        if self.held:
            self._backend.transport.resumeProducing()
        if self._is_sent:
            self._client.parts.backends.give_back(self._backend, now)
        else:
            # The instance did not wait for all of the request, so nobody needs the rest.
            self._backend.abort()

    def broken(self, error: WaiterError, begun: bool) -> None:
        """
        The instance broke it off. If it closed an idle connection just when that was used again, the instance is not to be
        blamed.
        """
        self._exchange.broken(error, stale=self._backend.uses > 1 and not begun)

    # The client

    def client_full(self) -> None:
        """Let the instance wait with its answer."""
        self.held = True
        self._backend.transport.pauseProducing()

    def client_ready(self) -> None:
        """Go on with the answer."""
        self._download_pace = None
        if self.held:
            self.held = False
            self._exchange.touched = True
            self._backend.transport.resumeProducing()

    def waited(self, secs: float) -> WaiterError | None:
        """Nothing has happened for C{secs}. Who has to act now, and has he had time enough?"""
        descriptor = self._exchange.descriptor
        limits = self._client.parts.limits
        if self.held:
            if not self._reads(self._client.transport) and secs > descriptor.streaming_timeout_secs:
                return RequestTimeout("The client does not read its answer.")
            if self._takes_too_slowly():
                return RequestTimeout("The client reads its answer too slowly.")
        elif self._is_sent:
            if secs > descriptor.socket_timeout_secs:
                return InstanceTimedOut("Request to service backend timed out")
        elif self._backend.full:
            if not self._reads(self._backend.transport) and secs > descriptor.streaming_timeout_secs:
                return StreamTimeout("The instance does not read the request's body.")
        else:
            if secs > limits.continue_secs and self._exchange.request.headers.expects_continue:
                self._exchange.tell_to_continue()
            if secs > limits.body_secs:
                return RequestTimeout("Timeout receiving bytes from client")
            if self._upload is not None and self._sends_too_slowly(self._upload):
                return RequestTimeout(_TOO_SLOW)
        return None

    def _takes_too_slowly(self) -> bool:
        if self._unsent is None:
            return False
        taken = self._exchange.response_bytes - self._unsent
        if self._download_pace is None:
            self._download_pace = self._pace(taken)
        return self._download_pace.too_slow(self._now(), taken)

    def _reads(self, transport: Any) -> bool:
        """Whether the one at the other end, who does not read fast enough, has read anything since the last look."""
        unsent = unsent_bytes(transport)
        if unsent == self._unsent:
            return False
        self._unsent = unsent
        self._exchange.touched = True
        return True

    # Another protocol

    def switched(self, answer: Answer, data: bytes) -> None:
        """The instance has agreed to another protocol, which it may if it was asked."""
        asked = self._exchange.request.tunnel
        if asked and answer.upgrade is not None and answer.upgrade.lower() == b"websocket":
            self._exchange.open_tunnel(self._backend, answer, data)
            return
        self._backend.abort()
        what = "to one that it was not asked for." if asked else "without being asked."
        self._exchange.broken(InstanceFailed(f"The instance changed the protocol {what}"), stale=False)

    def instance_sent(self, data: bytes) -> None:
        """There is a tunnel in this place when another protocol is spoken."""

    def instance_ended(self) -> None:
        """There is a tunnel in this place when another protocol is spoken."""
