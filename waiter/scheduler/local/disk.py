"""Whether there is room for files."""

import os
from pathlib import Path

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
        return f"The disk that its directory {path} is on is full: {free // 1024} KiB are free"
    if found.f_files and not (found.f_ffree if root else found.f_favail):
        return f"The disk that its directory {path} is on can hold no more files"
    return None
