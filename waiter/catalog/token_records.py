"""Tokens as they are stored, and as they are shown: one flat mapping, earlier versions nested in it."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from waiter.model.token import SYSTEM_METADATA, Token


def nested(token: Token, *, time: Callable[[int], Any] = int) -> dict[str, Any]:
    """
    All of a token under its outside names, with what it was before in C{previous}.

    @param time: makes of milliseconds since the epoch what stands in C{last-update-time}.
    """
    found: dict[str, Any] = {}
    for version in reversed(list(token.history())):
        flat = version.flat()
        flat["last-update-time"] = time(version.updated_at_ms)
        found = {**flat, "previous": found}
    return found


def unnested(name: str, flat: Mapping[str, Any]) -> Token:
    """
    The token that L{nested} made this of.

    @raise ValueError: that was no token.
    """
    levels = []
    level: Any = flat
    while level:
        if not isinstance(level, Mapping):
            raise ValueError("a version of it is no object")  # noqa: TRY004 - it is about a value, not an argument
        levels.append(level)
        level = level.get("previous")
    token: Token | None = None
    for level in reversed(levels):
        token = _version(name, level, token)
    if token is None:
        raise ValueError("there is nothing in it")
    return token


def written(token: Token) -> bytes:
    """A token as it is stored."""
    return json.dumps(nested(token), ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def read(name: str, value: bytes) -> Token:
    """
    The token that was stored.

    @raise ValueError: that was no token.
    """
    return unnested(name, json.loads(value))


def _version(name: str, flat: Mapping[str, Any], previous: Token | None) -> Token:
    at = flat.get("last-update-time")
    texts = {key: flat.get(key) for key in ("owner", "last-update-user", "cluster", "root")}
    wrong = [key for key, text in texts.items() if not isinstance(text, str)]
    if wrong or not isinstance(at, int):
        raise ValueError(f"it has no {wrong[0] if wrong else 'last-update-time'}")
    return Token(
        name=name,
        data={key: value for key, value in flat.items() if key not in SYSTEM_METADATA},
        deleted=flat.get("deleted") is True,
        updated_at=at / 1000,
        updated_by=str(texts["last-update-user"]),
        cluster=str(texts["cluster"]),
        root=str(texts["root"]),
        previous=previous,
    )
