"""Who acts for all routers: the one whose node in the latch is the oldest."""

import uuid
from collections.abc import Callable
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from waiter.fleet.children import WatchedChildren
from waiter.fleet.nodes import ConnectionLost, NoNode, State, ZooKeeperError
from waiter.fleet.zookeeper import ZooKeeperClient
from waiter.support.periodic import Periodic
from waiter.support.shared import Shared
from waiter.support.topic import Topic

# Note [When a router may act]
#
# Each router has an ephemeral node with a number in the latch; the lowest leads. Seeing its own node at the top tells a
# router that nobody else leads, but only for as long as its session cannot have ended: the server keeps a session for the
# session timeout after it has heard from it, and it has heard from us at the earliest when we asked what we saw. So a look
# is good for a lease counted from the asking, shorter than the session timeout, and looks are repeated much more often. A broken
# connection ends the lease at once; a reactor that was held up for long finds it over.
#
# A node's name carries a random part of our own, so that a create whose answer was lost is found again instead of being
# repeated; it is as Curator names them, whose tools can read the latch.

_DIGITS = 10


@attrs.frozen(kw_only=True)
class _Look:
    """
    What was seen of the latch.

    @ivar asked_at: when, in the clock's seconds, counted from the asking.
    @ivar session: in which session.
    @ivar first: the name of the lowest node.
    @ivar leads: whether that is ours.
    """

    asked_at: float
    session: int | None
    first: str | None
    leads: bool


class LeaderElection(Service):
    """
    Takes part in the election.

    @ivar leader_id: the router that led when it was last looked; C{None} if nobody did or there is no connection.
    @ivar changes: told the new C{leader_id}, each time it is another.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        client: ZooKeeperClient,
        path: str,
        router_id: str,
        *,
        lease: float = 2 / 3,
        interval_secs: float = 1.5,
        unique: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        """
        @param path: of the latch.
        @param lease: how long a look at the latch is good for, as a part of the session timeout; less than all of it.
        @param interval_secs: how often to look.
        """
        self.setName("leader election")
        self.path = path
        self.leader_id: str | None = None
        self.changes: Topic[str | None] = Topic()
        self._clock = clock
        self._client = client
        self._router_id = router_id
        self._lease = lease
        self._unique = unique
        self._mark = ""
        self._mark_session: int | None = None
        self._last: _Look | None = None
        self._ids: dict[str, str] = {}
        self._rounds = Periodic(clock, interval_secs, self._round, name="leader-election")
        self._latch = WatchedChildren(client, path, self._rounds.prompt)
        self._end: Callable[[], object] | None = None

    @property
    def leads(self) -> bool:
        """Whether this router may act for all now (Note [When a router may act])."""
        last = self._last
        return (
            last is not None
            and last.leads
            and self._client.state is State.CONNECTED
            and self._client.session_id == last.session
            and self._clock.seconds() < last.asked_at + self._lease * self._client.session_secs
        )

    def startService(self) -> None:
        """Take part. Nobody leads before the first look."""
        super().startService()
        self._end = self._client.states.subscribe(self._connection)
        self._rounds.startService()

    def stopService(self) -> Deferred[None]:
        """
        Lead no more, at once, and make place for the next. Fires when ZooKeeper knows, or could not be told; never fails.
        Cancelling ends the wait.
        """
        super().stopService()
        if self._end is not None:
            self._end()
        self._last = None
        return Shared(Deferred.fromCoroutine(self._leave())).wait()

    def state(self) -> dict[str, Any]:
        """JSON-able."""
        last = self._last
        return {
            "leads": self.leads,
            "leader-id": self.leader_id,
            "latch": None if last is None else last.first,
            "seen-secs-ago": None if last is None else round(self._clock.seconds() - last.asked_at, 3),
        }

    def _connection(self, state: State) -> None:
        if state is State.CONNECTED:
            self._rounds.prompt()
        else:
            self._last = None
            self._tell(None)

    def _round(self) -> Deferred[None] | None:
        if self._client.state is not State.CONNECTED:
            return None
        return Deferred.fromCoroutine(self._look()).addErrback(self._interrupted)

    def _interrupted(self, failure: Failure) -> None:
        failure.trap(ConnectionLost, NoNode)
        self._log.debug("The election could not be looked at: {error}", error=failure.getErrorMessage())

    async def _look(self) -> None:
        session = self._client.session_id
        if session != self._mark_session or not self._mark:
            self._mark, self._mark_session = f"_c_{self._unique()}-latch-", session
        asked_at = self._clock.seconds()
        names = await self._names()
        if not any(name.startswith(self._mark) for name in names):
            await self._client.create(
                f"{self.path}/{self._mark}", self._router_id.encode(), ephemeral=True, sequence=True
            )
            asked_at = self._clock.seconds()
            names = await self._names()
        first = min(names, key=_number, default=None)
        leader_id = None if first is None else await self._id_of(first)
        self._ids = {name: known for name, known in self._ids.items() if name in names}
        if not self.running or self._client.state is not State.CONNECTED or self._client.session_id != session:
            return
        led = self.leads
        self._last = _Look(
            asked_at=asked_at,
            session=session,
            first=first,
            leads=first is not None and first.startswith(self._mark),
        )
        if self.leads != led:
            self._log.info("This router is at the top of the latch {leads}", leads="now" if self.leads else "no more")
        self._tell(leader_id)

    async def _names(self) -> list[str]:
        try:
            names = await self._latch.read()
        except NoNode:
            await self._client.create_path(self.path)
            names = await self._latch.read()
        return [name for name in names if name[-_DIGITS:].isdecimal()]

    async def _id_of(self, name: str) -> str | None:
        if name not in self._ids:
            try:
                data, _ = await self._client.get(f"{self.path}/{name}")
            except NoNode:
                # Gone in between; the watch says so, too.
                return None
            self._ids[name] = data.decode(errors="replace")
        return self._ids[name]

    async def _leave(self) -> None:
        await self._rounds.stopService()
        self._tell(None)
        if self._client.state is not State.CONNECTED:
            return
        try:
            for name in await self._client.get_children(self.path):
                if self._mark and name.startswith(self._mark):
                    await self._client.delete(f"{self.path}/{name}")
        except NoNode:
            pass
        except ZooKeeperError as error:
            self._log.info("The place in the election could not be given up: {error}", error=error)

    def _tell(self, leader_id: str | None) -> None:
        if leader_id != self.leader_id:
            self.leader_id = leader_id
            self.changes.publish(leader_id)


def _number(name: str) -> int:
    return int(name[-_DIGITS:])
