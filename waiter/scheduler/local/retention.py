"""Decides which files of ended instances are kept."""

import shutil
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from waiter.scheduler.local.records import InstanceDirectory, InstanceRecord

KEEP_SECS = 7 * 24 * 3600.0


class Retention:
    """
    Keeps the directories of the latest instances of each service: so many that failed, so many that ended otherwise, none
    for longer than a week. Deletes in threads.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, *, wall: Callable[[], float], keep: int = 10, keep_secs: float = KEEP_SECS
    ) -> None:
        self._reactor = reactor
        self._wall = wall
        self._keep = keep
        self._keep_secs = keep_secs
        self._kept: dict[tuple[str, bool], deque[tuple[float, InstanceDirectory]]] = {}

    def ended(self, record: InstanceRecord, directory: InstanceDirectory) -> None:
        """Nothing is left of the instance. Call in the order of their ends."""
        ended_at = record.created_at if record.ended_at is None else record.ended_at
        kept = self._kept.setdefault((record.service_id, record.failed), deque())
        kept.append((ended_at, directory))
        while len(kept) > self._keep:
            self.delete(kept.popleft()[1])

    def sweep(self) -> None:
        """Delete what is too old."""
        oldest = self._wall() - self._keep_secs
        for key, kept in tuple(self._kept.items()):
            while kept and kept[0][0] < oldest:
                self.delete(kept.popleft()[1])
            if not kept:
                del self._kept[key]

    def delete(self, directory: InstanceDirectory) -> None:
        """Delete a directory."""
        self._reactor.callInThread(self._delete, directory)

    def _delete(self, directory: InstanceDirectory) -> None:
        shutil.rmtree(directory.path, ignore_errors=True)
        try:
            directory.path.parent.rmdir()
        except OSError:
            # Other instances of the service are there.
            return
