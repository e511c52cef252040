"""A store whose values are encrypted before another one keeps them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.logger import Logger
from zope.interface import implementer

from waiter.catalog.interface import Conflict, IStore, StoreUnusable
from waiter.catalog.records import check_key, check_value
from waiter.catalog.seal import OVERHEAD, SCRYPT_COST, CannotUnseal, KeyRing, SealRecord, new_salt
from waiter.support.background import Background
from waiter.support.shared import Shared
from waiter.support.threads import in_thread

T = TypeVar("T")

#: Under which key of the inner store it is said how values are encrypted; nobody else sees it.
RECORD_KEY = "encryption"

_MOST_ATTEMPTS = 20


@implementer(IStore)
class EncryptedStore(Service):
    """
    Keeps records in another store, which it starts and stops: the keys as they are, the values encrypted.

    The first of the passwords encrypts; what another of them has encrypted, and what was there before there was any, is
    encrypted anew in the background after the start. When that is done, the log says so, and passwords after the first can
    be left out. Without a password values are kept as they are, unless they are encrypted already.
    """

    _log = Logger()

    def __init__(self, reactor: Any, inner: Any, passwords: Sequence[str], *, cost: int = SCRYPT_COST) -> None:
        """
        @param inner: an L{IStore}, not started.
        @param cost: of making a key of a password, for scrypt.
        """
        self.setName(inner.name)
        self._reactor = reactor
        self._inner = inner
        self._passwords = tuple(passwords)
        self._cost = cost
        self._ring: KeyRing | None = None
        self._open = False
        self._background = Background()

    def state(self) -> dict[str, Any]:
        """How values are kept, for C{/state}."""
        return {"inner-state": {"variant": self.name}, "variant": "plain" if self._ring is None else "encrypted"}

    @property
    def largest_value(self) -> int:
        """See L{IStore}."""
        return int(self._inner.largest_value) - OVERHEAD

    def startService(self) -> Deferred[None]:
        """
        Start the inner store and look whether the passwords are right. Cancelling the Deferred does not interrupt that.

        @raise StoreUnusable: (in the Deferred) the store cannot be used, or not with these passwords.
        """
        super().startService()
        return Shared(Deferred.fromCoroutine(self._open_it())).wait()

    def stopService(self) -> Deferred[None]:
        """Stop the inner store, too. Cancelling the Deferred does not interrupt that."""
        super().stopService()
        self._open = False
        return Shared(Deferred.fromCoroutine(self._close_it())).wait()

    def get(self, key: str, *, newest: bool = False) -> Deferred[tuple[bytes, int] | None]:
        """See L{IStore.get}."""

        def opened(record: tuple[bytes, int] | None) -> tuple[bytes, int] | None:
            return None if record is None else (self._unsealed(key, record[0]), record[1])

        return self._operate(key, lambda: self._inner.get(key, newest=newest).addCallback(opened))

    def get_many(self, keys: Iterable[str]) -> Deferred[dict[str, tuple[bytes, int]]]:
        """See L{IStore.get_many}."""
        wanted = [key for key in keys if key != RECORD_KEY]

        def opened(records: dict[str, tuple[bytes, int]]) -> dict[str, tuple[bytes, int]]:
            found = {}
            for key, (value, version) in records.items():
                try:
                    found[key] = self._unsealed(key, value), version
                except StoreUnusable as error:
                    self._log.error("{error}; it is left out", error=error)
            return found

        return self._operate(None, lambda: self._inner.get_many(wanted).addCallback(opened))

    def put(self, key: str, value: bytes, expected_version: int | None = None) -> Deferred[int]:
        """See L{IStore.put}."""

        def put() -> Deferred[int]:
            check_key(key)
            check_value(value)
            if len(value) > self.largest_value:
                raise ValueError(f"a value has at most {self.largest_value} bytes, not {len(value)}")
            sealed = value if self._ring is None else self._ring.seal(key, value)
            written: Deferred[int] = self._inner.put(key, sealed, expected_version)
            return written

        return self._operate(key, put)

    def delete(self, key: str, expected_version: int | None = None) -> Deferred[bool]:
        """See L{IStore.delete}."""
        return self._operate(key, lambda: self._inner.delete(key, expected_version))

    def keys(self, prefix: str) -> Deferred[list[str]]:
        """See L{IStore.keys}."""
        return self._operate(
            None,
            lambda: self._inner.keys(prefix).addCallback(lambda keys: [key for key in keys if key != RECORD_KEY]),
        )

    def watch(self, prefix: str, changed: Callable[[str], object]) -> Callable[[], None]:
        """See L{IStore.watch}."""

        def tell(key: str) -> None:
            if key != RECORD_KEY:
                changed(key)

        end: Callable[[], None] = self._inner.watch(prefix, tell)
        return end

    def _operate(self, key: str | None, operation: Callable[[], Deferred[T]]) -> Deferred[T]:
        if not self._open:
            return fail(StoreUnusable("the store is not open"))
        if key == RECORD_KEY:
            return fail(ValueError(f"{key!r} is no key for others than the store itself"))
        return maybeDeferred(operation)

    def _unsealed(self, key: str, value: bytes) -> bytes:
        if self._ring is None:
            return value
        try:
            return self._ring.unseal(key, value)
        except CannotUnseal as error:
            raise StoreUnusable(f"the record {key} cannot be decrypted: {error}") from error

    # Starting and stopping

    async def _open_it(self) -> None:
        await maybeDeferred(self._inner.startService)
        try:
            await self._unlock()
        except BaseException:
            await maybeDeferred(self._inner.stopService)
            raise
        self._open = bool(self.running)

    async def _close_it(self) -> None:
        await self._background.stop()
        await maybeDeferred(self._inner.stopService)

    async def _unlock(self) -> None:
        found = await self._record()
        if not self._passwords:
            if found is not None:
                raise StoreUnusable("the store is encrypted: set store.passwords, or WAITER_STORE_PASSWORDS")
            return
        for _ in range(_MOST_ATTEMPTS):
            record, version = found or (await self._first_record(), 0)
            ring = await in_thread(self._reactor, self._make_ring, record.salt)
            self._check(record, ring)
            wanted = attrs.evolve(record, key_ids=record.key_ids | {ring.first_id})
            try:
                if found is None or wanted != record:
                    version = await self._inner.put(RECORD_KEY, wanted.written(), version)
            except Conflict:
                found = await self._record()
                continue
            ring.takes_plain = wanted.plain
            self._ring = ring
            if wanted.plain or wanted.key_ids != {ring.first_id}:
                self._background.restart()
                self._background.start(self._renew(ring, wanted, version), "encrypting the store anew")
            return
        raise StoreUnusable("the passwords of the store are being changed by too many at once; try again")

    def _make_ring(self, salt: bytes) -> KeyRing:
        return KeyRing(self._passwords, salt, cost=self._cost)

    async def _record(self) -> tuple[SealRecord, int] | None:
        found = await self._inner.get(RECORD_KEY, newest=True)
        if found is None:
            return None
        try:
            return SealRecord.read(found[0]), found[1]
        except ValueError as error:
            raise StoreUnusable(
                f"the store does not say how it is encrypted: {error}. It is damaged, or was encrypted by a newer Waiter"
            ) from error

    async def _first_record(self) -> SealRecord:
        keys = await self._inner.keys("")
        return SealRecord(salt=new_salt(), key_ids=frozenset(), plain=bool(keys))

    @staticmethod
    def _check(record: SealRecord, ring: KeyRing) -> None:
        if not record.key_ids or record.key_ids <= ring.key_ids:
            return
        if record.key_ids & ring.key_ids:
            raise StoreUnusable(
                "some of the store may still be encrypted with a password that is not among store.passwords: put it back "
                "as the last, and leave it out when the log has said that all is encrypted with the first"
            )
        raise StoreUnusable("the store is encrypted with another password than those in store.passwords")

    async def _renew(self, ring: KeyRing, record: SealRecord, version: int) -> None:
        """Encrypt with the first password what is not, then say that all is."""
        count = failed = 0
        for key in await self._inner.keys(""):
            if key == RECORD_KEY:
                continue
            try:
                count += await self._renew_one(ring, key)
            except StoreUnusable as error:
                failed += 1
                self._log.error("A record could not be encrypted anew: {error}", error=error)
        if failed:
            return
        done = attrs.evolve(record, key_ids=frozenset({ring.first_id}), plain=False)
        try:
            await self._inner.put(RECORD_KEY, done.written(), version)
        except Conflict:
            self._log.info("Another router has begun to encrypt the store with its first password")
            return
        ring.takes_plain = False
        self._log.info("All of the store is encrypted with the first password now; {count} were not", count=count)

    async def _renew_one(self, ring: KeyRing, key: str) -> bool:
        for _ in range(_MOST_ATTEMPTS):
            found = await self._inner.get(key)
            if found is None or ring.is_current(found[0]):
                return False
            try:
                await self._inner.put(key, ring.seal(key, self._unsealed(key, found[0])), found[1])
            except Conflict:
                continue
            return True
        raise StoreUnusable(f"the record {key} is being changed all the time")
