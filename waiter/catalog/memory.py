"""A store for tests and for servers that need not remember anything."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, execute
from zope.interface import implementer

from waiter.catalog.interface import Conflict, IStore, StoreUnusable
from waiter.catalog.records import LARGEST_VALUE, Watchers, check_key, check_value

T = TypeVar("T")


@implementer(IStore)
class MemoryStore(Service):
    """Keeps records as long as this object lives. Everything happens at once: the Deferreds have already fired."""

    name = "memory store"
    largest_value = LARGEST_VALUE

    def __init__(self) -> None:
        self._records: dict[str, tuple[bytes, int]] = {}
        self._last_version = 0
        self._watchers = Watchers()

    def get(self, key: str, *, newest: bool = False) -> Deferred[tuple[bytes, int] | None]:  # noqa: ARG002 - it always is
        """See L{IStore.get}."""
        return self._do(lambda: self._get(key))

    def get_many(self, keys: Iterable[str]) -> Deferred[dict[str, tuple[bytes, int]]]:
        """See L{IStore.get_many}."""
        return self._do(lambda: {key: record for key in keys if (record := self._get(key)) is not None})

    def put(self, key: str, value: bytes, expected_version: int | None = None) -> Deferred[int]:
        """See L{IStore.put}."""
        return self._do(lambda: self._put(key, value, expected_version))

    def delete(self, key: str, expected_version: int | None = None) -> Deferred[bool]:
        """See L{IStore.delete}."""
        return self._do(lambda: self._delete(key, expected_version))

    def keys(self, prefix: str) -> Deferred[list[str]]:
        """See L{IStore.keys}."""
        return self._do(lambda: sorted(key for key in self._records if key.startswith(prefix)))

    def watch(self, prefix: str, changed: Callable[[str], object]) -> Callable[[], None]:
        """See L{IStore.watch}."""
        return self._watchers.add(prefix, changed)

    def _do(self, operation: Callable[[], T]) -> Deferred[T]:
        return execute(self._while_open, operation)

    def _while_open(self, operation: Callable[[], T]) -> T:
        if not self.running:
            raise StoreUnusable("the store is not open")
        return operation()

    def _get(self, key: str) -> tuple[bytes, int] | None:
        check_key(key)
        return self._records.get(key)

    def _put(self, key: str, value: bytes, expected_version: int | None) -> int:
        check_key(key)
        check_value(value)
        self._expect(key, expected_version)
        version = self._last_version = self._last_version + 1
        self._records[key] = (value, version)
        self._watchers.tell(key)
        return version

    def _delete(self, key: str, expected_version: int | None) -> bool:
        check_key(key)
        self._expect(key, expected_version)
        if self._records.pop(key, None) is None:
            return False
        self._watchers.tell(key)
        return True

    def _expect(self, key: str, expected_version: int | None) -> None:
        if expected_version is None:
            return
        _, version = self._records.get(key, (b"", 0))
        if version != expected_version:
            raise Conflict(f"{key} is at version {version}, not {expected_version}")
