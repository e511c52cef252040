"""Whether somebody sends or takes bytes at least as fast as is expected."""


class Pace:
    """
    Looks at how far a count of bytes gets while it is waited for. A pause may be made up for within the window.

    @ivar window_secs: for so long a mean is taken.
    """

    __slots__ = ("_at", "_least", "_since", "window_secs")

    def __init__(self, bytes_per_sec: float, window_secs: float, *, now: float, at: int = 0) -> None:
        """
        @param bytes_per_sec: what is expected at least; 0 for anything.
        @param now: seconds of a clock.
        @param at: the count at this moment.
        """
        self.window_secs = window_secs
        self._least = bytes_per_sec * window_secs
        self.restart(now, at)

    def restart(self, now: float, at: int) -> None:
        """What was before is not to be held against anybody."""
        self._since = now
        self._at = at

    def too_slow(self, now: float, at: int) -> bool:
        """Whether a window has passed in which too few bytes came. Asked as often as you like."""
        if now - self._since < self.window_secs:
            return False
        slow = at - self._at < self._least
        self.restart(now, at)
        return slow
