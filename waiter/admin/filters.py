"""Which services a listing's query parameters ask for."""

import re
from collections.abc import Callable, Mapping, Sequence
from math import comb, inf
from typing import Any

from waiter.admin.arguments import Arguments
from waiter.errors import BadRequest
from waiter.model.description import ServiceDescription, outside_name
from waiter.model.service import Service
from waiter.model.source import References

PARAMETERS = frozenset(outside_name(name) for name in ServiceDescription.model_fields)

Matcher = Callable[[str], bool]
Filter = Callable[[Service], bool]

_MAX_PATTERN_LENGTH = 500
# Of all patterns on one service: some tenths of a second at the worst.
_MAX_STEPS = 5_000_000

# What stands for one letter of the text; what is left of a pattern without it decides on the cost of matching.
_LETTER = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_REPEAT = re.compile(r"[*+?{]")
_COSTLY = re.compile(r"\)[*+?{]|\(\?")


def service_filter(given: Arguments, references: Callable[[str], References] = lambda _: References()) -> Filter:
    """
    The filter that query parameters make.

    A key is a parameter's name, with a dot and a key for one of a map (C{env.FOO}); it is compared with the effective
    description. A value is meant literally or as a regular expression for the whole; C{*} means any value, unless
    C{star-mode} is something else than C{all}. Of several values for a key one must match, and all keys must. An empty
    C{run-as-user} filters nothing. C{token} and C{token-version} are compared with the tokens by which a service was ever
    asked for.

    The filter raises a C{BadRequest} when the regular expressions could take very long on a service.

    @param references: by what a service was ever asked for, by its id.
    """
    star_means_any = given.get("star-mode", ("all",))[0] in {"", "all"}
    effort = Effort()
    conditions = [
        _condition(key, values, effort, star_means_any=star_means_any)
        for key, values in given.items()
        if key.partition(".")[0] in PARAMETERS and (key != "run-as-user" or any(values))
    ]
    for key, name in (("token", "token"), ("token-version", "version")):
        if any(values := [value for value in given.get(key, ()) if value]):
            matchers = [make_matcher(key, value, effort, star_means_any=star_means_any) for value in values]
            conditions.append(_of_source(name, matchers, references))

    def wanted(service: Service) -> bool:
        effort.steps = 0
        return all(condition(service) for condition in conditions)

    return wanted


class Effort:
    """
    What finding out about one service may cost.

    @ivar steps: how many steps it has taken at most, so far.
    """

    def __init__(self) -> None:
        self.steps: float = 0

    def spend(self, key: str, pattern: str, length: int) -> None:
        """
        Count a pattern's being tried on a text of C{length}.

        @raise BadRequest: that would be too much.
        """
        self.steps += _steps(pattern, length)
        if self.steps > _MAX_STEPS:
            raise BadRequest(
                f"The pattern for {key} is too complicated: use fewer repeats and fewer patterns, do not repeat groups, and "
                "leave out (?...).",
                details={"parameter": key, "pattern": pattern},
            )


def _condition(key: str, values: Sequence[str], effort: Effort, *, star_means_any: bool) -> Filter:
    matchers = [make_matcher(key, value, effort, star_means_any=star_means_any) for value in values]

    def matches(service: Service) -> bool:
        texts = _texts(service.description, key)
        return any(matcher(text) for matcher in matchers for text in texts)

    return matches


def _of_source(name: str, matchers: Sequence[Matcher], references: Callable[[str], References]) -> Filter:
    def matches(service: Service) -> bool:
        sources = (source for group in references(service.id).sources for source in group)
        return any(matcher(getattr(source, name)) for source in sources for matcher in matchers)

    return matches


def make_matcher(key: str, wanted: str, effort: Effort, *, star_means_any: bool) -> Matcher:
    """
    Whether a text is what is wanted of C{key}: literally, or as a regular expression for the whole.

    @param star_means_any: whether C{*} means any but the empty one, and not itself.
    """
    if wanted == "*":
        return bool if star_means_any else "*".__eq__
    try:
        pattern = re.compile(wanted) if len(wanted) <= _MAX_PATTERN_LENGTH else None
    except (re.error, OverflowError, RecursionError):
        pattern = None
    if pattern is None:
        return wanted.__eq__

    def matches(text: str) -> bool:
        if text == wanted:
            return True
        effort.spend(key, wanted, len(text))
        return pattern.fullmatch(text) is not None

    return matches


def _steps(pattern: str, length: int) -> float:
    """
    How many ways there are at most for a valid pattern to be tried on a text.

    Python's matching tries them all, which may take for ever, and nothing else runs meanwhile.
    """
    if re.search(r"\\[1-9]", pattern):
        return inf
    bare = _LETTER.sub("x", pattern).replace("(?:", "(")
    if _COSTLY.search(bare):
        return inf
    repeats = len(_REPEAT.findall(bare))
    alternatives = 2 ** bare.count("|") if "(" in bare else 1 + bare.count("|")
    return comb(length + repeats, repeats) * alternatives


def _texts(description: ServiceDescription, key: str) -> Sequence[str]:
    name, _, inner = key.partition(".")
    return texts_of(getattr(description, name.replace("-", "_")), inner)


def texts_of(value: Any, inner: str = "") -> Sequence[str]:
    """
    The forms of a value that a filter may name; none if it is not set.

    @param inner: what is asked for of it, if that is a map; empty for all of it.
    """
    if inner:
        value = value.get(inner) if isinstance(value, Mapping) else None
    if value is None or isinstance(value, Mapping):
        return ()
    if isinstance(value, list | tuple | frozenset):
        return tuple(map(str, value))
    if isinstance(value, bool):
        return (str(value).lower(),)
    if isinstance(value, float) and value.is_integer():
        return (str(value), str(int(value)))
    return (str(value),)
