"""Parameters of running services that somebody set to something else than what was asked for."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.application.service import Service as TwistedService
from twisted.internet.defer import Deferred

from waiter.catalog.interface import IStore
from waiter.catalog.mirror import Mirror
from waiter.model.frozen import FrozenDict
from waiter.support.topic import Topic

KEY_PREFIX = "override/"

NONE: Mapping[str, Any] = FrozenDict()


@attrs.frozen(kw_only=True)
class Override:
    """
    What holds for a service instead of what was asked for.

    @ivar parameters: under their outside names, in the form of a core; empty if they were taken back.
    @ivar by: who said so last.
    @ivar at: when that was said, seconds since the epoch.
    """

    parameters: Mapping[str, Any]
    by: str
    at: float


class Overrides(TwistedService):
    """
    The overrides of all services, known on all routers. They do not change the ids of services.

    @ivar changes: told the ids of services whose overrides are others now.
    """

    name = "overrides"

    def __init__(self, store: IStore, *, wall: Callable[[], float] = time.time) -> None:
        """@param wall: seconds since the epoch."""
        self._wall = wall
        self.changes: Topic[str] = Topic()
        self._mirror: Mirror[Override] = Mirror(store, KEY_PREFIX, read=_read, changed=self.changes.publish)

    def startService(self) -> Deferred[None]:
        """Read what is stored. Fails if the store does; cancelling ends the reading."""
        super().startService()
        return self._mirror.start()

    def stopService(self) -> None:
        """Follow changes no more."""
        super().stopService()
        self._mirror.stop()

    def get(self, service_id: str) -> Override | None:
        """What was said last; C{None} if nothing ever was."""
        return self._mirror.get(service_id)

    def parameters(self, service_id: str) -> Mapping[str, Any]:
        """What holds instead of what was asked for."""
        override = self._mirror.get(service_id)
        return NONE if override is None else override.parameters

    async def set(self, service_id: str, parameters: Mapping[str, Any], *, by: str) -> None:
        """
        Replace all overrides of a service; done when that is stored. Fails as the store does. Cancelling ends the wait.

        @param parameters: from L{waiter.catalog.validation.check_overrides}; none take back what was said before.
        """
        record = {"parameters": parameters, "by": by, "at": self._wall()}
        await self._mirror.put(service_id, json.dumps(record).encode())

    def refresh(self, service_id: str) -> Deferred[None]:
        """Read anew what is stored. Never fails; cancelling ends the wait."""
        return self._mirror.refresh(service_id)


def _read(stored: bytes) -> Override:
    record = json.loads(stored)
    parameters = record["parameters"]
    if not isinstance(parameters, dict):
        raise TypeError("the parameters are no map")
    return Override(parameters=FrozenDict(parameters), by=str(record["by"]), at=float(record["at"]))
