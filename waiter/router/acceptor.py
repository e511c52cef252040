"""Taking connections off a listening socket."""

import contextlib
import errno
import os
import socket
from typing import Any, Final, cast

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from waiter.router.carriers import Admit
from waiter.router.door import Door
from waiter.router.farewell import Farewells

MOST_AT_ONCE: Final = 64
"""Connections accepted before others get their turn."""

REST_SECS: Final = 0.25
"""How long no connection is accepted after that was impossible; they wait in the kernel meanwhile."""

SILENCE_SECS: Final = 10
"""How long that is not logged again."""

_WORDS: Final = b"Too many connections from your address.\n"

TOO_MANY: Final = (
    b"HTTP/1.1 429 Too Many Requests\r\nconnection: close\r\ncontent-length: %d\r\ncontent-type: text/plain\r\n"
    b"retry-after: 1\r\n\r\n%b"
) % (len(_WORDS), _WORDS)
"""What a client is told that has enough connections."""

_NO_MEANS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

# What accept(2) says of a connection that broke while it waited; the next one may be whole.
_BROKEN: Final = frozenset(
    {
        errno.ECONNABORTED,
        errno.EPERM,
        errno.EPROTO,
        errno.ENOPROTOOPT,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENONET,
    }
)


@implementer(IReadDescriptor)
class Acceptor:
    """
    Accepts on one listening socket, on any reactor, from C{start} to C{stop}.

    uvloop's own server ends for good, without a word, when C{accept} fails in other ways than by too many open files,
    and drops clients unseen when it fails so. This one logs, rests, and goes on.

    @ivar accepted: how many connections have been accepted.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        listening: socket.socket,
        admit: Admit,
        name: str,
        *,
        door: Door | None = None,
        refusal: bytes = TOO_MANY,
    ) -> None:
        """
        @param listening: a socket that listens and does not block. It becomes the acceptor's.
        @param name: of the endpoint, for the log.
        @param door: who is let in; everybody without it. Whoever has it calls L{pause} and L{resume} when that changes.
        @param refusal: what a client is told that is not; nothing where it is empty, as where clients expect TLS.
        """
        self._reactor = reactor
        self._socket = listening
        self._admit = admit
        self._name = name
        self._burst = 1
        self._door = door or Door()
        self._refusal = refusal
        self._farewells = Farewells(reactor)
        self._started = False
        self._paused = False
        self._reading = False
        self._rest: IDelayedCall | None = None
        self._silent_until = float("-inf")
        self.accepted = 0

    def start(self) -> None:
        """Begin to accept, or do so when C{resume} is called."""
        self._started = True
        self._adjust()

    def stop(self) -> None:
        """Accept no more, and close the socket. What the kernel has queued is reset."""
        self._started = False
        self._adjust()
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        self._socket.close()
        self._farewells.close()

    def pause(self) -> None:
        """Accept nobody for now: those that come wait in the kernel, as many as the endpoint's backlog says."""
        self._paused = True
        self._adjust()

    def resume(self) -> None:
        """Accept again."""
        self._paused = False
        self._adjust()

    def fileno(self) -> int:
        """For the reactor."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """For the reactor."""
        return self._name

    def connectionLost(self, _reason: Failure) -> None:
        """For a reactor that shuts down without C{stop}."""
        self._socket.close()

    def doRead(self) -> None:
        """Somebody wants to connect. Nearly always one at a time, so a second try is made only when two came before."""
        taken = 0
        while taken < self._burst and not self._paused and self._accept():
            taken += 1
        self._burst = min(MOST_AT_ONCE, 2 * self._burst) if taken == self._burst else max(1, taken)

    def _accept(self) -> bool:
        """Take one; answers whether there may be more."""
        try:
            accepted, name = self._socket.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _BROKEN:
                return True
            self._take_rest(error)
            return False
        self.accepted += 1
        if not self._door.welcomes(name[0] if isinstance(name, tuple) else None):
            self._turn_away(accepted)
            return True
        try:
            self._admit(accepted, name)
        except Exception as problem:  # noqa: BLE001 - one connection must not take the others down
            return self._refuse(accepted, problem)
        return True

    def _turn_away(self, accepted: socket.socket) -> None:
        if self._refusal:
            self._farewells.bid(accepted, self._refusal)
        else:
            accepted.close()

    def _refuse(self, accepted: socket.socket, problem: Exception) -> bool:
        with contextlib.suppress(OSError):
            # There may be a duplicate somewhere.
            accepted.shutdown(socket.SHUT_RDWR)
        accepted.close()
        number = problem.errno if isinstance(problem, OSError) else None
        if number in _NO_MEANS:
            # A transport of Twisted's needs a second descriptor.
            self._take_rest(cast("OSError", problem))
            return False
        if number != errno.ENOTCONN:
            self._log.failure("A connection to {endpoint} could not be served", endpoint=self._name)
        return True

    def _take_rest(self, error: OSError) -> None:
        now = self._reactor.seconds()
        if now >= self._silent_until:
            self._silent_until = now + SILENCE_SECS
            self._log.error(
                "{endpoint} cannot accept connections: {reason}. Those that come wait; trying again every {secs} s. "
                "Raise the limit on open files (ulimit -n, LimitNOFILE=) if this goes on.",
                endpoint=self._name,
                reason=os.strerror(error.errno or 0),
                secs=REST_SECS,
            )
        if self._rest is None:
            self._rest = self._reactor.callLater(REST_SECS, self._rested)
        self._adjust()

    def _rested(self) -> None:
        self._rest = None
        self._adjust()

    def _adjust(self) -> None:
        reading = self._started and not self._paused and self._rest is None
        if reading is not self._reading:
            self._reading = reading
            if reading:
                self._reactor.addReader(self)
            else:
                self._reactor.removeReader(self)
