"""Notices on the reactor that a process ends, whoever's child it is."""

import os
import signal
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IReadDescriptor)
class PidWatch:
    """
    One process, by a descriptor that means it alone even when its number is used again.

    The kernel makes the descriptor readable when the process ends, a zombie included. Works on every reactor that watches
    descriptors, and leaves C{SIGCHLD} alone.
    """

    def __init__(self, reactor: Any, pid: int, ended: Callable[[], object]) -> None:
        """
        Begin to watch.

        @param ended: called once, unless C{close} is called before.
        @raise ProcessLookupError: there is no such process.
        @raise OSError: there are no descriptors left.
        """
        self._reactor = reactor
        self._ended = ended
        self._descriptor = os.pidfd_open(pid)
        self._watched = True
        reactor.addReader(self)

    def signal(self, number: int) -> None:
        """Send a signal; does nothing to a process that has ended."""
        if self._descriptor >= 0:
            try:
                signal.pidfd_send_signal(self._descriptor, number)
            except (ProcessLookupError, PermissionError):
                return

    def close(self) -> None:
        """Watch no longer."""
        if self._watched:
            self._watched = False
            self._reactor.removeReader(self)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def fileno(self) -> int:
        """The descriptor; -1 when it is closed."""
        return self._descriptor

    def logPrefix(self) -> str:
        """For Twisted's log."""
        return "waiter-process"

    def doRead(self) -> None:
        """It has ended."""
        self.close()
        self._ended()

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002 - Twisted's signature
        """The reactor stops."""
        self._watched = False
        self.close()
