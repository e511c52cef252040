"""When each service was of use last, and which of them nobody needs any more."""

from collections.abc import Collection, Iterable

GRAIN_SECS = 86400
"""Last uses are stored when they are this much later than what is stored: a write a day for a service, not one for each use."""


class Uses:
    """
    The last uses of services, in seconds since the epoch, by service id.

    A service is in use as long as it is shown to L{see}; when it is shown no more, that moment is its last use.
    """

    def __init__(self, keep_secs: float) -> None:
        """
        @param keep_secs: how long a service that is not in use is remembered.
        """
        self._keep_secs = keep_secs
        self._seen: frozenset[str] = frozenset()
        self._last: dict[str, float] = {}
        self._stored: dict[str, float] = {}

    def read(self, service_id: str, at: float | None, now: float) -> None:
        """A service was found in the store, with its last use; C{None} where none is stored."""
        self._last[service_id] = now if at is None else min(at, now)
        if at is not None:
            self._stored[service_id] = self._last[service_id]

    def wrote(self, service_id: str, at: float) -> None:
        """A service was stored, with its last use."""
        self._stored[service_id] = at
        self._last[service_id] = max(at, self._last.get(service_id, at))

    def forget(self, service_id: str) -> None:
        """The service is not remembered any more."""
        self._last.pop(service_id, None)
        self._stored.pop(service_id, None)

    def see(self, service_ids: Iterable[str], now: float) -> None:
        """These are in use, and no others. To be told each time that changes."""
        seen = frozenset(service_ids)
        for service_id in self._seen - seen:
            if service_id in self._last:
                self._last[service_id] = now
        self._seen = seen

    def unused(self, in_use: Collection[str], now: float, most: int) -> list[str]:
        """
        Services that were not of use for so long that they are to be forgotten, the longest unused first.

        @param in_use: further ones that are needed now.
        @param most: how many at most.
        """
        long_ago = now - self._keep_secs
        found = [
            service_id
            for service_id, last in self._last.items()
            if last < long_ago and service_id not in self._seen and service_id not in in_use
        ]
        return sorted(found, key=self._last.__getitem__)[:most]

    def unwritten(self, in_use: Collection[str], now: float, most: int) -> list[tuple[str, float]]:
        """
        Services whose last use is not stored yet, or is much later than what is stored, with that last use.

        @param in_use: further ones that are needed now.
        @param most: how many at most.
        """
        found = []
        for service_id, last in self._last.items():
            at = now if service_id in self._seen or service_id in in_use else last
            stored = self._stored.get(service_id)
            if stored is None or at >= stored + GRAIN_SECS:
                found.append((service_id, at))
                if len(found) == most:
                    break
        return found
