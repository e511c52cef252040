"""One connection from a client."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from waiter.catalog.admission import check_service_request, is_for_waiter
from waiter.catalog.headers import describes_service
from waiter.errors import RequestTimeout, WaiterError
from waiter.router.api_channel import ApiChannel
from waiter.router.exchange import Exchange
from waiter.router.forwarding import Forwarding
from waiter.router.headers import RequestHeaders
from waiter.router.interface import IResponder
from waiter.router.own_answer import error_answer
from waiter.router.parts import RouterParts
from waiter.router.reading import Reading
from waiter.router.request import Request
from waiter.router.request_reader import RequestReader
from waiter.router.sockets import half_close, has_left, send_at_once

if TYPE_CHECKING:
    from waiter.router.tunnel import Tunnel

# So many requests of one client are begun at one go. Where each is answered at once, others would wait long.
_TURN = 16


@implementer(IHalfCloseableProtocol, IPushProducer)
class ClientConnection(Protocol):
    """
    Reads requests, has each answered by a responder, one after the other and in order, and ends what takes too long.

    What is read and not wanted yet is kept as it came, within a bound; beyond that, nothing is read from the network. So a
    client can send the next requests early, but their turn comes when the one before has been answered.

    @ivar responder: who answers now.
    @ivar full: the client does not read fast enough what is sent to it.
    @ivar last: the answer being given is the last: the client has had as many as it may, or what follows cannot be understood.
    @ivar paused: nothing is read from the network.
    @ivar group: what the door calls those that this client belongs to.
    @ivar admitted: the headers that were let in last; those need not be looked at again.
    @ivar forwarding: what instances are told of this connection.
    @ivar touched: see L{IResponder}; holds for the connection while there is no responder.
    """

    # Twisted's or a carrier: more than ITransport has.
    transport: Any
    forwarding: Forwarding

    def __init__(self, parts: RouterParts, lost: "Callable[[ClientConnection], object]") -> None:
        """
        @param lost: told when the connection is gone.
        """
        self.parts = parts
        self.responder: IResponder | None = None
        self.full = False
        self.last = False
        self.touched = True
        self.since = 0.0
        self.paused = False
        self.group: str | None = None
        self._lost = lost
        self._open = False
        self._closing = False
        # What comes is of no interest any more.
        self._deaf = False
        # Nothing of a request is here.
        self._resting = True
        self._served = 0
        self._reader = RequestReader(parts.limits, parts.first_lines, parts.known_heads, self._arrived)
        self._queue: deque[Request | WaiterError] = deque()
        # What was read and not fed to the reader: from _at on.
        self._pending = b""
        self._at = 0
        self._pumping = False
        # Others have their turn.
        self._pausing = False
        # The end of an answer.
        self._reading: Reading | None = None
        self._in_head = False
        self._discarded = 0
        self._tunnel: Tunnel | None = None
        self._held = False
        # What the headers seen last came to.
        self.admitted: RequestHeaders | None = None

    # What the transport calls.

    def connectionMade(self) -> None:
        """Begin, unless all is over already."""
        if self._closing:
            self.transport.loseConnection()
            return
        self._open = True
        self.forwarding = self.parts.forwardings.of(self.transport)
        send_at_once(self.transport)
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._resting:
            # A client that does not read its answers gets no further ones.
            request = None if self.full else self._reader.repeated(data)
            if request is not None:
                self._respond(request)
                return
            self._resting = False
        elif self._tunnel is not None:
            self._tunnel.client_sent(data)
            return
        elif self._deaf:
            return
        self._pending = self._pending[self._at :] + data if self._pending else data
        self._at = 0
        self.pump()

    def pauseProducing(self) -> None:
        """The client does not read fast enough."""
        self.full = True
        if self.responder is not None:
            self.responder.client_full()

    def resumeProducing(self) -> None:
        """It has read what was sent."""
        self.full = False
        self._reading = None
        if self.responder is not None:
            self.responder.client_ready()
        else:
            self.touched = True
            self.pump()

    def stopProducing(self) -> None:
        """The connection is lost, which C{connectionLost} says again."""

    def readConnectionLost(self) -> None:
        """The client sends no more."""
        if self.responder is None or not self.responder.client_ended():
            self._leave(cleanly=True)
            self.close()

    def writeConnectionLost(self) -> None:
        """All has been sent before this side was closed."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        """The client is gone."""
        self._open = False
        self._leave(cleanly=reason is None or reason.check(ConnectionDone) is not None)
        self._reader.close()
        self._lost(self)

    def _leave(self, *, cleanly: bool) -> None:
        responder, self.responder = self.responder, None
        self._closing = self._deaf = True
        self._resting = False
        self._tunnel = None
        self._queue.clear()
        self._pending = b""
        if responder is not None:
            responder.client_lost(cleanly)

    # What responders call.

    def answered(self, *, keep: bool) -> None:
        """
        The responder is done.

        @param keep: whether the client may send another request; the answer has told it if it may not.
        """
        self.responder = None
        self.touched = True
        if not keep:
            self._finish()
        elif self._pending or self._queue or not self._reader.between:
            self.pump()
        elif self.parts.draining:
            self.close()
        else:
            self._resting = not self._closing

    def tunnel(self, tunnel: "Tunnel") -> None:
        """From now on the client's bytes are for a tunnel, which is the responder."""
        self._tunnel = self.responder = tunnel
        self._pausing = False
        self.pump()

    def leave_tunnel(self, *, ended: bool) -> None:
        """
        The tunnel is over, and the connection with it.

        @param ended: the client sends no more; otherwise it is listened to for a while, so that it gets what was written.
        """
        self._tunnel = self.responder = None
        self.touched = True
        if ended:
            self.close()
        else:
            self._linger()

    def hold(self, held: bool) -> None:
        """Read nothing from the client for now, or read on."""
        self._held = held
        self._adjust()

    def close(self) -> None:
        """Close the connection when all that was written is sent."""
        self._closing = self._deaf = self.touched = True
        self._resting = False
        if self._open:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def abort(self) -> None:
        """Break the connection, so that the client cannot take what it got for the whole."""
        self._closing = self._deaf = True
        self._resting = False
        self.responder = None
        if self._open:
            self.transport.unregisterProducer()
            self.transport.abortConnection()

    def admit(self, headers: RequestHeaders) -> None:
        """
        Let a request for a service in, or not.

        @raise WaiterError: not.
        """
        last = self.admitted
        if (
            last is None
            or headers.waiter_names != last.waiter_names
            or headers.host != last.host
            or headers.origin != last.origin
            or headers.sec_fetch_site != last.sec_fetch_site
        ):
            check_service_request(
                headers.host,
                describes_service(headers.waiter_names),
                headers.origin,
                headers.sec_fetch_site,
                self.parts.own_hosts,
                self.parts.is_token,
            )
        self.admitted = headers

    def pump(self) -> None:
        """Go on with what was read, as far as it is wanted."""
        if self._pumping:
            return
        self._pumping = True
        served = self._served
        try:
            while not self._pausing and self._step():
                if self._served - served >= _TURN:
                    self._pausing = True
                    self.parts.clock.callLater(0, self._pump_on)
        finally:
            self._pumping = False
        if not self._closing:
            self._adjust()

    def _pump_on(self) -> None:
        self._pausing = False
        self.pump()

    # Inside.

    def _step(self) -> bool:
        """Begin to answer the next request, or read a piece. Returns whether there may be more to do."""
        responder = self.responder
        if self._closing:
            return False
        if self._tunnel is not None:
            data, self._pending, self._at = self._pending[self._at :], b"", 0
            if data:
                self._tunnel.client_sent(data)
            return False
        if responder is None and self._queue:
            if self.full:
                return False
            following = self._queue.popleft()
            if isinstance(following, WaiterError):
                self._refuse(following)
            else:
                self._respond(following)
            return True
        if not self._pending:
            return False
        reader = self._reader
        if responder is not None and not (responder.taking and reader.current is responder.request):
            return False
        if reader.ended:
            self._pending = b""
            return False
        self._feed(responder)
        return True

    def _feed(self, responder: IResponder | None) -> None:
        reader, at = self._reader, self._at
        end = at + reader.room
        piece = self._pending[at:end]
        if end >= len(self._pending):
            self._pending, self._at = b"", 0
        else:
            self._at = end
        discarding = reader.current if responder is None else None
        try:
            rest = reader.feed(piece)
        except WaiterError as error:
            self._deaf = True
            self._pending, self._at = b"", 0
            if responder is not None and not responder.request.complete:
                self.last = True
                responder.give_up(error)
            elif discarding is not None and not discarding.complete:
                self._finish()
            else:
                # A request whose own body this is has no use any more.
                if reader.current is not None:
                    self._queue.pop()
                self._queue.append(error)
                if responder is not None:
                    responder.body_arrived()
            return
        if rest:
            self._pending, self._at = rest + self._pending[self._at :], 0
        if responder is not None:
            responder.body_arrived()
        elif discarding is not None:
            self._discarded += len(piece)
            if self._discarded > self.parts.limits.discard_bytes:
                self._finish()
                return
        if reader.in_head and not self._in_head:
            self.touched = True
        self._in_head = reader.in_head
        if reader.between and not self._pending and self.responder is None and not self._queue:
            self._resting = True

    def _arrived(self, request: Request) -> None:
        self._queue.append(request)

    def _respond(self, request: Request) -> None:
        self._resting = False
        self._served += 1
        self._discarded = 0
        parts = self.parts
        if self._served == parts.limits.requests:
            self.last = True
        numbers = parts.metrics.router
        numbers.requests_total += 1
        headers = request.headers
        if is_for_waiter(request.target, headers.host, headers.waiter_names, parts.own_hosts):
            numbers.api_requests += 1
            self.responder = ApiChannel(self, request)
        else:
            self.responder = Exchange(self, request)
        self.responder.begin()

    def _refuse(self, error: WaiterError) -> None:
        """Answer what is no request, and close."""
        parts = self.parts
        parts.metrics.router.requests_total += 1
        parts.metrics.router.refused_total += 1
        cid = parts.unique_id()
        self.transport.write(error_answer(error, cid=cid, product=parts.product, at=parts.wall(), keep=False))
        self._finish()

    def _finish(self) -> None:
        """
        The last answer is written: close the connection.

        A client that is still sending would get a reset, and might lose the answer by it.
        """
        if self._closing:
            return
        if self._reader.between and not self._pending and not self._deaf:
            self.close()
        else:
            self._linger()

    def _linger(self) -> None:
        """End this direction, and read on until the client has ended the other or has had time enough."""
        self._closing = self._deaf = True
        self._pending = b""
        self.touched = True
        if self.paused:
            self.paused = False
            self.transport.resumeProducing()
        half_close(self.transport)

    def _adjust(self) -> None:
        """Read from the network, or let it be."""
        pause = self._held or len(self._pending) - self._at > self.parts.limits.pending_bytes
        if pause is not self.paused:
            self.paused = pause
            if pause:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    def drain(self) -> bool:
        """Close when nothing is to be answered any more. Returns whether something is."""
        if self._resting:
            self.close()
        return not self._closing

    def router_stops(self, secs: float) -> None:
        """The router has been stopping for C{secs}; called again and again until this connection is gone."""
        if self.responder is not None:
            self.responder.router_stops(secs)

    def give_up(self, error: WaiterError) -> None:
        """Whatever is being answered, end it with that error, and close the connection."""
        self._deaf = True
        self._queue.clear()
        if self.responder is not None:
            self.last = True
            self.responder.give_up(error)
        self._finish()

    def look(self) -> None:
        """While nothing is read, nothing tells that the client is gone: find out."""
        if self.paused and has_left(self.transport, half=self._tunnel is None):
            self.cut()

    def cut(self) -> None:
        """Break the connection whatever goes on."""
        self._leave(cleanly=False)
        self.abort()

    def waited(self, secs: float) -> None:
        """Nothing has happened for C{secs}, and there is no responder."""
        limits = self.parts.limits
        if self._closing:
            self._wait_for_reader(secs)
        elif self._resting:
            patience_secs = limits.idle_secs if self._served else limits.head_secs
            if secs > (min(limits.crowded_idle_secs, patience_secs) if self.parts.door.full else patience_secs):
                if getattr(self.transport, "greeting", False):
                    self.parts.metrics.router.tls_timeouts_total += 1
                self.close()
        elif self.full:
            self._wait_for_reader(secs)
        elif self._reader.in_head:
            if secs > limits.head_secs:
                self._deaf = True
                self._refuse(RequestTimeout("Timeout receiving the request from the client"))
        elif secs > limits.body_secs:
            self.abort()

    def _wait_for_reader(self, secs: float) -> None:
        """The client has only to take what was written: break off if it does not, or hardly."""
        limits = self.parts.limits
        reading = self._reading = self._reading or Reading(limits)
        if reading.moves(self.transport):
            self.touched = True
            secs = 0.0
        patience_secs = limits.unread_secs if reading.unsent or self.full else limits.linger_secs
        if secs > patience_secs or reading.too_slow(self.parts.clock.seconds()):
            self.abort()
