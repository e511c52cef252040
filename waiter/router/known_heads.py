"""What the headers of requests came to that were read before."""

from waiter.router.headers import RequestHeaders

# Note [Known heads]
#
# Clients repeat their headers from request to request. The first time, a parser calls Python for each of them; the raw bytes
# behind the request's first line are then remembered together with what they mean. Where the same bytes come again they mean
# the same, and only the line has to be read.

_LONGEST = 4096
_MOST_NOTED = 8192

# What objects take beside the bytes: for each of them, and for each of its headers.
_BYTES_EACH = 1024
_BYTES_PER_FIELD = 192


class KnownHeads:
    """
    The headers of requests without a body of HTTP/1.1, by their bytes: from the end of the request's line to the empty one.

    What was used last stays: there are two generations, and when the young one is full it becomes the old one. What comes
    for the first time is only noted, for most of what never comes again is new each time.
    """

    def __init__(self, most_bytes: int = 16 << 20) -> None:
        """
        @param most_bytes: how much memory they may take, about: enough for clients of thousands of services. None of them
            is longer than 4 KiB.
        """
        self._half_bytes = most_bytes // 2
        self._young_bytes = 0
        self._young: dict[bytes, tuple[bytes, RequestHeaders]] = {}
        self._old: dict[bytes, tuple[bytes, RequestHeaders]] = {}
        self._noted: set[int] = set()

    def find(self, block: bytes) -> tuple[bytes, RequestHeaders] | None:
        """The bytes, as they were remembered, and what they mean; C{None} if they are not known."""
        known = self._young.get(block)
        if known is None:
            known = self._old.get(block)
            if known is not None:
                self._keep(known)
        return known

    def remember(self, block: bytes, headers: RequestHeaders) -> None:
        """Keep what a block of headers means, if it has come before."""
        if len(block) > _LONGEST:
            return
        note = hash(block)
        if note in self._noted:
            self._keep((block, headers))
            return
        if len(self._noted) >= _MOST_NOTED:
            self._noted.clear()
        self._noted.add(note)

    def _keep(self, known: tuple[bytes, RequestHeaders]) -> None:
        block, headers = known
        size = _BYTES_EACH + 2 * len(block) + _BYTES_PER_FIELD * len(headers.fields)
        if self._young_bytes + size > self._half_bytes:
            self._young, self._old = {}, self._young
            self._young_bytes = 0
        self._young_bytes += size
        self._young[block] = known
