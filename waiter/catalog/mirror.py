"""Stored records that are needed without waiting."""

from collections.abc import Callable, Collection
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from waiter.catalog.interface import IStore
from waiter.support.background import Background

T = TypeVar("T")

_READ_AT_ONCE = 64


class Mirror(Generic[T]):
    """
    Keeps what is stored under a prefix in memory, too, and follows changes, whoever makes them.

    What is in memory is what the store said last: a change is there when it has been read back.

    @ivar background: what is under way that concerns this store and that nobody waits for.
    """

    _log = Logger()

    def __init__(
        self,
        store: IStore,
        prefix: str,
        *,
        read: Callable[[bytes], T],
        changed: Callable[[str], object] = lambda _: None,
    ) -> None:
        """
        @param prefix: of the keys; what follows it is the record's name here.
        @param read: makes a value from what is stored. May raise C{ValueError}, C{TypeError} or C{KeyError}: such a record is
            logged, and as if it were not there.
        @param changed: told the name of each record that has become another.
        """
        self._store = store
        self._prefix = prefix
        self._read = read
        self._changed = changed
        self._values: dict[str, T] = {}
        # Who waits for which record to be read, beginning now or later.
        self._waiting: dict[str, list[Deferred[None]]] = {}
        self._reading: set[str] = set()
        self._end_watch: Callable[[], None] | None = None
        self.background = Background()

    def start(self) -> Deferred[None]:
        """Read all. Fails if the store does; cancelling ends the reading."""
        self.background.restart()
        self._end_watch = self._store.watch(self._prefix, self._tell)
        return Deferred.fromCoroutine(self._load())

    def stop(self) -> Deferred[None]:
        """Follow no more. Fires when what is under way in the background is given up."""
        if self._end_watch is not None:
            self._end_watch()
            self._end_watch = None
        return self.background.stop()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, name: str) -> T | None:
        """The value, if there is such a record."""
        return self._values.get(name)

    async def put(self, name: str, value: bytes, expected_version: int | None = None) -> None:
        """
        Store a record; done when it is in memory, too. Fails as the store does. Cancelling ends the wait; the record may or
        may not be stored.
        """
        await self._store.put(self._prefix + name, value, expected_version)
        await self.refresh(name)

    async def delete(self, name: str) -> None:
        """Remove a record, likewise."""
        await self._store.delete(self._prefix + name)
        await self.refresh(name)

    def forget(self, names: Collection[str]) -> None:
        """Remove such of these records as there are, soon. Failures are logged."""
        for name in names:
            if name in self._values:
                self.background.start(self.delete(name), f"Forgetting {name}")

    def refresh(self, name: str) -> Deferred[None]:
        """
        Read a record anew. Never fails: what cannot be read is logged and stays as it was. Cancelling ends the wait alone.
        """
        waiting: Deferred[None] = Deferred(lambda waiting: self._leave(name, waiting))
        self._waiting.setdefault(name, []).append(waiting)
        if name not in self._reading:
            self._reading.add(name)
            self._read_one(name)
        return waiting

    def _leave(self, name: str, waiting: Deferred[None]) -> None:
        if waiting in self._waiting.get(name, ()):
            self._waiting[name].remove(waiting)

    def _tell(self, key: str) -> None:
        self.refresh(key.removeprefix(self._prefix))

    def _read_one(self, name: str) -> None:
        """One reading of a record at a time, so that the one that began last is the last to be heard."""
        waiting = self._waiting.pop(name, [])

        def done(_: object) -> None:
            if name in self._waiting:
                self._read_one(name)
            else:
                self._reading.discard(name)
            for each in waiting:
                if not each.called:
                    each.callback(None)

        reading = self._store.get(self._prefix + name)
        reading.addCallback(lambda record: self._take(name, None if record is None else record[0]))
        reading.addErrback(lambda failure: self._log.failure("{name} could not be read", failure, name=name))
        reading.addCallback(done)

    def _take(self, name: str, stored: bytes | None) -> None:
        before = self._values.pop(name, None)
        value = None
        if stored is not None:
            try:
                value = self._values[name] = self._read(stored)
            except (ValueError, TypeError, KeyError) as error:
                self._log.error(
                    "The record {key} cannot be read and is left out: {error}", key=self._prefix + name, error=error
                )
        if value != before:
            self._changed(name)

    async def _load(self) -> None:
        names = [key.removeprefix(self._prefix) for key in await self._store.keys(self._prefix)]
        for first in range(0, len(names), _READ_AT_ONCE):
            await gatherResults(
                [self.refresh(name) for name in names[first : first + _READ_AT_ONCE]], consumeErrors=True
            )
