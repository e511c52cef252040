"""Asks an instance whether it is healthy."""

from typing import Any
from urllib.parse import quote
from uuid import uuid4

import attrs
from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IResponse
from zope.interface import implementer

from waiter.model.description import ServiceDescription
from waiter.model.instance import Flag, Instance
from waiter.scheduler.dial import AnyCertificate, Dial
from waiter.version import __version__

#: How much of an answer's body is read before the connection is cut.
_BODY_LIMIT = 64 * 1024

UNKNOWN_AUTHORITY = "unknown-authority"
CONNECT = "connect-exception"
HANGUP = "hangup-exception"
TIMEOUT = "timeout-exception"
TLS = "ssl-exception"
OTHER = "generic-exception"

_ERROR_FLAGS = {
    HANGUP: Flag.HANGUP_EXCEPTION,
    TIMEOUT: Flag.TIMEOUT_EXCEPTION,
    TLS: Flag.SSL_EXCEPTION,
}


@attrs.frozen(kw_only=True)
class HealthResult:
    """
    What one check showed.

    @ivar status: the HTTP status; C{None} if there was no answer.
    @ivar flags: what the check says about an unhealthy instance; empty for a healthy one.
    @ivar error: one of the constants of this module; C{None} if there was an answer.
    @ivar message: what was asked and what came of it, for a person.
    """

    healthy: bool
    status: int | None = None
    flags: frozenset[Flag] = frozenset()
    error: str | None = None
    message: str = ""


def answered(url: str, status: int) -> HealthResult:
    """The result of a check that was answered with C{status}."""
    healthy = 200 <= status < 300
    flags = frozenset() if healthy else frozenset({Flag.HAS_CONNECTED, Flag.HAS_RESPONDED})
    return HealthResult(healthy=healthy, status=status, flags=flags, message=f"GET {url} was answered with {status}")


def unanswered(url: str, error: str, *, connected: bool, reason: str) -> HealthResult:
    """
    The result of a check that got no answer.

    @param reason: completes the sentence C{GET url ...}.
    """
    flags = {_ERROR_FLAGS[error]} if error in _ERROR_FLAGS else set()
    if connected and error != TLS:
        flags.add(Flag.HAS_CONNECTED)
        if error == OTHER:
            flags.add(Flag.HAS_RESPONDED)
    return HealthResult(healthy=False, flags=frozenset(flags), error=error, message=f"GET {url} {reason}")


def health_url(instance: Instance, description: ServiceDescription) -> str | None:
    """What to GET; C{None} when the address is not known."""
    ports = (instance.port, *instance.extra_ports)
    index = description.health_check_port_index
    if instance.host in {"", "0.0.0.0"} or index >= len(ports) or ports[index] <= 0:  # noqa: S104 - compared only
        return None
    proto = description.health_check_proto or description.backend_proto
    path = quote(description.health_check_url, safe="%/:=&?~+!$,;'@()*[]")
    return f"{proto}://{instance.host}:{ports[index]}{'' if path.startswith('/') else '/'}{path}"


class HealthProbe:
    """
    Makes single health checks, each on a connection of its own.

    Checking a port where nobody listens yet costs some 50 µs, so a starting instance can be asked every few milliseconds.
    The certificate of an C{https} instance is not verified: the instance has none that could be.
    """

    def __init__(self, reactor: Any, *, timeout_secs: float = 5.0) -> None:
        """@param timeout_secs: how long an instance may take to begin its answer."""
        self._reactor = reactor
        self._timeout_secs = timeout_secs

    def check(
        self, instance: Instance, description: ServiceDescription, *, patience_secs: float = 0.0
    ) -> Deferred[HealthResult]:
        """
        Ask once. The Deferred never fails, except with C{CancelledError} when it is cancelled, which drops the
        connection.

        @param patience_secs: how long this instance may take at least, where that is more than the probe's own limit.
        """
        return Deferred.fromCoroutine(self._check(instance, description, max(self._timeout_secs, patience_secs)))

    async def _check(self, instance: Instance, description: ServiceDescription, limit_secs: float) -> HealthResult:
        url = health_url(instance, description)
        if url is None:
            return HealthResult(
                healthy=False, error=UNKNOWN_AUTHORITY, message="The address of the instance is not known"
            )
        uri = URI.fromBytes(url.encode("ascii"))
        dial = Dial(self._reactor, uri.host.decode("ascii"), uri.port, limit_secs)
        if dial.refused():
            return unanswered(url, CONNECT, connected=False, reason="was refused: nothing listens on that port")
        timed_out = False
        request = Agent.usingEndpointFactory(self._reactor, _Endpoints(dial)).request(
            b"GET", url.encode("ascii"), _headers()
        )

        def expire() -> None:
            nonlocal timed_out
            timed_out = True
            request.cancel()

        timer = self._reactor.callLater(limit_secs, expire)
        try:
            response = await request
        except Exception as e:  # noqa: BLE001 - whatever the instance does wrong is the result
            if timed_out:
                # Unlike the original, a time limit of our own does not count as an answer.
                what = "" if dial.connected else " to the connection"
                reason = f"was not answered{what} within {limit_secs:g} s"
                return unanswered(url, TIMEOUT, connected=dial.connected, reason=reason)
            error, reason = _classify(e)
            return unanswered(url, error, connected=dial.connected, reason=reason)
        finally:
            if timer.active():
                timer.cancel()
            dial.close()
        self._drain(response, limit_secs)
        return answered(url, response.code)

    def _drain(self, response: IResponse, limit_secs: float) -> None:
        # A body that is read lets the instance end the exchange in peace; what came is already decided.
        drain = _Drain()
        response.deliverBody(drain)
        if not drain.over:
            drain.limit = self._reactor.callLater(limit_secs, drain.cut)


def _headers() -> Headers:
    return Headers(
        {
            b"accept": [b"application/json;q=1.0, */*;q=0.9"],
            b"user-agent": [f"waiter-syncer/{__version__}".encode()],
            b"x-cid": [f"waiter-health-check-{uuid4().hex}".encode()],
            b"x-waiter-request-type": [b"health-check"],
        }
    )


def _classify(problem: BaseException) -> tuple[str, str]:
    """
    The error constant and the words for a failed request.

    @raise CancelledError: the request was cancelled by whoever asked for the check.
    """
    causes = _causes(problem)
    for cause in causes:
        if isinstance(cause, CancelledError):
            raise cause
    for cause in causes:
        if isinstance(cause, SSL.Error):
            return TLS, f"failed in TLS: {cause}"
    for cause in causes:
        if isinstance(cause, (ConnectError, ConnectionRefusedError)):
            return CONNECT, f"could not connect: {cause}"
        if isinstance(cause, (ConnectionClosed, ConnectionError)):
            return HANGUP, "was cut off before an answer came"
    return OTHER, f"got what is not an answer in HTTP/1: {causes[-1]}"


def _causes(problem: BaseException) -> list[BaseException]:
    """The problem and, under the failures of the HTTP client, the reasons for it."""
    found = [problem]
    for reason in getattr(problem, "reasons", ()):
        cause = reason.value if isinstance(reason, Failure) else reason
        if cause is not None:
            found.extend(_causes(cause))
    return found


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Gives an agent the one connection that was dialled."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        if uri.scheme == b"https":
            return wrapClientTLS(AnyCertificate(), self._dial)
        return self._dial


class _Drain(Protocol):
    """Reads an answer's body and throws it away."""

    def __init__(self) -> None:
        self.over = False
        self.limit: IDelayedCall | None = None
        self._left = _BODY_LIMIT

    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self.cut()

    def cut(self) -> None:
        """Read no further."""
        if self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:  # noqa: ARG002 - Twisted's signature
        self.over = True
        if self.limit is not None and self.limit.active():
            self.limit.cancel()
