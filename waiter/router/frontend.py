"""The clients' side of the router."""

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.web.resource import IResource

from waiter.catalog.resolver import Resolver
from waiter.errors import ShuttingDown
from waiter.model.identity import Identity
from waiter.reservation.manager import ReserverManager
from waiter.router.api_channel import ApiSite
from waiter.router.backend import BackendPool
from waiter.router.client_connection import ClientConnection
from waiter.router.limits import DEFAULT_LIMITS, Limits
from waiter.router.parts import RouterParts
from waiter.telemetry.metrics import Metrics
from waiter.telemetry.request_log import RequestLog

__all__ = ["FrontendFactory", "Limits"]


# How long a last answer may take to leave.
_LAST_WORDS_SECS = 0.5


def no_password(service_id: str) -> None:
    """Instances are not told a password."""


class FrontendFactory(Factory):
    """
    Serves clients' connections, and looks at all of them several times a second to find those that take too long.
    """

    _log = Logger()
    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        *,
        resolver: Resolver,
        reservers: ReserverManager,
        backends: BackendPool,
        api: IResource,
        metrics: Metrics,
        request_log: RequestLog,
        identity: Identity,
        own_hosts: frozenset[str],
        limits: Limits = DEFAULT_LIMITS,
        password: Callable[[str], str | None] = no_password,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """
        @param api: Waiter's own resources.
        @param own_hosts: the hosts that are Waiter itself, from C{waiter.catalog.hosts.own_hosts}.
        @param password: what proves to the instances of a service (by id) that Waiter asks; C{None} for nothing.
        @param wall: seconds since the epoch.
        """
        self._parts = RouterParts(
            clock=clock,
            wall=wall,
            resolver=resolver,
            reservers=reservers,
            backends=backends,
            api=ApiSite(api, reactor=clock),
            metrics=metrics,
            request_log=request_log,
            identity=identity,
            limits=limits,
            own_hosts=own_hosts,
            password=password,
        )
        self._connections: set[ClientConnection] = set()
        self._sweep: IDelayedCall | None = None
        self._drained: Deferred[None] | None = None
        self._deadline: IDelayedCall | None = None

    def buildProtocol(self, addr: IAddress | None) -> ClientConnection:  # noqa: ARG002 - Twisted passes it
        """Serve one more connection."""
        connection = ClientConnection(self._parts, self._lost)
        connection.factory = self
        self._connections.add(connection)
        numbers = self._parts.metrics.router
        numbers.connections_open += 1
        numbers.connections_total += 1
        if self._sweep is None:
            self._schedule()
        return connection

    def drain(self, deadline_secs: float) -> Deferred[None]:
        """
        Close idle connections now, the others when their requests are answered.

        At the deadline what still waits for its answer gets an error instead. Fires when no connection is left, which is
        shortly after that at the latest. Never fails. Cancelling it changes nothing but that nobody is told.
        """
        self._parts.draining = True
        if not self._connections:
            return succeed(None)
        self._drained = Deferred()
        self._deadline = self._parts.clock.callLater(deadline_secs, self._give_up)
        for connection in list(self._connections):
            connection.drain()
        return self._drained

    def _give_up(self) -> None:
        self._deadline = self._parts.clock.callLater(_LAST_WORDS_SECS, self._cut)
        for connection in list(self._connections):
            connection.give_up(ShuttingDown("Waiter is shutting down.", retry_after_secs=5))

    def _cut(self) -> None:
        self._deadline = None
        for connection in list(self._connections):
            connection.cut()

    def _lost(self, connection: ClientConnection) -> None:
        self._connections.discard(connection)
        self._parts.metrics.router.connections_open -= 1
        if self._connections:
            return
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.callback(None)

    def _schedule(self) -> None:
        self._sweep = self._parts.clock.callLater(self._parts.limits.sweep_secs, self._look)

    def _look(self) -> None:
        now = self._parts.clock.seconds()
        self._schedule()
        for connection in list(self._connections):
            busy: Any = connection.responder or connection
            if busy.touched:
                busy.touched = False
                busy.since = now
                continue
            try:
                busy.waited(now - busy.since)
            except Exception:  # noqa: BLE001 - one connection must not take the others down
                self._log.failure("A connection could not be looked after")
                connection.cut()
