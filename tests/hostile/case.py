"""One stream of requests, and what may become of it."""

import re

import attrs

SERVICE = b"X-Service: app\r\n"
"""Stands for what makes a request one for the service; replaced where that takes other headers."""

HOST = b"Host: app.example\r\n" + SERVICE
SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
LAST = b"GET /last HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
BAD, NOT_KNOWN, NOT_ALLOWED = b"400", b"501", b"405"


@attrs.frozen
class Case:
    """
    What a client sends on one connection.

    @ivar family: what it tries.
    @ivar stream: the bytes.
    @ivar requests: method, target and body of exactly those requests that an instance may get, in order.
    @ivar refusals: the statuses with which the rest may be refused; empty if nothing is.
    """

    family: str
    stream: bytes
    requests: tuple
    refusals: tuple

    def for_service(self, host, lines):
        """The stream with another host, and with header lines that name the service."""
        return re.sub(rb"(?i)app\.example", host, self.stream.replace(SERVICE, lines))


class Family:
    """A table under way: collects the cases of one kind."""

    def __init__(self, name):
        self.name = name
        self._cases = {}

    @property
    def cases(self):
        return list(self._cases.values())

    def _add(self, stream, requests, refusals):
        self._cases[stream] = Case(self.name, stream, requests, refusals)

    def refused(self, stream, *before, status=(BAD,)):
        """All but the requests before is refused and the connection closed, so that what follows is not read."""
        self._add(stream + SMUGGLED, before, status)

    def served(self, stream, *requests):
        """It means these requests, and what follows is read as the next one."""
        self._add(stream + LAST, (*requests, (b"GET", b"/last", b"")), ())

    def final(self, stream, *requests):
        """It means these requests, the last of which is the client's last: what follows is not read."""
        self._add(stream + SMUGGLED, requests, ())


def post(*lines, body=b"", method=b"POST", target=b"/"):
    """A request with these header lines beside the usual ones."""
    return b"%b %b HTTP/1.1\r\n%b%b\r\n%b" % (method, target, HOST, b"".join(line + b"\r\n" for line in lines), body)


def get(*lines, target=b"/"):
    """The same without a body."""
    return post(*lines, method=b"GET", target=target)
