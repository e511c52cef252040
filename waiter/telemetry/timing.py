"""Moments, as they are written to the outside."""

import time


def iso_time(secs: float | None) -> str | None:
    """
    A moment as ISO-8601 in UTC with milliseconds and C{Z}: C{2026-01-31T12:00:00.000Z}.

    @param secs: seconds since the epoch; C{None} gives C{None}.
    """
    if secs is None:
        return None
    whole, millis = divmod(int(secs * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{millis:03d}Z"


class IsoClock:
    """
    Writes many moments that are close to each other: the part up to the second is kept.
    """

    __slots__ = ("_prefix", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._prefix = ""

    def __call__(self, secs: float) -> str:
        """C{secs} since the epoch as L{iso_time} writes it."""
        whole, millis = divmod(int(secs * 1000), 1000)
        if whole != self._second:
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(whole))
            self._second = whole
        return f"{self._prefix}{millis:03d}Z"
