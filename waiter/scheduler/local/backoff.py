"""How long a service whose instances fail waits before the next one is started."""

FIRST_PAUSE_SECS = 0.2
LONGEST_PAUSE_SECS = 60.0


class Backoff:
    """
    The pauses of one service: each longer than the last by its C{restart-backoff-factor}, up to a minute.

    @ivar not_before: when the next instance may be started, in the clock's seconds.
    """

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._pause_secs = 0.0
        self._raised_at = float("-inf")
        self.not_before = float("-inf")

    def failed(self, now: float, *, started_at: float) -> None:
        """
        An instance ended that was not told to. Instances that were started before the pause was last lengthened are
        of the same batch as the one that lengthened it, and do not do so again.
        """
        if started_at >= self._raised_at:
            self._pause_secs = min(LONGEST_PAUSE_SECS, self._pause_secs * self._factor or FIRST_PAUSE_SECS)
            self._raised_at = now
        self.not_before = now + self._pause_secs

    def healthy(self) -> None:
        """An instance works: begin again with the shortest pause."""
        self._pause_secs = 0.0
        self.not_before = self._raised_at = float("-inf")

    def remaining_secs(self, now: float) -> float:
        """How long the next start has to wait; 0 for not at all."""
        return max(0.0, self.not_before - now)
