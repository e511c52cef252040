"""
Reading large answers bit by bit.

Parsing 16 MB at once keeps everything else waiting for a third of a second. Here only the outside is walked by hand, down to
single apps and the tasks in them; each small value is left to the C scanner, and whoever iterates may pause after each.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODE = json.JSONDecoder().raw_decode
# So many tasks of one app take less than a millisecond.
_TASKS_AT_A_TIME = 50


def apps(text: str) -> Iterator[dict[str, Any] | None]:
    """
    The apps of a C{GET /v2/apps} answer, one after the other, with C{None} between the parts of one that is large.

    @raise ValueError: this is not such an answer; what was yielded before is worth nothing then.
    """
    cursor = _Cursor(text)
    found = False
    for key in cursor.members():
        if key != "apps":
            cursor.value()
            continue
        found = True
        for _ in cursor.elements():
            yield from _app(cursor)
    cursor.end()
    if not found:
        raise ValueError("there are no apps in it")


def _app(cursor: "_Cursor") -> Iterator[dict[str, Any] | None]:
    app: dict[str, Any] = {}
    for key in cursor.members():
        if key != "tasks" or not cursor.at("["):
            app[key] = cursor.value()
            continue
        tasks = app[key] = []
        for _ in cursor.elements():
            tasks.append(cursor.value())
            if len(tasks) % _TASKS_AT_A_TIME == 0:
                yield None
    yield app


class _Cursor:
    """A place in a JSON text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._skip()

    def at(self, character: str) -> bool:
        """Whether that is what comes."""
        return self._text.startswith(character, self._place)

    def members(self) -> Iterator[str]:
        """The keys of the object that comes. At each, its value must be taken before the next."""
        self._expect("{")
        if self.at("}"):
            self._expect("}")
            return
        while True:
            key = self.value()
            if not isinstance(key, str):
                raise ValueError(f"there is no key before character {self._place}")  # noqa: TRY004 - it is the text
            self._expect(":")
            yield key
            if not self._more("}"):
                return

    def elements(self) -> Iterator[None]:
        """Once for each item of the array that comes. Each must be taken before the next."""
        self._expect("[")
        if self.at("]"):
            self._expect("]")
            return
        while True:
            yield
            if not self._more("]"):
                return

    def value(self) -> Any:
        """The value that comes, whole."""
        value, self._place = _DECODE(self._text, self._place)
        self._skip()
        return value

    def end(self) -> None:
        """Nothing may come any more."""
        if self._place != len(self._text):
            raise ValueError(f"there is more after its end, at character {self._place}")

    def _more(self, closing: str) -> bool:
        if self.at(","):
            self._expect(",")
            return True
        self._expect(closing)
        return False

    def _expect(self, character: str) -> None:
        if not self.at(character):
            raise ValueError(f"there is no {character} at character {self._place}")
        self._place += 1
        self._skip()

    def _skip(self) -> None:
        match = _SPACE.match(self._text, self._place)
        self._place = self._place if match is None else match.end()
