"""Turning clients away with a word."""

import contextlib
import socket
from collections import deque
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall

PATIENCE_SECS: Final = 1.0
"""How long a client that is turned away has time to read why. If its connection were closed at once, what it sends then would
be answered with a reset, by which it might lose what it was told."""

MOST: Final = 64
"""So many are given that time; when more come, the first of them have had theirs."""


class Farewells:
    """Tells clients something and closes their connections, with no more for each than a socket for a while."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._leaving: deque[tuple[float, socket.socket]] = deque()
        self._next: IDelayedCall | None = None

    def bid(self, accepted: socket.socket, words: bytes) -> None:
        """
        Send these words, and close the connection a little later.

        @param accepted: becomes the callee's.
        """
        try:
            accepted.setblocking(False)
            # What does not fit into the buffer of a fresh connection is no word.
            accepted.send(words)
            accepted.shutdown(socket.SHUT_WR)
        except OSError:
            accepted.close()
            return
        self._leaving.append((self._clock.seconds() + PATIENCE_SECS, accepted))
        if len(self._leaving) > MOST:
            self._end_first()
        if self._next is None:
            self._next = self._clock.callLater(PATIENCE_SECS, self._look)

    def close(self) -> None:
        """Close all at once."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        while self._leaving:
            self._end_first()

    def _look(self) -> None:
        self._next = None
        now = self._clock.seconds()
        while self._leaving and self._leaving[0][0] <= now:
            self._end_first()
        if self._leaving:
            self._next = self._clock.callLater(self._leaving[0][0] - now, self._look)

    def _end_first(self) -> None:
        _, accepted = self._leaving.popleft()
        with contextlib.suppress(OSError):
            # What is unread when it is closed makes a reset of the end.
            accepted.recv(65536)
        accepted.close()
