"""Two corners of flow control in which uvloop and Twisted differ: what carriers put between them."""

import asyncio
from collections.abc import Callable
from typing import cast

from twisted.internet.interfaces import IProducer, IPullProducer


class HeldBack(asyncio.Protocol):
    """
    Stands in for a carrier whose protocol paused it before uvloop began to read: keeps what comes until it is wanted.
    That is one read at most, for the first one stops the reading.
    """

    __slots__ = ("_carrier", "_data", "_end", "_loop", "_release", "_transport", "_wanted")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        carrier: asyncio.Protocol,
        release: Callable[[bytes, bool], object],
    ) -> None:
        self._loop = loop
        self._transport = transport
        self._carrier = carrier
        self._release = release
        self._data = b""
        self._end = False
        self._wanted = False

    def data_received(self, data: bytes) -> None:
        """Keep it, and read no more."""
        self._data += data
        self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Keep that too."""
        self._end = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Not to be kept."""
        self._carrier.connection_lost(exc)

    def pause_writing(self) -> None:
        """Nothing to do with reading."""
        self._carrier.pause_writing()

    def resume_writing(self) -> None:
        """Nothing to do with reading."""
        self._carrier.resume_writing()

    def pause(self) -> None:
        """Go on keeping."""
        self._wanted = False

    def resume(self) -> None:
        """Give the carrier its place, and what was kept, soon."""
        if not self._wanted:
            self._wanted = True
            # Later, as data from the network would come.
            self._loop.call_soon(self._resumed)

    def _resumed(self) -> None:
        if self._wanted:
            self._wanted = False
            self._release(self._data, self._end)


class Puller:
    """Makes a pull producer of Twisted, which gives one piece each time it is asked, one that goes on until paused."""

    __slots__ = ("_failed", "_loop", "_producer", "_turn", "_wanted")

    def __init__(self, loop: asyncio.AbstractEventLoop, producer: IProducer, failed: Callable[[], object]) -> None:
        self._loop = loop
        self._producer = cast("IPullProducer", producer)
        self._failed = failed
        self._wanted = False
        self._turn: asyncio.Handle | None = None

    def pull(self) -> None:
        """Ask now."""
        self._wanted = True
        self._producer.resumeProducing()
        if self._wanted:
            self.resumeProducing()

    def resumeProducing(self) -> None:
        """Ask soon, and again until paused."""
        self._wanted = True
        if self._turn is None:
            self._turn = self._loop.call_soon(self._take_turn)

    def pauseProducing(self) -> None:
        """Ask no more."""
        self._wanted = False
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def stopProducing(self) -> None:
        """The connection is lost."""
        self.pauseProducing()
        self._producer.stopProducing()

    def _take_turn(self) -> None:
        self._turn = None
        try:
            self.pull()
        except Exception:  # noqa: BLE001 - one connection must not take the others down
            self._failed()
