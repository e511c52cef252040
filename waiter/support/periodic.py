"""A service that does something again and again, whatever happens."""

from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure


class Periodic(Service):
    """
    Calls C{action} every C{interval_secs}, the interval counted from the end of one run to the start of the next.

    Twisted's C{LoopingCall} and C{TimerService} stop for good after the first failure; this one logs it, counts it in
    C{failures} and goes on. Runs never overlap: a C{prompt()} during a run makes one more run follow at once.

    @ivar failures: how many runs have failed.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        interval_secs: float,
        action: Callable[[], object],
        *,
        name: str,
        at_once: bool = True,
        expected: tuple[type[Exception], ...] = (),
    ) -> None:
        """
        @param action: may return a Deferred; a coroutine must be wrapped in one.
        @param at_once: whether the first run comes with C{startService} or one interval later.
        @param expected: failures whose text says it all, so that it is logged alone.
        """
        self.setName(name)
        self._clock = clock
        self._interval_secs = interval_secs
        self._action = action
        self._at_once = at_once
        self._expected = expected
        self._timer: IDelayedCall | None = None
        # A run under way has no Deferred yet while its action is being called.
        self._busy = False
        self._current: Deferred[object] | None = None
        self._prompted = False
        self._waiting: list[Deferred[None]] = []
        self.failures = 0

    def startService(self) -> None:
        """Begin. If a run from before the last stop is still under way, wait for its end."""
        super().startService()
        self._unschedule()
        if self._busy:
            self._prompted = self._at_once
        elif self._at_once:
            self._run()
        else:
            self._schedule()

    def stopService(self) -> Deferred[None]:
        """Cancel the timer and the run under way. Fires when that run has ended."""
        super().stopService()
        self._unschedule()
        self._prompted = False
        if not self._busy:
            return succeed(None)
        # Cancelled once only: a second time would cut off what the run does in order to end.
        is_first = not self._waiting
        ended = self._when_idle()
        if is_first and self._current is not None:
            self._current.cancel()
        return ended

    def prompt(self) -> None:
        """Run now, or once more right after the run under way. Does nothing while the service is stopped."""
        if not self.running:
            return
        if self._busy:
            self._prompted = True
            return
        self._unschedule()
        self._run()

    def _when_idle(self) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def _schedule(self) -> None:
        self._timer = self._clock.callLater(self._interval_secs, self._due)

    def _unschedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        self._timer = None
        self._run()

    def _run(self) -> None:
        self._busy = True
        self._current = run = maybeDeferred(self._action)
        if not self.running:
            run.cancel()
        run.addErrback(self._failed).addBoth(self._ended)

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) and not self.running:
            return
        self.failures += 1
        if failure.check(*self._expected):
            self._log.warn(
                "{name} failed and will be tried again: {why}", name=self.name, why=failure.getErrorMessage()
            )
        else:
            self._log.failure("{name} failed and will be tried again", failure, name=self.name)

    def _ended(self, _: object) -> None:
        self._busy = False
        self._current = None
        if self.running and self._prompted:
            self._prompted = False
            # Through the clock, so that an action which always prompts cannot recurse.
            self._timer = self._clock.callLater(0, self._due)
        elif self.running:
            self._schedule()
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(None)
