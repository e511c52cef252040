"""What an instance wrote, and the files of its log directory."""

import os
from pathlib import Path

from waiter.errors import NotFound
from waiter.scheduler.interface import LogEntry
from waiter.scheduler.local.log_place import LogPlace
from waiter.scheduler.local.records import InstanceDirectory

_LINES = 10
_TAIL_BYTES = 4096


def last_lines(path: Path, *, lines: int = _LINES) -> tuple[str, ...]:
    """
    The last non-empty lines of a file, of those at most that its last 4 KiB hold; none if it cannot be read. If the file
    has just been rotated, what was moved away from its beginning counts.
    """
    place = LogPlace(path)
    text = b""
    # The copy comes between the two only for moments, when the live file has been cut and it has no number yet.
    for piece in (place.live, place.copy, place.old(1)):
        text = _tail(piece, _TAIL_BYTES - len(text)) + text
        if len(text) >= _TAIL_BYTES:
            break
    return tuple(line.rstrip() for line in text.decode("utf-8", "replace").splitlines() if line.strip())[-lines:]


def _tail(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - most))
            return file.read(most)
    except OSError:
        return b""


def last_output(directory: InstanceDirectory) -> tuple[str, ...]:
    """The last lines of the standard error, where errors are told, or if there are none, of the standard output."""
    return last_lines(directory.stderr) or last_lines(directory.stdout)


def inside(root: Path, relative: str) -> Path | None:
    """
    The path of something in a directory, followed through symbolic links; C{None} if there is no such thing, or it is not
    in the directory.
    """
    if "\0" in relative:
        return None
    try:
        real_root = root.resolve(strict=True)
        path = (real_root / relative.lstrip("/")).resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    return path if path.is_relative_to(real_root) else None


def entries(root: Path | None, directory: str) -> tuple[LogEntry, ...]:
    """
    What is in a directory of a log directory, by name. Left out: links, devices and what goes away meanwhile.

    @param root: the log directory; C{None} if there is none.
    @raise NotFound: there is no such directory.
    """
    root, path = _existing(root, directory)
    try:
        with os.scandir(path) as listing:
            top = root.resolve()
            found = [_entry(entry, top) for entry in listing]
    except NotADirectoryError as error:
        raise NotFound(f"{directory} is not a directory") from error
    return tuple(sorted((entry for entry in found if entry is not None), key=lambda entry: entry.name))


def file_path(root: Path | None, relative: str) -> str:
    """
    The absolute path of a file of a log directory.

    @param root: the log directory; C{None} if there is none.
    @raise NotFound: there is no such file, or it is outside.
    """
    _, path = _existing(root, relative)
    if not path.is_file():
        raise NotFound(f"{relative} is not a file")
    return str(path)


def _existing(root: Path | None, relative: str) -> tuple[Path, Path]:
    if root is None:
        raise NotFound("There are no logs of such an instance")
    path = inside(root, relative)
    if path is None:
        raise NotFound(f"There is no {relative} in the logs of the instance")
    return root, path


def _entry(entry: os.DirEntry[str], root: Path) -> LogEntry | None:
    where = os.path.relpath(entry.path, root)
    try:
        if entry.is_dir(follow_symlinks=False):
            return LogEntry(name=entry.name, type="directory", size=None, path=where)
        if entry.is_file(follow_symlinks=False):
            size = entry.stat(follow_symlinks=False).st_size
            return LogEntry(name=entry.name, type="file", size=size, path=where)
    except OSError:
        # It has just been deleted.
        return None
    return None
