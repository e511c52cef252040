"""Opens files that a program one does not trust may have replaced by something else."""

import os
import stat
from pathlib import Path


def open_regular(path: str, flags: int = os.O_RDONLY) -> int:
    """
    Open a file, unless it is not what C{path} says: whoever may write to its directory can replace it, between a check
    and now, by a link to a file of somebody else or by a pipe that never ends.

    A hard link to a file of somebody else counts as such a replacement: a file with several names that does not belong to
    the owner of its directory is refused, unless nobody but this process's user can have put it there.

    @param path: absolute, without symbolic links.
    @return: a descriptor.
    @raise OSError: there is no such regular file.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError:
        raise FileNotFoundError(path) from None
    if not _is_expected(descriptor, path):
        os.close(descriptor)
        raise FileNotFoundError(path)
    return descriptor


def _is_expected(descriptor: int, path: str) -> bool:
    try:
        opened = os.fstat(descriptor)
        where = Path(f"/proc/self/fd/{descriptor}").readlink()
        directory = where.parent.stat()
    except OSError:
        return False
    own = directory.st_uid == os.geteuid() and not directory.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    planted = opened.st_nlink > 1 and opened.st_uid != directory.st_uid and not own
    return stat.S_ISREG(opened.st_mode) and str(where) == path and not planted
