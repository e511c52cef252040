"""The store that all routers of a fleet share, in ZooKeeper."""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from waiter.catalog.interface import Conflict, IStore, StoreUnusable
from waiter.catalog.records import LARGEST_VALUE, Watchers, check_key, check_value
from waiter.fleet.change_log import ChangeLog
from waiter.fleet.nodes import (
    BadVersion,
    NodeExists,
    NodeStat,
    NodeTooLarge,
    NoNode,
    Operation,
    State,
    ZooKeeperError,
    checking,
    creating,
    deleting,
    setting,
)
from waiter.fleet.zookeeper import ZooKeeperClient
from waiter.support.background import Background
from waiter.support.shared import Shared

T = TypeVar("T")

FORMAT = 1

_MOST_ATTEMPTS = 20


# Note [How records are kept]
#
# Below the root, records has a node for each key, quoted, with the value as it is; changes is set by each write and has the
# last changes by number below it, each with its key (ChangeLog); deletions is set by each delete.
#
# The version of a record is the number of the transaction that wrote it, which grows through all of ZooKeeper. A write is one
# transaction that also sets "changes", whose stat tells that number even for a node that was created, about which
# ZooKeeper says nothing else.
#
# ZooKeeper can only compare how often a node was set, and that begins anew when a node is deleted and made again. So whoever
# compares reads "deletions" first, then the record, and demands that both are unchanged: if anything was deleted in
# between, it looks again.
#
# What is read may be old, if another router wrote by way of another server. Before anybody is told of a conflict, the
# server is brought up to date.


@implementer(IStore)
class ZooKeeperStore(Service):
    """
    Keeps records in nodes below one.

    When ZooKeeper cannot be asked, a call waits for the connection, not for long, and then fails with L{StoreUnusable}; a write
    that was under way when the connection broke fails although it may have happened.
    """

    name = "ZooKeeper store"
    largest_value = LARGEST_VALUE
    _log = Logger()

    def __init__(self, clock: IReactorTime, client: ZooKeeperClient, path: str, *, wait_secs: float = 5.0) -> None:
        """
        @param client: started before the store and stopped after it.
        @param path: below which everything is.
        @param wait_secs: how long a call waits for a connection.
        """
        self._clock = clock
        self._client = client
        self._root = f"{path}/v{FORMAT}"
        self._wait_secs = wait_secs
        self._open = False
        self._under_way: set[Deferred[Any]] = set()
        self._watchers = Watchers()
        self._changes = ChangeLog(client, f"{self._root}/changes", self._watchers.tell, self._missed)
        # In which session the nodes that everything is below were there.
        self._session: int | None = None
        self._background = Background()
        client.states.subscribe(self._connection)

    def startService(self) -> Deferred[None]:
        """
        Make the nodes that are missing. Cancelling the Deferred does not interrupt that.

        @raise StoreUnusable: (in the Deferred) ZooKeeper does not let us.
        """
        super().startService()
        self._background.restart()
        return Shared(Deferred.fromCoroutine(self._open_it())).wait()

    def stopService(self) -> Deferred[None]:
        """Take no more calls. Fires when those under way are over; cancelling it ends the wait."""
        super().stopService()
        self._open = False
        self._changes.stop()
        over = [Shared(flow).wait() for flow in tuple(self._under_way)]
        return DeferredList([*over, self._background.stop()], consumeErrors=True).addCallback(lambda _: None)

    def get(self, key: str, *, newest: bool = False) -> Deferred[tuple[bytes, int] | None]:
        """See L{IStore.get}."""
        return self._operate(lambda: self._get(key, newest=newest))

    def get_many(self, keys: Iterable[str]) -> Deferred[dict[str, tuple[bytes, int]]]:
        """See L{IStore.get_many}."""
        wanted = tuple(keys)
        return self._operate(lambda: self._get_many(wanted))

    def put(self, key: str, value: bytes, expected_version: int | None = None) -> Deferred[int]:
        """See L{IStore.put}."""
        return self._operate(lambda: self._put(key, value, expected_version))

    def delete(self, key: str, expected_version: int | None = None) -> Deferred[bool]:
        """See L{IStore.delete}."""
        return self._operate(lambda: self._delete(key, expected_version))

    def keys(self, prefix: str) -> Deferred[list[str]]:
        """See L{IStore.keys}."""
        return self._operate(lambda: self._keys(prefix))

    def watch(self, prefix: str, changed: Callable[[str], object]) -> Callable[[], None]:
        """
        See L{IStore.watch}. Changes that others make are told soon after; if so many happen during an outage that they are not
        known one by one any more, all keys are told.
        """
        if self._open:
            self._changes.follow()
        self._is_watched = True
        return self._watchers.add(prefix, changed)

    # Inside

    _is_watched = False

    async def _open_it(self) -> None:
        try:
            await self._make_nodes()
        except ZooKeeperError as error:
            raise StoreUnusable(f"the store {self._root} in ZooKeeper cannot be opened: {error}") from error
        self._open = bool(self.running)
        if self._is_watched and self._open:
            self._changes.follow()

    def _connection(self, state: State) -> None:
        if state is State.CONNECTED and self._open:
            self._background.start(self._make_nodes_again(), "making the nodes of the store")

    async def _make_nodes_again(self) -> None:
        try:
            await self._make_nodes()
        except ZooKeeperError as error:
            # The next connection or the next call tries again.
            self._log.debug("The nodes of the store could not be made: {error}", error=error)

    async def _make_nodes(self) -> None:
        """Once in each session: a server that has lost its data has lost its sessions, too."""
        session = self._client.session_id
        if session == self._session:
            return
        for name in ("records", "changes", "deletions"):
            await self._client.create_path(f"{self._root}/{name}")
        self._session = session
        self._changes.look()

    def _operate(self, operation: Callable[[], Coroutine[Deferred[Any], Any, T]]) -> Deferred[T]:
        if not self._open:
            return fail(StoreUnusable("the store in ZooKeeper is not open"))
        flow = Deferred.fromCoroutine(self._explained(operation))
        shared = Shared(flow)
        if not shared.fired:
            self._under_way.add(flow)
            shared.wait().addBoth(lambda _: self._under_way.discard(flow))
        # Whoever cancels must not keep the watchers from hearing of a write that has happened.
        return shared.wait()

    async def _explained(self, operation: Callable[[], Coroutine[Deferred[Any], Any, T]]) -> T:
        try:
            await self._client.connected().addTimeout(self._wait_secs, self._clock)
            await self._make_nodes()
            return await operation()
        except NodeTooLarge:
            raise
        except TookTooLong as error:
            raise self._unusable(f"no connection within {self._wait_secs:g} s") from error
        except ZooKeeperError as error:
            raise self._unusable(str(error) or "no connection") from error

    def _unusable(self, reason: str) -> StoreUnusable:
        return StoreUnusable(f"the store in ZooKeeper at {self._client.ensemble.hosts} cannot be used now: {reason}")

    async def _get(self, key: str, *, newest: bool) -> tuple[bytes, int] | None:
        check_key(key)
        if newest:
            await self._client.sync(self._root)
        try:
            value, stat = await self._client.get(self._path(key))
        except NoNode:
            return None
        return value, stat.modified

    async def _get_many(self, keys: tuple[str, ...]) -> dict[str, tuple[bytes, int]]:
        for key in keys:
            check_key(key)
        found: dict[str, tuple[bytes, int]] = {}
        answers: Any = await DeferredList([self._client.get(self._path(key)) for key in keys], consumeErrors=True)
        for key, (success, answer) in zip(keys, answers, strict=True):
            if success:
                value, stat = answer
                found[key] = (value, stat.modified)
            elif not answer.check(NoNode):
                answer.raiseException()
        return found

    async def _put(self, key: str, value: bytes, expected: int | None) -> int:
        check_key(key)
        check_value(value)
        path = self._path(key)

        def write(stat: NodeStat | None, guards: list[Operation]) -> list[Operation]:
            if stat is None:
                return [creating(path, value)]
            return [*guards, setting(path, value, stat.version if guards else -1)]

        return await self._write(key, expected, write)

    async def _delete(self, key: str, expected: int | None) -> bool:
        check_key(key)
        path = self._path(key)

        def write(stat: NodeStat | None, guards: list[Operation]) -> list[Operation] | None:
            if stat is None:
                return None
            version = stat.version if guards else -1
            return [*guards, deleting(path, version), setting(f"{self._root}/deletions", b"")]

        return await self._write(key, expected, write) > 0

    async def _write(
        self,
        key: str,
        expected: int | None,
        operations: Callable[[NodeStat | None, list[Operation]], list[Operation] | None],
    ) -> int:
        """
        Do what C{operations} makes of the record's stat and of what must not have changed; the version of the change, 0
        if there is nothing to do (Note [How records are kept]).
        """
        path = self._path(key)
        for attempt in range(_MOST_ATTEMPTS):
            deletions = None if expected is None else self._client.exists(f"{self._root}/deletions")
            try:
                stat = await self._client.exists(path)
            except ZooKeeperError:
                if deletions is not None:
                    # It has failed for the same reason, or will.
                    deletions.addErrback(lambda _: None)
                raise
            guards = []
            if expected is not None and deletions is not None:
                guard = await deletions
                version = 0 if stat is None else stat.modified
                if version != expected:
                    if attempt == 0:
                        await self._client.sync(self._root)
                        continue
                    raise Conflict(f"{key} is at version {version}, not {expected}")
                guards = [checking(f"{self._root}/deletions", -1 if guard is None else guard.version)]
            todo = operations(stat, guards)
            if todo is None:
                return 0
            try:
                results = await self._client.commit([*todo, *self._changes.operations(key)])
            except (NoNode, NodeExists, BadVersion):
                # Somebody was faster; what that means is seen by looking again.
                continue
            *_, changes, entry = results
            self._changes.wrote(str(entry))
            self._watchers.tell(key)
            return changes.modified if isinstance(changes, NodeStat) else 0
        raise StoreUnusable(f"{key} is being changed by too many at once; try again")

    async def _keys(self, prefix: str) -> list[str]:
        names = await self._client.get_children(f"{self._root}/records")
        return sorted(key for key in map(_key, names) if key.startswith(prefix))

    def _missed(self) -> None:
        """Changes went by untold."""

        def tell(keys: list[str]) -> None:
            for key in keys:
                self._watchers.tell(key)

        if self._open:
            self.keys("").addCallback(tell).addErrback(
                lambda failure: self._log.failure("Changes in the store were missed", failure)
            )

    def _path(self, key: str) -> str:
        return f"{self._root}/records/{_name(key)}"


def _name(key: str) -> str:
    """A node's name for a key: ZooKeeper knows no slashes in them, no dots alone, and not all of Unicode."""
    return quote(key, safe="").replace(".", "%2E")


def _key(name: str) -> str:
    return unquote(name)
