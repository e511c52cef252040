"""One file that an instance wrote, as it is served."""

import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.web.http import PARTIAL_CONTENT, REQUESTED_RANGE_NOT_SATISFIABLE
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from waiter.errors import NotFound

_CHUNK = 64 * 1024
_NO_FILE = "There is no such file."
_RANGE = re.compile(rb"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.IGNORECASE)
# More digits than any file has bytes.
_MAX_DIGITS = 18


class LogFile(Resource):
    """
    A file, or the part of it that C{Range} asks for.

    It is only ever text: what an instance wrote must not become a page of Waiter's. The file may grow or be cut off while
    it is sent: what is announced is what its size was at the beginning.
    """

    isLeaf = True

    def __init__(self, clock: IReactorTime, path: str) -> None:
        """
        @param path: absolute, without symbolic links.
        """
        super().__init__()
        self._clock = clock
        self._path = path

    def render_GET(self, request: Request) -> int:
        """
        Send it.

        @raise NotFound: there is no such regular file there (any more).
        """
        file = open_regular(self._path)
        size = os.fstat(file.fileno()).st_size
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        request.setHeader(b"content-disposition", b"inline")
        request.setHeader(b"content-security-policy", b"sandbox; default-src 'none'; frame-ancestors 'none'")
        request.setHeader(b"accept-ranges", b"bytes")
        start, end = 0, size
        wanted = byte_range(request.getHeader(b"range"), size)
        if wanted is not None:
            start, end = wanted
            if start >= end:
                request.setResponseCode(REQUESTED_RANGE_NOT_SATISFIABLE)
                request.setHeader(b"content-range", b"bytes */%d" % size)
            else:
                request.setResponseCode(PARTIAL_CONTENT)
                request.setHeader(b"content-range", b"bytes %d-%d/%d" % (start, end - 1, size))
        request.setHeader(b"content-length", b"%d" % (end - start))
        if request.method == b"HEAD" or start >= end:
            file.close()
            request.write(b"")
            request.finish()
        else:
            file.seek(start)
            FilePart(self._clock, request, file, end - start).start()
        return NOT_DONE_YET


def open_regular(path: str) -> BinaryIO:
    """
    Open a file for reading, unless it is not what C{path} says: the program that wrote the logs can replace any of them,
    between the check and now, by a link to a file of somebody else or by a pipe that never ends.

    @param path: absolute, without symbolic links.
    @raise NotFound: there is no such regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        raise NotFound(_NO_FILE) from None
    opened = str(Path(f"/proc/self/fd/{descriptor}").readlink())
    if not stat.S_ISREG(os.fstat(descriptor).st_mode) or opened != path:
        os.close(descriptor)
        raise NotFound(_NO_FILE)
    return os.fdopen(descriptor, "rb", buffering=0)


def byte_range(header: bytes | None, size: int) -> tuple[int, int] | None:
    """
    The part of a file of C{size} bytes that a C{Range} header asks for.

    @return: the first byte and the one after the last; equal numbers if none of it exists; C{None} for the whole file: no
        header, or one that asks for several parts or cannot be read, which may be ignored.
    """
    found = _RANGE.fullmatch(header or b"")
    if found is None or max(map(len, found.groups())) > _MAX_DIGITS:
        return None
    first, last = found.groups()
    if first:
        start, end = int(first), int(last) + 1 if last else size
        if last and end <= start:
            return None
        return min(start, size), min(max(start, end), size)
    if last:
        return max(0, size - int(last)), size
    return None


@implementer(IPushProducer)
class FilePart:
    """Sends some bytes of a file, as fast as the client takes them."""

    def __init__(self, clock: IReactorTime, request: Request, file: BinaryIO, length: int) -> None:
        """
        @param file: unbuffered, at the first byte to be sent.
        """
        self._clock = clock
        self._request = request
        self._file = file
        self._left = length
        self._next: IDelayedCall | None = None
        self._paused = False

    def start(self) -> None:
        """Begin to send; ends the request."""
        self._request.notifyFinish().addBoth(lambda _: self.stopProducing())
        self._request.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        """Go on."""
        self._paused = False
        if self._next is None and not self._file.closed:
            self._next = self._clock.callLater(0, self._send)

    def pauseProducing(self) -> None:
        """Send nothing for now."""
        self._paused = True
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def stopProducing(self) -> None:
        """Let go of the file: all is sent, or the client has gone."""
        self.pauseProducing()
        self._file.close()

    def _send(self) -> None:
        self._next = None
        try:
            data = self._file.read(min(_CHUNK, self._left))
        except OSError:
            data = b""
        self._left -= len(data)
        if data:
            # This may pause or stop us.
            self._request.write(data)
        if self._file.closed:
            return
        if not data:
            # It was cut off: the client must not take the next answer on this connection for the rest of this one.
            self._request.unregisterProducer()
            self._request.loseConnection()
            self.stopProducing()
        elif self._left == 0:
            self._request.unregisterProducer()
            self._request.finish()
            self.stopProducing()
        elif not self._paused:
            self.resumeProducing()
