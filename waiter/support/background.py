"""Flows that nobody waits for."""

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure


class Background:
    """
    Runs coroutines on behalf of whoever owns it, logs what they raise, and ends them when it is told to stop.

    A coroutine that is refused because of C{stop} is closed without having begun.

    @ivar stopped: whether coroutines are refused.
    """

    _log = Logger()

    def __init__(self) -> None:
        self._running: set[Deferred[Any]] = set()
        self.stopped = False

    def start(self, coroutine: Coroutine[Deferred[Any], Any, Any], what: str) -> None:
        """
        Run it up to its first wait, now.

        @param what: for the log, if it raises.
        """
        if self.stopped:
            coroutine.close()
            return
        flow = Deferred.fromCoroutine(coroutine)
        self._running.add(flow)
        if self.stopped:
            flow.cancel()
        flow.addErrback(self._failed, what)
        flow.addBoth(self._ended, flow)

    def stop(self) -> Deferred[None]:
        """Cancel all flows and refuse new ones. Fires when the last has ended; cancelling that changes nothing."""
        self.stopped = True
        flows = tuple(self._running)
        ended = DeferredList(flows)
        for flow in flows:
            flow.cancel()
        return ended.addCallback(lambda _: None)

    def restart(self) -> None:
        """Take new flows again."""
        self.stopped = False

    def _failed(self, failure: Failure, what: str) -> None:
        if self.stopped and failure.check(CancelledError):
            return
        self._log.failure("{what} failed", failure, what=what)

    def _ended(self, result: object, flow: Deferred[Any]) -> object:
        self._running.discard(flow)
        return result
