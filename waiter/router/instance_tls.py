"""TLS to instances."""

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.error import (
    ConnectError,
    TimeoutError,  # noqa: A004 - Twisted's word for it
)
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IReactorTime,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from waiter.router.carriers import Connect
from waiter.router.tls import TLSTransport
from waiter.support.trust import CertificateRefused


def secure_connector(
    clock: IReactorTime, connect: Connect, creator: Callable[[str], IOpenSSLClientConnectionCreator]
) -> Connect:
    """
    How to open TLS connections: like those without, and then the other side proves who it is. Only then is the protocol
    made, so nothing is sent to anybody else.

    A side that does not is no reason for another try: its C{ConnectError} is a C{CertificateRefused}.

    @param connect: opens the connections beneath.
    @param creator: what makes OpenSSL's connections to a host.
    """

    def connect_securely(
        host: str, port: int, factory: Callable[[], IProtocol], timeout_secs: float
    ) -> Deferred[IProtocol]:
        def timed_out() -> None:
            greeting.give_up(TimeoutError(string=f"no TLS with {host}:{port} within {timeout_secs:g} seconds"))
            connecting.cancel()

        def given_up(_: Deferred[IProtocol]) -> None:
            connecting.cancel()
            greeting.abandon()

        def failed(failure: Failure) -> None:
            if not greeted.called:
                greeted.errback(failure)

        def over(result: Any) -> Any:
            if timer.active():
                timer.cancel()
            return result

        greeted: Deferred[IProtocol] = Deferred(given_up)
        greeting = _Greeting(factory, greeted)
        secured = TLSMemoryBIOFactory(creator(host), True, Factory(), clock)
        connecting = connect(host, port, lambda: TLSTransport(secured, greeting), timeout_secs)
        # After the one of the connection beneath, so that it is not left behind.
        timer = clock.callLater(timeout_secs, timed_out)
        connecting.addErrback(failed)
        return greeted.addBoth(over)

    return connect_securely


@implementer(IHandshakeListener)
class _Greeting(Protocol):
    """Has the place of a protocol until the handshake is done."""

    # TLSTransport: it lets its protocol be changed.
    transport: Any

    def __init__(self, build: Callable[[], IProtocol], greeted: Deferred[IProtocol]) -> None:
        self._build = build
        self._greeted = greeted

    def handshakeCompleted(self) -> None:
        """Let the protocol take its place."""
        transport, greeted = self.transport, self._greeted
        if greeted.called:
            return
        try:
            protocol = self._build()
        except Exception:  # noqa: BLE001 - whoever connects is told
            greeted.errback(Failure())
            transport.abortConnection()
            return
        transport.wrappedProtocol = protocol
        protocol.makeConnection(transport)
        greeted.callback(protocol)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """There is no protocol to tell, but whoever connects."""
        if self._greeted.called:
            return
        if reason.check(CertificateRefused) is None:
            words = "the connection was closed"
            if isinstance(reason.value, SSL.Error) and reason.value.args and reason.value.args[0]:
                # A list of what OpenSSL has to say, the last thing being the clearest.
                words = reason.value.args[0][-1][-1]
            reason = Failure(ConnectError(string=f"the TLS handshake failed: {words}"))
        self._greeted.errback(reason)

    def give_up(self, error: Exception) -> None:
        """Tell whoever connects that it failed."""
        self.abandon()
        if not self._greeted.called:
            self._greeted.errback(error)

    def abandon(self) -> None:
        """Break the connection, if there is one."""
        if self.transport is not None:
            self.transport.abortConnection()
