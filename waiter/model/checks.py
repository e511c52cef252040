"""The types that a description's parameters are made of, and what is said when a value is not of its type."""

import math
import unicodedata
from collections.abc import Iterable
from typing import Annotated, Any

import attrs
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

#: The type of an error that brings its own sentence, which then stands in place of the parameter's.
OWN_WORDS = "own-words"

_MOST_SHOWN = 60


@attrs.frozen
class Says:
    """
    The sentence a person reads when the parameter is wrong; put into the annotation of a field.

    @ivar overridable: whether the parameter may be overridden on a running service, which does not change its id.
    """

    text: str
    overridable: bool = attrs.field(default=False, kw_only=True)


def wrong(sentence: str, *, parameters: Iterable[str] = ()) -> PydanticCustomError:
    """
    The error to raise when more is known than the parameter's own sentence says.

    @param parameters: the outside names of what it is about, where that is not the field being checked.
    """
    return PydanticCustomError(OWN_WORDS, "{sentence}", {"sentence": sentence, "parameters": list(parameters)})


def shown(text: object) -> str:
    """What somebody sent, fit for a message: printable, and not longer than a line."""
    printable = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in str(text)[: _MOST_SHOWN + 1])
    return printable if len(printable) <= _MOST_SHOWN else printable[:_MOST_SHOWN] + "..."


def unusable_characters(text: str, *, allowed: str = "") -> bool:
    """Whether there are control characters (NUL among them) other than C{allowed}, or halves of surrogate pairs."""
    if text.isprintable():
        return False
    return any(unicodedata.category(c) in {"Cc", "Cs"} and c not in allowed for c in text)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("not a non-empty string")
    return value


def _word(value: Any) -> str:
    text = _text(value)
    if unusable_characters(text):
        raise ValueError("contains control characters")
    return text


def _command(value: Any) -> str:
    text = _text(value)
    if unusable_characters(text, allowed="\n\t"):
        raise wrong("cmd must not contain control characters other than tabs and line feeds.")
    return text


def _path(value: Any) -> str:
    text = _word(value)
    if not text.startswith("/") or not text.isascii() or " " in text:
        raise ValueError("not a path")
    return text


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a number")  # noqa: TRY004 - pydantic collects ValueErrors only
    try:
        number = float(value)
    except OverflowError:
        raise ValueError("out of range") from None
    if not math.isfinite(number):
        raise ValueError("not a finite number")
    return number


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")  # noqa: TRY004 - as above
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not an integer")  # noqa: TRY004 - as above
    if isinstance(value, float) and not value.is_integer():
        raise ValueError("not an integer")
    return int(value)


#: Any text a person writes on one line.
Word = Annotated[str, BeforeValidator(_word)]

#: The same, of a length that fits into a service id.
ShortWord = Annotated[str, Field(max_length=128), BeforeValidator(_word)]

#: Who runs or uses a service.
User = Annotated[str, Field(max_length=256), BeforeValidator(_word)]

#: A word for grouping metrics.
MetricGroup = Annotated[
    str, Field(min_length=2, max_length=32, pattern=r"^[a-z][a-z0-9]*([_-][a-z0-9]+)*$"), BeforeValidator(_word)
]

#: A command line, or a script of several.
Command = Annotated[str, BeforeValidator(_command)]

#: The path of a URL, with its query if it has one.
Path = Annotated[str, Field(max_length=2048), BeforeValidator(_path)]

#: A finite number; a boolean is none, a string is none.
Number = Annotated[float, BeforeValidator(_number)]

#: A whole number; 1.0 is one.
Integer = Annotated[int, BeforeValidator(_integer)]

#: True or false; a number is neither, a string is neither.
Truth = Annotated[bool, BeforeValidator(_truth)]
