"""The routers of the cluster, as ZooKeeper lists them."""

from collections.abc import Callable, Mapping
from math import inf

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredLock, FirstError, gatherResults, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from waiter.discovery.routers import IRouterDirectory
from waiter.fleet.children import WatchedChildren
from waiter.fleet.curator import RouterNode
from waiter.fleet.leader import LeaderElection
from waiter.fleet.nodes import NoNode, State, ZooKeeperError
from waiter.fleet.registration import RouterRegistration
from waiter.fleet.zookeeper import ZooKeeperClient
from waiter.support.background import Background
from waiter.support.periodic import Periodic

# Note [A list in doubt]
#
# Slots must not move because ZooKeeper was away. While it is, the last list stands. When it is back, the list may lack routers
# that are well: their sessions ended with the outage, or ZooKeeper lost its data, and each registers again when it has
# noticed. So for the time that this may take, routers that were there before the outage stay on the list though they are
# missing; new ones are taken in at once.


@implementer(IRouterDirectory)
class ZooKeeperRouterDirectory(MultiService):
    """
    Reads the list when asked, and when a watch says that it has changed. This router is always on it.

    Can be asked as soon as the client has started; what it starts itself is the registration and the election.

    @ivar members_now: the list as it was read last: router id to URL.
    @ivar min_routers: with fewer routers nobody leads.
    @ivar alone_since: since when there is no other, in the clock's seconds; C{None} while there is one.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        client: ZooKeeperClient,
        root: str,
        own: RouterNode,
        *,
        doubt_secs: float,
        interval_secs: float,
        latch: str,
        min_routers: int = 1,
    ) -> None:
        """
        @param root: the node below which clusters have theirs, and those their routers.
        @param doubt_secs: how long after an outage a router that is missing is not taken for gone.
        @param interval_secs: how often to look at the latch, and at the list while it cannot be watched.
        @param latch: the path of the latch.
        """
        super().__init__()
        self.setName("router directory")
        self.path = f"{root}/{own.cluster}"
        self.members_now: Mapping[str, str] = {own.router_id: own.url}
        self.alone_since: float | None = -inf
        self.registration = RouterRegistration(clock, client, f"{self.path}/{own.router_id}", own.encode())
        self.election = LeaderElection(clock, client, latch, own.router_id, interval_secs=interval_secs)
        self._clock = clock
        self._client = client
        self._own = own
        self.min_routers = min_routers
        self._doubt_secs = doubt_secs
        self._doubted_until: float | None = None
        self._read_before = False
        # What is read later is not to be overwritten with what was read before.
        self._one_at_a_time = DeferredLock()
        self._known: dict[str, RouterNode] = {}
        self._strange: set[str] = set()
        self._subscribers: list[Callable[[], object]] = []
        self._background = Background()
        self._children = WatchedChildren(client, self.path, self._look)
        self._watching = Periodic(clock, interval_secs, self._watch, name="router-list", expected=(ZooKeeperError,))
        client.states.subscribe(self._connection)
        self.election.changes.subscribe(lambda _: self._changed())
        for service in (self.registration, self.election):
            service.setServiceParent(self)

    def startService(self) -> Deferred[None]:
        """
        Register, take part in the election and follow the list. Fires when this router is on the list; fails if it cannot be.
        Cancelling ends the wait.
        """
        self._background.restart()
        self.running = True
        self.election.startService()
        self._watching.startService()
        return self.registration.startService()

    def stopService(self) -> Deferred[None]:
        """Leave the list and the election. Never fails; cancelling ends the wait."""
        self.running = False
        return gatherResults(
            [
                self._watching.stopService(),
                self._background.stop(),
                self.registration.stopService(),
                self.election.stopService(),
            ],
        ).addCallback(lambda _: None)

    @property
    def in_doubt(self) -> bool:
        """Whether the list may be lacking somebody."""
        return self._client.state is not State.CONNECTED or self._doubting

    @property
    def leads(self) -> bool:
        """Whether this router acts for all now."""
        return self.election.leads and len(self.members_now) >= self.min_routers

    @property
    def leader_id(self) -> str | None:
        """Who acts for all, as far as is known here."""
        leader_id = self.election.leader_id
        enough = len(self.members_now) >= self.min_routers
        return leader_id if enough and leader_id in self.members_now else None

    def members(self) -> Deferred[Mapping[str, str]]:
        """
        See L{IRouterDirectory.members}: the list as it is now, or the last one while ZooKeeper does not answer
        (Note [A list in doubt]).
        """
        members: Deferred[Mapping[str, str]] = self._one_at_a_time.run(self._read)
        return members

    def leader(self) -> Deferred[str | None]:
        """See L{IRouterDirectory.leader}."""
        return succeed(self.leader_id)

    def subscribe(self, changed: Callable[[], object]) -> None:
        """See L{IRouterDirectory.subscribe}."""
        self._subscribers.append(changed)

    @property
    def _doubting(self) -> bool:
        return self._doubted_until is not None and self._clock.seconds() < self._doubted_until

    def _connection(self, state: State) -> None:
        if state is not State.CONNECTED:
            self._doubted_until = None
        elif self._read_before:
            self._doubted_until = self._clock.seconds() + self._doubt_secs
            self._look()

    def _look(self) -> None:
        self._background.start(self._refresh(), "reading the list of routers")

    async def _refresh(self) -> None:
        await self.members()

    def _watch(self) -> Deferred[None] | None:
        """With a scheduler that is not shared nobody asks, and the list is shown and counted all the same."""
        if self._children.watching or self._client.state is not State.CONNECTED:
            return None
        return Deferred.fromCoroutine(self._refresh())

    async def _read(self) -> Mapping[str, str]:
        try:
            found = await self._found()
        except ZooKeeperError as error:
            if not self._read_before:
                raise
            self._log.debug("The list of routers stays as it was: {error}", error=error)
            return dict(self.members_now)
        self._read_before = True
        kept = self.members_now if self._doubting else {}
        members = {**kept, **found, self._own.router_id: self._own.url}
        if members != self.members_now:
            gone = self.members_now.keys() - members.keys()
            self._log.info(
                "The routers are {routers}{gone}",
                routers=", ".join(sorted(members)),
                gone=f"; gone: {', '.join(sorted(gone))}" if gone else "",
            )
            self.members_now = members
            self.alone_since = self._clock.seconds() if len(members) == 1 else None
            self._changed()
        return dict(members)

    async def _found(self) -> dict[str, str]:
        try:
            names = await self._children.read()
        except NoNode:
            names = []
        try:
            nodes = await gatherResults(
                [Deferred.fromCoroutine(self._node(name)) for name in names], consumeErrors=True
            )
        except FirstError as error:
            error.subFailure.raiseException()
        self._known = {name: node for name, node in zip(names, nodes, strict=True) if node is not None}
        self._strange.intersection_update(names)
        return {node.router_id: node.url for node in self._known.values() if node.cluster == self._own.cluster}

    async def _node(self, name: str) -> RouterNode | None:
        """What a node says; C{None} if it has gone in between or says nothing of use. Ids are never used again, nor names."""
        known = self._known.get(name)
        if known is not None or name in self._strange:
            return known
        try:
            data, _ = await self._client.get(f"{self.path}/{name}")
        except NoNode:
            return None
        try:
            return RouterNode.decode(data)
        except ValueError as error:
            self._strange.add(name)
            self._log.warn("{path}/{name} is left out: {error}", path=self.path, name=name, error=error)
            return None

    def _changed(self) -> None:
        for subscriber in tuple(self._subscribers):
            subscriber()
