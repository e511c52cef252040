"""A WebSocket through Waiter."""

import secrets
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from waiter.errors import WaiterError
from waiter.model.outcome import Outcome
from waiter.router.answers import Answer
from waiter.router.backend_connection import BackendConnection
from waiter.router.fields import Field
from waiter.router.frames import GOING_AWAY, UNEXPECTED, FrameFollower, close_frame
from waiter.router.interface import IAsker, IResponder
from waiter.router.sockets import half_close, unsent_bytes

if TYPE_CHECKING:
    from waiter.router.client_connection import ClientConnection
    from waiter.router.exchange import Exchange

_LEAVING = b"going away"
_QUIET = b"quiet for too long"


@implementer(IResponder, IAsker)
class Tunnel:
    """
    Passes bytes in both directions, each as fast as its receiver takes them, until both sides have ended or one is gone.

    It takes the place of the exchange at the client's connection and of the attempt at the instance's. The exchange keeps
    the slot, and is told the end.

    The bytes are not its business but for one thing: it knows where WebSocket frames end, so that it can say goodbye
    between two messages when the router stops. What is no WebSocket is passed on all the same, and cut in the end.
    """

    taking = False
    touched = True
    since = 0.0
    _stops = False
    _left_at: float | None = None
    _unsent: int | None = None

    def __init__(
        self,
        client: "ClientConnection",
        backend: BackendConnection,
        exchange: "Exchange",
        *,
        idle_secs: float,
        streaming_secs: float,
    ) -> None:
        """
        @param idle_secs: how long it may be quiet in both directions.
        @param streaming_secs: how long a side may take nothing of what is sent to it.
        """
        self.request = exchange.request
        self._client = client
        self._backend = backend
        self._exchange = exchange
        self._parts = client.parts
        self._idle_secs = idle_secs
        self._streaming_secs = streaming_secs
        self._up = FrameFollower(masked=True)
        self._down = FrameFollower(masked=False)
        self._client_ended = False
        self._instance_ended = False
        self._closed = False

    def open(self, data: bytes) -> None:
        """
        Begin.

        @param data: the first bytes from the instance.
        """
        self._parts.metrics.router.upgrades_open += 1
        self._backend.asker = self
        if self._client.full:
            self.client_full()
        if data:
            self.instance_sent(data)
        self._client.tunnel(self)

    def begin(self) -> None:
        """Nothing: L{open} comes before this has to do with the client's connection."""

    # The end

    def _over(self, outcome: Outcome) -> bool:
        """Give the slot back. Answers whether it was not over yet."""
        if self._closed:
            return False
        self._closed = True
        self._parts.metrics.router.upgrades_open -= 1
        self._exchange.tunnel_closed(outcome)
        return True

    def _break(self, outcome: Outcome) -> None:
        """Let no side take what it got for the whole."""
        if self._over(outcome):
            self._backend.abort()
            self._client.abort()

    def _close(self, outcome: Outcome) -> None:
        """End in peace: what was sent arrives."""
        if not self._over(outcome):
            return
        if self._backend.full:
            # It might never take the rest.
            self._backend.abort()
        else:
            self._backend.close()
        waited_for = self._left_at is not None
        self._client.leave_tunnel(ended=self._client_ended or self._up.closed or waited_for)

    def _say_goodbye(self, code: int, reason: bytes) -> None:
        """Tell the client that it is over; what it answers goes to the instance, and ends that side, too."""
        self._left_at = self._parts.clock.seconds()
        self._client.transport.write(close_frame(code, reason))
        # What it still sends is of no use to anybody, but its own goodbye is waited for.
        if self._client.full:
            self._backend.transport.resumeProducing()

    def _leave(self, outcome: Outcome, code: int, reason: bytes) -> None:
        """End it now, with a word to each side for which there is a place between two frames."""
        if self._left_at is None:
            if self._down.within_frame:
                self._break(outcome)
                return
            if self._down.between_frames:
                self._client.transport.write(close_frame(code, reason))
        if self._up.between_frames:
            self._backend.transport.write(close_frame(GOING_AWAY, reason, key=secrets.token_bytes(4)))
        self._close(outcome)

    def _ended(self, *, cut: bool, outcome: Outcome) -> None:
        """
        One side is gone for good.

        @param cut: in the middle of a frame, or by force.
        @param outcome: if so.
        """
        if cut and self._left_at is None:
            self._break(outcome)
        else:
            self._close(Outcome.SUCCESS)

    # The client's side

    def client_sent(self, data: bytes) -> None:
        """Pass it on."""
        if self._closed:
            return
        if not self._client.full:
            self.touched = True
        self._exchange.request.arrived += len(data)
        self._up.follow(data)
        self._backend.transport.write(data)
        self._look_whether_answered()

    def client_ended(self) -> bool:
        """End the other direction, too, when the instance has ended it."""
        self._client_ended = True
        if self._left_at is not None:
            self._leave(Outcome.SUCCESS, GOING_AWAY, _LEAVING)
        elif self._instance_ended:
            self._close(Outcome.SUCCESS)
        elif self._up.within_frame:
            self._break(Outcome.CLIENT_ERROR)
        else:
            half_close(self._backend.transport)
        return not self._closed

    def client_lost(self, cleanly: bool) -> None:
        """Let the instance notice."""
        self._client_ended = True
        self._ended(cut=not cleanly or self._up.within_frame, outcome=Outcome.CLIENT_ERROR)

    def client_full(self) -> None:
        """Read nothing from the instance for now."""
        if self._left_at is None:
            self._unsent = None
            self._backend.transport.pauseProducing()

    def client_ready(self) -> None:
        """Read on."""
        self.touched = True
        self._backend.transport.resumeProducing()

    def body_arrived(self) -> None:
        """There is no body."""

    def give_up(self, error: WaiterError) -> None:  # noqa: ARG002 - it is told in other words
        """End now, and say so if that can be said."""
        self._leave(Outcome.GENERIC_ERROR, GOING_AWAY, _LEAVING)

    def router_stops(self, secs: float) -> None:  # noqa: ARG002 - each tunnel has its own time
        """
        Say goodbye to the client as soon as no message is under way; end both sides when it has answered, or has had time
        enough to.
        """
        if self._left_at is not None:
            if self._parts.clock.seconds() - self._left_at > self._parts.limits.linger_secs:
                self._leave(Outcome.CLIENT_ERROR, GOING_AWAY, _LEAVING)
        elif not self._stops:
            self._stops = True
            if self._down.between_messages:
                self._say_goodbye(GOING_AWAY, _LEAVING)

    def waited(self, secs: float) -> None:
        """Close what nobody uses, and break what does not go on because a side takes nothing."""
        client, backend = self._client, self._backend
        if self._left_at is not None:
            return
        if client.full or backend.full:
            if not self._takes((client if client.full else backend).transport) and secs > self._streaming_secs:
                self._break(Outcome.CLIENT_ERROR if client.full else Outcome.INSTANCE_ERROR)
        elif self._client_ended or self._instance_ended:
            # What has ended one way has nothing to wait for in the other.
            if secs > min(self._parts.limits.linger_secs, self._idle_secs):
                self._close(Outcome.SUCCESS)
        elif secs > self._idle_secs:
            self._leave(Outcome.SOCKET_TIMEOUT, UNEXPECTED, _QUIET)

    def _look_whether_answered(self) -> None:
        """After a goodbye: whether both sides have said theirs."""
        if self._left_at is not None and self._up.closed and self._down.closed:
            self._close(Outcome.SUCCESS)

    def _takes(self, transport: Any) -> bool:
        """Whether the one at the other end, who does not read fast enough, has read anything since the last look."""
        unsent = unsent_bytes(transport)
        if unsent == self._unsent:
            return False
        self._unsent = unsent
        self.touched = True
        return True

    # The instance's side

    def instance_sent(self, data: bytes) -> None:
        """Pass it on, unless the client was told that no more comes."""
        if self._closed:
            return
        if self._left_at is not None:
            self._down.follow(data)
            self._look_whether_answered()
            return
        if not self._backend.full:
            self.touched = True
        at = self._down.follow(data, stop=self._stops)
        last = self._stops and self._down.between_messages
        passed = data[:at] if last else data
        self._exchange.response_bytes += len(passed)
        if passed:
            self._client.transport.write(passed)
        if last:
            self._say_goodbye(GOING_AWAY, _LEAVING)
            self._down.follow(data[at:])

    def instance_ended(self) -> None:
        """End the other direction, too, when the client has ended it."""
        self._instance_ended = True
        if self._client_ended or self._left_at is not None or (self._up.closed and self._down.closed):
            self._close(Outcome.SUCCESS)
        elif self._down.within_frame:
            self._break(Outcome.INSTANCE_ERROR)
        else:
            half_close(self._client.transport)

    def broken(self, error: WaiterError, begun: bool) -> None:  # noqa: ARG002 - nobody could be told
        """Let the client notice."""
        self._instance_ended = True
        self._ended(cut=not self._backend.lost_cleanly or self._down.within_frame, outcome=Outcome.INSTANCE_ERROR)

    def instance_full(self) -> None:
        """Read nothing from the client for now."""
        self._unsent = None
        self._client.hold(True)

    def instance_ready(self) -> None:
        """Read on."""
        self.touched = True
        self._client.hold(False)

    def informed(self, answer: Answer) -> None:
        """There are no answers any more."""

    def progress(self, answer: Answer | None, pieces: list[bytes], ended: bool, trailers: list[Field]) -> None:
        """There are no answers any more."""

    def switched(self, answer: Answer, data: bytes) -> None:
        """There are no answers any more."""
