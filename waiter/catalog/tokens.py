"""All tokens: in memory for the requests, in the store for everybody."""

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from waiter.catalog.interface import Conflict, IStore, StoreUnusable
from waiter.catalog.token_index import TokenIndex
from waiter.catalog.token_posts import is_name
from waiter.catalog.token_records import read, written
from waiter.errors import BadRequest, ServiceUnavailable
from waiter.model.token import Token
from waiter.support.background import Background
from waiter.support.topic import Topic

T = TypeVar("T")

#: Under which keys of the store the tokens are.
KEY_PREFIX = "token/"

# Of a token that is changed from many sides at once.
_MOST_ATTEMPTS = 50
_READ_AT_ONCE = 500
_AGAIN_SECS = 1.0

#: Gives what is to be stored in place of what is there (C{None} if nothing is); the same if nothing is to be changed.
Change = Callable[[Token | None], Token]


class TokenCatalog(Service):
    """
    Every token as the store has it.

    What is asked for on the way of a request comes out of memory. Memory is filled at the start and follows the store's
    changes, those that other routers make among them. What is written is decided on by what the store has at that moment
    and is written over exactly that: if somebody else was faster, it is decided anew.

    @ivar changes: told the name of each token that has changed here or elsewhere, when C{get} has what it is now.
    """

    name = "token catalog"
    _log = Logger()

    def __init__(self, clock: IReactorTime, store: IStore) -> None:
        self._clock = clock
        self._store = store
        self._index = TokenIndex()
        self._versions: dict[str, int] = {}
        # Names whose record is being read because it has changed; whether it has changed again since.
        self._reading: dict[str, bool] = {}
        # Names whose record has changed and could not be read.
        self._unread: set[str] = set()
        self._timer: IDelayedCall | None = None
        self._writing: dict[str, DeferredLock] = {}
        self._background = Background()
        self._unwatch: Callable[[], None] | None = None
        self.changes: Topic[str] = Topic()

    def startService(self) -> Deferred[None]:
        """
        Read all tokens. Fails if the store does.

        Cancelling the Deferred leaves the catalog incomplete.
        """
        super().startService()
        self._background.restart()
        self._unwatch = self._store.watch(KEY_PREFIX, self._changed)
        return Deferred.fromCoroutine(self._read_all())

    def stopService(self) -> Deferred[None]:
        """Follow changes no more; what is in memory can still be read. Fires when nothing is under way."""
        super().stopService()
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return self._background.stop()

    def get(self, name: str) -> Token | None:
        """A token that is not deleted."""
        token = self._index.get(name)
        return None if token is None or token.deleted else token

    def find(self, name: str) -> Token | None:
        """A token, even if it is deleted."""
        return self._index.get(name)

    def owned_by(self, owner: str) -> Iterator[Token]:
        """All tokens of an owner, sorted by name, those that are deleted among them."""
        return self._index.owned_by(owner)

    def all(self) -> Iterator[Token]:
        """All tokens, sorted by name, those that are deleted among them."""
        return self._index.all()

    def owners(self) -> list[str]:
        """Who owns tokens, deleted ones among them; sorted."""
        return self._index.owners()

    def active_count(self, owner: str) -> int:
        """How many tokens that are not deleted an owner has."""
        return self._index.active_count(owner)

    def state(self) -> dict[str, int]:
        """How many tokens there are, for C{/state}, and how many of them have changed and were not read since."""
        return {"count": self._index.count, "to-be-read": len(self._reading) + len(self._unread)}

    def latest(self, name: str) -> Deferred[Token | None]:
        """
        A token, even if it is deleted, as the store has it now. Cancelling ends the wait.

        @raise ServiceUnavailable: (in the Deferred) the store cannot be asked.
        """
        return Deferred.fromCoroutine(self._latest(name))

    async def seen(self, name: str) -> Token | None:
        """
        A token, even if it is deleted, as the store has it now, or as it was known last if the store cannot be asked.

        @raise ServiceUnavailable: the store cannot be asked, and nothing was known.
        """
        if not is_name(name):
            return None
        try:
            return await self.latest(name)
        except ServiceUnavailable:
            token = self.find(name)
            if token is None:
                raise
            return token

    def write(self, name: str, change: Change) -> Deferred[Token]:
        """
        Change a token, or make it.

        Fires with what is stored then, which may be more than what C{change} gave, when the store has acknowledged it.
        C{change} may be asked more than once; what it raises comes in the Deferred and nothing is changed. Cancelling ends
        the wait; whether something was written is not known then.

        @raise ServiceUnavailable: (in the Deferred) the store cannot be used.
        """
        return Deferred.fromCoroutine(self._write(name, change))

    def remove(self, name: str, check: Callable[[Token | None], object]) -> Deferred[None]:
        """
        Take a token away for good, with all that it was before. Cancelling ends the wait.

        @param check: raises if the token, as it is in the store, is not to be removed.
        @raise ServiceUnavailable: (in the Deferred) the store cannot be used.
        """
        return Deferred.fromCoroutine(self._remove(name, check))

    def reread(self) -> Deferred[int]:
        """
        Read all tokens anew; fires with their number. Cancelling ends it.

        @raise ServiceUnavailable: (in the Deferred) the store cannot be asked.
        """

        async def reread() -> int:
            try:
                await self._read_all()
            except StoreUnusable as error:
                raise _unavailable(error) from error
            return len(self._versions)

        return Deferred.fromCoroutine(reread())

    async def _write(self, name: str, change: Change) -> Token:
        async def attempt() -> Token:
            current, version = await self._read_one(name)
            token = change(current)
            if token is not current:
                token, value = self._fitting(token)
                version = await self._store.put(KEY_PREFIX + name, value, version)
                self._keep(name, token, version)
            return token

        return await self._attempt(name, attempt)

    async def _remove(self, name: str, check: Callable[[Token | None], object]) -> None:
        async def attempt() -> None:
            current, version = await self._read_one(name)
            check(current)
            if current is not None:
                await self._store.delete(KEY_PREFIX + name, version)
                self._removed(name, version)

        await self._attempt(name, attempt)

    async def _attempt(self, name: str, attempt: Callable[[], Coroutine[Deferred[Any], Any, T]]) -> T:
        """Try until nobody else was faster: one after the other those of this router."""
        lock = self._writing.setdefault(name, DeferredLock())
        await lock.acquire()
        try:
            for _ in range(_MOST_ATTEMPTS):
                try:
                    return await attempt()
                except Conflict:
                    continue
                except StoreUnusable as error:
                    raise _unavailable(error) from error
            raise ServiceUnavailable(
                f"The token {name} is being changed by too many at once; try again.", retry_after_secs=1
            )
        finally:
            if not lock.waiting:
                self._writing.pop(name, None)
            lock.release()

    def _fitting(self, token: Token) -> tuple[Token, bytes]:
        """
        The token and how it is stored, with as much of what it was before as a store takes.

        @raise BadRequest: it does not fit even without that.
        """
        value = written(token)
        while len(value) > self._store.largest_value:
            earlier = len(list(token.history())) - 1
            if not earlier:
                raise BadRequest(
                    f"The token is too large: it has {len(value)} bytes, and {self._store.largest_value} can be stored",
                    details={"token": token.name},
                )
            token = token.with_history(earlier - 1)
            value = written(token)
        return token, value

    async def _latest(self, name: str) -> Token | None:
        token, version = await self._read_one(name)
        if token is not None:
            self._keep(name, token, version)
        return token

    async def _read_one(self, name: str) -> tuple[Token | None, int]:
        try:
            record = await self._store.get(KEY_PREFIX + name, newest=True)
        except StoreUnusable as error:
            raise _unavailable(error) from error
        if record is None:
            return None, 0
        value, version = record
        try:
            return read(name, value), version
        except ValueError as error:
            raise ServiceUnavailable(
                f"The record of the token {name} cannot be read: {error}. It is damaged: put back a "
                "copy of the store; or a newer Waiter has written it: start that one.",
                details={"token": name},
            ) from error

    # Memory

    async def _read_all(self) -> None:
        keys = await self._store.keys(KEY_PREFIX)
        names = [key.removeprefix(KEY_PREFIX) for key in keys]
        for name in set(self._versions).difference(names):
            self._changed(KEY_PREFIX + name)
        for first in range(0, len(names), _READ_AT_ONCE):
            some = names[first : first + _READ_AT_ONCE]
            # Whatever of these changes meanwhile is read once more, later than this.
            records = await self._store.get_many([KEY_PREFIX + name for name in some])
            for name in some:
                self._found(name, records.get(KEY_PREFIX + name))

    def _changed(self, key: str) -> None:
        name = key.removeprefix(KEY_PREFIX)
        if name in self._reading:
            self._reading[name] = True
        else:
            self._unread.discard(name)
            self._reading[name] = False
            self._background.start(self._refresh(name), "reading a token that has changed")

    async def _refresh(self, name: str) -> None:
        """Read a token until it has not changed meanwhile: then memory has what the store has."""
        try:
            again = True
            while again:
                self._reading[name] = False
                record = await self._store.get(KEY_PREFIX + name)
                again = self._reading[name]
        except StoreUnusable as error:
            self._unread.add(name)
            self._log.warn("The token {name} has changed and cannot be read: {error}", name=name, error=error)
            self._later()
            return
        finally:
            del self._reading[name]
        if record is None:
            self._forget(name)
        else:
            self._found(name, record)

    def _later(self) -> None:
        if self._timer is None and self.running:
            self._timer = self._clock.callLater(_AGAIN_SECS, self._again)

    def _again(self) -> None:
        self._timer = None
        for name in tuple(self._unread):
            self._changed(KEY_PREFIX + name)

    def _found(self, name: str, record: tuple[bytes, int] | None) -> None:
        if record is None or record[1] <= self._versions.get(name, 0):
            return
        value, version = record
        try:
            token = read(name, value)
        except ValueError as error:
            self._log.error(
                "The record of the token {name} cannot be read and is left out: {error}", name=name, error=error
            )
            return
        self._keep(name, token, version)

    def _keep(self, name: str, token: Token, version: int) -> None:
        """Put into memory what was at this version, unless something later is there."""
        if version > self._versions.get(name, 0):
            self._versions[name] = version
            self._index.put(name, token)
            self.changes.publish(name)

    def _removed(self, name: str, version: int) -> None:
        """The token was removed here at this version."""
        if version < self._versions.get(name, 0) or name not in self._versions:
            return
        # As the change is told, it is being read anew or was; until then the version keeps out what was read before.
        if self._index.get(name) is not None:
            self._index.put(name, None)
            self.changes.publish(name)

    def _forget(self, name: str) -> None:
        """There is no such token in the store."""
        self._versions.pop(name, None)
        if self._index.get(name) is not None:
            self._index.put(name, None)
            self.changes.publish(name)


def _unavailable(error: StoreUnusable) -> ServiceUnavailable:
    return ServiceUnavailable(f"Tokens cannot be stored or asked for now: {error}", retry_after_secs=1)
