"""Whether there is room for files."""

import errno
import os
from pathlib import Path

#: How the system says that there is none.
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
#: With less than this a file system counts as full: a program that writes more at a time fails before nothing is left.
FULL_BYTES = 256 * 1024


def lack_of_room(path: Path) -> str | None:
    """
    What the file system of C{path} has run out of, as a sentence; C{None} if nothing, or if it cannot be asked.
    """
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    root = os.geteuid() == 0
    free = (found.f_bfree if root else found.f_bavail) * found.f_frsize
    if free < FULL_BYTES:
        return f"The disk of its files, mounted at {_mount_point(path)}, is full: {free // 1024} KiB are free"
    if found.f_files and not (found.f_ffree if root else found.f_favail):
        return f"The disk of its files, mounted at {_mount_point(path)}, can hold no more files"
    return None


def _mount_point(path: Path) -> Path:
    return next((place for place in (path, *path.parents) if place.is_mount()), path)
