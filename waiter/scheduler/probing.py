"""When an instance is asked about its health: pure rules."""

import attrs

#: The first check, and the shortest pause between two, while an instance starts.
FIRST_PAUSE_SECS = 0.005
#: A starting instance is noticed to be healthy at most this share of its start time late.
LATENESS = 0.08
#: The longest pause while an instance starts or has become unhealthy.
LONGEST_PAUSE_SECS = 1.0
#: How long a check of a starting instance may take at least: one that accepted it answers as soon as it is ready.
STARTING_PATIENCE_SECS = 5.0
#: The same for one that has been healthy: it may do one request at a time, and be busy with a long one.
BUSY_PATIENCE_SECS = 20.0


def starting_pause(elapsed_secs: float) -> float:
    """How long to wait before the next check of an instance that has been starting for C{elapsed_secs}."""
    return min(LONGEST_PAUSE_SECS, max(FIRST_PAUSE_SECS, LATENESS * elapsed_secs))


@attrs.frozen(kw_only=True)
class FailedChecks:
    """
    The checks that an instance which had been healthy has failed in a row.

    They come more often than the service's interval says, so that a recovery is noticed early; so it is the time that the
    failures span, not their number alone, that decides when the instance is given up.

    @ivar first_at: when the first of them failed, in the clock's seconds.
    """

    count: int = 0
    first_at: float = 0.0

    def another(self, now: float) -> "FailedChecks":
        """One more check failed."""
        return FailedChecks(count=self.count + 1, first_at=now if self.count == 0 else self.first_at)

    def too_many(self, now: float, *, interval_secs: float, max_failures: int) -> bool:
        """Whether the instance failed as long as C{max_failures} checks, one each C{interval_secs}, would take."""
        return self.count >= max_failures and now - self.first_at >= (max_failures - 1) * interval_secs
