"""Asks an instance whether it is healthy."""

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import attrs
from OpenSSL import SSL
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from waiter.model.description import ServiceDescription
from waiter.model.instance import Flag, Instance
from waiter.scheduler.answer import Answer
from waiter.scheduler.dial import Dial
from waiter.support.trust import CertificateRefused, Trust
from waiter.version import __version__

#: How much of an answer's body is read after the verdict before the connection is cut.
_BODY_LIMIT = 64 * 1024
#: How long the body of an answer that is not 2xx is waited for, to show how it begins.
_BODY_PATIENCE_SECS = 0.1

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
    @ivar body_start: how the body of an answer that is not 2xx begins, or what came that is no answer: a line of printable
        text. C{None} if nothing came in time or it is encoded.
    """

    healthy: bool
    status: int | None = None
    flags: frozenset[Flag] = frozenset()
    error: str | None = None
    message: str = ""
    body_start: str | None = None


def answered(url: str, status: int, body_start: str | None = None) -> HealthResult:
    """The result of a check that was answered with C{status}."""
    message = f"GET {url} was answered with {status}"
    if 200 <= status < 300:
        return HealthResult(healthy=True, status=status, message=message)
    return HealthResult(
        healthy=False,
        status=status,
        flags=frozenset({Flag.HAS_CONNECTED, Flag.HAS_RESPONDED}),
        message=_quoting(message, body_start),
        body_start=body_start,
    )


def unanswered(url: str, error: str, *, connected: bool, reason: str, body_start: str | None = None) -> HealthResult:
    """
    The result of a check that got no answer.

    @param reason: completes the sentence C{GET url ...}.
    """
    flags = {_ERROR_FLAGS[error]} if error in _ERROR_FLAGS else set()
    if connected and error != TLS:
        flags.add(Flag.HAS_CONNECTED)
        if error == OTHER:
            flags.add(Flag.HAS_RESPONDED)
    message = _quoting(f"GET {url} {reason}", body_start)
    return HealthResult(healthy=False, flags=frozenset(flags), error=error, message=message, body_start=body_start)


def _quoting(message: str, body_start: str | None) -> str:
    return message if body_start is None else f'{message}: "{body_start}"'


@attrs.frozen(kw_only=True)
class Target:
    """Where to ask and for what; C{path} begins with a slash and fits into a request line."""

    tls: bool
    host: str
    port: int
    path: str

    @property
    def url(self) -> str:
        """The whole of it."""
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}{self.path}"


def target(instance: Instance, description: ServiceDescription) -> Target | None:
    """What to GET; C{None} when the address is not known."""
    ports = (instance.port, *instance.extra_ports)
    index = description.health_check_port_index
    if instance.host in {"", "0.0.0.0"} or index >= len(ports) or ports[index] <= 0:  # noqa: S104 - compared only
        return None
    proto = description.health_check_proto or description.backend_proto
    path = quote(description.health_check_url, safe="%/:=&?~+!$,;'@()*[]")
    return Target(
        tls=proto == "https", host=instance.host, port=ports[index], path=path if path.startswith("/") else f"/{path}"
    )


def health_url(instance: Instance, description: ServiceDescription) -> str | None:
    """What to GET; C{None} when the address is not known."""
    found = target(instance, description)
    return None if found is None else found.url


class HealthProbe:
    """
    Makes single health checks, each on a connection of its own: one that is kept would keep everybody else from a server
    that sees to one connection at a time.

    Checking a port where nobody listens yet costs some 50 µs, so a starting instance can be asked every few milliseconds.
    An C{https} instance has to prove who it is, or not, as for requests.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        timeout_secs: float = 5.0,
        trust: Trust | None = None,
        password: Callable[[str], str] | None = None,
        principal: str = "waiter",
    ) -> None:
        """
        @param timeout_secs: how long an instance may take to begin its answer.
        @param trust: which certificates of instances are believed.
        @param password: what the instances of a service know Waiter by, from its id; for those that are to be checked
            with the credentials that requests carry.
        @param principal: as whom they are checked then.
        """
        self._reactor = reactor
        self._timeout_secs = timeout_secs
        self._trust = trust or Trust()
        self._password = password
        self._principal = principal

    def check(
        self, instance: Instance, description: ServiceDescription, *, patience_secs: float = 0.0
    ) -> Deferred[HealthResult]:
        """
        Ask once. Cancelling it drops the connection.

        @param patience_secs: how long this instance may take at least, where that is more than the probe's own limit.
        @raise OSError: (in the Deferred) this process has no descriptors left, which says nothing about the instance.
        """
        asked = target(instance, description)
        if asked is None:
            return succeed(
                HealthResult(healthy=False, error=UNKNOWN_AUTHORITY, message="The address of the instance is not known")
            )
        limit_secs = max(self._timeout_secs, patience_secs)
        dial = Dial(self._reactor, asked.host, asked.port, limit_secs)
        try:
            refused = dial.refused()
        except OSError as error:
            return fail(error)
        if refused:
            reason = "was refused: nothing listens on that port"
            return succeed(unanswered(asked.url, CONNECT, connected=False, reason=reason))
        check = _Check(self._reactor, _request(asked, self.credentials(instance, description)), asked, limit_secs)
        check.begin(dial, self._trust.creator(asked.host) if asked.tls else None)
        return check.result

    def credentials(self, instance: Instance, description: ServiceDescription) -> Mapping[str, str]:
        """The headers that prove to an instance that Waiter asks, if its health checks are to have them."""
        if description.health_check_authentication != "standard" or self._password is None:
            return {}
        proof = b64encode(f"waiter:{self._password(instance.service_id)}".encode()).decode()
        user = quote(self._principal, safe="@/ ")
        return {
            "Authorization": f"Basic {proof}",
            "X-Waiter-Auth-Principal": user.partition("@")[0],
            "X-Waiter-Authenticated-Principal": user,
        }


class _Check(Protocol):
    """
    One check: asks as soon as it is connected, tells once what came of it, and then reads a little further, to let the
    instance end the exchange in peace.

    @ivar result: fires with what came of it.
    """

    transport: Any

    def __init__(self, reactor: Any, request: bytes, asked: Target, limit_secs: float) -> None:
        self._request = request
        self._asked = asked
        self._limit_secs = limit_secs
        self._answer = Answer()
        self._drained = 0
        self._connecting: Deferred[Protocol | None] | None = None
        self._connected = False
        self._lost = False
        self._awaits_body = False
        self._told = False
        self._timer = reactor.callLater(limit_secs, self._time_is_up)
        self.result: Deferred[HealthResult] = Deferred(self._cancelled)

    def begin(self, dial: Dial, creator: IOpenSSLClientConnectionCreator | None) -> None:
        """Connect and ask."""
        self._connecting = maybeDeferred(dial.connect, self, creator)
        self._connecting.addErrback(self._not_connected)

    def connectionMade(self) -> None:
        """Ask."""
        self._connected = True
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        """Some of the answer, or of what comes after the verdict."""
        self._answer.feed(data)
        if not self._told:
            self._judge()
            return
        self._drained += len(data)
        if self._answer.complete or self._drained > _BODY_LIMIT:
            self._end()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Nothing more will come."""
        self._lost = True
        if self._told:
            self._end()
        elif self._answer.status is not None:
            self._tell(self._answered())
        elif reason.check(SSL.Error, CertificateRefused):
            self._tell(self._unanswered(TLS, f"failed in TLS: {reason.value}"))
        else:
            self._tell(self._unanswered(HANGUP, "was cut off before an answer came"))

    def _judge(self) -> None:
        answer = self._answer
        if answer.problem is not None:
            words = f"got what is not an answer in HTTP/1 ({answer.problem})"
            self._tell(self._unanswered(OTHER, words, body_start=answer.start))
        elif answer.status is not None:
            result = self._answered()
            if result.healthy or answer.enough:
                self._tell(result)
            elif not self._awaits_body:
                self._awaits_body = True
                self._timer.reset(min(_BODY_PATIENCE_SECS, self._limit_secs))

    def _answered(self) -> HealthResult:
        return answered(self._asked.url, self._answer.status or 0, self._answer.start)

    def _unanswered(self, error: str, reason: str, body_start: str | None = None) -> HealthResult:
        return unanswered(self._asked.url, error, connected=self._connected, reason=reason, body_start=body_start)

    def _time_is_up(self) -> None:
        if self._told:
            self._end()
        elif self._answer.status is not None:
            self._tell(self._answered())
        else:
            # Unlike the original, a time limit of our own does not count as an answer.
            what = "was not answered" if self._connected else "could not connect"
            self._tell(self._unanswered(TIMEOUT, f"{what} within {self._limit_secs:g} s"))

    def _not_connected(self, failure: Failure) -> None:
        self._lost = True
        if self._told:
            return
        if failure.check(ConnectTimeout):
            self._time_is_up()
        else:
            self._tell(self._unanswered(CONNECT, f"could not connect: {failure.getErrorMessage()}"))

    def _cancelled(self, _: Deferred[HealthResult]) -> None:
        self._told = True
        self._end()

    def _tell(self, result: HealthResult) -> None:
        self._told = True
        if self._lost or self._answer.complete or not self._timer.active():
            self._end()
        else:
            self._timer.reset(self._limit_secs)
        self.result.callback(result)

    def _end(self) -> None:
        """Let go of the connection."""
        if self._timer.active():
            self._timer.cancel()
        if self._lost:
            return
        if not self._connected:
            if self._connecting is not None:
                self._connecting.cancel()
        elif self._answer.complete and not self._asked.tls:
            self.transport.loseConnection()
        else:
            # In TLS, to lose the connection would be to wait for the other side's goodbye.
            self.transport.abortConnection()


def _request(asked: Target, more: Mapping[str, str]) -> bytes:
    fields = "".join(f"{name}: {value}\r\n" for name, value in more.items())
    return (
        f"GET {asked.path} HTTP/1.1\r\n"
        f"Host: {asked.host}:{asked.port}\r\n"
        "Connection: close\r\n"
        "Accept: application/json;q=1.0, */*;q=0.9\r\n"
        f"User-Agent: waiter-syncer/{__version__}\r\n"
        f"X-Cid: waiter-health-check-{uuid4().hex}\r\n"
        "X-Waiter-Request-Type: health-check\r\n"
        f"{fields}\r\n"
    ).encode("ascii")
