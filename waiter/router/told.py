"""What was made of a request's headers, for as long as others like it come."""

from waiter.catalog.descriptor import Descriptor


class Told:
    """
    What is said of requests with the same headers that come the same way: to instances, and in the log.

    @ivar descriptor: of the request that C{lines} were made for.
    @ivar lines: the header lines for an instance.
    @ivar logged: what else decides what C{members}, which the log has of such a request, are.
    """

    __slots__ = ("descriptor", "lines", "logged", "members")

    def __init__(self) -> None:
        self.descriptor: Descriptor | None = None
        self.lines = b""
        self.logged: tuple[object, ...] = ()
        self.members = ""
