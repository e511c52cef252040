"""What some transports have and others have not."""

import select
import struct
from contextlib import suppress
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.protocols.policies import ProtocolWrapper

_GONE = select.POLLHUP | select.POLLERR


def send_at_once(transport: Any) -> None:
    """
    Have small pieces sent without waiting for more. uvloop's transports do that by themselves; UNIX sockets, TLS and
    transports in memory know no other way or have no say in it.
    """
    set_no_delay = getattr(transport, "setTcpNoDelay", None)
    if set_no_delay is None or type(transport).__module__ == "waiter.router.carrier":
        return
    # It may be another kind of socket.
    with suppress(OSError):
        set_no_delay(True)


def half_close(transport: Any) -> None:
    """
    Tell the other side that no more comes; where the transport cannot do that, close the connection. No producer is
    registered afterwards.
    """
    transport.unregisterProducer()
    end = getattr(transport, "loseWriteConnection", None)
    if end is None:
        transport.loseConnection()
    else:
        end()


def unsent_bytes(transport: Any) -> int | None:
    """
    How much of what was written the other side has not taken, be it that it waits here or in the system. Where that shrinks,
    the other side reads.

    C{None} if it is not known.
    """
    unsent: int | None = getattr(transport, "unsent_bytes", None)
    if unsent is None and isinstance(transport, FileDescriptor):
        unsent = len(transport.dataBuffer) - transport.offset + transport._tempDataLen  # noqa: SLF001 - nothing else tells
        unsent += queued_bytes(transport.fileno())
    return unsent


def queued_bytes(descriptor: int) -> int:
    """
    How much the system has taken to be sent and the other side has not acknowledged: minutes' worth for a slow one.

    @param descriptor: of a socket; 0 is the answer where that is closed.
    """
    try:
        queued: int = struct.unpack("i", ioctl(descriptor, TIOCOUTQ, b"\0\0\0\0"))[0]
    except (OSError, ValueError):
        return 0
    return queued


def has_left(transport: Any, *, half: bool) -> bool:
    """
    Whether the other side is gone, also while nothing is read from it and what it has sent before is still to be read.

    @param half: a side that sends no more counts as gone.
    @return: C{False} also where that cannot be known.
    """
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    handle = getattr(transport, "getHandle", None)
    descriptor = -1 if handle is None else handle().fileno()
    if descriptor < 0:
        return False
    asked = select.poll()
    asked.register(descriptor, select.POLLRDHUP if half else 0)
    return any(found & (_GONE | select.POLLRDHUP) for _, found in asked.poll(0))
