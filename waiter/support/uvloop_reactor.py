"""The asyncio reactor, as it gets on with uvloop."""

import math

from twisted.internet.asyncioreactor import AsyncioSelectorReactor


class UvloopReactor(AsyncioSelectorReactor):
    """
    Sleeps whole milliseconds.

    uvloop rounds what it is asked for to the nearest millisecond, so it came back too early every other time; then there
    was less than half a millisecond to go, which it rounded to nothing, and the reactor went round and round until that was
    over.
    """

    def timeout(self) -> float | None:
        """How long to sleep: C{None} for ever."""
        secs: float | None = super().timeout()
        return secs if secs is None else math.ceil(secs * 1000) / 1000
