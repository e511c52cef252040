"""
Making carriers, where the reactor runs on uvloop: for connections that are opened and for those that are accepted.

Where it does not, the same calls give Twisted's own transports, and a protocol sees no difference.
"""

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, cast

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint
from twisted.internet.error import (
    ConnectingCancelledError,
    TimeoutError,  # noqa: A004 - Twisted's word for it
    getConnectError,
)
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from waiter.router.carrier import Carrier, address_of

_log = Logger()

# Who listens there learns only from a connection at which address it came in.
_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - known, not used


class Connect(Protocol):
    """What L{connector} makes."""

    def __call__(
        self, host: str, port: int, factory: Callable[[], IProtocol], timeout_secs: float
    ) -> Deferred[IProtocol]:
        """
        Connect, and make a protocol for the connection when it is there. The Deferred fires after C{connectionMade}.

        Cancelling gives the attempt up; the Deferred then fails with C{CancelledError}.

        @raise twisted.internet.error.ConnectError: (in the Deferred) or a subclass of it, among them
            C{ConnectionRefusedError}; C{twisted.internet.error.TimeoutError} when C{timeout_secs} have passed.
        """


Admit = Callable[[socket.socket, Any], object]
"""
Takes an accepted socket, which becomes the callee's unless it raises, and the name of its other end as C{accept} gives it.
"""


def fast_loop(reactor: object) -> asyncio.AbstractEventLoop | None:
    """The uvloop loop that a reactor runs on, or C{None} if it runs on something else."""
    loop: asyncio.AbstractEventLoop | None = getattr(reactor, "_asyncioEventloop", None)
    if loop is None or type(loop).__module__.partition(".")[0] != "uvloop":
        return None
    return loop


def connector(reactor: Any) -> Connect:
    """How to open TCP connections on a reactor."""
    loop = fast_loop(reactor)
    if loop is None:
        return partial(_connect_plainly, reactor)
    return partial(_connect_carried, reactor, loop)


def admitter(reactor: Any, factory: IProtocolFactory, host: IAddress, *, fast: bool) -> Admit:
    """
    How to serve connections that were accepted.

    @param host: where they were accepted.
    @param fast: on carriers, which needs a fast loop.
    """
    if not fast:
        return partial(_admit_plainly, reactor, factory)
    loop = fast_loop(reactor)
    if loop is None:
        raise ValueError("the reactor does not run on uvloop, so it has no carriers")
    return partial(_admit_carried, loop, factory, host)


def _connect_carried(
    reactor: Any,
    loop: asyncio.AbstractEventLoop,
    host: str,
    port: int,
    factory: Callable[[], IProtocol],
    timeout_secs: float,
) -> Deferred[IProtocol]:
    def ended(task: asyncio.Task[Any]) -> None:
        if timer.active():
            timer.cancel()
        failure = None if task.cancelled() else task.exception()
        if failure is not None and not connected.called:
            connected.errback(getConnectError(failure) if isinstance(failure, OSError) else failure)

    def timed_out() -> None:
        # Once there is a connection, to cancel what made it would be to close it without a word to anybody.
        if not connected.called:
            task.cancel()
            connected.errback(TimeoutError(string=f"no connection to {host}:{port} within {timeout_secs:g} seconds"))

    def given_up(_: Deferred[IProtocol]) -> None:
        task.cancel()

    connected: Deferred[IProtocol] = Deferred(given_up)
    task = loop.create_task(loop.create_connection(lambda: _Arrival(loop, factory, connected), host, port))
    timer = reactor.callLater(timeout_secs, timed_out)
    task.add_done_callback(ended)
    return connected


class _Arrival(asyncio.Protocol):
    """What uvloop talks to until the connection is there; then a carrier takes its place."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, factory: Callable[[], IProtocol], connected: Deferred[IProtocol]
    ) -> None:
        self._loop = loop
        self._factory = factory
        self._connected = connected

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        try:
            protocol = self._factory()
        except Exception:  # noqa: BLE001 - whoever connects is told
            cast("asyncio.Transport", transport).abort()
            self._connected.errback(Failure())
            return
        carrier = Carrier(self._loop, protocol)
        transport.set_protocol(carrier)
        carrier.begin(transport)
        if not self._connected.called:
            self._connected.callback(protocol)
        carrier.opened()


class _Building(Factory):
    noisy = False

    def __init__(self, build: Callable[[], IProtocol]) -> None:
        self._build = build

    def buildProtocol(self, _address: object) -> Any:
        return self._build()


def _connect_plainly(
    reactor: Any, host: str, port: int, factory: Callable[[], IProtocol], timeout_secs: float
) -> Deferred[IProtocol]:
    def cancelled(failure: Failure) -> Any:
        failure.trap(ConnectingCancelledError)
        raise CancelledError

    wrapped = _Building(factory)
    # The one "for IPv4" takes an IPv6 number as well; the one for names asks a resolver in a thread.
    literal = isIPAddress(host) or isIPv6Address(host)
    kind = TCP4ClientEndpoint if literal else HostnameEndpoint
    return kind(reactor, host, port, timeout=timeout_secs).connect(wrapped).addErrback(cancelled)


def _admit_carried(
    loop: asyncio.AbstractEventLoop, factory: IProtocolFactory, host: IAddress, accepted: socket.socket, name: Any
) -> None:
    family = accepted.family
    peer = address_of(family, name)
    protocol = factory.buildProtocol(peer)
    if protocol is None:
        accepted.close()
        return
    accepted.setblocking(False)
    carrier = Carrier(loop, protocol, peer, None if getattr(host, "host", None) in _EVERYWHERE else host)
    # The loop keeps the task: it waits for what the loop calls next.
    loop.create_task(_adopt(loop, carrier, accepted))


async def _adopt(loop: asyncio.AbstractEventLoop, carrier: Carrier, accepted: socket.socket) -> None:
    try:
        await loop.connect_accepted_socket(lambda: carrier, accepted)
    except Exception as problem:  # noqa: BLE001 - one connection must not take the others down
        _log.failure("An accepted connection could not be served")
        accepted.close()
        carrier.never_opened(problem)


def _admit_plainly(reactor: Any, factory: IProtocolFactory, accepted: socket.socket, _name: Any) -> None:
    accepted.setblocking(False)
    reactor.adoptStreamConnection(accepted.fileno(), accepted.family, factory)
    # Twisted's transport is on a duplicate.
    accepted.close()
