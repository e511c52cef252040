"""Listing a node's children again and again, with at most one watch at a time."""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from waiter.fleet.nodes import State, WatchEvent
from waiter.fleet.zookeeper import ZooKeeperClient


class WatchedChildren:
    """
    The names below a node, and a word when they have changed.

    A watch of ZooKeeper's fires once and is kept until then, so reading with a new one each time would pile them up.
    """

    def __init__(self, client: ZooKeeperClient, path: str, changed: Callable[[], object]) -> None:
        """@param changed: called soon after something has changed that C{read} did not show, and when watching broke off."""
        self.path = path
        self._client = client
        self._changed = changed
        self._watch: Deferred[WatchEvent] | None = None
        client.states.subscribe(self._connection)

    @property
    def watching(self) -> bool:
        """Whether C{changed} will be called."""
        return self._watch is not None

    def read(self) -> Deferred[list[str]]:
        """
        The names now. Cancelling it ends the wait.

        Fails with L{waiter.fleet.nodes.NoNode} or another of ZooKeeper's errors.
        """
        if self._watch is not None:
            return self._client.get_children(self.path)
        names, watch = self._client.get_children_and_watch(self.path)
        self._watch = watch
        watch.addCallback(self._fired, watch)
        # Who does not get the names has no watch either.
        return names.addErrback(self._failed, watch)

    def _fired(self, _: WatchEvent, watch: Deferred[WatchEvent]) -> None:
        if self._watch is watch:
            self._watch = None
            self._changed()

    def _failed(self, failure: Failure, watch: Deferred[WatchEvent]) -> Failure:
        if self._watch is watch:
            self._watch = None
        return failure

    def _connection(self, state: State) -> None:
        if state is not State.CONNECTED:
            self._watch = None
