"""Reads what an instance answers to a health check, within limits."""

import httptools

#: The most that an answer's head may take, those of interim answers included.
_HEAD_LIMIT = 64 * 1024
#: How much of a body is kept: enough for L{_SHOWN} characters of UTF-8.
_KEPT = 800
_SHOWN = 200


class Answer:
    """
    One answer in HTTP/1, as far as it has come. Interim answers (1xx) are skipped; what follows the answer is ignored.

    @ivar status: its status; C{None} until the head is complete.
    @ivar complete: whether nothing more will come of it.
    @ivar problem: why this is no answer; C{None} while it may be one.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self.complete = False
        self.problem: str | None = None
        self._first = b""
        self._before_body = 0
        self._encoded = False
        self._body = b""
        self._parser = httptools.HttpResponseParser(self)

    @property
    def enough(self) -> bool:
        """Whether more of the body would not change C{start}."""
        return self.complete or self._encoded or len(self._body) >= _KEPT

    @property
    def start(self) -> str | None:
        """
        How the body begins, or all that came if that is no answer: one line of printable text, C{None} if there is nothing
        to show.
        """
        if self.problem is not None:
            return printable(self._first)
        return None if self._encoded else printable(self._body)

    def feed(self, data: bytes) -> None:
        """Take in what came next."""
        if self.complete:
            return
        if self.status is None:
            self._first = (self._first + data)[:_KEPT] if len(self._first) < _KEPT else self._first
            self._before_body += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self.status is None:
                self.problem = str(error)
            # A body that breaks its own framing ends there; what it answers has been said.
            self.complete = True
        if self.status is None and self._before_body > _HEAD_LIMIT:
            self.problem = f"no head within {_HEAD_LIMIT // 1024} KiB"
            self.complete = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        if self.status is None and name.lower() == b"content-encoding" and value.strip().lower() != b"identity":
            self._encoded = True

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        if self.status is not None:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self._encoded = False
        else:
            self.status = status

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        if not self.complete and len(self._body) < _KEPT:
            self._body = (self._body + data)[:_KEPT]

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self.complete = self.status is not None


def printable(data: bytes) -> str | None:
    """The first characters on one line, with signs in the place of those that cannot be printed; C{None} if that is nothing."""
    words = " ".join(data.decode("utf-8", "replace").split())
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in words[:_SHOWN]) or None
