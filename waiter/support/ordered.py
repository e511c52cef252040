"""A MultiService that starts its children one after the other and stops them in reverse."""

from collections.abc import Callable

from twisted.application.service import IService, MultiService
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    TimeoutError,  # noqa: A004 - Twisted's word for it
    maybeDeferred,
)
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import Interface

from waiter.support.turns import SLICE_SECS, next_turn


class IHasty(Interface):
    """A service whose stop can be hastened."""

    def hurry() -> None:
        """The stop that is under way, or the one that comes, is to be over in a moment, whatever that breaks off."""


class OrderedService(MultiService):
    """
    A C{MultiService} that waits.

    Twisted's own starts all children without waiting for the Deferreds they return and stops them all at once. This one
    starts the next child only when the one before is ready, and stops them in reverse order, each within a deadline. Between the
    starts of children that take their time others have their turn.

    C{privilegedStartService} stays as Twisted has it: synchronous, so that a port that cannot be bound ends the program.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        *,
        stop_deadline_secs: float,
        hurried_deadline_secs: float = 1.0,
        failed: Callable[[], object] | None = None,
        expected: tuple[type[Exception], ...] = (),
    ) -> None:
        """
        @param stop_deadline_secs: how long one child may take to stop before its Deferred is cancelled and the next one's
            turn comes.
        @param hurried_deadline_secs: the same after C{hurry}.
        @param failed: called, after what had started is stopped again, when a child fails to start.
        @param expected: failures to start whose own words say all; they are logged without a traceback.
        """
        super().__init__()
        self._clock = clock
        self._stop_deadline_secs = stop_deadline_secs
        self._hurried_deadline_secs = hurried_deadline_secs
        self._failed = failed
        self._expected = expected
        self._starting: Deferred[None] | None = None
        self._stopping = False
        # The stop of the child whose turn it is.
        self._current: Deferred[object] | None = None
        self._hurried = False
        self._waiting: list[Deferred[None]] = []

    def startService(self) -> Deferred[None]:
        """
        Start the children in order. Fires when all are ready; never fails: if a child does not start, that is logged, the
        others are stopped and C{failed} is called. Cancelling it ends the start of the child whose turn it is, which then
        counts as not started.
        """
        self.running = True
        starting = Deferred.fromCoroutine(self._start())
        if not starting.called:
            self._starting = starting
        return starting

    def stopService(self) -> Deferred[None]:
        """
        Stop the children in reverse order. Never fails: what a child's stop raises is logged. Cancelling it gives up the
        child whose turn it is and goes on with the next.
        """
        self.running = False
        if self._stopping:
            stopped: Deferred[None] = Deferred()
            self._waiting.append(stopped)
            return stopped
        if self._starting is not None:
            self._starting.cancel()
        return Deferred.fromCoroutine(self._stop())

    def hurry(self) -> None:
        """
        Have the stop that is under way end soon: tell the children that are L{IHasty}, and give each child that is still to
        stop little time. Does nothing while nothing stops.
        """
        if not self._stopping or self._hurried:
            return
        self._hurried = True
        if self._current is not None:
            self._current.addTimeout(self._hurried_deadline_secs, self._clock)
        for child in reversed(tuple(self.services)):
            hasty = IHasty(child, None)
            if hasty is not None:
                hasty.hurry()

    async def _start(self) -> None:
        try:
            for child in tuple(self.services):
                if not self.running:
                    return
                began = self._clock.seconds()
                await maybeDeferred(child.startService)
                if self._clock.seconds() - began > SLICE_SECS:
                    await next_turn(self._clock)
        except Exception as error:  # noqa: BLE001 - one part must not take the others down
            if not self.running:
                return
            if isinstance(error, self._expected):
                self._log.critical("{child} did not start: {error}", child=_name(child), error=error)
            else:
                self._log.failure("{child} did not start; Waiter stops", child=_name(child))
            self.running = False
            await self._stop()
            self._starting = None
            if self._failed is not None:
                self._failed()
        finally:
            self._starting = None

    async def _stop(self) -> None:
        self._stopping = True
        for child in reversed(tuple(self.services)):
            if child.running:
                await self._stop_child(child)
        self._stopping = self._hurried = False
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(None)

    async def _stop_child(self, child: IService) -> None:
        stopping = self._current = maybeDeferred(child.stopService)
        stopping.addTimeout(self._hurried_deadline_secs if self._hurried else self._stop_deadline_secs, self._clock)
        try:
            await stopping
        except Exception as error:  # noqa: BLE001 - one part must not take the others down
            if self._hurried and isinstance(error, CancelledError | TimeoutError):
                self._log.warn("{child} was not waited for any longer", child=_name(child))
            else:
                self._log.failure("{child} did not stop cleanly", child=_name(child))
        finally:
            self._current = None


def _name(service: IService) -> str:
    return str(service.name or type(service).__name__)
