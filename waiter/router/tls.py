"""TLS between a transport and a protocol."""

from typing import Any

from twisted.internet.interfaces import IAddress, IOpenSSLServerConnectionCreator, IProtocolFactory, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from waiter.router.sockets import half_close, unsent_bytes
from waiter.telemetry.counters import RouterMetrics

# How a client begins that speaks TLS.
_HANDSHAKE = 22
_ADVICE = b"This port speaks HTTPS: use https:// in the address.\n"
_SPOKEN_PLAIN = (
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%b"
) % (len(_ADVICE), _ADVICE)


class TLSTransport(TLSMemoryBIOProtocol):
    """
    Twisted's TLS as the router's protocols need it. Where Twisted's own differs:

    it ends a connection that is aborted with a goodbye, by which the other side takes for the whole what is not; to lose
    a connection, it waits for the other side's goodbye; asked to end one direction, it does so beneath TLS, where what
    was written is lost; and when the other side has said goodbye, a transport that waits for the producer never closes.
    """

    transport: Any

    def loseConnection(self) -> None:
        """Say goodbye and close, when all that was written is sent."""
        super().loseConnection()
        if self.disconnecting and not self._appSendBuffer and self._producer is None:
            self.transport.loseConnection()

    def abortConnection(self) -> None:
        """Break the connection without a goodbye."""
        self._aborted = True
        self.disconnecting = True
        self.transport.abortConnection()

    def loseWriteConnection(self) -> None:
        """Say goodbye, and read on. What is written afterwards is dropped."""
        if self.disconnecting or self._lostTLSConnection:
            return
        if self._appSendBuffer or not self._handshakeDone:
            self.loseConnection()
            return
        self._shutdownTLS()
        # OpenSSL would take a write for an error, and end the connection.
        self.write = self.writeSequence = _ignore  # type: ignore[method-assign]
        half_close(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        if self.disconnecting:
            # Nobody waited for the other side's goodbye, so it is no matter that it did not come.
            self._lostTLSConnection = True
        super().connectionLost(reason)

    def _tlsShutdownFinished(self, reason: Failure | None) -> None:
        """No more comes, and nothing can be sent: the producer is told at once, the protocol when the transport is closed."""
        producer = self._producer
        if producer is not None:
            self.unregisterProducer()
            producer.stopProducing()
        super()._tlsShutdownFinished(reason)

    @property
    def unsent_bytes(self) -> int | None:
        """How much of what was written has not been taken by the system yet, encrypted."""
        return unsent_bytes(self.transport)


class ServerTLSTransport(TLSTransport):
    """The server's end. A client that speaks plain HTTP is told so."""

    factory: "ServerTLSFactory"
    _fresh = True

    @property
    def greeting(self) -> bool:
        """Whether the handshake is not done."""
        return not self._handshakeDone

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the network."""
        if self._fresh:
            self._fresh = False
            if data[0] != _HANDSHAKE and data[:1].isalpha():
                self.transport.write(_SPOKEN_PLAIN)
                self.transport.loseConnection()
                return
        super().dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone, or never came to be."""
        if self.transport is None:
            self.wrappedProtocol.connectionLost(reason)
            return
        if self.greeting and not self._fresh and not self._aborted:
            self.factory.numbers.tls_failures_total += 1
        super().connectionLost(reason)


class ServerTLSFactory(TLSMemoryBIOFactory):
    """
    Puts TLS before the protocols of another factory.

    @ivar numbers: where handshakes that fail are counted. Those that take too long are for the protocols to end and count.
    """

    protocol = ServerTLSTransport

    def __init__(
        self,
        certificates: IOpenSSLServerConnectionCreator,
        factory: IProtocolFactory,
        clock: IReactorTime,
        numbers: RouterMetrics,
    ) -> None:
        self.numbers = numbers
        super().__init__(certificates, False, factory, clock)

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """One more connection, unless the other factory wants none."""
        inner = self.wrappedFactory.buildProtocol(addr)
        return None if inner is None else self.protocol(self, inner)


def _ignore(data: object) -> None:
    """What C{write} is when nothing can be written any more."""
