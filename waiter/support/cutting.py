"""Removes the beginning of a file that other processes go on appending to."""

import ctypes
import errno
import os
from typing import Any

_COLLAPSE_RANGE = 0x08
_UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})

# Two handles on the same library: calls through the second one keep the interpreter to themselves.
_libc = ctypes.CDLL(None, use_errno=True)
_quick = ctypes.PyDLL(None, use_errno=True)


def _function(library: Any, name: str, *arguments: Any, result: Any) -> Any:
    # Where long has 32 bits, the plain name takes offsets of that size.
    function = getattr(library, f"{name}64", None) or getattr(library, name)
    function.argtypes = arguments
    function.restype = result
    return function


_fallocate = _function(
    _libc, "fallocate", ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64, result=ctypes.c_int
)
_lseek = _function(_quick, "lseek", ctypes.c_int, ctypes.c_int64, ctypes.c_int, result=ctypes.c_int64)
_ftruncate = _function(_quick, "ftruncate", ctypes.c_int, ctypes.c_int64, result=ctypes.c_int)


class CannotCut(Exception):
    """The file system has no way to do that."""


def cut_off_beginning(descriptor: int, length: int) -> None:
    """
    Remove the first bytes of a file: what follows moves to the front. Whatever another process appends at the same time
    with C{O_APPEND} comes after it, unharmed.

    May write what is cached of the file to the disk, so it can take a while.

    @param length: a multiple of the file system's block size, and less than the file's size.
    @raise CannotCut: the file system cannot do this (those that can: ext4, XFS).
    @raise OSError: it failed.
    """
    if _fallocate(descriptor, _COLLAPSE_RANGE, 0, length) != 0:
        number = ctypes.get_errno()
        if number in _UNSUPPORTED:
            raise CannotCut(os.strerror(number))
        raise OSError(number, os.strerror(number))


def empty_if_size(descriptor: int, size: int) -> bool:
    """
    Empty a file if it has that size, and say whether it had.

    What another process appends between the look and the deed is lost. The two system calls follow each other without
    anything of Python's between them that could wait: that is some millionths of a second, if the kernel does not put
    this process to sleep just there.

    @raise OSError: it failed.
    """
    if _lseek(descriptor, 0, os.SEEK_END) != size:
        return False
    if _ftruncate(descriptor, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return True
