"""What some transports have and others have not."""

from contextlib import suppress
from typing import Any

from twisted.internet.abstract import FileDescriptor


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
    How much of what was written has not been taken by the system yet. Where that shrinks, the other side reads.

    C{None} if it is not known.
    """
    unsent: int | None = getattr(transport, "unsent_bytes", None)
    if unsent is None and isinstance(transport, FileDescriptor):
        return len(transport.dataBuffer) - transport.offset + transport._tempDataLen  # noqa: SLF001 - nothing else tells
    return unsent
