"""The body of a request for an instance that cannot read chunks, on its way to be complete."""

from typing import TYPE_CHECKING

from waiter.errors import BodyTooLarge, LengthRequired, RequestTimeout, WaiterError
from waiter.router.pace import Pace
from waiter.router.upload import Upload

if TYPE_CHECKING:
    from waiter.router.exchange import Exchange

# Tiny chunks would take far more memory than what is in them.
_MOST_PIECES = 1024


def must_gather(exchange: "Exchange", upload: Upload) -> bool:
    """
    Whether an exchange's instance can only be asked when all of the body is there, which it is not yet. In any case it is
    settled how the body is going to be sent to this instance.
    """
    request = exchange.request
    upload.whole = request.headers.chunked and exchange.client.parts.backends.speaks_old(exchange.instance)
    return upload.whole and not request.complete


class Gathering:
    """
    Waits for the whole of a body that comes in chunks: an instance that speaks HTTP/1.0 has to be told its length first.

    It has the place of an attempt until the exchange is told that the body is C{gathered}, or that it must give up. The
    body stays in the request.
    """

    __slots__ = ("_exchange", "_pace", "_upload")

    def __init__(self, exchange: "Exchange", upload: Upload) -> None:
        """
        @param upload: the body.
        """
        self._exchange = exchange
        self._upload = upload
        limits = exchange.client.parts.limits
        self._pace = Pace(limits.client_bytes_per_sec, limits.pace_secs, now=self._now(), at=exchange.request.arrived)

    def begin(self) -> None:
        """Have the client go on."""
        exchange = self._exchange
        if exchange.request.headers.expects_continue:
            exchange.tell_to_continue()
        exchange.taking = exchange.touched = True
        self.body_arrived()
        exchange.client.pump()

    def body_arrived(self) -> None:
        """See whether that is all, or too much."""
        exchange = self._exchange
        request = exchange.request
        limit = exchange.client.parts.limits.gathered_bytes
        try:
            self._upload.check_length()
        except BodyTooLarge as error:
            exchange.give_up(error)
            return
        if request.arrived > limit:
            exchange.give_up(
                LengthRequired(
                    "The instance speaks HTTP/1.0, in which there are no chunks, and the request's body has more than "
                    f"{limit} bytes, which is the most that Waiter gathers. Send the body with a Content-Length."
                )
            )
        elif request.complete:
            exchange.gathered()
        else:
            if request.body is not None and len(request.body) > _MOST_PIECES:
                request.body = [b"".join(request.body)]
            late = self._too_late(0.0)
            if late is not None:
                exchange.give_up(late)

    def drop(self) -> None:
        """Nothing was sent anywhere."""

    def client_full(self) -> None:
        """There is no answer that would have to wait."""

    def client_ready(self) -> None:
        """There is no answer that has waited."""

    def waited(self, secs: float) -> WaiterError | None:
        """The client has sent nothing for C{secs}. Has it had time enough?"""
        return self._too_late(secs)

    def _too_late(self, secs: float) -> WaiterError | None:
        if secs > self._exchange.client.parts.limits.body_secs:
            return RequestTimeout("Timeout receiving bytes from client")
        if self._pace.too_slow(self._now(), self._exchange.request.arrived):
            return RequestTimeout("The client sends its body too slowly.")
        return None

    def _now(self) -> float:
        return self._exchange.client.parts.clock.seconds()
