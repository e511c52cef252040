"""Who talks to whom inside the router."""

from zope.interface import Attribute, Interface

from waiter.errors import WaiterError
from waiter.router.answers import Answer
from waiter.router.fields import Field


class IAsker(Interface):
    """
    Whoever uses a connection to an instance: an attempt to have a request answered, or the tunnel that came of it.
    """

    def informed(answer: Answer) -> None:
        """An informational answer came; the real one follows."""

    def progress(answer: Answer | None, pieces: list[bytes], ended: bool, trailers: list[Field]) -> None:
        """
        What one segment from the network brought of the answer.

        @param answer: its head, if that has become known.
        @param pieces: of its body.
        @param ended: whether that was all. The connection may be given back then.
        """

    def switched(answer: Answer, data: bytes) -> None:
        """The instance has changed the protocol. Its bytes come by L{instance_sent} from now on, after these."""

    def instance_sent(data: bytes) -> None:
        """Bytes of the other protocol."""

    def instance_ended() -> None:
        """The instance sends no more bytes of the other protocol."""

    def broken(error: WaiterError, begun: bool) -> None:
        """
        There will be no answer, or no more of it. The connection is gone or will be at once.

        @param begun: whether any byte of the answer had come.
        """

    def instance_full() -> None:
        """The instance does not read fast enough what is sent to it."""

    def instance_ready() -> None:
        """It has read what was sent to it."""


class IResponder(Interface):
    """
    Whoever answers one request of a client's connection. When it is done it calls the connection's C{answered}.
    """

    request = Attribute("The L{Request<waiter.router.request.Request>}.")
    taking = Attribute("Whether it wants the request's body now; otherwise none of it is read.")
    touched = Attribute("Whether something has happened since the connections were looked at last. Settable.")
    since = Attribute("When that was, in the clock's seconds. Settable.")

    def begin() -> None:
        """Go to work. Never raises."""

    def body_arrived() -> None:
        """More of the body is in C{request}, or it is complete."""

    def give_up(error: WaiterError) -> None:
        """Something outside makes it impossible to go on: end with this error."""

    def client_sent(data: bytes) -> None:
        """Bytes of another protocol than HTTP."""

    def client_ended() -> bool:
        """
        The client sends no more.

        @return: whether the connection goes on in the other direction.
        """

    def client_lost(cleanly: bool) -> None:
        """
        The client is gone, and nothing is to be answered any more.

        @param cleanly: whether it closed the connection, rather than break it.
        """

    def router_stops(secs: float) -> None:
        """The router has been stopping for so long: do not wait for what will not come. Called again and again."""

    def client_full() -> None:
        """The client does not read fast enough what is sent to it."""

    def client_ready() -> None:
        """It has read what was sent to it."""

    def waited(secs: float) -> None:
        """Nothing has happened for so long. Called again and again until something does."""
