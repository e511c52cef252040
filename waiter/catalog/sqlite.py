"""The store of a server that stands alone: one SQLite file."""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from waiter.catalog.interface import Conflict, IStore, StoreUnusable
from waiter.catalog.records import LARGEST_VALUE, Watchers, check_key, check_value
from waiter.support.shared import Shared

T = TypeVar("T")

FORMAT = 1

# "Wait" in ASCII: tells our files from those of other programs.
_APPLICATION = 0x57616974

_BUSY_TIMEOUT_SECS = 5.0

_DAMAGED = ". It is damaged or no store at all: put a copy in its place, or move it away to begin with an empty one"
_FULL = ". Make room on the disk that it is on"

_SCHEMA = (
    "CREATE TABLE record (key TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL, value BLOB NOT NULL) WITHOUT ROWID",
    # One count for all keys, so that a version never comes back, not even after a record was deleted and made again.
    "CREATE TABLE last_version (version INTEGER NOT NULL)",
    "INSERT INTO last_version VALUES (0)",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {FORMAT}",
)


@implementer(IStore)
class SQLiteStore(Service):
    """
    Keeps records in one file, in write-ahead-log mode.

    A write is acknowledged when it has been synced to the disk. The file is used by one thread of this store's own, which
    exists while the service runs.
    """

    name = "SQLite store"
    largest_value = LARGEST_VALUE

    def __init__(
        self,
        reactor: IReactorFromThreads,
        path: Path | str,
        *,
        make_pool: Callable[[int, int, str], ThreadPool] = ThreadPool,
    ) -> None:
        """
        @param path: the file; made if it is not there, but its directory is not.
        @param make_pool: makes the pool of one thread.
        """
        self._reactor = reactor
        self._make_pool = make_pool
        self._pool: ThreadPool | None = None
        self._file = _File(Path(path))
        self._open = False
        self._watchers = Watchers()

    def startService(self) -> Deferred[None]:
        """
        Open the file. Cancelling the Deferred does not interrupt that.

        @raise StoreUnusable: (in the Deferred) the file is damaged, newer than this program, or cannot be opened.
        """
        super().startService()
        self._pool = self._make_pool(1, 1, "waiter-store")
        self._pool.start()
        return Shared(Deferred.fromCoroutine(self._open_file())).wait()

    def stopService(self) -> Deferred[None]:
        """Close the file, after whatever was asked for before. Cancelling the Deferred does not interrupt that."""
        super().stopService()
        self._open = False
        if self._pool is None:
            return succeed(None)
        return Shared(Deferred.fromCoroutine(self._close_file())).wait()

    def get(self, key: str, *, newest: bool = False) -> Deferred[tuple[bytes, int] | None]:  # noqa: ARG002 - it always is
        """See L{IStore.get}."""
        return self._operate(lambda: self._file.get(key))

    def get_many(self, keys: Iterable[str]) -> Deferred[dict[str, tuple[bytes, int]]]:
        """See L{IStore.get_many}."""
        wanted = tuple(keys)
        return self._operate(lambda: {key: record for key in wanted if (record := self._file.get(key)) is not None})

    def put(self, key: str, value: bytes, expected_version: int | None = None) -> Deferred[int]:
        """See L{IStore.put}."""
        return self._operate(lambda: self._file.put(key, value, expected_version), changed=key)

    def delete(self, key: str, expected_version: int | None = None) -> Deferred[bool]:
        """See L{IStore.delete}."""
        return self._operate(lambda: self._file.delete(key, expected_version), changed=key)

    def keys(self, prefix: str) -> Deferred[list[str]]:
        """See L{IStore.keys}."""
        return self._operate(lambda: self._file.keys(prefix))

    def watch(self, prefix: str, changed: Callable[[str], object]) -> Callable[[], None]:
        """See L{IStore.watch}."""
        return self._watchers.add(prefix, changed)

    def _operate(self, operation: Callable[[], T], *, changed: str | None = None) -> Deferred[T]:
        """Do C{operation} in the thread; unless its result is C{False}, tell the watchers of the key it C{changed}."""
        if not self._open:
            return fail(StoreUnusable(f"the store {self._file.path} is not open"))

        def done(result: T) -> T:
            if changed is not None and result is not False:
                self._watchers.tell(changed)
            return result

        # Whoever cancels must not keep the watchers from hearing of a write that has happened.
        return Shared(self._in_thread(operation).addCallback(done)).wait()

    def _in_thread(self, operation: Callable[[], T]) -> Deferred[T]:
        return deferToThreadPool(self._reactor, self._pool, operation)  # type: ignore[arg-type]

    async def _open_file(self) -> None:
        try:
            await self._in_thread(self._file.open)
        except Exception:
            self._end_thread()
            raise
        self._open = bool(self.running)

    async def _close_file(self) -> None:
        try:
            await self._in_thread(self._file.close)
        finally:
            self._end_thread()

    def _end_thread(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()


class _File:
    """The SQLite file. Everything but making this object happens in one and the same thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """
        Open the file and bring it to the current format.

        @raise StoreUnusable: it is not ours, not whole, too new or not accessible.
        """
        with self._explained("cannot be opened"):
            # Commands and environment variables may be secrets: for the owner alone.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._connection = sqlite3.connect(self.path, timeout=_BUSY_TIMEOUT_SECS, isolation_level=None)
        try:
            self._prepare(self._connection)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file if it is open."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def get(self, key: str) -> tuple[bytes, int] | None:
        check_key(key)
        with self._explained("cannot be read") as connection:
            row = connection.execute("SELECT value, version FROM record WHERE key = ?", (key,)).fetchone()
        return None if row is None else (bytes(row[0]), row[1])

    def put(self, key: str, value: bytes, expected_version: int | None) -> int:
        check_key(key)
        check_value(value)
        with self._explained("cannot be written") as connection, _transaction(connection):
            _expect(connection, key, expected_version)
            connection.execute("UPDATE last_version SET version = version + 1")
            (version,) = connection.execute("SELECT version FROM last_version").fetchone()
            connection.execute("INSERT OR REPLACE INTO record VALUES (?, ?, ?)", (key, version, value))
        return int(version)

    def delete(self, key: str, expected_version: int | None) -> bool:
        check_key(key)
        with self._explained("cannot be written") as connection, _transaction(connection):
            _expect(connection, key, expected_version)
            return connection.execute("DELETE FROM record WHERE key = ?", (key,)).rowcount > 0

    def keys(self, prefix: str) -> list[str]:
        if prefix and not prefix.isprintable():
            return []
        # U+10FFFF is not printable, so no key contains it and every key with the prefix sorts before.
        beyond = f"{prefix}\U0010ffff"
        with self._explained("cannot be read") as connection:
            rows = connection.execute(
                "SELECT key FROM record WHERE key >= ? AND key < ? ORDER BY key", (prefix, beyond)
            )
            return [key for (key,) in rows]

    def _prepare(self, connection: sqlite3.Connection) -> None:
        with self._explained("cannot be used"):
            # Before anything is changed in a file that may not be ours.
            if _number(connection, "schema_version"):
                self._check_ours(connection)
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.execute("PRAGMA synchronous = FULL")
            with _transaction(connection):
                if not _number(connection, "schema_version"):
                    for statement in _SCHEMA:
                        connection.execute(statement)

    def _check_ours(self, connection: sqlite3.Connection) -> None:
        if _number(connection, "application_id") != _APPLICATION:
            raise StoreUnusable(f"the store {self.path} belongs to another program; give Waiter another file")
        found = _number(connection, "user_version")
        if found > FORMAT:
            raise StoreUnusable(
                f"the store {self.path} has format {found}, and this Waiter knows formats up to {FORMAT}: start the "
                "newer Waiter that wrote it, or use another state directory"
            )
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)

    @contextmanager
    def _explained(self, problem: str) -> Iterator[sqlite3.Connection]:
        try:
            yield self._connection  # type: ignore[misc]
        except (sqlite3.Error, OSError) as error:
            hint = _DAMAGED if isinstance(error, sqlite3.DatabaseError) and not _is_passing(error) else ""
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                hint = _FULL
            raise StoreUnusable(f"the store {self.path} {problem}: {error}{hint}") from error


def _is_passing(error: sqlite3.DatabaseError) -> bool:
    """Whether it is about a lock, a full disk or the like, and not about what the file holds."""
    return isinstance(error, sqlite3.OperationalError)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite itself has rolled back after some errors, a full disk among them.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _expect(connection: sqlite3.Connection, key: str, expected_version: int | None) -> None:
    if expected_version is None:
        return
    row = connection.execute("SELECT version FROM record WHERE key = ?", (key,)).fetchone()
    version = 0 if row is None else row[0]
    if version != expected_version:
        raise Conflict(f"{key} is at version {version}, not {expected_version}")


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])
