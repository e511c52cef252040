"""Sends what an instance wrote, as fast as the client takes it."""

from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.web.server import Request
from zope.interface import implementer

from waiter.errors import NotFound
from waiter.scheduler.interface import ILog

CHUNK = 64 * 1024
#: When to try again what cannot be read at the moment.
SOON_SECS = 0.05
#: How long a client may take nothing.
PATIENCE_SECS = 60.0


@implementer(IPushProducer)
class LogSender:
    """
    Sends a log in pieces, of which only one at a time is in memory beside what the connection holds. A client that takes
    nothing for a minute is cut off.
    """

    def __init__(self, clock: IReactorTime, request: Request, log: ILog) -> None:
        """@param log: closed when all is sent or the client has gone."""
        self.clock = clock
        self.request = request
        self.log = log
        self._next: IDelayedCall | None = None
        self._paused_at: float | None = None
        self._over = False

    def start(self) -> None:
        """Begin to send; ends the request."""
        self.request.notifyFinish().addBoth(lambda _: self.stopProducing())
        self.request.registerProducer(self, True)
        if not self._over:
            self._again(0)

    def resumeProducing(self) -> None:
        """Go on."""
        if self._paused_at is not None and not self._over:
            self._paused_at = None
            self._again(0)

    def pauseProducing(self) -> None:
        """Send nothing for now."""
        if self._paused_at is None and not self._over:
            self._paused_at = self.clock.seconds()
            self._again(self.look_secs)

    def stopProducing(self) -> None:
        """Let go of the log: all is sent, or the client has gone."""
        self._over = True
        self._unschedule()
        self.log.close()

    #: How often to look for another reason to end while the client takes nothing.
    look_secs = PATIENCE_SECS / 4

    def send_some(self) -> float | None:
        """
        Write at most a piece.

        @return: when to come again, in seconds; C{None} if it is over, and C{finish} or C{break_off} was called.
        @raise NotFound: the log is not there any more.
        """
        raise NotImplementedError

    def ending(self) -> bool:
        """Whether to end now, whatever the client takes."""
        return False

    def finish(self) -> None:
        """All is sent."""
        self._let_go()
        self.request.finish()

    def break_off(self) -> None:
        """End so that the client cannot take what it has for the whole, nor the next answer for the rest of this one."""
        self._let_go()
        self.request.loseConnection()

    def _let_go(self) -> None:
        self.stopProducing()
        self.request.unregisterProducer()

    def _look(self) -> None:
        self._next = None
        if self.ending():
            self.finish()
        elif self._paused_at is not None:
            if self.clock.seconds() - self._paused_at >= PATIENCE_SECS:
                self._let_go()
                transport: Any = self.request.transport
                transport.abortConnection()
            else:
                self._again(self.look_secs)
        else:
            self._send()

    def _send(self) -> None:
        try:
            # This may pause or stop us.
            pause = self.send_some()
        except NotFound:
            self.break_off()
            return
        if pause is not None and self._paused_at is None and not self._over:
            self._again(pause)

    def _again(self, secs: float) -> None:
        self._unschedule()
        self._next = self.clock.callLater(secs, self._look)

    def _unschedule(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
