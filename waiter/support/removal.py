"""Deletes directories that somebody else has filled."""

import os
import shutil
import stat
from pathlib import Path


def remove_tree(path: Path) -> bool:
    """
    Delete a directory with everything in it, or a file. Symbolic links are deleted, not followed. Slow; for a thread.

    Directories that not even their owner may enter are opened up first. Root may enter all and changes none: it must not
    be led to change what is not there.

    @return: whether it is gone.
    """
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return True
    shutil.rmtree(path, ignore_errors=True)
    if path.exists() and os.geteuid() != 0:
        _open_up(path)
        shutil.rmtree(path, ignore_errors=True)
    return not path.exists()


def _open_up(top: Path) -> None:
    """Make every directory one that its owner can list and change."""
    waiting = [top]
    while waiting:
        path = waiting.pop()
        try:
            path.chmod(stat.S_IRWXU)
            with os.scandir(path) as listing:
                waiting += [Path(entry.path) for entry in listing if entry.is_dir(follow_symlinks=False)]
        except OSError:
            # Somebody else's.
            continue
