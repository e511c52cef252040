"""The connections to instances."""

from collections.abc import Callable, Collection

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IDelayedCall, IProtocol, IReactorTime

from waiter.model.instance import Instance
from waiter.router.backend_connection import BackendConnection
from waiter.router.limits import DEFAULT_LIMITS, Limits
from waiter.version import __version__

Connect = Callable[[str, int, Callable[[], IProtocol], float], Deferred[IProtocol]]
"""Connects a protocol to a host and port within so many seconds; see C{waiter.router.carriers.connector}."""

# Nobody has to say that an instance is gone.
_MOST_OLD = 10000


class BackendPool:
    """
    Opens connections to instances and keeps them between requests.

    The one that was used last is used first, so that those too many fall idle. Slots bound how many there are: only who
    has a lease connects. Connections belong to an instance id, which never comes again; its port may.
    """

    def __init__(
        self,
        clock: IReactorTime,
        connect: Connect,
        *,
        connect_tls: Connect | None = None,
        product: str = f"waiter/{__version__}",
        limits: Limits = DEFAULT_LIMITS,
        idle_secs: float = 10.0,
        connect_timeout_secs: float = 5.0,
    ) -> None:
        """
        @param connect_tls: the same for instances that speak HTTPS; without it they cannot be connected to.
        @param product: Waiter's name in C{Via}.
        @param idle_secs: how long a connection that is not used is kept; noticed up to a quarter late.
        """
        self._clock = clock
        self._connect = {"http": connect, "https": connect_tls}
        self._product = product.encode()
        self._limits = limits
        self._idle_secs = idle_secs
        self._connect_timeout_secs = connect_timeout_secs
        self._idle: dict[str, list[BackendConnection]] = {}
        self._welcome: set[BackendConnection] = set()
        self._old: set[str] = set()
        self._sweep: IDelayedCall | None = None

    def take(self, instance: Instance, now: float) -> BackendConnection | None:
        """
        A connection that is open and not in use, if there is one. Those that the instance may be about to close are closed.

        @param now: the clock's seconds.
        """
        idle = self._idle.get(instance.id)
        while idle:
            connection = idle.pop()
            if connection.reusable:
                if now - connection.idle_since < connection.idle_secs:
                    return connection
                connection.close()
        return None

    def connect(self, instance: Instance) -> Deferred[BackendConnection]:
        """
        Open a connection; it is in use from then on. Cancelling gives up.

        @raise ConnectError: (in the Deferred) the instance cannot be reached.
        """
        connect = self._connect.get(instance.protocol)
        if connect is None:
            return fail(ConnectError(string=f"instances that speak {instance.protocol} are not supported"))

        connection = BackendConnection(instance, product=self._product, limits=self._limits, lost=self._lost)

        def connected(_: IProtocol) -> BackendConnection:
            self._welcome.add(connection)
            return connection

        return connect(instance.host, instance.port, lambda: connection, self._connect_timeout_secs).addCallback(
            connected
        )

    def give_back(self, connection: BackendConnection, now: float) -> None:
        """
        Take back a connection when the answer has ended, to keep it if it can be used again.

        @param now: the clock's seconds.
        """
        connection.asker = None
        if not connection.reusable or connection not in self._welcome:
            connection.close()
            return
        connection.idle_since = now
        instance_id = connection.instance.id
        idle = self._idle.get(instance_id)
        if idle is None:
            idle = self._idle[instance_id] = []
        idle.append(connection)
        if self._sweep is None:
            self._sweep = self._clock.callLater(self._idle_secs / 4, self._swept)

    def speaks_old(self, instance: Instance) -> bool:
        """Whether the instance is known to speak HTTP/1.0 only."""
        return instance.id in self._old

    def learn_old(self, instance: Instance) -> None:
        """The instance has answered in HTTP/1.0."""
        if len(self._old) >= _MOST_OLD:
            self._old.clear()
        self._old.add(instance.id)

    def forget(self, instance_id: str) -> None:
        """An instance is gone: close its connections, each when its request is over."""
        for connection in self._idle.pop(instance_id, ()):
            connection.close()
        self._welcome = {connection for connection in self._welcome if connection.instance.id != instance_id}
        self._old.discard(instance_id)

    def retain(self, instance_ids: Collection[str]) -> None:
        """Forget all instances but these."""
        known = {connection.instance.id for connection in self._welcome} | self._old
        for instance_id in known.difference(instance_ids):
            self.forget(instance_id)

    def close(self) -> None:
        """Close all connections. Requests still under way are broken off."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        welcome, self._welcome = self._welcome, set()
        self._idle.clear()
        for connection in welcome:
            connection.cut()

    def _lost(self, connection: BackendConnection) -> None:
        self._welcome.discard(connection)
        idle = self._idle.get(connection.instance.id)
        if idle is not None and connection in idle:
            idle.remove(connection)

    def _swept(self) -> None:
        """Close what has been idle for too long. The longest idle are first in their lists."""
        self._sweep = None
        long_ago = self._clock.seconds() - self._idle_secs
        for instance_id, idle in list(self._idle.items()):
            kept = [connection for connection in idle if connection.idle_since > long_ago]
            for connection in idle[: len(idle) - len(kept)]:
                connection.close()
            if kept:
                self._idle[instance_id] = kept
            else:
                del self._idle[instance_id]
        if self._idle:
            self._sweep = self._clock.callLater(self._idle_secs / 4, self._swept)
