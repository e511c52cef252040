"""Looks after the logs of the instances that run."""

from collections.abc import Container, Iterable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from waiter.scheduler.local.log_place import LogPlace
from waiter.scheduler.local.records import InstanceDirectory
from waiter.scheduler.local.rotation import LogRotation
from waiter.support.periodic import Periodic
from waiter.support.threads import in_thread

#: How often the size of each log is looked at.
LOOK_SECS = 1.0


class LogKeeper:
    """
    Rotates the logs of the instances that run, own and adopted ones alike, once a second, in a thread.

    A log that could not be rotated, because the disk is full perhaps, is tried again every second; that is said once.
    """

    _log = Logger()

    def __init__(self, reactor: Any, rotation: LogRotation) -> None:
        self._reactor = reactor
        self._rotation = rotation
        self._logs: set[LogPlace] = set()
        # To be looked at once more.
        self._last: set[LogPlace] = set()
        self._failing: set[LogPlace] = set()
        self._periodic = Periodic(reactor, LOOK_SECS, self._turn, name="log rotation", at_once=False)

    def start(self) -> None:
        """Begin."""
        self._periodic.startService()

    def stop(self) -> None:
        """End; what a thread is doing to one log, it still does."""
        if self._periodic.running:
            self._periodic.stopService()
        self._logs.clear()
        self._last.clear()

    def add(self, directory: InstanceDirectory) -> None:
        """An instance writes there."""
        self._logs.update(places(directory))

    def remove(self, directory: InstanceDirectory) -> None:
        """It does no longer."""
        self._last.update(self._logs.intersection(places(directory)))

    def recover(self, directories: Iterable[InstanceDirectory]) -> None:
        """Bring to an end what an earlier server was doing there when it died. Slow; for a thread."""
        for directory in directories:
            for place in places(directory):
                try:
                    self._rotation.recover(place)
                except OSError as error:
                    self._log.warn("{path} could not be put in order: {error}", path=str(place.live), error=error)

    def _turn(self) -> Deferred[None] | None:
        if not self._logs:
            return None
        last, self._last = self._last, set()
        looking = in_thread(self._reactor, self._look, tuple(self._logs), frozenset(self._failing))
        # Whoever cancels it when it stops need not wait: a thread cannot be cancelled, and harms nobody.
        return looking.addCallback(self._looked, last)

    def _look(self, logs: Sequence[LogPlace], interrupted: Container[LogPlace]) -> dict[LogPlace, OSError]:
        """In a thread: see to all logs; those that failed are returned."""
        failed = {}
        for place in logs:
            try:
                if place in interrupted:
                    self._rotation.recover(place)
                self._rotation.rotate(place)
            except OSError as error:
                failed[place] = error
        return failed

    def _looked(self, failed: dict[LogPlace, OSError], last: set[LogPlace]) -> None:
        for place, error in failed.items():
            if place not in self._failing:
                self._log.warn(
                    "{path} cannot be rotated and goes on growing: {error}. It is tried again every second.",
                    path=str(place.live),
                    error=error,
                )
        self._failing = set(failed)
        self._logs -= last


def places(directory: InstanceDirectory) -> tuple[LogPlace, LogPlace]:
    """The logs of an instance, under their real paths."""
    real = InstanceDirectory(directory.path.resolve())
    return LogPlace(real.stdout), LogPlace(real.stderr)
