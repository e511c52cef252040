"""The last changes of a store, by number, so that others hear of each of them."""

from collections.abc import Callable

from twisted.logger import Logger
from twisted.python.failure import Failure

from waiter.fleet.children import WatchedChildren
from waiter.fleet.nodes import NoNode, Operation, State, ZooKeeperError, creating, setting
from waiter.fleet.zookeeper import ZooKeeperClient
from waiter.support.background import Background

# How many are kept: as many as may happen while somebody who was cut off for a moment comes back.
KEPT = 200

# In a transaction, kazoo makes a sibling of a path that ends with a slash.
_PREFIX = "c-"
_DIGITS = 10


class ChangeLog:
    """
    Sequence nodes below one, each with the key that was changed.

    What was written here is known here already and not told again. Numbers of a parent's sequence nodes have no gaps, so
    that changes which are gone before they were seen show.
    """

    _log = Logger()

    def __init__(
        self,
        client: ZooKeeperClient,
        path: str,
        changed: Callable[[str], object],
        missed: Callable[[], object],
    ) -> None:
        """
        @param changed: told the key of each change by others.
        @param missed: called when changes are gone that were not seen.
        """
        self._client = client
        self._path = path
        self._changed = changed
        self._missed = missed
        self._children = WatchedChildren(client, path, self.look)
        self._background = Background()
        self._followed = False
        self._reading = False
        self._again = False
        self._seen: int | None = None
        self._own: set[int] = set()
        client.states.subscribe(self._connection)

    def operations(self, key: str) -> list[Operation]:
        """What a transaction that changes C{key} has as its last two parts: its results are a stat and a path."""
        return [setting(self._path, b""), creating(f"{self._path}/{_PREFIX}", key.encode(), sequence=True)]

    def wrote(self, entry: str) -> None:
        """A transaction of ours has made this entry: not to be told again. Takes away what is older than is kept."""
        number = _number(entry)
        if self._followed:
            self._own.add(number)
        if number >= KEPT:
            old = f"{self._path}/{_PREFIX}{number - KEPT:0{_DIGITS}d}"
            self._client.delete(old).addErrback(self._not_deleted)

    def follow(self) -> None:
        """Tell changes from now on."""
        if self._followed:
            return
        self._followed = True
        self._seen = None
        self._background.restart()
        self.look()

    def stop(self) -> None:
        """Tell no more."""
        self._followed = False
        self._own.clear()
        self._background.stop()

    def _connection(self, state: State) -> None:
        if state is State.CONNECTED:
            self.look()

    def look(self) -> None:
        """See whether there is something new, if changes are to be told."""
        if not self._followed:
            return
        if self._reading:
            self._again = True
            return
        self._reading = True
        self._background.start(self._read(), "following the changes of the store")

    async def _read(self) -> None:
        try:
            self._again = True
            while self._again and self._followed:
                self._again = False
                await self._read_once()
        except ZooKeeperError as error:
            # The connection's return has it looked at again.
            self._log.debug("Changes of the store could not be read: {error}", error=error)
        finally:
            self._reading = False

    async def _read_once(self) -> None:
        names = {_number(name): name for name in await self._children.read() if name[-_DIGITS:].isdecimal()}
        last = max(names, default=-1)
        if self._seen is None:
            self._seen = last
            return
        if last < self._seen:
            # The last changes are always kept: ZooKeeper has lost its data, and numbers begin anew.
            self._seen = last
            self._own.clear()
            self._missed()
            return
        fresh = sorted(number for number in names if number > self._seen)
        if not fresh:
            return
        missed = fresh[0] > self._seen + 1 and not self._own.issuperset(range(self._seen + 1, fresh[0]))
        for number in fresh:
            if number not in self._own:
                try:
                    key, _ = await self._client.get(f"{self._path}/{names[number]}")
                except NoNode:
                    missed = True
                else:
                    self._tell(key)
            self._seen = number
        self._own = {number for number in self._own if number > self._seen}
        if missed:
            self._missed()

    def _tell(self, key: bytes) -> None:
        self._changed(key.decode(errors="replace"))

    def _not_deleted(self, failure: Failure) -> None:
        failure.trap(ZooKeeperError)


def _number(name: str) -> int:
    return int(name[-_DIGITS:])
