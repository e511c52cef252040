"""What the router knows of header names, whoever sends them."""

import re
from collections.abc import Callable, Iterable

Field = tuple[bytes, bytes]
Fields = tuple[Field, ...]

WAITER = b"x-waiter-"
"""How the names of Waiter's own headers begin."""

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailers",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""What concerns one connection and is never passed on."""

# What Connection may name and still gets through: without it the message would be another one.
_NEVER_NAMED = frozenset(
    {
        b"cache-control",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"host",
        b"set-cookie",
        b"trailer",
    }
)
# Chunked bodies may not be followed by these: what frames, routes, controls, or says who asks.
_NOT_IN_TRAILERS = (
    HOP_BY_HOP
    | _NEVER_NAMED
    | frozenset(
        b"age authorization date expect expires forwarded if-match if-modified-since if-none-match if-range "
        b"if-unmodified-since location max-forwards origin pragma range retry-after vary via warning www-authenticate "
        b"x-cid".split()
    )
)
_NOT_BEGINNING_TRAILERS = (WAITER, b"x-forwarded-")
_OWN_COOKIES = (b"x-waiter-auth=", b"x-auth-expires-at=", b"x-waiter-consent=", b"x-waiter-oidc-challenge-")
_UNSAFE = re.compile(rb"[^\t\x20-\x7e\x80-\xff]")
_MOST_NAMES = 4096


class Kinds(dict[bytes, int]):
    """
    Which kind of header a name is, in whatever case it is written. Names seen before cost one look-up.
    """

    def __init__(self, classify: Callable[[bytes], int]) -> None:
        """
        @param classify: the kind of a lower-case name.
        """
        super().__init__()
        self._classify = classify

    def __missing__(self, name: bytes) -> int:
        kind = self._classify(name.lower())
        # Clients can make up any number of names.
        if len(self) < _MOST_NAMES:
            self[name] = kind
        return kind


def tokens(value: bytes) -> list[bytes]:
    """The words of a list like C{Connection}'s, in lower case."""
    return [token for part in value.lower().split(b",") if (token := part.strip(b" \t"))]


def without_named(lines: list[bytes], named: Iterable[bytes]) -> list[bytes]:
    """
    Header lines without those that C{Connection} names, as far as it may.

    @param named: lower-case names.
    """
    gone = frozenset(named) - HOP_BY_HOP - _NEVER_NAMED - {b"close"}
    if not gone:
        return lines
    return [line for line in lines if line[: line.index(b":")].lower() not in gone]


def without_own_cookies(value: bytes) -> bytes:
    """The value of a C{Cookie} without Waiter's own cookies; may be empty."""
    if not any(own in value for own in _OWN_COOKIES):
        return value
    return b"; ".join(part for part in re.split(rb"; ?", value) if not is_own_cookie(part))


def is_own_cookie(value: bytes) -> bool:
    """Whether a cookie is one of Waiter's own."""
    return value.lstrip().startswith(_OWN_COOKIES)


def trailer_lines(fields: Iterable[Field]) -> bytes:
    """The lines of those trailers that may be passed on: they change neither framing nor routing nor who asks."""
    return b"".join(
        b"%b: %b\r\n" % (name, value.rstrip(b" \t"))
        for name, value in fields
        if (lower := name.lower().replace(b"_", b"-")) not in _NOT_IN_TRAILERS
        and not lower.startswith(_NOT_BEGINNING_TRAILERS)
    )


def fields_bytes(fields: Iterable[Field]) -> int:
    """How long the lines of some headers are."""
    return sum(len(name) + len(value) + 4 for name, value in fields)


def safe(value: bytes) -> bytes:
    """A header's value without what could end it."""
    return _UNSAFE.sub(b"", value)
