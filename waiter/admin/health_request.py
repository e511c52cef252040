"""The request that a health check makes, with its whole answer."""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IPolicyForHTTPS, IResponse
from zope.interface import implementer

from waiter.errors import InstanceUnreachable
from waiter.model.description import ServiceDescription
from waiter.model.instance import Instance
from waiter.scheduler.health import health_url
from waiter.support.trust import Trust

ACCEPT = b"application/json;q=1.0, */*;q=0.9"
#: What is kept of a body.
MOST_BYTES = 1024 * 1024


@attrs.frozen(kw_only=True)
class HealthAnswer:
    """
    What an instance has answered.

    @ivar headers: names in lower case; several of a name are joined.
    """

    status: int
    headers: dict[str, str]
    body: bytes


class HealthRequests:
    """Asks instances what a health check would ask them."""

    def __init__(
        self,
        reactor: Any,
        trust: Trust,
        *,
        credentials: Callable[[Instance, ServiceDescription], Mapping[str, str]],
        connect_timeout_secs: float,
    ) -> None:
        """
        @param trust: which certificates of instances are believed.
        @param credentials: the headers that prove to an instance that Waiter asks, if it wants them.
        """
        self._credentials = credentials
        self._agent = Agent(reactor, _Policy(trust), connectTimeout=connect_timeout_secs)

    def ask(self, instance: Instance, description: ServiceDescription, cid: bytes) -> Deferred[HealthAnswer]:
        """
        Ask once, on a connection of its own. Cancelling drops it.

        @raise InstanceUnreachable: (in the Deferred) it did not answer, or its address is not known.
        """
        url = health_url(instance, description)
        if url is None:
            return fail(InstanceUnreachable("The address of the instance is not known"))
        headers = Headers({b"accept": [ACCEPT], b"x-cid": [cid], b"x-waiter-request-type": [b"ping"]})
        for name, value in self._credentials(instance, description).items():
            headers.setRawHeaders(name, [value])
        return self._agent.request(b"GET", url.encode("ascii"), headers).addCallback(_whole).addErrback(_unanswered)


@implementer(IPolicyForHTTPS)
class _Policy:
    def __init__(self, trust: Trust) -> None:
        self._trust = trust

    def creatorForNetloc(
        self,
        hostname: bytes,
        port: int,  # noqa: ARG002 - Twisted's signature
    ) -> IOpenSSLClientConnectionCreator:
        return self._trust.creator(hostname.decode("ascii"))


class _Body(Protocol):
    """Gathers a body, as much of it as is wanted."""

    transport: Any

    def __init__(self, whole: Deferred[bytes]) -> None:
        self._whole = whole
        self._pieces: list[bytes] = []
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._size > MOST_BYTES:
            self.transport.abortConnection()
            self._tell()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if reason.check(ResponseDone, PotentialDataLoss) is not None:
            self._tell()
        elif not self._whole.called:
            self._whole.errback(reason)

    def _tell(self) -> None:
        if not self._whole.called:
            self._whole.callback(b"".join(self._pieces)[:MOST_BYTES])


def _unanswered(failure: Failure) -> NoReturn:
    failure.trap(Exception)
    if failure.check(CancelledError) is not None:
        failure.raiseException()
    raise InstanceUnreachable(
        "Request failed to connect to service backend", details={"reason": failure.getErrorMessage()}
    )


def _whole(response: IResponse) -> Deferred[HealthAnswer]:
    headers = {
        name.decode("latin-1").lower(): b",".join(values).decode("latin-1")
        for name, values in response.headers.getAllRawHeaders()
    }

    def answer(body: bytes) -> HealthAnswer:
        return HealthAnswer(status=response.code, headers=headers, body=body)

    if response.length == 0:
        return succeed(answer(b""))
    whole: Deferred[bytes] = Deferred(lambda _: protocol.transport.abortConnection())
    protocol = _Body(whole)
    response.deliverBody(protocol)
    return whole.addCallback(answer)
