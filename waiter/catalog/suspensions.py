"""Services that somebody has suspended: their requests are refused until they are resumed."""

import json
import time
from collections.abc import Callable, Collection

import attrs
from twisted.application.service import Service as TwistedService
from twisted.internet.defer import Deferred

from waiter.catalog.interface import IStore
from waiter.catalog.mirror import Mirror
from waiter.support.topic import Topic

KEY_PREFIX = "suspended/"


@attrs.frozen(kw_only=True)
class SuspendedState:
    """
    Whether a service is suspended, and who said so last.

    @ivar at: when that was said, seconds since the epoch.
    """

    suspended: bool
    by: str
    at: float


class Suspensions(TwistedService):
    """
    Which services are suspended, known on all routers.

    @ivar changes: told the ids of services that were suspended or resumed.
    """

    name = "suspensions"

    def __init__(self, store: IStore, *, wall: Callable[[], float] = time.time) -> None:
        """@param wall: seconds since the epoch."""
        self._wall = wall
        self.changes: Topic[str] = Topic()
        self._mirror: Mirror[SuspendedState] = Mirror(store, KEY_PREFIX, read=_read, changed=self.changes.publish)

    def startService(self) -> Deferred[None]:
        """Read what is stored. Fails if the store does; cancelling ends the reading."""
        super().startService()
        return self._mirror.start()

    def stopService(self) -> Deferred[None]:
        """Follow changes no more. Fires when what is being written is given up."""
        super().stopService()
        return self._mirror.stop()

    def get(self, service_id: str) -> SuspendedState | None:
        """What was said last; C{None} if the service was never suspended."""
        return self._mirror.get(service_id)

    async def set(self, service_id: str, *, suspended: bool, by: str) -> None:
        """Suspend a service, or resume it; done when that is stored. Fails as the store does."""
        record = {"suspended": suspended, "by": by, "at": self._wall()}
        await self._mirror.put(service_id, json.dumps(record).encode())

    def refresh(self, service_id: str) -> Deferred[None]:
        """Read anew what is stored. Never fails; cancelling ends the wait."""
        return self._mirror.refresh(service_id)

    def forget(self, service_ids: Collection[str]) -> None:
        """These services are not known any more. What is stored of them is removed soon."""
        self._mirror.forget(service_ids)


def _read(stored: bytes) -> SuspendedState:
    record = json.loads(stored)
    return SuspendedState(suspended=bool(record["suspended"]), by=str(record["by"]), at=float(record["at"]))
