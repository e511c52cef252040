"""Where the pieces of a rotated log are, and how much was taken away from its beginning."""

import contextlib
import json
import os
from pathlib import Path

import attrs

_MOST_STATE_BYTES = 4096


@attrs.frozen(kw_only=True)
class LogState:
    """
    What is noted of a log, in a file beside it.

    Offsets count what was ever written to the log, so they stay the same when its beginning is taken away.

    @ivar base: the offset of the first byte of the live file.
    @ivar removing: C{None} normally. Otherwise the beginning of the live file, so many bytes of it, is being removed, or
        has been and the rest is still to be done; 0 for all that there is.
    @ivar size: the live file's size before that.
    @ivar head: a digest of its first bytes before that.
    """

    base: int = 0
    removing: int | None = None
    size: int = 0
    head: str = ""


@attrs.frozen
class LogPlace:
    """
    The files of one log: the live one, C{stdout}, that the instance writes to; C{stdout.1} and so on, that hold what was
    written before, the latest first; C{stdout.offset}; and while it is rotated C{stdout.new}.

    @ivar live: absolute.
    """

    live: Path

    @property
    def copy(self) -> Path:
        """What becomes C{stdout.1} when the same is removed from the live file."""
        return self.live.with_name(f"{self.live.name}.new")

    @property
    def offset(self) -> Path:
        """What is noted."""
        return self.live.with_name(f"{self.live.name}.offset")

    def old(self, number: int) -> Path:
        """An older piece, from 1 on."""
        return self.live.with_name(f"{self.live.name}.{number}")

    def state(self) -> LogState:
        """
        What is noted; nothing was ever removed if nothing is.

        @raise OSError: it cannot be read.
        """
        try:
            descriptor = os.open(self.offset, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return LogState()
        try:
            return LogState(**json.loads(os.read(descriptor, _MOST_STATE_BYTES)))
        except (ValueError, TypeError) as error:
            # Nobody writes half of it: it is not Waiter's.
            raise OSError(f"{self.offset} cannot be understood: {error}") from error
        finally:
            os.close(descriptor)

    def note(self, state: LogState) -> None:
        """
        Replace what is noted, as a whole.

        @raise OSError: it cannot be written.
        """
        new = self.offset.with_name(f"{self.offset.name}.new")
        descriptor = create(new)
        try:
            os.write(descriptor, json.dumps(attrs.asdict(state)).encode())
        finally:
            os.close(descriptor)
        new.replace(self.offset)

    def pieces(self, base: int) -> list[tuple[int, Path]]:
        """The older pieces that join each other and the live file: the offset of the first byte of each, latest first."""
        found: list[tuple[int, Path]] = []
        while True:
            path = self.old(len(found) + 1)
            try:
                base -= path.lstat().st_size
            except FileNotFoundError:
                return found
            found.append((base, path))


def create(path: Path) -> int:
    """
    Make a new file, in place of one that may be there, for writing.

    @raise OSError: it cannot be made.
    """
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
