"""Keeps logs from growing without end while instances go on writing to them."""

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterator

import attrs

from waiter.scheduler.local.log_place import LogPlace, LogState, create
from waiter.support.cutting import CannotCut, cut_off_beginning, empty_if_size
from waiter.support.regular_file import open_regular

_CHUNK = 1 << 20
#: What the live file is recognized by after an interruption.
_HEAD_BYTES = 1 << 20
#: The stand-in for a number of bytes that is not known yet.
_ALL = 0


@attrs.frozen(kw_only=True)
class LogRotation:
    """
    Moves the beginning of a log that has become too large to older files.

    The live file always stays the one that the instance has open. Its beginning is copied to C{stdout.new}, which is then
    noted, cut off from the live file by the file system, and only then is the copy C{stdout.1}; so whenever this is
    interrupted, what was written is there once: C{recover} sees from the first bytes of the live file whether the cut was
    made. (Only of output that repeats itself exactly, over and over, can it not be told; then at worst one repetition too
    few is left.) A cut is at the end of a line if there is one at a block's end in the last quarter; otherwise the line
    begins at the end of C{stdout.1} and goes on in C{stdout}.

    Where the file system cannot cut, the live file is copied until there is nothing more to copy and emptied at once;
    what is written in that moment is lost.

    Everything here is slow and for a thread, one at a time for each log.

    @ivar max_bytes: how large a log may become before its beginning is moved, and how large the older files are.
    @ivar keep: how many older files there are.
    """

    max_bytes: int = 10 << 20
    keep: int = 3
    cut: Callable[[int, int], None] = cut_off_beginning
    empty: Callable[[int, int], bool] = empty_if_size

    def rotate(self, place: LogPlace) -> bool:
        """
        Move what is too much. A log that does not exist any more is left alone.

        @return: whether anything was.
        @raise OSError: it could not be done now; nothing is lost.
        """
        try:
            found = place.live.lstat()
        except FileNotFoundError:
            return False
        if found.st_size <= self.max_bytes or not stat.S_ISREG(found.st_mode):
            return False
        with _opened(place) as live:
            if place.state().removing is not None:
                self.recover(place)
            base = place.state().base
            # Not what comes meanwhile: others wait for their turn.
            until = base + os.fstat(live).st_size
            moved = False
            while base < until and (size := os.fstat(live).st_size) > self.max_bytes:
                removed = self._move(place, live, base, size)
                if not removed:
                    break
                base += removed
                moved = True
            return moved

    def recover(self, place: LogPlace) -> None:
        """
        Bring what was interrupted to its end, or undo it.

        @raise OSError: it could not be done now.
        """
        state = place.state()
        if state.removing is None:
            place.copy.unlink(missing_ok=True)
            return
        try:
            with _opened(place) as live:
                undone = os.fstat(live).st_size >= state.size and _head(live, state.size) == state.head
        except FileNotFoundError:
            undone = False
        if undone:
            self._undo(place, state.base)
            return
        if state.removing == _ALL:
            removed = place.copy.stat().st_size if place.copy.exists() else state.size
            state = attrs.evolve(state, removing=removed)
            place.note(state)
        self._settle(place, state)

    def _move(self, place: LogPlace, live: int, base: int, size: int) -> int:
        """Move one piece, and say how many bytes that was."""
        block = os.fstatvfs(live).f_bsize
        surplus = (size - (self.keep + 1) * self.max_bytes) // block * block
        if surplus >= self.max_bytes:
            # It would only push itself and what is there already over the end: that need not be copied.
            for _, path in place.pieces(base):
                path.unlink()
            length = surplus
        else:
            surplus = 0
            length = _cut_at(live, min(size - 1, self.max_bytes), block)
        if length <= 0:
            return 0
        copied = self.keep > 0 and not surplus
        state = LogState(base=base, removing=length, size=size, head=_head(live, size))
        try:
            if copied:
                _copy(live, place, length)
            place.note(state)
            self.cut(live, length)
        except CannotCut:
            self._undo(place, base)
            return self._empty(place, live, base)
        except OSError:
            self._undo(place, base)
            raise
        self._settle(place, state)
        return length

    def _empty(self, place: LogPlace, live: int, base: int) -> int:
        """Move everything, where the beginning alone cannot be."""
        copy = create(place.copy) if self.keep else -1
        try:
            copied = _copy_on(live, copy, 0)
            state = LogState(base=base, removing=_ALL, size=copied, head=_head(live, copied))
            place.note(state)
            while True:
                copied = _copy_on(live, copy, copied)
                if self.empty(live, copied):
                    break
        except OSError:
            self._undo(place, base)
            raise
        finally:
            if copy >= 0:
                os.close(copy)
        state = attrs.evolve(state, removing=copied)
        place.note(state)
        self._settle(place, state)
        return copied

    def _settle(self, place: LogPlace, state: LogState) -> None:
        """The live file has been cut: let the copy follow it, and note that all is done."""
        if self.keep and place.copy.exists():
            # Up to the first gap only: so this can be interrupted and done again.
            gap = next((number for number in range(1, self.keep) if not place.old(number).exists()), self.keep)
            for number in range(gap, 1, -1):
                place.old(number - 1).replace(place.old(number))
            place.copy.replace(place.old(1))
        number = self.keep + 1
        while place.old(number).exists():
            place.old(number).unlink()
            number += 1
        place.note(LogState(base=state.base + (state.removing or 0)))

    def _undo(self, place: LogPlace, base: int) -> None:
        place.copy.unlink(missing_ok=True)
        if place.state().removing is not None:
            place.note(LogState(base=base))


@contextlib.contextmanager
def _opened(place: LogPlace) -> Iterator[int]:
    descriptor = open_regular(str(place.live), os.O_RDWR)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _cut_at(live: int, most: int, block: int) -> int:
    """Where to cut: at the end of a block, and of a line if possible."""
    last = most // block * block
    for boundary in range(last, max(0, last - last // 4), -block):
        if os.pread(live, 1, boundary - 1) == b"\n":
            return boundary
    return last


def _head(live: int, size: int) -> str:
    return hashlib.sha256(os.pread(live, min(size, _HEAD_BYTES), 0)).hexdigest()


def _copy(live: int, place: LogPlace, length: int) -> None:
    """Copy the beginning of the live file and bring the copy to the disk."""
    copy = create(place.copy)
    try:
        position = 0
        while position < length:
            data = os.pread(live, min(_CHUNK, length - position), position)
            if not data:
                raise OSError(f"{place.live} was cut off meanwhile")
            _write(copy, data)
            position += len(data)
        os.fdatasync(copy)
    finally:
        os.close(copy)


def _copy_on(live: int, copy: int, position: int) -> int:
    """Copy what there is from a position on, to a descriptor if that is one, and say where that ended."""
    while data := os.pread(live, _CHUNK, position):
        if copy >= 0:
            _write(copy, data)
        position += len(data)
    return position


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
