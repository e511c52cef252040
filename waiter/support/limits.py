"""What the operating system allows this process."""

import resource
from typing import Final

ENOUGH: Final = 1 << 20
"""More open files than this are never asked for: programs that close all possible files one by one would take for ever."""


def raise_open_files_limit() -> tuple[int, int]:
    """
    Let this process open as many files as it may: each connection is one.

    Children inherit the limit; a program that uses C{select} may want the old one back.

    @return: the limit before and the limit now.
    """
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if before == resource.RLIM_INFINITY or before >= wanted:
        return before, before
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return before, before
    return before, wanted
