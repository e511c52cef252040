"""What the rest of the router knows of the others."""

from typing import Any

from waiter.fleet.curator import RouterNode
from waiter.fleet.directory import ZooKeeperRouterDirectory
from waiter.fleet.ensemble import Ensemble
from waiter.fleet.nodes import State
from waiter.fleet.store import ZooKeeperStore
from waiter.fleet.zookeeper import ZooKeeperClient
from waiter.telemetry.counters import FleetGauges

# Of the session timeout: how long after an outage the others may need to be back.
_DOUBT = 1.5


class Fleet:
    """
    The parts that speak with ZooKeeper.

    @ivar client: the session; to be started before everything that uses it.
    @ivar store: the shared store.
    @ivar directory: the list of routers; to be started when this router can serve, so that others send it nothing before, and
        stopped before it drains.
    """

    def __init__(
        self,
        reactor: Any,
        ensemble: Ensemble,
        own: RouterNode,
        *,
        base_path: str,
        discovery: str,
        latch: str,
        min_routers: int,
        interval_secs: float,
        connect_secs: float,
        settle_secs: float,
    ) -> None:
        """
        @param base_path: below which all nodes are.
        @param discovery: the node of the routers below it, without the suffix that its format gives it.
        @param latch: the node of the election below it.
        @param interval_secs: how often to look at the latch, at least; more often if the session is short.
        @param settle_secs: how long a router may still have to do after it has left.
        """
        self._clock = reactor
        self._settle_secs = settle_secs
        timeout = ensemble.session_timeout_secs
        self.client = ZooKeeperClient(reactor, ensemble, connect_secs=connect_secs)
        self.store = ZooKeeperStore(reactor, self.client, f"{base_path}/store")
        self.directory = ZooKeeperRouterDirectory(
            reactor,
            self.client,
            f"{base_path}/{discovery}-v2",
            own,
            doubt_secs=_DOUBT * timeout,
            interval_secs=min(interval_secs, timeout / 4),
            latch=f"{base_path}/{latch}",
            min_routers=min_routers,
        )

    def leads_alone(self) -> bool:
        """Whether this router acts for all, and knows all there is to do."""
        return self.is_leader() and self.alone

    def is_leader(self) -> bool:
        """Whether this router acts for all now."""
        return self.directory.leads

    def leader_id(self) -> str | None:
        """Who acts for all, as far as is known here."""
        return self.directory.leader_id

    @property
    def alone(self) -> bool:
        """Whether there is no other router, and has been none for so long that it has nothing left to do."""
        since = self.directory.alone_since
        return since is not None and self._clock.seconds() - since >= self._settle_secs

    def state(self) -> dict[str, Any]:
        """JSON-able."""
        session = self.client.session_id
        return {
            "zookeeper": {
                "connection": self.client.state.name.lower(),
                "hosts": self.client.ensemble.hosts,
                "session-id": None if session is None else f"{session:x}",
            },
            "routers": dict(self.directory.members_now),
            "registered?": self.directory.registration.registered,
            "in-doubt?": self.directory.in_doubt,
            "leader?": self.is_leader(),
            "leader-id": self.leader_id(),
            "min-routers": self.directory.min_routers,
            "latch": self.directory.election.state(),
        }

    def gauges(self) -> FleetGauges:
        """For the metrics."""
        return FleetGauges(
            leads=self.is_leader(),
            routers=len(self.directory.members_now),
            connected=self.client.state is State.CONNECTED,
        )
