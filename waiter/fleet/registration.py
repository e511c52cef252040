"""A router's own node, there as long as the router is."""

from collections.abc import Callable
from contextlib import suppress

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from waiter.fleet.nodes import ConnectionLost, NodeExists, NodeStat, NoNode, State, WatchEvent, ZooKeeperError
from waiter.fleet.zookeeper import ZooKeeperClient
from waiter.support.periodic import Periodic
from waiter.support.shared import Shared


class RouterRegistration(Service):
    """
    Keeps an ephemeral node: makes it, sees to it that it is there and belongs to the present session, and makes it again
    when a session was lost or somebody has taken it away.

    @ivar registered: whether the node was there when it was last looked for, in the present session.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, client: ZooKeeperClient, path: str, data: bytes, *, interval_secs: float = 5.0
    ) -> None:
        """@param interval_secs: how often to look for it when nothing says that it is gone."""
        self.setName("registration")
        self.path = path
        self.registered = False
        self._clock = clock
        self._client = client
        self._data = data
        self._rounds = Periodic(clock, interval_secs, self._round, name="registration", at_once=False)
        self._watch: Deferred[WatchEvent] | None = None
        self._end: Callable[[], object] | None = None

    def startService(self) -> Deferred[None]:
        """
        Fires when the node is there, however long ZooKeeper is away. Fails if it refuses. Cancelling it ends the wait.
        """
        super().startService()
        self._end = self._client.states.subscribe(self._connection)
        self._rounds.startService()
        return Deferred.fromCoroutine(self._register())

    def stopService(self) -> Deferred[None]:
        """
        Take the node away. Fires when it is gone or ZooKeeper could not be told, in which case it goes with the session; never
        fails. Cancelling ends the wait.
        """
        super().stopService()
        if self._end is not None:
            self._end()
        return Shared(Deferred.fromCoroutine(self._leave())).wait()

    async def _register(self) -> None:
        while self.running:
            try:
                await self._client.connected()
                await self._ensure()
                break
            except (ConnectionLost, NodeExists) as error:
                self._log.info("This router is not registered yet: {error}", error=error)

    async def _leave(self) -> None:
        await self._rounds.stopService()
        self.registered = False
        try:
            await self._client.delete(self.path)
        except NoNode:
            pass
        except ZooKeeperError as error:
            self._log.info("This router could not be taken off the list: {error}", error=error)

    def _connection(self, state: State) -> None:
        if state is State.CONNECTED:
            self._rounds.prompt()
        else:
            self._watch = None
            self.registered = False

    async def _ensure(self) -> None:
        stat = await self._look()
        session = self._client.session_id
        if stat is not None and stat.owner != session:
            # Of an earlier session of this very router: ids are never used again.
            with suppress(NoNode):
                await self._client.delete(self.path, stat.version)
            stat = None
        if stat is None:
            await self._make()
            self._log.info("Registered as {path}", path=self.path)
        self.registered = self._client.state is State.CONNECTED and self._client.session_id == session

    async def _make(self) -> None:
        try:
            await self._client.create(self.path, self._data, ephemeral=True)
        except NoNode:
            await self._client.create_path(self.path.rpartition("/")[0])
            await self._client.create(self.path, self._data, ephemeral=True)

    def _look(self) -> Deferred[NodeStat | None]:
        if self._watch is not None:
            return self._client.exists(self.path)
        stat, watch = self._client.exists_and_watch(self.path)
        self._watch = watch
        watch.addCallback(self._fired, watch)
        return stat.addErrback(self._unwatched, watch)

    def _fired(self, _: WatchEvent, watch: Deferred[WatchEvent]) -> None:
        if self._watch is watch:
            self._watch = None
            self._rounds.prompt()

    def _unwatched(self, failure: Failure, watch: Deferred[WatchEvent]) -> Failure:
        if self._watch is watch:
            self._watch = None
        return failure

    def _round(self) -> Deferred[None] | None:
        if self._client.state is not State.CONNECTED:
            return None
        return Deferred.fromCoroutine(self._ensure()).addErrback(self._interrupted)

    def _interrupted(self, failure: Failure) -> None:
        # Whatever happened meanwhile prompts another round, or the interval does.
        failure.trap(ConnectionLost, NodeExists)
        self._log.debug("Registering was interrupted: {error}", error=failure.getErrorMessage())
