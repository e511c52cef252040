"""Reading the body of an answer from Marathon."""

import codecs
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IResponse

from waiter.scheduler.marathon.errors import MarathonUnreachable


def read_body(
    reactor: Any, response: IResponse, received: Callable[[bytes], object], *, silence_secs: float
) -> Deferred[None]:
    """
    Pass on a body as it comes. Fires at its end.

    Cancelling it cuts the connection, as does silence for longer than C{silence_secs} and a C{received} that raises.

    @raise MarathonUnreachable: (in the Deferred) it ended before its end, or nothing came for too long.
    """
    body = _Body(reactor, received, silence_secs)
    response.deliverBody(body)
    return body.done


async def answer_within(reactor: Any, asking: Deferred[Any], limit_secs: float) -> IResponse:
    """
    The head of an answer. Cancelling it drops the connection.

    @raise TookTooLong: it did not come in time.
    """
    late = False

    def give_up() -> None:
        nonlocal late
        late = True
        asking.cancel()

    timer = reactor.callLater(limit_secs, give_up)
    try:
        response: IResponse = await asking
        return response
    except (CancelledError, ConnectingCancelledError, ResponseFailed) as error:
        # Twisted's client wraps what it was cancelled with.
        if isinstance(error, ResponseFailed) and not any(each.check(CancelledError) for each in error.reasons):
            raise
        raise (TookTooLong() if late else CancelledError()) from None
    finally:
        if timer.active():
            timer.cancel()


async def read_text(reactor: Any, response: IResponse, *, silence_secs: float, most_bytes: int) -> str:
    """
    A whole body as text.

    @raise MarathonUnreachable: as C{read_body}; or it is longer than C{most_bytes}.
    @raise ValueError: it is not UTF-8.
    """
    # Decoded as it comes: to decode 16 MB at once would take long.
    decoder = codecs.getincrementaldecoder("utf-8")()
    parts: list[str] = []
    left = most_bytes

    def received(data: bytes) -> None:
        nonlocal left
        left -= len(data)
        if left < 0:
            raise MarathonUnreachable(f"the answer is longer than {most_bytes} bytes")
        parts.append(decoder.decode(data))

    await read_body(reactor, response, received, silence_secs=silence_secs)
    parts.append(decoder.decode(b"", final=True))
    return "".join(parts)


class _Body(Protocol):
    transport: Any

    def __init__(self, reactor: Any, received: Callable[[bytes], object], silence_secs: float) -> None:
        self._received = received
        self._silence_secs = silence_secs
        self._timer: IDelayedCall | None = reactor.callLater(silence_secs, self._silent)
        self.done: Deferred[None] = Deferred(self._cancelled)

    def dataReceived(self, data: bytes) -> None:
        if self._timer is None:
            return
        self._timer.reset(self._silence_secs)
        try:
            self._received(data)
        except Exception:  # noqa: BLE001 - whoever waits is told
            self._cut(Failure())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._timer is None:
            return
        self._stop_timer()
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(None)
        else:
            self.done.errback(Failure(MarathonUnreachable("the answer was cut off")))

    def _silent(self) -> None:
        self._timer = None
        self._cut(Failure(MarathonUnreachable(f"the answer stopped for {self._silence_secs:g} s")))

    def _cancelled(self, _: Deferred[None]) -> None:
        self._stop_timer()
        self._abort()

    def _cut(self, failure: Failure) -> None:
        self._stop_timer()
        self._abort()
        if not self.done.called:
            self.done.errback(failure)

    def _abort(self) -> None:
        if self.transport is not None:
            # Twisted's client gives bodies a transport that cannot be aborted; there, losing it is all there is.
            getattr(self.transport, "abortConnection", self.transport.loseConnection)()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
