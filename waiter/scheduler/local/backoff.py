"""How long a service whose instances fail waits before the next one is started."""

FIRST_PAUSE_SECS = 0.2
LONGEST_PAUSE_SECS = 60.0
#: How long an instance has to have worked for the next failure to count as the first.
LASTING_SECS = 10.0


class Backoff:
    """
    The pauses of one service: each longer than the last by its C{restart-backoff-factor}, up to a minute. They begin again
    with the shortest when an instance has worked for a while; those that pass a check and then break make them longer, too.

    @ivar factor: how much longer each pause is than the last.
    @ivar not_before: when the next instance may be started, in the clock's seconds.
    """

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self._pause_secs = 0.0
        self._raised_at = float("-inf")
        # When an instance became healthy for the first time since then.
        self._healthy_at: float | None = None
        self.not_before = float("-inf")

    def failed(self, now: float, *, started_at: float) -> None:
        """
        An instance ended that was not told to. Instances that were started before the pause was last lengthened are
        of the same batch as the one that lengthened it, and do not do so again.
        """
        if self._healthy_at is not None and now - self._healthy_at >= LASTING_SECS:
            self._pause_secs = 0.0
            self._raised_at = float("-inf")
        if started_at >= self._raised_at:
            self._pause_secs = min(LONGEST_PAUSE_SECS, self._pause_secs * self.factor or FIRST_PAUSE_SECS)
            self._raised_at = now
            self._healthy_at = None
        self.not_before = now + self._pause_secs

    def healthy(self, now: float) -> None:
        """An instance works: the next one need not wait."""
        if self._healthy_at is None:
            self._healthy_at = now
        self.not_before = float("-inf")

    def remaining_secs(self, now: float) -> float:
        """How long the next start has to wait; 0 for not at all."""
        return max(0.0, self.not_before - now)
