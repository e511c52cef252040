"""
Twisted protocols on uvloop's transports.

Twisted's own transports on a uvloop loop cost more than on epoll; uvloop's, written in C, cost less than half. A
L{Carrier} stands between one uvloop connection and one Twisted C{IProtocol}: to uvloop it is the protocol, to the
protocol it is the transport. What is called most often goes past it: C{write} is that of the loop's
L{Outbox<waiter.router.outbox.Outbox>}.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableProtocol,
    IProducer,
    IProtocol,
    IPushProducer,
    ISystemHandle,
    ITCPTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from waiter.router.flow import HeldBack, Puller
from waiter.router.outbox import Outbox, outbox_of
from waiter.router.sockets import queued_bytes

HIGH_WATER: Final = 65536
"""Bytes waiting to be sent above which a producer is paused."""

_log = Logger()
_DONE: Final = Failure(ConnectionDone())
_LOST: Final = Failure(ConnectionLost())
_ABORTED: Final = Failure(ConnectionAborted())
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


def address_of(family: int, name: Any) -> IPv4Address | IPv6Address | UNIXAddress:
    """Twisted's form of a socket's name."""
    if family == socket.AF_INET:
        return IPv4Address("TCP", name[0], name[1])
    if family == socket.AF_INET6:
        return IPv6Address("TCP", *name)
    return UNIXAddress(name or None)


def _ignore(data: object) -> None:
    """What C{write} is while nothing can be written."""


@implementer(ITCPTransport, IConsumer, IPushProducer, ISystemHandle)
class Carrier(asyncio.Protocol):
    """
    One TCP or UNIX connection on uvloop with the manners of Twisted's transports.

    Differences that a protocol may notice: what is written after C{loseConnection} or C{loseWriteConnection} is
    dropped at once, unless a producer is still registered; each C{write} is one attempt to send, so small pieces should be
    joined. C{write} and C{writeSequence} must not be kept after C{connectionLost}.

    @ivar protocol: the Twisted protocol; gone after C{connectionLost}.
    @ivar write: takes bytes.
    @ivar writeSequence: takes a list of bytes.
    @ivar connected: between C{connectionMade} and C{connectionLost}.
    @ivar disconnecting: C{loseConnection} was called.
    """

    __slots__ = (
        "_closing",
        "_congested",
        "_end_read",
        "_end_written",
        "_held",
        "_host",
        "_loop",
        "_opening",
        "_outbox",
        "_peer",
        "_producer",
        "_reason",
        "_transport",
        "connected",
        "disconnecting",
        "protocol",
        "write",
        "writeSequence",
    )

    _outbox: Outbox
    _transport: asyncio.Transport
    protocol: IProtocol
    write: Callable[[bytes], None]
    writeSequence: Callable[[Iterable[bytes]], None]

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: IProtocol,
        peer: IAddress | None = None,
        host: IAddress | None = None,
    ) -> None:
        """
        @param peer: the other end's address, if it is known already.
        @param host: this end's address, if it is known already. UNIX connections need both.
        """
        self._loop = loop
        self.protocol = protocol
        self._peer = peer
        self._host = host
        self.connected = False
        self.disconnecting = False
        self._opening = True
        self._closing = False
        self._congested = False
        self._end_read = False
        self._end_written = False
        self._held: HeldBack | None = None
        self._producer: IPushProducer | Puller | None = None
        self._reason: Failure | None = None
        self.write = self.writeSequence = _ignore

    # What uvloop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce the protocol to its transport."""
        self.begin(transport)
        self.opened()

    def begin(self, transport: asyncio.BaseTransport) -> None:
        """The first half of C{connection_made}: the protocol meets its transport."""
        uv = self._transport = cast("asyncio.Transport", transport)
        uv.set_write_buffer_limits(HIGH_WATER)
        self.connected = True
        self._outbox = outbox_of(self._loop)
        self.write = self._outbox.writer(uv.write)
        self.writeSequence = self._write_all
        try:
            self.protocol.makeConnection(self)
        except Exception:  # noqa: BLE001 - one connection must not take the others down
            self._failed()

    def opened(self) -> None:
        """The second half: uvloop will begin to read right after this returns."""
        self._opening = False
        if self._held is not None:
            self._transport.set_protocol(self._held)

    def never_opened(self, problem: Exception) -> None:
        """The connection did not come to be. The protocol has not met its transport, but may be counted somewhere."""
        if not self.connected and hasattr(self, "protocol"):
            self.connection_lost(problem)

    def data_received(self, data: bytes) -> None:
        """Pass on what has come."""
        try:
            self.protocol.dataReceived(data)
        except Exception:  # noqa: BLE001 - one connection must not take the others down
            self._failed()

    def eof_received(self) -> bool:
        """The other side will send no more. A protocol that cannot go on with half a connection loses all of it."""
        self._end_read = True
        half_closeable = IHalfCloseableProtocol(self.protocol, None)
        if half_closeable is None:
            self._end(_DONE)
            return True
        try:
            half_closeable.readConnectionLost()
        except Exception:  # noqa: BLE001 - one connection must not take the others down
            self._failed()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell producer and protocol, once."""
        self.connected = False
        self._silence()
        producer, self._producer = self._producer, None
        protocol = self.protocol
        del self.protocol
        reason = self._reason
        if reason is None:
            reason = _DONE if exc is None else _LOST if isinstance(exc, OSError) else Failure(exc)
        try:
            if producer is not None:
                producer.stopProducing()
        except Exception:  # noqa: BLE001 - one connection must not take the others down
            _log.failure("A producer failed when its connection was lost")
        try:
            protocol.connectionLost(reason)
        except Exception:  # noqa: BLE001 - one connection must not take the others down
            _log.failure("{protocol} failed when its connection was lost", protocol=type(protocol).__name__)

    def pause_writing(self) -> None:
        """Too much waits to be sent."""
        self._congested = True
        if self._producer is not None:
            try:
                self._producer.pauseProducing()
            except Exception:  # noqa: BLE001 - one connection must not take the others down
                self._failed()

    def resume_writing(self) -> None:
        """Enough of it is sent."""
        self._congested = False
        if self._end_written:
            # The end itself is sent right after this returns.
            self._loop.call_soon(self._write_side_lost)
        elif self._producer is not None:
            try:
                self._producer.resumeProducing()
            except Exception:  # noqa: BLE001 - one connection must not take the others down
                self._failed()

    # What the protocol calls.

    def loseConnection(self) -> None:
        """Close when all that was written is sent and no producer is registered."""
        if not self.connected or self.disconnecting or self._closing:
            return
        self.disconnecting = True
        self._transport.pause_reading()
        if self._producer is None:
            self._close()

    def abortConnection(self) -> None:
        """Close at once, with a reset. What was not sent is dropped."""
        if not self.connected or self._reason is not None:
            return
        # Where it fails, the socket is gone already.
        with contextlib.suppress(OSError):
            self.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._end(_ABORTED)

    def loseWriteConnection(self) -> None:
        """Tell the other side that no more will come, when all that was written is sent."""
        if not self.connected or self._closing or self._end_written:
            return
        self._end_written = True
        self._silence()
        self._outbox.flush()
        # So that resume_writing comes when nothing is left.
        self._transport.set_write_buffer_limits(0)
        self._transport.write_eof()
        if not self._transport.get_write_buffer_size():
            self._loop.call_soon(self._write_side_lost)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """
        Ask a producer for data as long as it can be sent.

        @param streaming: whether it is an C{IPushProducer} or an C{IPullProducer}.
        @raise RuntimeError: there is one already.
        """
        if self._producer is not None:
            raise RuntimeError(f"cannot register {producer}: {self._producer} was never unregistered")
        if not self.connected or self._closing:
            producer.stopProducing()
            return
        if not streaming:
            puller = self._producer = Puller(self._loop, producer, self._failed)
            puller.pull()
            return
        self._producer = cast("IPushProducer", producer)
        if self._congested:
            self._producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """The producer has no more. A close that waited for it happens now."""
        producer, self._producer = self._producer, None
        if isinstance(producer, Puller):
            producer.pauseProducing()
        if self.disconnecting and self.connected:
            self._close()

    def pauseProducing(self) -> None:
        """Read no more for now."""
        if self._opening:
            # uvloop begins to read after connection_made, whatever was said in it.
            self._held = HeldBack(self._loop, self._transport, self, self._release_held)
        elif self._held is not None:
            self._held.pause()
        else:
            self._transport.pause_reading()

    def resumeProducing(self) -> None:
        """Read again."""
        if self._opening:
            self._held = None
        elif self._held is not None:
            self._held.resume()
        elif not (self.disconnecting or self._end_read):
            self._transport.resume_reading()

    def stopProducing(self) -> None:
        """Close, as C{loseConnection} does."""
        self.loseConnection()

    def getPeer(self) -> Any:
        """The other end's C{IAddress}, of the kind that fits the connection."""
        if self._peer is None:
            self._peer = self._address("peername")
        return self._peer

    def getHost(self) -> Any:
        """This end's C{IAddress}, of the kind that fits the connection."""
        if self._host is None:
            self._host = self._address("sockname")
        return self._host

    @property
    def unsent_bytes(self) -> int:
        """How much of what was written the other side has not taken, be it that it waits here or in the system."""
        if not self.connected:
            return 0
        self._outbox.flush()
        return self._transport.get_write_buffer_size() + queued_bytes(self.getHandle().fileno())

    def getHandle(self) -> Any:
        """Something with the options of a socket; reading and writing is uvloop's."""
        return self._transport.get_extra_info("socket")

    def getTcpNoDelay(self) -> bool:
        """Whether small writes are sent at once. They are, unless it was changed."""
        handle = self.getHandle()
        if handle.family == socket.AF_UNIX:
            return False
        return bool(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Whether small writes are sent at once. Means nothing to a UNIX connection."""
        handle = self.getHandle()
        if handle.family != socket.AF_UNIX:
            handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        """Whether the kernel probes a silent connection."""
        return bool(self.getHandle().getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Whether the kernel probes a silent connection."""
        self.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)

    # Inside.

    def _release_held(self, data: bytes, end: bool) -> None:
        if self.disconnecting or self._closing or not self.connected:
            return
        self._held = None
        self._transport.set_protocol(self)
        if end:
            self.eof_received()
            return
        self._transport.resume_reading()
        if data:
            self.data_received(data)

    def _address(self, name: str) -> IAddress:
        known = self._transport.get_extra_info(name)
        return address_of(socket.AF_INET6 if len(known) == 4 else socket.AF_INET, known)

    def _write_all(self, pieces: Iterable[bytes]) -> None:
        self._outbox.flush()
        self._transport.writelines(pieces)

    def _silence(self) -> None:
        self.write = self.writeSequence = _ignore

    def _close(self) -> None:
        self._closing = True
        self._silence()
        self._outbox.flush()
        self._transport.close()

    def _end(self, reason: Failure) -> None:
        """Close without sending what waits; C{connectionLost} gets the reason."""
        if self._reason is None:
            self._reason = reason
        self._closing = True
        self._silence()
        self._outbox.flush()
        self._transport.abort()

    def _failed(self) -> None:
        """Inside an C{except}: the protocol or its producer is broken, so its connection ends."""
        failure = Failure()
        protocol = getattr(self, "protocol", None)
        _log.failure("{protocol} failed; its connection is closed", failure, protocol=type(protocol).__name__)
        if self.connected:
            self._end(failure)

    def _write_side_lost(self) -> None:
        if not self.connected:
            return
        half_closeable = IHalfCloseableProtocol(self.protocol, None)
        if half_closeable is not None:
            try:
                half_closeable.writeConnectionLost()
            except Exception:  # noqa: BLE001 - one connection must not take the others down
                self._failed()
