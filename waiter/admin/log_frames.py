"""What a log is sent as while it is followed: plain text or server-sent events. Pure rules."""

from typing import Protocol

#: A longer line is sent as several events.
MOST_LINE_BYTES = 64 * 1024
# How long a browser waits before it connects again.
_BEGIN = b"retry: 2000\n\n"


class Frames(Protocol):
    """A way to send a log."""

    content_type: bytes

    def begin(self) -> bytes:
        """What comes first."""

    def feed(self, offset: int, data: bytes) -> bytes:
        """What was read at an offset of the log."""

    def skipped(self, count: int) -> bytes | None:
        """So many bytes were not kept until they could be sent; C{None} if there is no way to say so."""

    def idle(self) -> bytes:
        """Sent now and then when there is nothing else."""

    def end(self) -> bytes:
        """The instance has ended and all was sent."""


class PlainText:
    """The bytes themselves."""

    content_type = b"text/plain; charset=utf-8"

    def begin(self) -> bytes:
        """Nothing."""
        return b""

    def feed(self, offset: int, data: bytes) -> bytes:  # noqa: ARG002 - plain text has no names for places
        """The data."""
        return data

    def skipped(self, count: int) -> bytes | None:  # noqa: ARG002
        """No way to say so."""
        return None

    def idle(self) -> bytes:
        """Nothing."""
        return b""

    def end(self) -> bytes:
        """Nothing."""
        return b""


class Events:
    """
    Each line an event whose C{id} is the offset after it, so that C{Last-Event-ID} says where to go on; C{skipped} with a
    number of bytes; and C{end}, after which there is nothing to connect again for.
    """

    content_type = b"text/event-stream; charset=utf-8"

    def __init__(self) -> None:
        self._line = b""
        # The offset after that.
        self._offset = 0

    def begin(self) -> bytes:
        """How soon to come again."""
        return _BEGIN

    def feed(self, offset: int, data: bytes) -> bytes:
        """The events of the lines that are complete now."""
        events = []
        if offset != self._offset and self._line:
            # What follows is not the rest of this line.
            events.append(self._flush())
        start = offset - len(self._line)
        *lines, rest = (self._line + data).split(b"\n")
        for line in lines:
            events.append(_pieces(line, start, closed=True))
            start += len(line) + 1
        if len(rest) > MOST_LINE_BYTES:
            cut = _cut(rest, len(rest) // MOST_LINE_BYTES * MOST_LINE_BYTES)
            events.append(_pieces(rest[:cut], start, closed=False))
            rest = rest[cut:]
        self._line = rest
        self._offset = offset + len(data)
        return b"".join(events)

    def skipped(self, count: int) -> bytes | None:
        """The event that says so, after what there is of the line before."""
        return self._flush() + b"event: skipped\ndata: %d\n\n" % count

    def idle(self) -> bytes:
        """A comment."""
        return b":\n\n"

    def end(self) -> bytes:
        """What there is of the last line, and the event that ends it all."""
        return self._flush() + b"event: end\nid: %d\ndata:\n\n" % self._offset

    def _flush(self) -> bytes:
        line, self._line = self._line, b""
        return _pieces(line, self._offset - len(line), closed=False) if line else b""


def _pieces(line: bytes, start: int, *, closed: bool) -> bytes:
    """A line as one event or, if it is very long, several. C{closed} is whether a line feed came after it."""
    events = []
    while len(line) > MOST_LINE_BYTES:
        cut = _cut(line, MOST_LINE_BYTES)
        start += cut
        events.append(_event(line[:cut], start))
        line = line[cut:]
    events.append(_event(line, start + len(line) + closed))
    return b"".join(events)


def _event(line: bytes, offset: int) -> bytes:
    text = line.removesuffix(b"\r").decode("utf-8", "replace").encode()
    # A carriage return would end the field.
    fields = b"".join(b"data: %b\n" % part for part in text.split(b"\r"))
    return b"id: %d\n%b\n" % (offset, fields)


def _cut(line: bytes, most: int) -> int:
    """At most C{most}, so that no character of UTF-8 is cut."""
    for cut in range(most, most - 4, -1):
        if cut >= len(line) or line[cut] & 0xC0 != 0x80:
            return cut
    return most


def last_lines_at(data: bytes, count: int) -> int:
    """Where the last C{count} lines of C{data} begin; an unfinished one counts. 0 if there are not as many."""
    if count == 0:
        return len(data)
    position = len(data) - data.endswith(b"\n")
    for _ in range(count):
        position = data.rfind(b"\n", 0, position)
        if position < 0:
            return 0
    return position + 1
