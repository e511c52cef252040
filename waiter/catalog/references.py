"""By which tokens each service was asked for."""

import json
from collections.abc import Collection

import attrs
from twisted.application.service import Service as TwistedService
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from waiter.catalog.interface import Conflict, IStore
from waiter.catalog.mirror import Mirror
from waiter.model.source import References, Sources, SourceToken

KEY_PREFIX = "references/"

# A service that outlives so many edits of its tokens is one that those edits do not concern.
_MOST_SOURCES = 20
_MOST_TRIES = 5
_NONE = References()


class ReferenceCatalog(TwistedService):
    """
    The references of all services: noted in memory at once, stored a little later.

    What is lost with a router that dies in between is noted again by the next request. That a service is asked for directly
    is stored only where it has tokens, too: without tokens it matters to nobody.
    """

    name = "references"
    _log = Logger()

    def __init__(self, store: IStore) -> None:
        self._store = store
        self._noted: dict[str, References] = {}
        self._mirror: Mirror[References] = Mirror(store, KEY_PREFIX, read=_read)
        self._writing: set[str] = set()

    def startService(self) -> Deferred[None]:
        """Read what is stored. Fails if the store does; cancelling ends the reading."""
        super().startService()
        return self._mirror.start()

    def stopService(self) -> Deferred[None]:
        """Follow changes no more. Fires when what is being written is given up."""
        super().stopService()
        return self._mirror.stop()

    def get(self, service_id: str) -> References:
        """All that is known."""
        stored, noted = self._mirror.get(service_id), self._noted.get(service_id)
        if stored is None or noted is None:
            return stored or noted or _NONE
        return _merged(stored, noted)

    def note(self, service_id: str, sources: Sources) -> None:
        """The service was asked for by these tokens; by none if that is empty."""
        known = self.get(service_id)
        noted = self._noted.get(service_id)
        if sources not in known.sources and (sources or not known.direct):
            news = References(sources=(sources,)) if sources else References(direct=True)
            self._noted[service_id] = noted = _merged(noted or _NONE, news)
        elif noted is None:
            return
        # What is still noted could perhaps not be stored.
        if (noted.sources or known.sources) and service_id not in self._writing:
            self._writing.add(service_id)
            self._mirror.background.start(self._write(service_id), f"Writing the references of {service_id}")

    def forget(self, service_ids: Collection[str]) -> None:
        """These services are not known any more. What is stored of them is removed soon."""
        for service_id in service_ids:
            self._noted.pop(service_id, None)
        self._mirror.forget(service_ids)

    async def _write(self, service_id: str) -> None:
        try:
            for _ in range(_MOST_TRIES):
                record = await self._store.get(KEY_PREFIX + service_id)
                noted = self._noted.get(service_id)
                if noted is None:
                    return
                stored = _NONE if record is None else _read(record[0])
                merged = _merged(stored, noted)
                if merged == stored:
                    self._noted.pop(service_id, None)
                    return
                try:
                    await self._mirror.put(service_id, _written(merged), 0 if record is None else record[1])
                except Conflict:
                    # Another router was faster: theirs and ours.
                    continue
        finally:
            self._writing.discard(service_id)


def _merged(first: References, second: References) -> References:
    sources = dict.fromkeys((*first.sources, *second.sources))
    return References(sources=tuple(sources)[-_MOST_SOURCES:], direct=first.direct or second.direct)


def _written(references: References) -> bytes:
    sources = [[attrs.asdict(each) for each in group] for group in references.sources]
    return json.dumps({"sources": sources, "direct": references.direct}).encode()


def _read(stored: bytes) -> References:
    record = json.loads(stored)
    return References(
        sources=tuple(
            tuple(SourceToken(str(each["token"]), str(each["version"])) for each in group)
            for group in record["sources"]
        ),
        direct=bool(record["direct"]),
    )
