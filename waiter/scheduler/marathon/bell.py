"""Waiting for news, but not for ever."""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Bell:
    """Wakes all who wait for it when it rings."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: dict[Deferred[None], IDelayedCall] = {}

    def ring(self) -> None:
        """Wake everybody who waits now."""
        for sleeper in tuple(self._waiting):
            self._wake(sleeper)

    def wait(self, most_secs: float) -> Deferred[None]:
        """Fires when it rings, or after C{most_secs}. Cancelling it ends the wait."""
        sleeper: Deferred[None] = Deferred(self._cancelled)
        self._waiting[sleeper] = self._clock.callLater(most_secs, self._wake, sleeper)
        return sleeper

    def _wake(self, sleeper: Deferred[None]) -> None:
        timer = self._waiting.pop(sleeper, None)
        if timer is None:
            return
        if timer.active():
            timer.cancel()
        sleeper.callback(None)

    def _cancelled(self, sleeper: Deferred[None]) -> None:
        timer = self._waiting.pop(sleeper, None)
        if timer is not None and timer.active():
            timer.cancel()
