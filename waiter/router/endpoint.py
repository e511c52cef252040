"""Endpoint strings, Twisted's words for where to listen, as values."""

import difflib
import ipaddress
from collections.abc import Iterator, Mapping
from typing import Final

import attrs

BACKLOG: Final = 4096
"""Connections that may wait to be accepted, when the endpoint does not say; the kernel lowers it to its own bound."""

ANY: Final = "0.0.0.0"  # noqa: S104 - what Twisted's endpoints mean when they say nothing
ANY6: Final = "::"

_SSL_ORDER: Final = (
    "port",
    "privateKey",
    "certKey",
    "sslmethod",
    "interface",
    "backlog",
    "extraCertChain",
    "dhParameters",
)


@attrs.frozen(kw_only=True)
class TCPEndpoint:
    """
    C{tcp:PORT:interface=ADDRESS:backlog=N}, and C{tcp6:} with C{::} as default interface.

    @ivar port: 0 for any free one.
    """

    text: str
    port: int
    interface: str
    backlog: int = BACKLOG


@attrs.frozen(kw_only=True)
class UNIXEndpoint:
    """
    C{unix:PATH:mode=666:backlog=N}.

    C{lockfile=} is accepted and not needed: whether an old socket file is still served is found out by connecting to it.

    @ivar path: one that begins with a NUL is in Linux' abstract namespace, where there are no files.
    """

    text: str
    path: str
    mode: int = 0o666
    backlog: int = BACKLOG


@attrs.frozen(kw_only=True)
class SystemdEndpoint:
    """
    C{systemd:domain=INET:index=N} or C{...:name=NAME}: a socket that systemd has opened.

    @ivar domain: the socket's family: C{INET}, C{INET6} or C{UNIX}.
    @ivar name: C{None} when the socket is known by its C{index}.
    """

    text: str
    domain: str
    index: int = 0
    name: str | None = None


@attrs.frozen(kw_only=True)
class TLSEndpoint:
    """
    TLS over TCP: C{ssl:PORT:privateKey=FILE:certKey=FILE:extraCertChain=FILE:interface=ADDRESS:backlog=N}, and
    C{tls:DIRECTORY:port=PORT:interface=ADDRESS:backlog=N} with C{443} and C{::} as defaults.

    @ivar certificate: the file of the server's certificate, which may be followed by those that lead to the authority.
    @ivar private_key: the file of its key; may be the same one.
    @ivar chain: a file with more of those that lead to the authority.
    @ivar directory: instead of these, where all files C{*.pem} are read: certificates, each with its key somewhere there.
    """

    text: str
    tcp: TCPEndpoint
    certificate: str = ""
    private_key: str = ""
    chain: str | None = None
    directory: str | None = None


@attrs.frozen(kw_only=True)
class OtherEndpoint:
    """Any other kind, which a plugin of Twisted has to bring."""

    text: str
    kind: str


Endpoint = TCPEndpoint | UNIXEndpoint | SystemdEndpoint | TLSEndpoint | OtherEndpoint


def parse_endpoint(text: str) -> Endpoint:
    """
    What an endpoint string means.

    @raise ValueError: it cannot be understood; the message says why, and what to write instead where that is clear.
    """
    positional, options = _fields(text)
    kind, given = positional[0].lower(), positional[1:]
    if kind in {"tcp", "tcp6"}:
        order = ("port", "interface", "backlog") if kind == "tcp" else ("port", "backlog", "interface")
        return _tcp(text, _named(text, given, options, order), ANY if kind == "tcp" else ANY6)
    if kind == "unix":
        values = _named(text, given, options, ("address", "mode", "backlog", "lockfile"))
        if not values.get("address"):
            raise ValueError(f"{text}: the path of the socket is missing; write unix:/path/to/socket")
        return UNIXEndpoint(
            text=text,
            path=values["address"],
            mode=_number(text, values, "mode", 0o666, highest=0o777, base=8),
            backlog=_number(text, values, "backlog", BACKLOG, lowest=1),
        )
    if kind == "systemd":
        return _systemd(text, _named(text, given, options, ("domain", "index", "name")))
    if kind == "ssl":
        return _ssl(text, _named(text, given, options, _SSL_ORDER))
    if kind == "tls":
        values = _named(text, given, options, ("path", "port", "backlog", "interface"))
        if not values.get("path"):
            raise ValueError(f"{text}: the directory of the certificates is missing; write tls:/path/to/directory:443")
        tcp = _tcp(text, {"port": "443", **values}, ANY6)
        return TLSEndpoint(text=text, tcp=tcp, directory=values["path"])
    if not kind or not (positional[1:] or options):
        raise ValueError(
            f"{text!r} is no endpoint; write one like tcp:9091:interface=127.0.0.1 or unix:/path/to/socket"
        )
    return OtherEndpoint(text=text, kind=kind)


def is_loopback(endpoint: str) -> bool:
    """
    Whether only processes of this machine can connect to an endpoint.

    Answers C{False} where the string does not tell, as with an inherited socket.

    @raise ValueError: the endpoint cannot be understood.
    """
    parsed = parse_endpoint(endpoint)
    if isinstance(parsed, UNIXEndpoint):
        return True
    if isinstance(parsed, SystemdEndpoint):
        return parsed.domain == "UNIX"
    tcp = tcp_of(parsed)
    return tcp is not None and _is_loopback_address(numeric(tcp.interface))


def tcp_of(endpoint: Endpoint) -> TCPEndpoint | None:
    """The address and port that an endpoint names, if it does."""
    if isinstance(endpoint, TLSEndpoint):
        return endpoint.tcp
    return endpoint if isinstance(endpoint, TCPEndpoint) else None


def numeric(interface: str) -> str:
    """C{localhost} as a number, so that no resolver can say that it is another machine's; all else as it is."""
    return "127.0.0.1" if interface.lower() == "localhost" else interface


def _is_loopback_address(interface: str) -> bool:
    try:
        address = ipaddress.ip_address(interface)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _tcp(text: str, values: Mapping[str, str], any_address: str) -> TCPEndpoint:
    return TCPEndpoint(
        text=text,
        port=_number(text, values, "port", highest=65535),
        interface=values.get("interface") or any_address,
        backlog=_number(text, values, "backlog", BACKLOG, lowest=1),
    )


def _ssl(text: str, values: Mapping[str, str]) -> TLSEndpoint:
    for name in ("sslmethod", "dhParameters"):
        if name in values:
            raise ValueError(
                f"{text}: leave {name} out; TLS 1.2 and 1.3 are spoken, with keys agreed upon by elliptic curves"
            )
    # Twisted's name for both in one file.
    private_key = values.get("privateKey") or "server.pem"
    return TLSEndpoint(
        text=text,
        tcp=_tcp(text, values, ANY),
        private_key=private_key,
        certificate=values.get("certKey") or private_key,
        chain=values.get("extraCertChain") or None,
    )


def _systemd(text: str, values: Mapping[str, str]) -> SystemdEndpoint:
    domain = values.get("domain", "")
    if domain not in {"INET", "INET6", "UNIX"}:
        raise ValueError(f"{text}: the domain must be INET, INET6 or UNIX, not {domain!r}")
    if ("index" in values) == ("name" in values):
        raise ValueError(
            f"{text}: give either index= or name=, so that it is clear which of systemd's sockets is meant"
        )
    return SystemdEndpoint(text=text, domain=domain, index=_number(text, values, "index", 0), name=values.get("name"))


def _fields(text: str) -> tuple[list[str], dict[str, str]]:
    """The positional and the named fields of an endpoint string."""
    positional: list[str] = []
    named: dict[str, str] = {}
    for field in _split(text):
        if len(field) == 1:
            positional.append(field[0])
        else:
            named[field[0]] = field[1]
    return positional or [""], named


def _split(text: str) -> Iterator[list[str]]:
    """Fields end at a colon, a name at the first equals sign; a backslash takes the next character as it is."""
    field = [""]
    characters = iter(text)
    for character in characters:
        if character == "\\":
            escaped = next(characters, None)
            if escaped is None:
                raise ValueError(f"{text}: ends within an escape; write \\\\ for a backslash")
            field[-1] += escaped
        elif character == ":":
            yield field
            field = [""]
        elif character == "=" and len(field) == 1:
            field.append("")
        else:
            field[-1] += character
    yield field


def _named(text: str, given: list[str], options: Mapping[str, str], order: tuple[str, ...]) -> dict[str, str]:
    """Positional values under their names, merged with the named ones."""
    if len(given) > len(order):
        hint = " (escape the colons of an IPv6 address: interface=\\:\\:1)" if "interface" in order else ""
        raise ValueError(f"{text}: too many parts{hint}")
    values = dict(zip(order, given, strict=False))
    for name, value in options.items():
        if name not in order:
            near = difflib.get_close_matches(name, order, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(order)}"
            raise ValueError(f"{text}: no option {name!r}; {hint}")
        if name in values:
            raise ValueError(f"{text}: {name} is given twice")
        values[name] = value
    return values


def _number(
    text: str,
    values: Mapping[str, str],
    name: str,
    default: int | None = None,
    *,
    lowest: int = 0,
    highest: int = 2**31 - 1,
    base: int = 10,
) -> int:
    given = values.get(name)
    if given is None:
        if default is None:
            raise ValueError(f"{text}: the {name} is missing")
        return default
    digits = "01234567" if base == 8 else "0123456789"
    if not given or given.strip(digits):
        raise ValueError(f"{text}: the {name} must be a number, not {given!r}")
    number = int(given, base)
    if not lowest <= number <= highest:
        raise ValueError(f"{text}: the {name} must be from {lowest} to {highest}, not {given}")
    return number
