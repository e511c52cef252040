"""The first lines of requests that can be understood without reading the rest."""

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

NOT_HTTP = frozenset(
    b"ANNOUNCE DESCRIBE FLUSH GET_PARAMETER PAUSE PLAY PRI RECORD REDIRECT SET_PARAMETER SETUP SOURCE TEARDOWN".split()
)
"""Methods that the parser knows for the sake of other protocols."""

_VERSION = b" HTTP/1.1"
_SPACE, _HASH = b" #"
_LONGEST = 256


class FirstLines:
    """
    Reads the lines of requests of HTTP/1.1, and remembers those that were right.

    What is right is for the parser to say: one for all connections, which calls no Python at all and is only ever fed whole
    requests, the line and no headers. Methods that would change what headers mean stop it.
    """

    def __init__(self, most: int = 1024) -> None:
        """
        @param most: how many are remembered at most. None of them is longer than 256 bytes.
        """
        self._most = most
        self._known: dict[bytes, tuple[bytes, bytes]] = {}
        self._parser = HttpRequestParser(None)

    def read(self, line: bytes) -> tuple[bytes, bytes] | None:
        """
        Method and target. C{None} if it takes more to understand the line, or to refuse it.

        @param line: without its end.
        """
        known = self._known.get(line)
        if known is None:
            known = self._parts(line)
            if known is not None and len(line) <= _LONGEST:
                if len(self._known) >= self._most:
                    self._known.clear()
                self._known[line] = known
        return known

    def _parts(self, line: bytes) -> tuple[bytes, bytes] | None:
        if not line.endswith(_VERSION) or not self._is_right(line):
            return None
        method, _, target = line[: -len(_VERSION)].partition(b" ")
        if target[:1] != b"/" or target[-1] == _SPACE or _HASH in target or method in NOT_HTTP:
            return None
        return method, target

    def _is_right(self, line: bytes) -> bool:
        if line[:1] <= b" " or line.startswith(b"PRI "):
            # The parser passes over empty lines, and expects more after the beginning of HTTP/2.
            return False
        try:
            self._parser.feed_data(line + b"\r\n\r\n")
        except (HttpParserError, HttpParserUpgrade):
            self._parser = HttpRequestParser(None)
            return False
        return True
