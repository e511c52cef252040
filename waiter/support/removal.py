"""Deletes directories that somebody else has filled."""

import contextlib
import os
import secrets
import shutil
import stat
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: Path) -> bool:
    """
    Delete a directory with everything in it, however deep, or a file. Symbolic links are deleted, not followed. Slow; for
    a thread.

    Directories that not even their owner may enter are opened up first. Root may enter all and changes none: it must not
    be led to change what is not there.

    @return: whether it is gone.
    """
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return True
    if not _removed(path):
        with contextlib.suppress(OSError):
            _flatten(path)
        return _removed(path)
    return True


def _removed(path: Path) -> bool:
    # A tree deeper than Python's stack, or than there are descriptors, is flattened.
    with contextlib.suppress(RecursionError):
        shutil.rmtree(path, ignore_errors=True)
    return not path.exists()


def _flatten(top: Path) -> None:
    """Move every directory of a tree to the top, one that its owner can list and change."""
    if os.geteuid() != 0:
        top.chmod(stat.S_IRWXU)
    root = os.open(top, _DIRECTORY)
    try:
        waiting = _directories(root)
        while waiting:
            _bring_up(root, waiting.pop(), waiting)
    finally:
        os.close(root)


def _bring_up(root: int, name: str, waiting: list[str]) -> None:
    """Move what is in a directory of C{root} there, and note it."""
    try:
        _open_up(root, name)
        directory = os.open(name, _DIRECTORY, dir_fd=root)
    except OSError:
        # Somebody else's, or gone.
        return
    try:
        for inner in _directories(directory):
            new = f"{secrets.token_hex(8)}.flat"
            with contextlib.suppress(OSError):
                _open_up(directory, inner)
                os.rename(inner, new, src_dir_fd=directory, dst_dir_fd=root)
                waiting.append(new)
    finally:
        os.close(directory)


def _directories(directory: int) -> list[str]:
    with os.scandir(directory) as listing:
        return [entry.name for entry in listing if entry.is_dir(follow_symlinks=False)]


def _open_up(directory: int, name: str) -> None:
    if os.geteuid() != 0:
        os.chmod(name, stat.S_IRWXU, dir_fd=directory)
