"""Which other sites' pages may ask for the service of a token."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import attrs

from waiter.catalog.hosts import is_same_origin
from waiter.model.patterns import Pattern

PREFLIGHT_SECS = 3600
_METHODS = b"GET,HEAD,POST,PUT,DELETE,CONNECT,OPTIONS,TRACE,PATCH"


@attrs.frozen(kw_only=True)
class CorsRule:
    """
    One rule of a token's C{cors-rules}.

    @ivar origin: what the whole C{Origin} has to match.
    @ivar path: what the whole path has to match; C{None} for any.
    @ivar methods: which methods it allows; C{None} for all.
    """

    origin: Pattern
    path: Pattern | None = None
    methods: frozenset[bytes] | None = None


def cors_rules(given: Any) -> tuple[CorsRule, ...]:
    """The rules that a token has. One that cannot be understood allows nothing."""
    if not isinstance(given, list | tuple):
        return ()
    return tuple(rule for each in given if isinstance(each, Mapping) and (rule := _rule(each)) is not None)


def allowing(
    rules: Sequence[CorsRule], *, origin: bytes, host: bytes, path: bytes, method: bytes
) -> frozenset[bytes] | None:
    """
    Whether a page of C{origin} may ask.

    @param path: of the request's target, without its query.
    @return: the methods it may use, none for all; C{None} if it may not.
    """
    if is_same_origin(origin, host):
        return frozenset()
    theirs, where = origin.decode("latin-1"), path.decode("latin-1")
    for rule in rules:
        if not rule.origin.matches(theirs) or (rule.path is not None and not rule.path.matches(where)):
            continue
        if rule.methods is None or method in rule.methods:
            return rule.methods or frozenset()
    return None


def answer_lines(origin: bytes) -> bytes:
    """What tells a browser that the page may have the answer."""
    return b"access-control-allow-origin: %b\r\naccess-control-allow-credentials: true\r\n" % origin


def preflight_lines(origin: bytes, methods: Iterable[bytes], headers: bytes | None) -> bytes:
    """
    What tells a browser that a request may be sent.

    @param methods: that the page may use; none for all.
    @param headers: that the page wants to send.
    """
    lines = answer_lines(origin) + b"access-control-allow-methods: %b\r\naccess-control-max-age: %d\r\n" % (
        b", ".join(sorted(methods)) or _METHODS.replace(b",", b", "),
        PREFLIGHT_SECS,
    )
    return lines if headers is None else lines + b"access-control-allow-headers: %b\r\n" % headers


def _rule(given: Mapping[str, Any]) -> CorsRule | None:
    path, methods = given.get("target-path-regex"), given.get("methods")
    try:
        return CorsRule(
            origin=_compiled(given["origin-regex"]),
            path=None if path is None else _compiled(path),
            methods=None if methods is None else frozenset(str(each).encode() for each in methods),
        )
    except (KeyError, TypeError, ValueError):
        return None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Pattern:
    return Pattern(pattern)
