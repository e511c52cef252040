"""A ZooKeeper client for the reactor: Deferreds, one session, and kazoo underneath."""

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    TimeoutError,  # noqa: A004 - Twisted's word for it
    fail,
    succeed,
)
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from waiter.fleet.ensemble import Ensemble
from waiter.fleet.nodes import (
    ConnectionLost,
    NodeExists,
    NodeStat,
    NoNode,
    Operation,
    State,
    WatchEvent,
    ZooKeeperError,
    ZooKeeperUnavailable,
    check_size,
)
from waiter.support.periodic import Periodic
from waiter.support.topic import Topic

T = TypeVar("T")

# Note [Two threads' worlds]
#
# Kazoo runs three threads of its own for a client: one that talks to the server, one for answers and one for watches. What
# they call does nothing but callFromThread; everything else happens on the reactor's thread, and calls into kazoo from there
# only append to its queue. Asking it anything from within one of its callbacks would block it for ever. Only closing a client
# blocks, up to a session timeout if the server is dead, and so has a thread for the moment.
#
# Kazoo links a result's callbacks again when one more is added after it is there, so each answer is taken once only.

# Words of kazoo for a client that will not connect again by itself.
_DEAD = frozenset({"CLOSED", "AUTH_FAILED"})


def _kazoo_client(ensemble: Ensemble, said: Callable[[str, int], object]) -> Any:
    from waiter.fleet.binding import make_client  # noqa: PLC0415 - kazoo is for those who use it

    return make_client(ensemble, said)


def in_daemon_thread(reactor: Any, call: Callable[[], object]) -> Deferred[None]:
    """
    Run something that may block for long in a thread that does not keep the process from ending. Cancelling ends only the
    wait.
    """
    over: Deferred[None] = Deferred()

    def tell(failure: Failure | None) -> None:
        if not over.called:
            over.callback(None) if failure is None else over.errback(failure)

    def run() -> None:
        try:
            call()
        except Exception:  # noqa: BLE001 - passed on
            failure: Failure | None = Failure()
        else:
            failure = None
        reactor.callFromThread(tell, failure)

    threading.Thread(target=run, name="waiter-zookeeper-close", daemon=True).start()
    return over


class ZooKeeperClient(Service):
    """
    One session with ZooKeeper, renewed when it is lost, with txzookeeper's vocabulary.

    Calls fail at once with L{ConnectionLost} while there is no connection, and within C{answer_secs} when no answer comes. What
    kazoo raises arrives as one of L{waiter.fleet.nodes}' errors. Cancelling a call's Deferred ends the wait; a write may
    still happen.

    A connection that has been broken for as long as a session may be silent counts as lost, even though the servers,
    which alone can say so, are not there to say it.

    @ivar state: how the connection is.
    @ivar states: told each new state.
    @ivar session_id: the present or last session's; C{None} before the first.
    @ivar session_secs: how long the server keeps it when it hears nothing.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        ensemble: Ensemble,
        *,
        connect_secs: float = 15.0,
        stop_secs: float = 5.0,
        check_secs: float = 10.0,
        make_client: Callable[[Ensemble, Callable[[str, int], object]], Any] = _kazoo_client,
        in_thread: Callable[[Any, Callable[[], object]], Deferred[None]] = in_daemon_thread,
    ) -> None:
        """
        @param connect_secs: how long the first connection may take.
        @param stop_secs: how long saying goodbye may take.
        @param check_secs: how often to look whether kazoo has given up, which it does when it is refused for good or meets
            what it does not understand.
        @param make_client: makes a kazoo client; told where messages of its log go.
        """
        self.setName("ZooKeeper client")
        self.state = State.LOST
        self.states: Topic[State] = Topic()
        self.session_id: int | None = None
        self.session_secs = ensemble.session_timeout_secs
        self.ensemble = ensemble
        self._reactor = reactor
        self._connect_secs = connect_secs
        self._stop_secs = stop_secs
        self._answer_secs = ensemble.session_timeout_secs
        self._make_client = make_client
        self._in_thread = in_thread
        self._client: Any = None
        self._seen_dead = False
        self._silence: IDelayedCall | None = None
        self._waiting: list[Deferred[None]] = []
        self._pending: set[Deferred[Any]] = set()
        self._checks = Periodic(reactor, check_secs, self._check, name="zookeeper-check", at_once=False)

    # Life

    def startService(self) -> Deferred[None]:
        """
        Connect. Cancelling the Deferred ends the wait; the client goes on.

        @raise ZooKeeperUnavailable: (in the Deferred) it took too long.
        """
        super().startService()
        self._begin()
        self._checks.startService()

        def too_late(_: object, secs: float) -> None:
            raise ZooKeeperUnavailable(
                f"no connection to ZooKeeper at {self.ensemble.hosts} within {secs:g} s: see that it runs and can be reached from "
                "here, or correct zookeeper.connect-string"
            )

        return self.connected().addTimeout(self._connect_secs, self._reactor, onTimeoutCancel=too_late)

    def stopService(self) -> Deferred[None]:
        """
        End the session, with its ephemeral nodes. Fires after C{stop_secs} at the latest; if the server could not be told by then,
        they stay until it misses this client.
        """
        super().stopService()
        self._checks.stopService()
        client, self._client = self._client, None
        self._become(State.LOST)
        self._fail_pending()
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.errback(ConnectionLost("the ZooKeeper client has stopped"))
        if client is None:
            return succeed(None)
        return self._close(client).addTimeout(self._stop_secs, self._reactor).addErrback(self._not_closed)

    def connected(self) -> Deferred[None]:
        """Fires when there is a connection, at once if there is one. Cancelling it ends the wait."""
        if self.state is State.CONNECTED:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._no_longer_waiting)
        self._waiting.append(waiting)
        return waiting

    # Reading

    def get(self, path: str) -> Deferred[tuple[bytes, NodeStat]]:
        """The data of a node. Fails with L{NoNode}."""
        return self._call(f"reading {path}", lambda client: client.get_async(path), _data_and_stat)

    def exists(self, path: str) -> Deferred[NodeStat | None]:
        """What is known of a node; C{None} if there is none."""
        return self._call(f"looking for {path}", lambda client: client.exists_async(path), _stat_or_none)

    def exists_and_watch(self, path: str) -> tuple[Deferred[NodeStat | None], Deferred[WatchEvent]]:
        """The same, and a Deferred that fires when the node comes, goes or changes, or when the connection breaks."""
        watch, fired = self._watch()
        asked = self._call(f"looking for {path}", lambda client: client.exists_async(path, watch=fired), _stat_or_none)
        return asked, watch

    def get_children(self, path: str) -> Deferred[list[str]]:
        """The names below a node. Fails with L{NoNode}."""
        return self._call(f"listing {path}", lambda client: client.get_children_async(path), list)

    def get_children_and_watch(self, path: str) -> tuple[Deferred[list[str]], Deferred[WatchEvent]]:
        """
        The same, and a Deferred that fires when a name comes or goes, or when the connection breaks. If the listing fails, it
        never does.
        """
        watch, fired = self._watch()
        return self._call(f"listing {path}", lambda client: client.get_children_async(path, watch=fired), list), watch

    def sync(self, path: str) -> Deferred[None]:
        """Fires when what is read from now on is at least as new as now."""
        return self._call(f"syncing {path}", lambda client: client.sync_async(path), lambda _: None)

    # Writing

    def create(
        self, path: str, data: bytes = b"", *, ephemeral: bool = False, sequence: bool = False
    ) -> Deferred[tuple[str, NodeStat]]:
        """
        Make a node; fires with its path, which for a C{sequence} node ends with a number. Fails with L{NodeExists}, or with
        L{NoNode} if its parent is missing.
        """
        return self._sized(
            path,
            len(data),
            lambda: self._call(
                f"creating {path}",
                lambda client: client.create_async(
                    path, data, ephemeral=ephemeral, sequence=sequence, include_data=True
                ),
                lambda made: (made[0], _stat(made[1])),
            ),
        )

    async def create_path(self, path: str) -> None:
        """Make a node without data and those above it, as far as they are missing."""
        try:
            await self._create_if_missing(path)
        except NoNode:
            await self.create_path(path.rpartition("/")[0])
            await self._create_if_missing(path)

    def set(self, path: str, data: bytes, version: int = -1) -> Deferred[NodeStat]:
        """Set a node's data, whatever its version if that is -1. Fails with L{NoNode} or L{BadVersion}."""
        return self._sized(
            path,
            len(data),
            lambda: self._call(f"writing {path}", lambda client: client.set_async(path, data, version), _stat),
        )

    def delete(self, path: str, version: int = -1) -> Deferred[None]:
        """Delete a node. Fails with L{NoNode}, L{BadVersion} or L{NotEmpty}."""
        return self._call(f"deleting {path}", lambda client: client.delete_async(path, version), lambda _: None)

    def commit(self, operations: Sequence[Operation]) -> Deferred[list[NodeStat | str | None]]:
        """
        Do all of them, or none. Fires with what each gave: a stat if it set data, a path if it created, else C{None}.

        Fails with the error of the first operation that was refused; its C{operation} says which.
        """

        def begin(client: Any) -> Any:
            transaction = client.transaction()
            for operation in operations:
                operation.add_to(transaction)
            return transaction.commit_async()

        return self._sized(
            operations[0].path,
            sum(len(operation.data) + len(operation.path.encode()) for operation in operations),
            lambda: self._call(f"writing {operations[0].path}", begin, partial(_results, operations)),
        )

    # Inside

    def _no_longer_waiting(self, waiting: Deferred[None]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)

    async def _create_if_missing(self, path: str) -> None:
        if not path or await self.exists(path) is not None:
            return
        try:
            await self.create(path)
        except NodeExists:
            return

    def _sized(self, path: str, size: int, call: Callable[[], Deferred[T]]) -> Deferred[T]:
        try:
            check_size(path, size)
        except ValueError:
            return fail()
        return call()

    def _call(self, doing: str, begin: Callable[[Any], Any], take: Callable[[Any], T]) -> Deferred[T]:
        """@param take: makes the result of what kazoo gives."""
        client = self._client
        if client is None or self.state is not State.CONNECTED:
            return fail(ConnectionLost(f"{doing}: ZooKeeper is not connected"))
        answer: Deferred[T] = Deferred()

        def settle(result: Any) -> None:
            # The wait may have ended, and kazoo may call twice.
            if answer.called:
                return
            if result.successful():
                try:
                    answer.callback(take(result.value))
                except Exception:  # noqa: BLE001 - a refused transaction is a value to kazoo
                    answer.errback()
            else:
                answer.errback(_translated(result.exception))

        def too_late(_: object, secs: float) -> T:
            raise ConnectionLost(f"{doing}: no answer from ZooKeeper within {secs:g} s")

        def over(result: Any) -> Any:
            self._pending.discard(answer)
            return result

        try:
            begun = begin(client)
        except Exception:  # noqa: BLE001 - it is told to whoever asked
            return fail()
        self._pending.add(answer)
        answer.addTimeout(self._answer_secs, self._reactor, onTimeoutCancel=too_late)
        answer.addBoth(over)
        begun.rawlink(partial(self._reactor.callFromThread, settle))
        return answer

    def _watch(self) -> tuple[Deferred[WatchEvent], Callable[[Any], None]]:
        watch: Deferred[WatchEvent] = Deferred()

        def fire(event: Any) -> None:
            if not watch.called:
                watch.callback(WatchEvent(type=event.type, path=event.path))

        return watch, partial(self._reactor.callFromThread, fire)

    def _begin(self) -> None:
        client = self._client = self._make_client(
            self.ensemble, lambda message, level: self._reactor.callFromThread(self._said, message, level)
        )
        self._seen_dead = False

        def changed(state: str) -> None:
            # These are plain attributes; asking the server for anything would block this very thread.
            self._reactor.callFromThread(
                self._heard, client, State(state), client.client_id, client.client_state, client.granted_secs
            )

        client.add_listener(changed)
        client.start_async()

    def _heard(
        self, client: Any, state: State, client_id: tuple[int, bytes] | None, word: str, granted_secs: float | None
    ) -> None:
        if client is not self._client:
            return
        if state is State.CONNECTED and client_id is not None:
            self.session_id = client_id[0]
            self._note_granted(granted_secs)
        self._become(state)
        if word == "AUTH_FAILED":
            self._log.error(
                "ZooKeeper at {hosts} refuses who we say we are: see zookeeper.digest", hosts=self.ensemble.hosts
            )

    def _note_granted(self, granted_secs: float | None) -> None:
        asked_secs = self.ensemble.session_timeout_secs
        granted_secs = asked_secs if granted_secs is None else granted_secs
        if granted_secs < asked_secs and granted_secs != self.session_secs:
            self._log.warn(
                "ZooKeeper grants sessions of {granted:g} s instead of {asked:g} s: see its maxSessionTimeout and "
                "zookeeper.session-timeout-ms",
                granted=granted_secs,
                asked=asked_secs,
            )
        self.session_secs = granted_secs

    def _become(self, state: State) -> None:
        if self._silence is not None and state is not State.SUSPENDED:
            self._silence.cancel()
            self._silence = None
        if state is self.state:
            return
        if state is State.SUSPENDED and self._silence is None:
            if self.state is State.LOST:
                return
            self._silence = self._reactor.callLater(self.session_secs, self._silent_for_too_long)
        self.state = state
        if self.running:
            self._log.info(
                "The connection to ZooKeeper is {state}", state=state.name.lower(), session=f"{self.session_id or 0:x}"
            )
        if state is State.CONNECTED:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)
        self.states.publish(state)

    def _silent_for_too_long(self) -> None:
        self._silence = None
        if self._client is not None:
            # What we have seen is not to be held against a server that has lost its data: it would refuse us for ever.
            self._client.last_zxid = 0
        self._become(State.LOST)

    def _check(self) -> None:
        """Begin anew if kazoo has given up: seen twice, as it looks alike for a moment while it starts."""
        client = self._client
        if client is None:
            return
        dead = client.client_state in _DEAD
        if not (dead and self._seen_dead):
            self._seen_dead = dead
            return
        self._log.warn("ZooKeeper's client has given up; trying again from the beginning")
        self._become(State.LOST)
        self._fail_pending()
        self._begin()
        self._close(client).addErrback(self._not_closed)

    def _fail_pending(self) -> None:
        for answer in tuple(self._pending):
            if not answer.called:
                answer.errback(ConnectionLost("the session with ZooKeeper has ended"))

    def _close(self, client: Any) -> Deferred[None]:
        def close() -> None:
            client.stop()
            client.close()

        return self._in_thread(self._reactor, close)

    def _not_closed(self, failure: Failure) -> None:
        if failure.check(TimeoutError, CancelledError):
            self._log.warn("ZooKeeper did not take leave in time; it will miss this router by itself")
        else:
            self._log.failure("ZooKeeper's client did not close cleanly", failure)

    def _said(self, message: str, level: int) -> None:
        # Broken connections are told by their state, once.
        self._log.emit(
            LogLevel.error if level >= logging.ERROR else LogLevel.debug,
            "ZooKeeper's client: {text}",
            text=message,
        )


def _translated(error: BaseException) -> BaseException:
    from waiter.fleet.binding import translated  # noqa: PLC0415 - see above

    return translated(error)


def _stat(stat: Any) -> NodeStat:
    return NodeStat(version=stat.version, modified=stat.mzxid, owner=stat.ephemeralOwner)


def _stat_or_none(stat: Any) -> NodeStat | None:
    return None if stat is None else _stat(stat)


def _data_and_stat(value: Any) -> tuple[bytes, NodeStat]:
    data, stat = value
    return data, _stat(stat)


def _results(operations: Sequence[Operation], values: Sequence[Any]) -> list[NodeStat | str | None]:
    for operation, value in zip(operations, values, strict=False):
        # Those before and after it say only that they were not done.
        if isinstance(value, Exception) and type(value).__name__ not in {"RolledBackError", "RuntimeInconsistency"}:
            error = _translated(value)
            if isinstance(error, ZooKeeperError):
                error.operation = operation
            raise error
    if any(isinstance(value, Exception) for value in values) or len(values) != len(operations):
        raise ConnectionLost("the transaction was not carried out")
    return [_stat(value) if hasattr(value, "mzxid") else value if isinstance(value, str) else None for value in values]
