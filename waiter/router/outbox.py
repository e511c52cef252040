"""What carriers have to send at the end of a turn of the loop."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final
from weakref import WeakKeyDictionary

from twisted.logger import Logger

Write = Callable[[bytes], None]

SMALL: Final = 8192
"""Bytes of the longest piece that waits for the end of the turn."""

MANY: Final = 64
"""So many pieces do not wait for the end of the turn."""

_log = Logger()

# Note [Sending at the end of the turn]
#
# A receiver that sleeps is woken by what is sent to it, works, and sleeps again before the next piece for it is ready, which
# wakes it once more: with many connections to one client or instance, waking costs more than sending. What one turn of the
# loop brings for all of them is therefore sent in one go. It takes no time where there is only one: the turn ends when its
# piece is written. Large pieces and many are sent at once, so that who sends too much is told before he goes on.


class Outbox:
    """
    Keeps small pieces until the loop has dealt with all that has arrived, and sends them then, in the order they came.

    One serves all connections of a loop.
    """

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[tuple[Write, bytes]] = deque()

    def writer(self, write: Write) -> Write:
        """
        What to write to instead of to the connection itself.

        @param write: the connection's own; called some time later, or at once for a large piece.
        """
        waiting = self._waiting
        call_soon = self._loop.call_soon
        flush = self.flush

        def write_later(data: bytes) -> None:
            # What is not bytes may change before it is sent, or cannot be sent.
            if len(data) > SMALL or data.__class__ is not bytes:
                flush()
                write(data)
                return
            if not waiting:
                call_soon(flush)
            waiting.append((write, data))
            if len(waiting) >= MANY:
                flush()

        return write_later

    def flush(self) -> None:
        """Send all that waits, of every connection, now. Must come before anything that ends or measures one of them."""
        waiting = self._waiting
        # Who is told that he sends too much may write more, or come here again.
        while waiting:
            write, data = waiting.popleft()
            try:
                write(data)
            except Exception:  # noqa: BLE001 - one connection must not take the others down
                _log.failure("A piece could not be sent")


_outboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Outbox] = WeakKeyDictionary()


def outbox_of(loop: asyncio.AbstractEventLoop) -> Outbox:
    """The one of a loop."""
    outbox = _outboxes.get(loop)
    if outbox is None:
        outbox = _outboxes[loop] = Outbox(loop)
    return outbox
