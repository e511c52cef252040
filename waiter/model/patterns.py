"""Regular expressions that somebody may choose, tried on texts that somebody else may choose."""

import re
from collections.abc import Iterable, Sequence
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

# Note [Patterns that never take long]
#
# Python tries all ways in which a pattern may match, which for (a+)+b and forty letters takes hours, and nothing else runs
# meanwhile. So a pattern is made into steps here, and all ways are gone at once: for each character, it is worked out which steps
# can be taken next. That takes at most as long as there are steps, for each character. What cannot be done so (references to
# groups, looking ahead and behind) is refused, and so is what has very many steps.

_MOST_STEPS = 500
_LONGEST_TEXT = 4096
# What is remembered of one pattern: about a megabyte.
_MOST_KNOWN = 10_000

_ALL = frozenset(map(chr, range(256)))
_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}
_BEGINS = frozenset({"AT_BEGINNING", "AT_BEGINNING_STRING"})
_ENDS = frozenset({"AT_END", "AT_END_STRING"})
_FLAGS = re.IGNORECASE | re.DOTALL | re.UNICODE

_States = frozenset[int]


class Pattern:
    """
    A regular expression as Python writes it, for the whole of a text of Latin-1 characters.

    Trying it takes no longer than in proportion to the length of the text, whatever the two are.
    """

    def __init__(self, pattern: str) -> None:
        """
        @raise ValueError: it is no regular expression, or one that may take long.
        """
        try:
            parsed = parser.parse(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError("not a regular expression") from error
        # Each step: the characters it takes, a bit for each, or the place it asks for, or nothing; and where it leads.
        self._steps: list[tuple[int | str | None, Sequence[int]]] = [(None, ())]
        try:
            start = self._sequence(parsed, 0, parsed.state.flags)
        except RecursionError as error:
            raise ValueError("too deep") from error
        self._start = (start,)
        self._known: dict[tuple[_States, str], _States] = {}
        self._known_size = 0

    def matches(self, text: str) -> bool:
        """Whether all of a text is meant. Very long ones are not."""
        if len(text) > _LONGEST_TEXT:
            return False
        states = self._reached(self._start, begin=True)
        for character in text:
            states = self._next(states, character)
            if not states:
                return False
        return 0 in self._reached(states, begin=not text, end=True)

    def _next(self, states: _States, character: str) -> _States:
        known = self._known.get((states, character))
        if known is None:
            taken: set[int] = set()
            for state in states:
                what, leads = self._steps[state]
                if isinstance(what, int) and what >> ord(character) & 1:
                    taken.update(leads)
            known = self._reached(taken)
            self._known_size += 1 + len(known)
            if self._known_size > _MOST_KNOWN:
                self._known.clear()
                self._known_size = 1 + len(known)
            self._known[states, character] = known
        return known

    def _reached(self, states: Iterable[int], *, begin: bool = False, end: bool = False) -> _States:
        """These and all that come after them without a further character."""
        reached: set[int] = set()
        waiting = list(states)
        while waiting:
            state = waiting.pop()
            if state not in reached:
                reached.add(state)
                what, leads = self._steps[state]
                if what is None or (begin and what == "begin") or (end and what == "end"):
                    waiting.extend(leads)
        return frozenset(reached)

    # Each of these makes the steps of a part of the pattern, before the step C{after}, and returns the first of them.

    def _step(self, what: int | str | None, *leads: int) -> int:
        if len(self._steps) >= _MOST_STEPS:
            raise ValueError("too complicated")
        self._steps.append((what, leads))
        return len(self._steps) - 1

    def _sequence(self, parts: Any, after: int, flags: int) -> int:
        if flags & ~_FLAGS:
            raise ValueError("it has flags other than i and s")
        for op, value in reversed(list(parts)):
            after = self._part(str(op), value, after, flags)
        return after

    def _part(self, op: str, value: Any, after: int, flags: int) -> int:
        match op:
            case "SUBPATTERN":
                _, added, removed, parts = value
                return self._sequence(parts, after, (flags | added) & ~removed)
            case "BRANCH":
                return self._step(None, *(self._sequence(parts, after, flags) for parts in value[1]))
            case "MAX_REPEAT" | "MIN_REPEAT":
                least, most, parts = value
                return self._repeat(least, most, parts, after, flags)
            case "AT" if str(value) in _BEGINS:
                return self._step("begin", after)
            case "AT" if str(value) in _ENDS:
                return self._step("end", after)
        return self._step(sum(1 << ord(each) for each in _characters(op, value, flags)), after)

    def _repeat(self, least: int, most: int, parts: Any, after: int, flags: int) -> int:
        if least > _MOST_STEPS:
            raise ValueError("too complicated")
        if most == parser.MAXREPEAT:
            first = self._step(None)
            self._steps[first] = (None, (self._sequence(parts, first, flags), after))
        else:
            first = end = after
            for _ in range(most - least):
                first = self._step(None, self._sequence(parts, first, flags), end)
        for _ in range(least):
            then, first = first, self._sequence(parts, first, flags)
            if first == then:
                # There is nothing in it, and so often.
                break
        return first


def _characters(op: str, value: Any, flags: int) -> frozenset[str]:
    """Which characters a part of a pattern takes that is for one of them."""
    match op:
        case "ANY":
            return _ALL if flags & re.DOTALL else _ALL - {"\n"}
        case "NOT_LITERAL":
            return _ALL - _characters("LITERAL", value, flags)
        case "LITERAL":
            found = {chr(value)} & _ALL
        case "RANGE":
            found = {character for character in _ALL if value[0] <= ord(character) <= value[1]}
        case "CATEGORY":
            found = {character for character in _ALL if re.match(_CATEGORIES[str(value)], character)}
        case "IN":
            negated = str(value[0][0]) == "NEGATE"
            parts = (_characters(str(inner), of, flags) for inner, of in value[negated:])
            found = set().union(*parts)
            return _ALL - found if negated else frozenset(found)
        case _:
            raise ValueError("it has references to groups, or looks ahead or behind")
    if flags & re.IGNORECASE:
        found = {each for each in _ALL if not found.isdisjoint((each, each.lower(), each.upper()))}
    return frozenset(found)
