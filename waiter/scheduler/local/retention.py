"""Decides which files of ended instances are kept."""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
from twisted.logger import Logger

from waiter.scheduler.local.records import InstanceDirectory, InstanceRecord
from waiter.support.removal import remove_tree

KEEP_SECS = 7 * 24 * 3600.0
KEEP_WORK_SECS = 3600.0
KEEP_FAILED_WORK_SECS = 24 * 3600.0


@attrs.define
class _Kept:
    """An ended instance whose files are kept. C{work} is whether its working directory may be there, too."""

    ended_at: float
    directory: InstanceDirectory
    work: bool = True


class Retention:
    """
    Keeps the directories of the latest instances of each service: so many that failed, so many that ended otherwise, none
    for longer than a week. Their working directories, which can be large, go earlier: after a day where the instance
    failed, after an hour where it did not, and at once when the disk is full.

    Deletes in a thread, one directory after the other. What is not deleted when Waiter ends is when it starts again.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, *, wall: Callable[[], float], keep: int = 10, keep_secs: float = KEEP_SECS
    ) -> None:
        self._reactor = reactor
        self._wall = wall
        self._keep = keep
        self._keep_secs = keep_secs
        self._kept: dict[tuple[str, bool], deque[_Kept]] = {}
        self._lock = threading.Lock()
        # The next three belong to whoever has the lock.
        self._doomed: deque[Callable[[], object]] = deque()
        self._busy = False
        self._stopped = False

    def ended(self, record: InstanceRecord, directory: InstanceDirectory) -> None:
        """Nothing is left of the instance. Call in the order of their ends."""
        ended_at = record.created_at if record.ended_at is None else record.ended_at
        kept = self._kept.setdefault((record.service_id, record.failed), deque())
        kept.append(_Kept(ended_at, directory))
        while len(kept) > self._keep:
            self.delete(kept.popleft().directory)

    def sweep(self) -> None:
        """Delete what is too old."""
        now = self._wall()
        for key, kept in tuple(self._kept.items()):
            for each in kept:
                # A time to come is that of a clock that was set back.
                each.ended_at = min(each.ended_at, now)
            while kept and kept[0].ended_at < now - self._keep_secs:
                self.delete(kept.popleft().directory)
            if not kept:
                del self._kept[key]
            keep_work_secs = KEEP_FAILED_WORK_SECS if key[1] else KEEP_WORK_SECS
            self._delete_work(each for each in kept if each.ended_at < now - keep_work_secs)

    def make_room(self) -> None:
        """The disk is full: delete every working directory that is kept, whatever its age, but nothing that was logged."""
        for kept in self._kept.values():
            self._delete_work(kept)

    def delete(self, directory: InstanceDirectory) -> None:
        """Delete a directory. May be called in any thread."""
        self._in_turn(partial(self._delete, directory))

    def stop(self) -> None:
        """Delete no more after the one that is being deleted."""
        with self._lock:
            self._stopped = True

    def _delete_work(self, ended: Iterable[_Kept]) -> None:
        for each in ended:
            if each.work:
                each.work = False
                self._in_turn(partial(self._remove, each.directory.work))

    def _in_turn(self, deletion: Callable[[], object]) -> None:
        with self._lock:
            self._doomed.append(deletion)
            if self._busy or self._stopped:
                return
            self._busy = True
        self._reactor.callInThread(self._delete_all)

    def _delete_all(self) -> None:
        while True:
            with self._lock:
                if self._stopped or not self._doomed:
                    self._busy = False
                    return
                deletion = self._doomed.popleft()
            try:
                deletion()
            except OSError as error:
                self._log.warn("Something cannot be deleted: {error}", error=error)

    def _delete(self, directory: InstanceDirectory) -> None:
        # First what would make it an instance: without it, the next server deletes the rest if this one does not.
        directory.record.unlink(missing_ok=True)
        self._remove(directory.path)
        try:
            directory.path.parent.rmdir()
        except OSError:
            # Other instances of the service are there.
            return

    def _remove(self, path: Path) -> None:
        if not remove_tree(path):
            self._log.warn("{path} cannot be deleted entirely", path=str(path))
