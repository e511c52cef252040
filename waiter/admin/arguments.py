"""What a query string says."""

from collections.abc import Mapping, Sequence

from twisted.web.server import Request

from waiter.errors import BadRequest
from waiter.model.checks import shown

Arguments = Mapping[str, Sequence[str]]

# Thirty years in milliseconds.
_MAX_DIGITS = 12
_NUMBER_DIGITS = 9


def arguments(request: Request) -> dict[str, list[str]]:
    """All query parameters; what is not UTF-8 in them becomes an escape."""
    given: dict[str, list[str]] = {}
    for name, values in (request.args or {}).items():
        given.setdefault(_text(name), []).extend(map(_text, values))
    return given


def first(given: Arguments, name: str) -> str | None:
    """The first value of a parameter, if it is given."""
    values = given.get(name)
    return values[0] if values else None


def includes(given: Arguments, name: str) -> bool:
    """Whether C{include=<name>} is among the parameters."""
    return name in given.get("include", ())


def is_true(given: Arguments, name: str) -> bool:
    """Whether a parameter is C{true}, in whatever case."""
    return (first(given, name) or "").lower() == "true"


def milliseconds(given: Arguments, name: str) -> float:
    """
    A duration given in milliseconds, as seconds; 0 if it is not given.

    @raise BadRequest: it is not a whole number of milliseconds.
    """
    value = first(given, name)
    if value is None:
        return 0.0
    if not (value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS):
        raise BadRequest(f"{name} must be an integer", details={name: value})
    return int(value) / 1000


def whole_number(given: Arguments, name: str, otherwise: int) -> int:
    """
    A number that may be given.

    @param otherwise: what it is if it is not given.
    @raise BadRequest: it is not a whole number, or too large.
    """
    value = first(given, name)
    if value is None:
        return otherwise
    if not (value.isascii() and value.isdigit() and len(value) <= _NUMBER_DIGITS):
        raise BadRequest(f"{name} query parameter must be an integer", details={name: shown(value)})
    return int(value)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
