"""A request for Waiter itself, handed to its own resources."""

from io import BytesIO
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, IConsumer, IProducer, ITransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.server import Request as WebRequest
from twisted.web.server import Site
from zope.interface import implementer

from waiter.admin.negotiation import internal_error
from waiter.admin.noted import noted
from waiter.catalog.admission import check_api_request
from waiter.errors import BadRequest, BodyTooLarge, RequestTimeout, WaiterError
from waiter.reservation.refusals import shutting_down
from waiter.router.answers import connection_line
from waiter.router.fields import HOP_BY_HOP, safe
from waiter.router.interface import IResponder
from waiter.router.own_answer import CONTINUE, error_answer, status_line
from waiter.router.pace import Pace
from waiter.router.reading import Reading
from waiter.router.request import Request
from waiter.telemetry.request_line import common_members, request_line

if TYPE_CHECKING:
    from waiter.router.client_connection import ClientConnection

_CLOSED = Failure(ConnectionDone())
_BROKEN = Failure(ConnectionLost())
# Written here, whatever twisted.web thinks of them.
_OWN = (HOP_BY_HOP - {b"transfer-encoding"}) | {b"server", b"x-cid"}


class ApiSite(Site):
    """Waiter's resources. Bodies are short, so they stay in memory."""

    def getContentFile(self, length: int | None) -> BytesIO:  # noqa: ARG002 - it is bounded already
        """Where a request's body is gathered."""
        return BytesIO()


@implementer(IResponder, ITransport, IConsumer)
class ApiChannel:
    """
    Lets a C{twisted.web} request work on a connection that is not C{twisted.web}'s: to the request it is the channel and
    the transport.

    The body is gathered first, within a bound. C{twisted.web} writes the answer and frames its body; only the head is put
    together here.

    @ivar site: where the resources are.
    """

    _log = Logger()

    taking = False
    touched = True
    since = 0.0
    factory = None

    def __init__(self, client: "ClientConnection", request: Request) -> None:
        """
        @param client: the connection the request came on.
        """
        self.request = request
        self.site = client.parts.api
        self._client = client
        self._web: WebRequest | None = None
        self._begun = False
        self._over = False
        self._keep = True
        self._status: int | None = None
        self._error: WaiterError | None = None
        self._producing = False
        self._pace: Pace | None = None
        self._reading = Reading(client.parts.limits)
        self._written = 0
        self._unique_id = client.parts.unique_id()
        self._cid = request.headers.cid or self._unique_id
        self._started_at = client.parts.clock.seconds()

    @property
    def transport(self) -> "ApiChannel":
        """What the request takes for its transport."""
        return self

    # What the client's connection calls.

    def begin(self) -> None:
        """Have it answered, when the whole body is there."""
        request = self.request
        headers = request.headers
        try:
            check_api_request(
                request.method,
                request.target,
                headers.host,
                headers.origin,
                headers.sec_fetch_site,
                self._client.parts.own_hosts,
                self._client.parts.is_token,
            )
            self._check_length(headers.content_length or 0)
        except WaiterError as error:
            self._fail(error)
            return
        if not request.complete:
            if headers.expects_continue:
                self._client.transport.write(CONTINUE)
            self.taking = True
            limits = self._client.parts.limits
            self._pace = Pace(limits.client_bytes_per_sec, limits.pace_secs, now=self._started_at)
        self.body_arrived()

    def body_arrived(self) -> None:
        """Wait for the rest of the body, or go on."""
        self.touched = True
        request = self.request
        if self._begun or self._over:
            return
        try:
            self._check_length(request.arrived)
        except WaiterError as error:
            self._fail(error)
            return
        if request.complete:
            self.taking = False
            self._begun = True
            try:
                self._process(request)
            except Exception as error:  # noqa: BLE001 - one request must not take others down
                self._log.failure("A request for Waiter itself failed")
                self._fail(internal_error(error))
        else:
            self._check_pace()

    def _check_pace(self) -> None:
        if self._pace is not None and self._pace.too_slow(self._client.parts.clock.seconds(), self.request.arrived):
            self._fail(RequestTimeout("The client sends its body too slowly."))

    def _check_length(self, length: int) -> None:
        limit = self._client.parts.limits.api_body_bytes
        if length > limit:
            raise BodyTooLarge(f"The request's body has more than {limit} bytes.")

    def _process(self, request: Request) -> None:
        self._web = web = self.site.requestFactory(self, queued=False)
        for name, value in request.headers.fields:
            web.requestHeaders.addRawHeader(name, value)
        web.requestHeaders.setRawHeaders(b"x-cid", [self._cid])
        web.gotLength(request.arrived)
        web.parseCookies()
        for piece in request.take():
            web.handleContentChunk(piece)
        web.requestReceived(request.method, request.target, b"HTTP/1.%d" % request.headers.minor)

    def give_up(self, error: WaiterError) -> None:
        """End with that error, if nothing was said yet. The resource learns it as if the client had gone."""
        self._fail(error)

    def client_sent(self, data: bytes) -> None:
        """No other protocol is spoken here."""

    def client_ended(self) -> bool:
        """A client that sends no more is taken to be gone."""
        return False

    def client_lost(self, cleanly: bool) -> None:
        """Tell the request."""
        if self._over:
            return
        self._end()
        if self._web is not None:
            self._web.connectionLost(_CLOSED if cleanly else _BROKEN)

    def router_stops(self, secs: float) -> None:
        """What has not begun to be answered may wait for what does not come any more, as a ping does for an instance."""
        if self._begun and self._status is None and secs >= self._client.parts.limits.drain_waiting_secs:
            self._fail(shutting_down(None))

    def client_full(self) -> None:
        """A producer is told by the transport itself."""

    def client_ready(self) -> None:
        """A producer is told by the transport itself."""

    def waited(self, secs: float) -> None:
        """End what takes too long, as far as that is the client's fault."""
        limits = self._client.parts.limits
        if not self._begun:
            if secs > limits.body_secs:
                self._fail(RequestTimeout("Timeout receiving bytes from client"))
            else:
                self._check_pace()
            return
        reading = self._reading
        if reading.moves(self._client.transport):
            self.touched = True
        elif reading.unsent and secs > limits.unread_secs:
            self._fail(RequestTimeout("The client does not read its answer."))
            return
        if reading.too_slow(self._client.parts.clock.seconds(), self._written):
            self._fail(RequestTimeout("The client reads its answer too slowly."))

    # What the request calls.

    def writeHeaders(
        self,
        version: bytes,  # noqa: ARG002 - Waiter's is always 1.1
        code: bytes,
        reason: bytes,  # noqa: ARG002 - follows from the code
        headers: Headers,
    ) -> None:
        """Send the head of the answer."""
        if self._over:
            return
        request = self.request
        status = int(code)
        self._status = status
        lines = [status_line(status)]
        framed = request.method == b"HEAD" or status in {204, 304}
        for name, values in headers.getAllRawHeaders():
            lower = name.lower()
            if lower in {b"content-length", b"transfer-encoding"}:
                framed = True
            if lower not in _OWN:
                lines += [b"%b: %b\r\n" % (name, safe(value)) for value in values]
        # What is framed by nothing else ends with the connection.
        self._keep = framed and self._may_keep()
        lines.append(
            b"server: %b\r\n%bx-cid: %b\r\n\r\n"
            % (
                self._client.parts.product,
                b""
                if self._keep and request.headers.minor
                else connection_line(keep=self._keep, minor=request.headers.minor),
                self._cid,
            )
        )
        self._client.transport.write(b"".join(lines))

    def write(self, data: bytes) -> None:
        """Send a part of the body, already framed."""
        if not self._over and data:
            self.touched = True
            self._written += len(data)
            self._client.transport.write(data)

    def writeSequence(self, data: Any) -> None:
        """Send a part of the body, already framed."""
        self.write(b"".join(data))

    def requestDone(self, request: WebRequest) -> None:  # noqa: ARG002 - there is only one
        """The answer is complete."""
        if not self._over:
            self._end()
            self._client.answered(keep=self._keep)

    def loseConnection(self) -> None:
        """The request wants no more of this connection."""
        if not self._over:
            self._end()
            self._client.responder = None
            self._client.close()

    def abortConnection(self) -> None:
        """The request wants the client to notice that something went wrong."""
        if not self._over:
            self._end()
            self._client.abort()

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Have the transport ask for data itself, in the way it knows best."""
        if self._over:
            producer.stopProducing()
            return
        self._producing = True
        self._client.transport.unregisterProducer()
        self._client.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """The connection is its transport's producer again."""
        if self._producing and not self._over:
            self._restore_producer()

    def getPeer(self) -> IAddress:
        """The client's address."""
        address: IAddress = self._client.transport.getPeer()
        return address

    def getHost(self) -> IAddress:
        """The address the client connected to."""
        address: IAddress = self._client.transport.getHost()
        return address

    def isSecure(self) -> bool:
        """Whether the connection is encrypted."""
        return self._client.forwarding.proto == b"https"

    def _respondToBadRequestAndDisconnect(self) -> None:
        """The request found the body to be malformed."""
        self._fail(BadRequest("The request's body cannot be understood."))

    # Inside.

    def _may_keep(self) -> bool:
        return self.request.headers.keep_alive and not self._client.parts.draining and not self._client.last

    def _restore_producer(self) -> None:
        self._producing = False
        self._client.transport.unregisterProducer()
        self._client.full = False
        self._client.transport.registerProducer(self._client, True)

    def _fail(self, error: WaiterError) -> None:
        if self._over:
            return
        self._error = error
        web, self._web = self._web, None
        if self._status is not None:
            self._end()
            self._client.abort()
            if web is not None:
                web.connectionLost(_BROKEN)
            return
        request = self.request
        parts = self._client.parts
        keep = (
            self._may_keep()
            and not isinstance(error, RequestTimeout)
            and (request.complete or not request.headers.expects_continue or self.taking)
        )
        self._status = error.status
        self._client.transport.write(
            error_answer(error, cid=self._cid, product=parts.product, at=parts.wall(), keep=keep, request=request)
        )
        request.discard()
        self._end()
        self._client.answered(keep=keep)
        if web is not None:
            web.connectionLost(_BROKEN)

    def _end(self) -> None:
        self._over = True
        self.taking = False
        if self._producing:
            self._restore_producer()
        if self._client.parts.request_log.wanted:
            self._client.parts.request_log.write(self._log_line())

    def _log_line(self) -> str:
        request = self.request
        headers = request.headers
        client = self._client
        secs = client.parts.clock.seconds() - self._started_at
        error = self._error
        principal = None
        if self._web is not None:
            known = noted(self._web)
            principal = known.principal
            error = error or known.error
        path, _, query = request.target.partition(b"?")
        return request_line(
            request_time=client.parts.wall() - secs,
            cid=self._cid,
            request_id=self._unique_id,
            path=path,
            query_string=query or None,
            handle_request_latency_ns=int(secs * 1e9),
            common=common_members(
                request_type="waiter-api",
                method=request.method,
                scheme=client.forwarding.proto,
                host=headers.host,
                client_protocol="HTTP/1.1" if headers.minor else "HTTP/1.0",
                remote_addr=client.forwarding.address,
                user_agent=headers.user_agent,
                referer=headers.referer,
                request_content_length=headers.content_length,
                request_content_type=headers.content_type,
                principal=principal,
                status=self._status,
                error=error,
            ),
        )
