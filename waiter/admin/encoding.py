"""Values as JSON."""

import json
import math
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

import attrs


def json_bytes(value: Any, *, indent: int | None = 2) -> bytes:
    """
    C{value} as UTF-8 JSON, the order of keys kept.

    Never fails and is always valid: attrs values become objects, sets sorted lists, other unknown values their text;
    numbers that JSON has no word for become C{null}; halves of surrogate pairs become C{?}.
    """
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False, indent=indent)
    return text.encode("utf-8", "replace")


def plain(value: Any) -> Any:
    """C{value} made of dicts with text keys, lists, texts, numbers, booleans and C{None} only."""
    if value is None or (isinstance(value, bool | int) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping):
        return {_key(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((plain(inner) for inner in value), key=str)
    if attrs.has(type(value)):
        return {field.name.replace("_", "-"): plain(getattr(value, field.name)) for field in attrs.fields(type(value))}
    if isinstance(value, Iterable):
        return [plain(inner) for inner in value]
    return str(value)


def _key(key: Any) -> str:
    text = plain(key)
    return text if isinstance(text, str) else str(text)
