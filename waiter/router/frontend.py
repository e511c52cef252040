"""The clients' side of the router."""

import time
from collections.abc import Callable, Iterator
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
from waiter.router.door import Door
from waiter.router.interstitials import Interstitials
from waiter.router.limits import DEFAULT_LIMITS, Limits
from waiter.router.parts import RouterParts
from waiter.telemetry.metrics import Metrics
from waiter.telemetry.request_log import RequestLog

__all__ = ["FrontendFactory", "Limits"]


# How long a last answer may take to leave.
_LAST_WORDS_SECS = 0.5

# For how long connections are looked at before others have their turn, and at how many at least.
_TURN_SECS = 0.004
_SOME = 16


def no_password(service_id: str) -> None:
    """Instances are not told a password."""


def no_token(_host: str) -> bool:
    """No host is a token."""
    return False


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
        door: Door | None = None,
        interstitials: Interstitials | None = None,
        password: Callable[[str], str | None] = no_password,
        is_token: Callable[[str], bool] = no_token,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """
        @param api: Waiter's own resources.
        @param own_hosts: the hosts that are Waiter itself, from C{waiter.catalog.hosts.own_hosts}.
        @param door: is told of each connection that comes and goes; whoever accepts them asks it first.
        @param interstitials: for which services browsers wait on a page; for none if not given.
        @param password: what proves to the instances of a service (by id) that Waiter asks; C{None} for nothing.
        @param is_token: whether a host, in lower case, is the name of a token.
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
            door=door or Door(),
            interstitials=interstitials or Interstitials(clock),
            own_hosts=own_hosts,
            password=password,
            is_token=is_token,
        )
        self._connections: set[ClientConnection] = set()
        self._sweep: IDelayedCall | None = None
        self._drained: Deferred[None] | None = None
        self._deadline: IDelayedCall | None = None
        self._draining_since: float | None = None

    def buildProtocol(self, addr: IAddress | None) -> ClientConnection:
        """Serve one more connection."""
        connection = ClientConnection(self._parts, self._lost)
        connection.group = self._parts.door.came(getattr(addr, "host", None))
        connection.factory = self
        self._connections.add(connection)
        numbers = self._parts.metrics.router
        numbers.connections_open += 1
        numbers.connections_total += 1
        self._schedule(self._parts.limits.sweep_secs, self._look)
        return connection

    @property
    def draining(self) -> bool:
        """Whether this router stops, and nothing more should be sent to it."""
        return self._parts.draining

    def drain(self, deadline_secs: float) -> Deferred[None]:
        """
        Close idle connections now, the others when their requests are answered.

        Requests that have no slot are waited for as long as there is hope for them, but for C{limits.drain_waiting_secs} at
        most; then they get an error. At the deadline so does whatever still waits for its answer. Fires when no connection
        is left, which is shortly after that at the latest. Never fails. Cancelling it changes nothing but that nobody is
        told.
        """
        self._parts.draining = True
        if not self._connections:
            return succeed(None)
        drained: Deferred[None] = Deferred(self._forgotten)
        self._drained = drained
        self._deadline = self._parts.clock.callLater(deadline_secs, self._give_up)
        self._draining_since = self._parts.clock.seconds()
        busy = sum([connection.drain() for connection in list(self._connections)])
        if busy:
            self._log.info(
                "Connections with requests to finish: {busy}. Ctrl-C or SIGTERM once more ends them at once.", busy=busy
            )
        return drained

    def hurry(self) -> None:
        """While it drains: have the deadline come now."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._give_up()

    def cut(self) -> None:
        """Break all connections, whatever goes on there."""
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None
        for connection in list(self._connections):
            connection.cut()

    def _forgotten(self, _: object) -> None:
        self._drained = None

    def _give_up(self) -> None:
        self._deadline = self._parts.clock.callLater(_LAST_WORDS_SECS, self.cut)
        for connection in list(self._connections):
            connection.give_up(ShuttingDown("Waiter is shutting down.", retry_after_secs=5))

    def _lost(self, connection: ClientConnection) -> None:
        self._connections.discard(connection)
        self._parts.door.went(connection.group)
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

    def _schedule(self, secs: float, look: Callable[..., object], *arguments: object) -> None:
        if self._connections and self._sweep is None:
            self._sweep = self._parts.clock.callLater(secs, look, *arguments)

    def _look(self) -> None:
        self._look_at(iter(list(self._connections)))

    def _look_at(self, connections: Iterator[ClientConnection]) -> None:
        """Look at some of them, and then let others have their turn: many may take too long at the same moment."""
        self._sweep = None
        clock = self._parts.clock
        now = clock.seconds()
        draining_since = self._draining_since
        for at, connection in enumerate(connections, 1):
            if connection not in self._connections:
                continue
            try:
                if draining_since is not None:
                    connection.router_stops(now - draining_since)
                if connection.paused:
                    connection.look()
                busy: Any = connection.responder or connection
                if busy.touched:
                    busy.touched = False
                    busy.since = now
                else:
                    busy.waited(now - busy.since)
            except Exception:  # noqa: BLE001 - one connection must not take the others down
                self._log.failure("A connection could not be looked after")
                connection.cut()
            if not at % _SOME and clock.seconds() - now > _TURN_SECS:
                self._schedule(0, self._look_at, connections)
                return
        self._schedule(self._parts.limits.sweep_secs, self._look)
