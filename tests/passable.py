"""Directories that other users can pass, for what runs as them in tests."""

from pathlib import Path
from unittest import SkipTest


def passable_directory(case):
    """A new directory that every user of the machine may pass."""
    path = Path(case.mktemp()).absolute()
    path.mkdir()
    top = Path.cwd()
    for directory in (path, *path.parents):
        if directory.is_relative_to(top):
            directory.chmod(directory.stat().st_mode | 0o111)
        elif not directory.stat().st_mode & 0o001:
            raise SkipTest(f"other users may not pass {directory}; choose another --temp-directory")
    return path
