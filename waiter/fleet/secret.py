"""The key that all routers of a cluster have."""

import secrets
from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from waiter.catalog.interface import Conflict, IStore, StoreUnusable

KEY = "cluster/secret"

_BYTES = 32


class ClusterSecret(Service):
    """
    A random key in the shared store, made by the router that first needs it.

    Instances know their service's password, which is made of it; with a key for each router, an instance that one has
    started would not know another.
    """

    def __init__(self, store: IStore, *, make: Callable[[], bytes] = lambda: secrets.token_bytes(_BYTES)) -> None:
        """@param store: started before."""
        self.setName("cluster secret")
        self._store = store
        self._make = make
        self._secret: bytes | None = None

    def startService(self) -> Deferred[None]:
        """
        Read it, or make it. Cancelling ends the wait.

        @raise StoreUnusable: (in the Deferred) it cannot be had, or is none.
        """
        super().startService()
        return Deferred.fromCoroutine(self._get())

    def secret(self) -> bytes:
        """
        The key.

        @raise StoreUnusable: it has not been read.
        """
        if self._secret is None:
            raise StoreUnusable("the secret of the cluster has not been read")
        return self._secret

    async def _get(self) -> None:
        record = await self._store.get(KEY)
        if record is None:
            made = self._make()
            try:
                await self._store.put(KEY, made, 0)
                record = (made, 0)
            except Conflict:
                # Another router was faster.
                record = await self._store.get(KEY)
        if record is None or len(record[0]) < _BYTES:
            raise StoreUnusable(
                f"the store's record {KEY} is no secret: remove it to have a new one made, and restart all routers"
            )
        self._secret = record[0]
