"""One result that many wait for."""

from typing import Generic, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

T = TypeVar("T")


class Shared(Generic[T]):
    """
    Hands the result of one Deferred to any number of others.

    Whoever stops waiting leaves alone: cancelling what C{wait} returned neither reaches the source nor the others. A
    failure that nobody waits for is dropped.

    @ivar fired: whether the result is there.
    """

    def __init__(self, source: Deferred[T]) -> None:
        # A dict, as cancelling must find its Deferred at once however many wait.
        self._waiting: dict[Deferred[T], None] = {}
        self.fired = False
        self._result: T | Failure
        source.addBoth(self._fire)

    def wait(self) -> Deferred[T]:
        """Fires with the source's result, at once if it is there. Cancelling it ends this wait alone."""
        if self.fired:
            return fail(self._result) if isinstance(self._result, Failure) else succeed(self._result)
        waiting: Deferred[T] = Deferred(lambda waiting: self._waiting.pop(waiting, None))
        self._waiting[waiting] = None
        return waiting

    def _fire(self, result: T | Failure) -> None:
        self.fired, self._result = True, result
        everybody, self._waiting = self._waiting, {}
        for waiting in everybody:
            # One of those before may have cancelled this one.
            if waiting.called:
                continue
            if isinstance(result, Failure):
                waiting.errback(result)
            else:
                waiting.callback(result)
