"""Ranges of ports for the instances that tests run."""

import functools
import random
import socket

#: Away from the ports of a real Waiter, and from those that the kernel gives to clients.
FIRST, LAST = 20000, 32767
#: Many, because a port on which a closed connection lingers is not used again for a minute.
SIZE = 500

_marks = []


@functools.cache
def own_ports():
    """
    The first and the last port of a range that is this process's alone until it ends: tests run in several processes.

    A program that a test starts should be told that test's, so that instances which outlive it are in no other's way.
    """
    ranges = range(FIRST, LAST - SIZE + 2, SIZE)
    for first in random.sample(ranges, len(ranges)):
        mark = socket.socket(socket.AF_UNIX)
        try:
            # No file's name: it is forgotten with this process. Its children have no part in it.
            mark.bind(f"\0waiter-tests-ports-{first}")
        except OSError:
            mark.close()
            continue
        _marks.append(mark)
        return first, first + SIZE - 1
    raise AssertionError(f"all ranges of ports between {FIRST} and {LAST} are taken")
