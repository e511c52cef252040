"""One file that an instance wrote, as it is served."""

import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from twisted.internet.interfaces import IPullProducer
from twisted.web.http import PARTIAL_CONTENT, REQUESTED_RANGE_NOT_SATISFIABLE
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from waiter.errors import NotFound

_CHUNK = 64 * 1024
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

    def __init__(self, path: str) -> None:
        """
        @param path: absolute, without symbolic links.
        """
        super().__init__()
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
            FilePart(request, file, end - start).start()
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
    except OSError:
        raise NotFound("There is no such file.") from None
    file = os.fdopen(descriptor, "rb", buffering=0)
    opened = str(Path(f"/proc/self/fd/{descriptor}").readlink())
    if not stat.S_ISREG(os.fstat(descriptor).st_mode) or opened != path:
        file.close()
        raise NotFound("There is no such file.")
    return file


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


@implementer(IPullProducer)
class FilePart:
    """Sends some bytes of a file, as fast as the client takes them."""

    def __init__(self, request: Request, file: BinaryIO, length: int) -> None:
        """
        @param file: unbuffered, at the first byte to be sent.
        """
        self._request = request
        self._file = file
        self._left = length

    def start(self) -> None:
        """Begin to send; ends the request."""
        self._request.notifyFinish().addBoth(lambda _: self._file.close())
        self._request.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """Send the next piece."""
        if self._file.closed:
            return
        try:
            data = self._file.read(min(_CHUNK, self._left))
        except OSError:
            data = b""
        if not data:
            # It was cut off: the client must not take the next answer on this connection for the rest of this one.
            self._request.unregisterProducer()
            self._request.loseConnection()
            return
        self._left -= len(data)
        self._request.write(data)
        if self._left == 0:
            self._request.unregisterProducer()
            self._request.finish()

    def stopProducing(self) -> None:
        """Let go of the file: the client has gone."""
        self._file.close()
