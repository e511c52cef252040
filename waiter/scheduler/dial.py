"""Opens the connection of one health check."""

import socket
from contextlib import suppress
from errno import ECONNREFUSED, EISCONN
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IReadDescriptor
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

_READ_BYTES = 64 * 1024


class Dial:
    """
    One connection to an instance, tried first on a bare socket.

    On the loopback interface the kernel answers a connect at once, so a refusal is known without the reactor, and a
    starting instance can be asked every few milliseconds.
    """

    def __init__(self, reactor: Any, host: str, port: int, timeout_secs: float) -> None:
        """@param timeout_secs: how long connecting may take, where the reactor does it."""
        self._reactor = reactor
        self._host = host
        self._port = port
        self._timeout_secs = timeout_secs
        self._socket: socket.socket | None = None

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

    def connect(self, protocol: Protocol, creator: IOpenSSLClientConnectionCreator | None) -> Deferred[Protocol | None]:
        """
        Connect, on the socket that is there or by the reactor's own means. Fires when C{protocol} has been connected;
        cancelling drops the attempt.

        @param creator: wraps the connection in TLS.
        """
        if creator is not None:
            inner = Factory.forProtocol(lambda: protocol)
            protocol = TLSMemoryBIOFactory(creator, True, inner, clock=self._reactor).buildProtocol(None)
        attempt, self._socket = self._socket, None
        if attempt is not None:
            SocketTransport(self._reactor, attempt).carry(protocol)
            return succeed(protocol)
        kind = TCP4ClientEndpoint if _is_loopback(self._host) else HostnameEndpoint
        endpoint = kind(self._reactor, self._host, self._port, timeout=self._timeout_secs)
        connecting: Deferred[Protocol | None] = connectProtocol(endpoint, protocol)
        return connecting


@implementer(IReadDescriptor)
class SocketTransport:
    """
    Carries one small request and its answer on a connected socket.

    A transport of the reactor would do, at some three times the cost; that is felt where hundreds of instances are
    checked again and again.
    """

    disconnecting = False

    def __init__(self, reactor: Any, connected: socket.socket) -> None:
        self._reactor = reactor
        self._socket = connected
        self._protocol: Any = None

    def carry(self, protocol: Protocol) -> None:
        """Begin: the protocol is connected when this returns."""
        self._protocol = protocol
        self._reactor.addReader(self)
        protocol.makeConnection(self)

    def write(self, data: bytes) -> None:
        """Send what is so little that a socket takes it at once; if it does not, the connection is cut."""
        with suppress(OSError):
            # An error is met again when reading.
            if self._protocol is not None and self._socket.send(data) < len(data):
                self._socket.shutdown(socket.SHUT_RDWR)

    def writeSequence(self, data: Any) -> None:
        """Send all of it."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close; the protocol is told in another turn of the reactor."""
        self._close(ConnectionDone())

    def abortConnection(self) -> None:
        """Close; the protocol is told in another turn of the reactor."""
        self._close(ConnectionAborted())

    def _close(self, reason: Exception) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            self._reactor.removeReader(self)
            self._socket.close()
            self._reactor.callLater(0, protocol.connectionLost, Failure(reason))

    def fileno(self) -> int:
        """The descriptor; -1 when it is closed."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """For Twisted's log."""
        return "waiter-health-check"

    def doRead(self) -> None:
        """Something came, or the connection has ended."""
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self.connectionLost(Failure(ConnectionLost(str(error))))
            return
        if self._protocol is None:
            return
        if data:
            self._protocol.dataReceived(data)
        else:
            self.connectionLost(Failure(ConnectionDone()))

    def connectionLost(self, reason: Failure) -> None:
        """The connection has ended, or the reactor stops."""
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            self._reactor.removeReader(self)
            self._socket.close()
            protocol.connectionLost(reason)


@lru_cache(maxsize=1024)
def _is_loopback(host: str) -> bool:
    try:
        return IPv4Address(host).is_loopback
    except ValueError:
        return False
