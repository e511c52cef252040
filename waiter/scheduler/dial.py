"""Opens the connection of one health check."""

import socket
from errno import ECONNREFUSED, EISCONN
from ipaddress import IPv4Address
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint
from twisted.internet.interfaces import (
    IAddress,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer


@implementer(IStreamClientEndpoint)
class Dial:
    """
    One connection to an instance, tried first on a bare socket.

    On the loopback interface the kernel answers a connect at once, so a refusal is known without the reactor, and a
    starting instance can be asked every few milliseconds.

    @ivar connected: whether the connection was ever made.
    """

    def __init__(self, reactor: Any, host: str, port: int, timeout_secs: float) -> None:
        """@param timeout_secs: how long connecting may take, where the reactor does it."""
        self._reactor = reactor
        self._host = host
        self._port = port
        self._timeout_secs = timeout_secs
        self._socket: socket.socket | None = None
        self.connected = False

    def refused(self) -> bool:
        """Try now; whether nobody listens. C{False} also when that is not known at once."""
        if not _is_loopback(self._host):
            return False
        attempt = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        attempt.connect_ex((self._host, self._port))
        # The first call began the connection, this one asks how it went.
        answer = attempt.connect_ex((self._host, self._port))
        if answer in {0, EISCONN}:
            self._socket = attempt
        else:
            attempt.close()
        return answer == ECONNREFUSED

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect, on the socket that is there or by the reactor's own means. Cancelling it drops the attempt."""
        if self._socket is not None:
            return self._adopt(self._socket, protocolFactory)
        kind = TCP4ClientEndpoint if _is_loopback(self._host) else HostnameEndpoint
        connecting: Deferred[IProtocol] = kind(
            self._reactor, self._host, self._port, timeout=self._timeout_secs
        ).connect(protocolFactory)
        return connecting.addCallback(self._made)

    def close(self) -> None:
        """Give up a socket that was not used."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _made(self, protocol: IProtocol) -> IProtocol:
        self.connected = True
        return protocol

    def _adopt(self, attempt: socket.socket, factory: IProtocolFactory) -> Deferred[IProtocol]:
        catcher = _Catcher(factory)
        # Synchronous, and on a duplicate of the descriptor.
        self._reactor.adoptStreamConnection(attempt.fileno(), socket.AF_INET, catcher)
        self.close()
        if catcher.built is None:
            raise ConnectionAbortedError("the connection was not wanted")
        return succeed(self._made(catcher.built))


@implementer(IProtocolFactory)
class _Catcher:
    """Keeps the protocol that is built for an adopted connection."""

    noisy = False

    def __init__(self, factory: IProtocolFactory) -> None:
        self._factory = factory
        self.built: IProtocol | None = None

    def doStart(self) -> None:
        """Nothing to prepare."""

    def doStop(self) -> None:
        """Nothing to clear."""

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:
        self.built = self._factory.buildProtocol(addr)
        return self.built


@implementer(IOpenSSLClientConnectionCreator)
class AnyCertificate:
    """Speaks TLS without asking who the other side is: an instance has no name that a certificate could prove."""

    def __init__(self) -> None:
        self._context = CertificateOptions(verify=False).getContext()

    def clientConnectionForTLS(
        self,
        tlsProtocol: TLSMemoryBIOProtocol,  # noqa: ARG002 - Twisted's signature
    ) -> SSL.Connection:
        """A connection that verifies nothing."""
        return SSL.Connection(self._context, None)


def _is_loopback(host: str) -> bool:
    try:
        return IPv4Address(host).is_loopback
    except ValueError:
        return False
