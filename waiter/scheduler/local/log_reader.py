"""Reads what an instance wrote, across the pieces it was moved to."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from zope.interface import implementer

from waiter.errors import NotFound
from waiter.scheduler.interface import ILog, LogExtent
from waiter.scheduler.local.log_place import LogPlace, LogState
from waiter.support.regular_file import open_regular

T = TypeVar("T")

_PLAIN = LogState()


@implementer(ILog)
class LogReader:
    """
    A log, opened when it is read for the first time.

    Rotation goes on meanwhile, in a thread or in another process: what is noted beside the log is looked at before and
    after each read, and if it is not the same the read does not count.
    """

    def __init__(self, path: str, *, rotated: bool, complete: Callable[[], bool]) -> None:
        """
        @param path: absolute, without symbolic links.
        @param rotated: whether this is a log that is rotated, not any other file.
        @param complete: whether nothing more will be written.
        """
        self._path = path
        self._place = LogPlace(Path(path)) if rotated else None
        self._complete = complete
        self._live: int | None = None
        self._base = 0

    def extent(self) -> LogExtent | None:
        """See L{ILog}."""
        return self._consistent(
            lambda live, state: LogExtent(
                oldest=self._pieces(state)[-1][0], first=state.base, end=state.base + os.fstat(live).st_size
            )
        )

    def read(self, offset: int, most: int) -> tuple[int, bytes] | None:
        """See L{ILog}."""
        return self._consistent(lambda live, state: self._read(live, state, offset, most))

    def complete(self) -> bool:
        """See L{ILog}."""
        return self._complete() or (self._live is not None and os.fstat(self._live).st_nlink == 0)

    def close(self) -> None:
        """See L{ILog}."""
        live, self._live = self._live, None
        if live is not None:
            os.close(live)

    def _consistent(self, look: Callable[[int, LogState], T]) -> T | None:
        """What C{look} finds, unless something was moved meanwhile."""
        state = None
        try:
            if self._live is None:
                self._live = open_regular(self._path)
            state = self._state()
            if state.removing is not None:
                return None
            found = look(self._live, state)
            return found if self._state() == state else None
        except OSError as error:
            with contextlib.suppress(OSError):
                if state is not None and self._state() != state:
                    # An older piece has just got another name.
                    return None
            self.close()
            raise NotFound("There is no such file.") from error

    def _state(self) -> LogState:
        if self._place is None:
            return _PLAIN
        state = self._place.state()
        if state.base < self._base:
            # What is noted was deleted, and the rest is about to be.
            raise FileNotFoundError(self._path)
        self._base = state.base
        return state

    def _pieces(self, state: LogState) -> list[tuple[int, Path | None]]:
        """The first offset of every piece, latest first; the live one has no path."""
        older = [] if self._place is None else self._place.pieces(state.base)
        return [(state.base, None), *older]

    def _read(self, live: int, state: LogState, offset: int, most: int) -> tuple[int, bytes]:
        if offset > state.base + os.fstat(live).st_size:
            # The instance, or somebody else, has emptied the file.
            offset = state.base
        if offset >= state.base:
            return offset, os.pread(live, most, offset - state.base)
        pieces = self._pieces(state)
        # What is older than the oldest is gone.
        offset = max(offset, pieces[-1][0])
        start, path = next(piece for piece in pieces if piece[0] <= offset)
        if path is None:
            return offset, os.pread(live, most, offset - start)
        older = open_regular(str(path))
        try:
            return offset, os.pread(older, most, offset - start)
        finally:
            os.close(older)
