"""The C{Host} header and the C{Origin} header, taken apart and compared."""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

import attrs

_AUTHORITY = re.compile(rb"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._$-]+))(?::([0-9]{0,5}))?")
_ORIGIN = re.compile(rb"(https?)://([^/]+)")
_DEFAULT_PORTS = {b"http": 80, b"https": 443}

# A DNS name has at most 253 characters; brackets or a port may come with it. Also bounds what the cache below holds.
_LONGEST = 272


@attrs.frozen
class Authority:
    """
    A host and where it listens.

    @ivar host: in lower case, without brackets and without a dot at its end.
    @ivar port: C{None} if not given.
    """

    host: str
    port: int | None


def authority(header: bytes) -> Authority | None:
    """What a C{Host} header names; C{None} if it is blank or no host can be made out."""
    if len(header) > _LONGEST:
        return None
    return _authority(header)


@lru_cache(maxsize=4096)
def _authority(header: bytes) -> Authority | None:
    match = _AUTHORITY.fullmatch(header.strip(b" \t"))
    if match is None:
        return None
    literal, name, digits = match.groups()
    port = int(digits) if digits else None
    if port is not None and port > 65535:
        return None
    if literal is None:
        return Authority(name.decode().lower().removesuffix("."), port)
    try:
        return Authority(str(IPv6Address(literal.decode())), port)
    except AddressValueError:
        return None


def is_blank(header: bytes) -> bool:
    """Whether there is no C{Host}, as HTTP/1.0 allows."""
    return not header.strip(b" \t")


def own_hosts(names: Iterable[str] = ()) -> frozenset[str]:
    """
    The hosts that are Waiter itself: the loopback ones and C{names}, in the form in which hosts are compared.

    @raise ValueError: a name is no host name, or has a port.
    """
    own = {"localhost", "127.0.0.1", "::1"}
    for name in names:
        bracketed = f"[{name}]" if name.count(":") > 1 and not name.startswith("[") else name
        named = authority(bracketed.encode("ascii", "replace"))
        if named is None or named.port is not None:
            raise ValueError(f"{name!r} is no host name" + ("" if named is None else "; leave the port out"))
        own.add(named.host)
    return frozenset(own)


def is_same_origin(origin: bytes, host: bytes) -> bool:
    """
    Whether a page of C{origin} was loaded from where it now sends a request with this C{Host}.

    The scheme is the origin's, as a proxy in front of Waiter may have ended the TLS.
    """
    match = _ORIGIN.fullmatch(origin.strip(b" \t").lower())
    if match is None:
        return False
    scheme, where = match.groups()
    theirs, ours = authority(where), authority(host)
    if theirs is None or ours is None:
        return False
    default = _DEFAULT_PORTS[scheme]
    return (theirs.host, theirs.port or default) == (ours.host, ours.port or default)
