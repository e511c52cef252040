"""Ports for servers that tests start."""

import fcntl
import os
import random
import socket
import tempfile
from itertools import count
from pathlib import Path

#: Neither the kernel gives these to clients and to who asks for any port, nor does Waiter give them to instances.
FIRST, LAST = 7000, 8999


class _Ports:
    """
    Gives each port to one process alone, for as long as that lives, and to nobody who is there at the same time.

    A port that is only found free may be somebody else's by the time its server listens: tests run in several processes.
    """

    def __init__(self):
        self._file = None
        self._given = set()
        self._steps = count(random.randrange(LAST - FIRST + 1))  # noqa: S311 - spread, not secrecy

    def take(self, number):
        """The first of so many ports in a row."""
        if self._file is None:
            path = Path(tempfile.gettempdir()) / f"waiter-tests-ports-{os.getuid()}"
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        for _ in range(2):
            for _ in range(LAST - FIRST + 1):
                first = FIRST + next(self._steps) % (LAST - FIRST + 1)
                if first + number - 1 <= LAST and all(self._is_ours(first + at) for at in range(number)):
                    self._given.update(range(first, first + number))
                    return first
            # All had their turn: whoever got them first may be gone.
            self._given.clear()
        raise AssertionError(f"no {number} ports in a row are free between {FIRST} and {LAST}")

    def _is_ours(self, port):
        if port in self._given:
            return False
        try:
            # Held until this process ends. Its children have no part in it.
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            with socket.socket() as attempt:
                attempt.bind(("", port))
        except OSError:
            return False
        return True


_ports = _Ports()


def free_port():
    """A port that is free, and that no other test will be given."""
    return _ports.take(1)


def free_pair():
    """The first of two neighbouring ones."""
    return _ports.take(2)
