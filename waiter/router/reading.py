"""How a client takes what was written to it."""

from typing import Any

from waiter.router.limits import Limits
from waiter.router.pace import Pace
from waiter.router.sockets import unsent_bytes


class Reading:
    """
    Looks now and then at how much the client has still to take, and judges its pace as long as there is something.

    @ivar unsent: so much at the last look; C{None} if that is not known.
    """

    __slots__ = ("_limits", "_pace", "unsent")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pace: Pace | None = None
        self.unsent: int | None = 0

    def moves(self, transport: Any) -> bool:
        """Whether what is left is another amount than at the last look."""
        unsent = unsent_bytes(transport)
        if unsent == self.unsent:
            return False
        self.unsent = unsent
        return True

    def too_slow(self, now: float, written: int = 0) -> bool:
        """
        Whether the client has taken too little over a whole window in which there was something to take. To be asked after
        a look.

        @param now: the clock's seconds.
        @param written: how much was written to it so far; of no matter while nothing is.
        """
        if not self.unsent:
            self._pace = None
            return False
        taken = written - self.unsent
        if self._pace is None:
            self._pace = Pace(self._limits.client_bytes_per_sec, self._limits.pace_secs, now=now, at=taken)
        return self._pace.too_slow(now, taken)
