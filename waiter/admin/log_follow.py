"""A log that is sent while it grows."""

from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.web.http import NO_CONTENT
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from waiter.admin.log_file import only_text
from waiter.admin.log_frames import Frames, last_lines_at
from waiter.admin.log_sender import CHUNK, SOON_SECS, LogSender
from waiter.scheduler.interface import ILog, LogExtent

#: How often to look whether the log has grown: that costs some 40 microseconds, and only while somebody follows it.
LOOK_SECS = 0.25
#: How long a stream of events may be silent.
SILENCE_SECS = 15.0
#: How far back the last lines are looked for.
TAIL_BYTES = 1 << 20


@attrs.frozen(kw_only=True)
class Span:
    """
    Where to begin with a log, and when to end.

    @ivar follow: whether to wait for more when what is there has been sent.
    @ivar tail: with how many of the last lines to begin; C{None} for all that is kept.
    @ivar after: the offset to begin at, instead of that.
    @ivar stopping: whether this server wants to end.
    """

    follow: bool
    tail: int | None
    after: int | None
    stopping: Callable[[], bool]


class FollowedLog(Resource):
    """A log, from its beginning, its last lines or some place on, until the instance has ended."""

    isLeaf = True

    def __init__(self, clock: IReactorTime, log: ILog, frames: Frames, span: Span) -> None:
        super().__init__()
        self._clock = clock
        self._log = log
        self._frames = frames
        self._span = span

    def render_GET(self, request: Request) -> int:
        """
        Send it.

        @raise NotFound: there is no such regular file there (any more).
        """
        complete = self._log.complete()
        extent = self._log.extent()
        after = self._span.after
        if after is not None and extent is not None and after >= extent.end and complete:
            # This, too, tells a browser not to come again.
            self._log.close()
            request.setResponseCode(NO_CONTENT)
            request.finish()
            return NOT_DONE_YET
        only_text(request)
        request.setHeader(b"content-type", self._frames.content_type)
        request.setHeader(b"x-accel-buffering", b"no")
        # With nothing in it this sends the head.
        request.write(self._frames.begin())
        if request.method == b"HEAD":
            self._log.close()
            request.finish()
        else:
            Follower(self._clock, request, self._log, self._frames, self._span).start()
        return NOT_DONE_YET


class Follower(LogSender):
    """Sends a log while it grows."""

    look_secs = LOOK_SECS

    def __init__(self, clock: IReactorTime, request: Request, log: ILog, frames: Frames, span: Span) -> None:
        super().__init__(clock, request, log)
        self._frames = frames
        self._span = span
        # Where to read next, and where to end if it is not followed; not known at first.
        self._offset: int | None = None
        self._until = 0
        self._written_at = clock.seconds()

    def ending(self) -> bool:
        """Whether this server wants to end."""
        return self._span.stopping()

    def send_some(self) -> float | None:
        """See L{LogSender}."""
        if self._offset is None:
            self._offset = self._beginning()
        # Before reading: what is written between the two must not be missed.
        complete = self.log.complete()
        found = None if self._offset is None else self.log.read(self._offset, self._most(self._offset))
        if found is None or self._offset is None:
            return SOON_SECS
        offset, data = found
        if offset > self._offset:
            note = self._frames.skipped(offset - self._offset)
            if note is None:
                self.break_off()
                return None
            self._write(note)
        self._offset = offset + len(data)
        self._write(self._frames.feed(offset, data))
        if self._over:
            return None
        if data and (self._span.follow or self._offset < self._until):
            return 0
        if complete or not self._span.follow:
            self._write(self._frames.end())
            self.finish()
            return None
        if self.clock.seconds() - self._written_at >= SILENCE_SECS:
            self._write(self._frames.idle())
            self._written_at = self.clock.seconds()
        return LOOK_SECS

    def _most(self, offset: int) -> int:
        return CHUNK if self._span.follow else min(CHUNK, max(0, self._until - offset))

    def _write(self, data: bytes) -> None:
        if data and not self._over:
            self._written_at = self.clock.seconds()
            self.request.write(data)

    def _beginning(self) -> int | None:
        """Where to begin; C{None} if that cannot be said at this moment."""
        extent = self.log.extent()
        if extent is None:
            return None
        self._until = extent.end
        after, tail = self._span.after, self._span.tail
        if after is not None:
            # A number that is too high is of another log.
            return after if after <= extent.end else extent.oldest
        return extent.oldest if tail is None else self._tail_at(extent, tail)

    def _tail_at(self, extent: LogExtent, lines: int) -> int | None:
        first = position = max(extent.oldest, extent.end - TAIL_BYTES)
        pieces = []
        while position < extent.end:
            found = self.log.read(position, extent.end - position)
            if found is None or found[0] != position or not found[1]:
                return None
            pieces.append(found[1])
            position += len(found[1])
        return first + last_lines_at(b"".join(pieces), lines)
