"""One file that an instance wrote, as it is served."""

import re

from twisted.internet.interfaces import IReactorTime
from twisted.web.http import NOT_FOUND, PARTIAL_CONTENT, REQUESTED_RANGE_NOT_SATISFIABLE
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from waiter.admin.log_sender import CHUNK, SOON_SECS, LogSender
from waiter.errors import NotFound
from waiter.scheduler.interface import ILog, LogExtent

_RANGE = re.compile(rb"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.IGNORECASE)
# More digits than any file has bytes.
_MAX_DIGITS = 18


class LogFile(Resource):
    """
    A file, or the part of it that C{Range} asks for.

    It is only ever text: what an instance wrote must not become a page of Waiter's. The file may grow, be rotated or be cut
    off while it is sent: what is announced is what it was at the beginning, and what is sent is that, or less and then the
    connection breaks.
    """

    isLeaf = True

    def __init__(self, clock: IReactorTime, log: ILog) -> None:
        super().__init__()
        self._clock = clock
        self._log = log

    def render_GET(self, request: Request) -> int:
        """
        Send it.

        @raise NotFound: there is no such regular file there (any more).
        """
        extent = self._log.extent()
        if extent is None:
            self._wait(request)
        else:
            self._answer(request, extent)
        return NOT_DONE_YET

    def _wait(self, request: Request) -> None:
        """Look again soon: just now it is being rotated."""
        looking = self._clock.callLater(SOON_SECS, self._look_again, request)

        def gone(_: object) -> None:
            if looking.active():
                looking.cancel()
                self._log.close()

        request.notifyFinish().addErrback(gone)

    def _look_again(self, request: Request) -> None:
        try:
            self.render_GET(request)
        except NotFound as error:
            self._log.close()
            request.setResponseCode(NOT_FOUND)
            request.write(f"{error}\n".encode())
            request.finish()

    def _answer(self, request: Request, extent: LogExtent) -> None:
        only_text(request)
        request.setHeader(b"accept-ranges", b"bytes")
        size = extent.end - extent.first
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
            self._log.close()
            request.write(b"")
            request.finish()
        else:
            LogPart(self._clock, request, self._log, extent.first + start, end - start).start()


def only_text(request: Request) -> None:
    """Say that the answer is text, and nothing that a browser could run."""
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    request.setHeader(b"content-disposition", b"inline")
    request.setHeader(b"content-security-policy", b"sandbox; default-src 'none'; frame-ancestors 'none'")


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


class LogPart(LogSender):
    """Sends some bytes of a log."""

    def __init__(self, clock: IReactorTime, request: Request, log: ILog, offset: int, length: int) -> None:
        """@param offset: of the first byte, in the log."""
        super().__init__(clock, request, log)
        self._offset = offset
        self._left = length

    def send_some(self) -> float | None:
        """See L{LogSender}."""
        found = self.log.read(self._offset, min(CHUNK, self._left))
        if found is None:
            return SOON_SECS
        offset, data = found
        if offset != self._offset or not data:
            # It was cut off.
            self.break_off()
            return None
        self._offset += len(data)
        self._left -= len(data)
        self.request.write(data)
        if self._left or self._over:
            return 0
        self.finish()
        return None
