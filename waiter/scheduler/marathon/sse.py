"""The format of C{text/event-stream}: pure rules."""

from collections.abc import Callable

import attrs

#: Events are small, but for those about deployments of many apps, whose data nobody here reads.
LONGEST_EVENT = 1024 * 1024


@attrs.frozen(kw_only=True)
class Event:
    """
    One event.

    @ivar data: C{None} if there was more than is kept.
    """

    type: str
    data: str | None


class EventReader:
    """Cuts a stream into events, however it is cut into pieces itself."""

    def __init__(self, heard: Callable[[Event], object], *, longest: int = LONGEST_EVENT) -> None:
        """
        @param heard: told every event.
        @param longest: the most characters of data that are kept of an event, and the most of a line.
        """
        self._heard = heard
        self._longest = longest
        self._rest = b""
        self._overlong = False
        self._type: str | None = None
        self._data: list[str] = []
        self._size = 0
        self._too_long = False

    def feed(self, data: bytes) -> None:
        """Some more of the stream."""
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            overlong, self._overlong = self._overlong, False
            self._line(line.rstrip(b"\r"), whole=not overlong)
        if len(rest) > self._longest:
            # Only its beginning counts, which says what kind of line it is.
            self._overlong, rest = True, rest[:16]
        self._rest = rest

    def _line(self, line: bytes, *, whole: bool) -> None:
        if not line:
            if self._type is not None or self._data:
                data = None if self._too_long else "\n".join(self._data)
                event = Event(type=self._type or "message", data=data)
                self._forget()
                self._heard(event)
            return
        field, _, value = line.partition(b":")
        text = value.removeprefix(b" ").decode("utf-8", "replace")
        if field == b"event":
            self._type = text
        elif field == b"data":
            self._size += len(text)
            self._too_long |= not whole or self._size > self._longest
            if self._too_long:
                self._data = [""]
            else:
                self._data.append(text)

    def _forget(self) -> None:
        self._type = None
        self._data = []
        self._size = 0
        self._too_long = False
