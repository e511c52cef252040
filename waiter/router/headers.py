"""
The rules for a request's headers: what they say, and what an instance gets to see of them.

Names and values come from the parser, which has refused line breaks and NUL in them; what is added here is checked here.
"""

import re
from base64 import b64encode
from collections.abc import Iterable

import attrs

from waiter.errors import BadRequest, NotImplementedHere
from waiter.router.fields import (
    HOP_BY_HOP,
    WAITER,
    Field,
    Fields,
    Kinds,
    safe,
    tokens,
    without_named,
    without_own_cookies,
)
from waiter.router.forwarding import Forwarding
from waiter.router.told import Told

_HOST_VALUE = re.compile(rb"(?:\[[A-Za-z0-9.:_~%-]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]+)(?::([0-9]{0,5}))?")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]+)(.*)", re.DOTALL)
_CID_VALUE = re.compile(rb"[\x21-\x7e]{1,256}")

# Kinds of headers. The first is passed on as it is, the second not at all.
(
    _PLAIN,
    _DROPPED,
    _NOTED,
    _HOST,
    _LENGTH,
    _CODING,
    _CONNECTION,
    _WAITERS,
    _UPGRADE,
    _EXPECT,
    _CID,
    _COOKIE,
    _VIA,
    _CLIENTS,
    _FORWARDED,
) = range(15)
_BY_NAME = {
    **dict.fromkeys((b"accept", b"content-type", b"origin", b"referer", b"sec-fetch-site", b"user-agent"), _NOTED),
    **dict.fromkeys((b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto"), _FORWARDED),
    **dict.fromkeys(HOP_BY_HOP, _DROPPED),
    b"authorization": _DROPPED,
    b"connection": _CONNECTION,
    b"content-length": _LENGTH,
    b"cookie": _COOKIE,
    b"expect": _EXPECT,
    b"host": _HOST,
    b"transfer-encoding": _CODING,
    b"upgrade": _UPGRADE,
    b"via": _VIA,
    b"x-cid": _CID,
    b"x-forwarded-for": _CLIENTS,
}


def _kind(lower: bytes) -> int:
    if lower.startswith(WAITER):
        return _WAITERS
    kind = _BY_NAME.get(lower)
    if kind is not None:
        return kind
    # An application behind CGI or WSGI cannot tell x_waiter_auth_principal from x-waiter-auth-principal.
    alike = lower.replace(b"_", b"-")
    if alike != lower and (alike.startswith(WAITER) or _BY_NAME.get(alike, _PLAIN) not in {_PLAIN, _NOTED}):
        return _DROPPED
    return _PLAIN


_KINDS = Kinds(_kind)


@attrs.frozen(kw_only=True, eq=False, slots=False)
class RequestHeaders:
    """
    What the headers of one request say. It does not depend on the request's line, save for the HTTP version.

    @ivar fields: all of them, in order, as they came.
    @ivar minor: 1 for HTTP/1.1, 0 for HTTP/1.0.
    @ivar host: empty if there is none.
    @ivar content_length: the length of the body; C{None} if it is chunked or there is none.
    @ivar chunked: whether the body comes in chunks.
    @ivar bodiless: whether no body follows.
    @ivar keep_alive: whether the client means to send another request.
    @ivar expects_continue: whether it waits for a word before it sends its body.
    @ivar upgrade: to which protocol it wants to change; C{None} if to none.
    @ivar cid: the client's correlation id, if it is a usable one.
    @ivar waiter: the C{x-waiter-*} ones, names in lower case.
    @ivar waiter_names: the names of those.
    @ivar passed: the lines that every instance gets as they are.
    @ivar vias: the proxies it came through.
    @ivar clients: where it came from, as the proxies before say.
    @ivar forwarded: what else they say: C{x-forwarded-*}, names in lower case.
    @ivar told: what was made of them, by the way they came.
    """

    fields: Fields
    minor: int
    host: bytes
    content_length: int | None
    chunked: bool
    bodiless: bool
    keep_alive: bool
    expects_continue: bool
    upgrade: bytes | None
    cid: bytes | None
    waiter: Fields
    waiter_names: tuple[bytes, ...]
    passed: bytes
    vias: tuple[bytes, ...]
    clients: tuple[bytes, ...]
    forwarded: Fields
    accept: bytes | None
    content_type: bytes | None
    origin: bytes | None
    referer: bytes | None
    sec_fetch_site: bytes | None
    user_agent: bytes | None
    told: dict[Forwarding, Told] = attrs.field(init=False, factory=dict, repr=False)


def read_request(fields: Iterable[Field], minor: int) -> RequestHeaders:
    """
    Understand the headers of a request.

    @param minor: of its HTTP version.
    @raise BadRequest: it could be understood in two ways.
    @raise NotImplementedHere: its body comes in a form that is not supported.
    """
    fields = tuple(fields)
    passed: list[bytes] = []
    hosts: list[bytes] = []
    lengths: list[bytes] = []
    codings: list[bytes] = []
    named: list[bytes] = []
    waiter: list[Field] = []
    vias: list[bytes] = []
    clients: list[bytes] = []
    forwarded: list[Field] = []
    noted: dict[bytes, bytes] = {}
    upgrade = cid = expectation = None
    kinds = _KINDS
    for name, raw in fields:
        kind = kinds[name]
        value = raw.strip(b" \t")
        if kind == _PLAIN:
            passed.append(b"%b: %b\r\n" % (name, value))
        elif kind == _NOTED:
            noted.setdefault(name.lower(), value)
            passed.append(b"%b: %b\r\n" % (name, value))
        elif kind == _HOST:
            hosts.append(value)
            passed.append(b"%b: %b\r\n" % (name, value))
        elif kind == _COOKIE:
            if cookies := without_own_cookies(value):
                passed.append(b"%b: %b\r\n" % (name, cookies))
        elif kind == _WAITERS:
            waiter.append((name.lower(), value))
        elif kind == _CONNECTION:
            named += tokens(value)
        elif kind == _LENGTH:
            lengths.append(value)
        elif kind == _CODING:
            codings.append(value.lower())
        elif kind == _VIA:
            vias.append(value)
        elif kind == _CLIENTS:
            clients.append(value)
        elif kind == _FORWARDED:
            forwarded.append((name.lower(), value))
        elif kind == _UPGRADE:
            upgrade = value
        elif kind == _EXPECT:
            expectation = value
        elif kind == _CID and cid is None:
            cid = value
    content_length = _body(lengths, codings, minor)
    bodiless = not codings and not content_length
    if named:
        passed = without_named(passed, named)
    return RequestHeaders(
        fields=fields,
        minor=minor,
        host=_host(hosts, minor),
        content_length=content_length,
        chunked=bool(codings),
        bodiless=bodiless,
        keep_alive=b"close" not in named and (minor == 1 or b"keep-alive" in named),
        expects_continue=expectation is not None
        and expectation.lower() == b"100-continue"
        and minor == 1
        and not bodiless,
        upgrade=upgrade if minor and b"upgrade" in named else None,
        cid=cid if cid is not None and _CID_VALUE.fullmatch(cid) else None,
        waiter=tuple(waiter),
        waiter_names=tuple([name for name, _ in waiter]),
        passed=b"".join(passed),
        vias=tuple(vias),
        clients=tuple(clients),
        forwarded=tuple(forwarded),
        accept=noted.get(b"accept"),
        content_type=noted.get(b"content-type"),
        origin=noted.get(b"origin"),
        referer=noted.get(b"referer"),
        sec_fetch_site=noted.get(b"sec-fetch-site"),
        user_agent=noted.get(b"user-agent"),
    )


def _body(lengths: list[bytes], codings: list[bytes], minor: int) -> int | None:
    """The content length. The parser knows most of this, too; a mistake here is a request smuggled in."""
    if codings:
        if lengths:
            raise BadRequest("The request has both Content-Length and Transfer-Encoding.")
        if codings != [b"chunked"]:
            raise NotImplementedHere("Of all transfer codings, only 'chunked' alone is supported.")
        if not minor:
            raise BadRequest("There is no Transfer-Encoding in HTTP/1.0.")
    if not lengths:
        return None
    if len(lengths) > 1:
        raise BadRequest("The request has more than one Content-Length.")
    if not lengths[0].isdigit() or len(lengths[0]) > 18:
        raise BadRequest("The Content-Length is not a length.")
    return int(lengths[0])


def _host(hosts: list[bytes], minor: int) -> bytes:
    if len(hosts) > 1:
        raise BadRequest("The request has more than one Host.")
    if not hosts:
        if minor:
            raise BadRequest("The request has no Host.")
        return b""
    if hosts[0] and not _is_host(hosts[0]):
        raise BadRequest("The Host is not a host.")
    return hosts[0]


def _is_host(value: bytes) -> bool:
    match = _HOST_VALUE.fullmatch(value)
    return match is not None and int(match[1] or 0) < 65536


def origin_form(method: bytes, target: bytes, headers: RequestHeaders) -> tuple[bytes, RequestHeaders]:
    """
    The target as an instance gets it: path and query. An absolute URL's host becomes the C{Host} where there is none.

    @raise BadRequest: it is no target, or its host is not the one in C{Host}.
    """
    if b"#" in target:
        raise BadRequest("The request's target has a fragment.")
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target, headers
    match = _ABSOLUTE.fullmatch(target)
    if match is None or not _is_host(match[1]):
        raise BadRequest("The request's target is neither a path nor a URL of http or https.")
    host, path = match.groups()
    if headers.host.lower() != host.lower():
        if headers.host or headers.minor:
            raise BadRequest("The request's target and its Host name different hosts.")
        headers = attrs.evolve(headers, host=host, passed=b"host: %b\r\n%b" % (host, headers.passed))
    if not path:
        return (b"*" if method == b"OPTIONS" else b"/"), headers
    return (path if path.startswith(b"/") else b"/" + path), headers


def for_instance(
    headers: RequestHeaders, *, product: bytes, forwarding: Forwarding, principal: str, password: str | None
) -> bytes:
    """
    The lines of a request's headers for an instance, without C{x-cid}, C{Expect}, C{Transfer-Encoding} and the empty line.

    @param product: Waiter's own name, for C{Via}.
    @param password: what proves to the instance that Waiter asks; C{None} for nothing.
    """
    lines = [headers.passed]
    if headers.content_length is not None:
        lines.append(b"content-length: %d\r\n" % headers.content_length)
    if headers.upgrade is not None:
        lines.append(b"connection: Upgrade\r\nupgrade: %b\r\n" % headers.upgrade)
    vias = b", ".join((*headers.vias, b"HTTP/1.%d %b" % (headers.minor, product)))
    clients = b", ".join((*headers.clients, forwarding.address))
    lines.append(b"via: %b\r\nx-forwarded-for: %b\r\n" % (vias, clients))
    said = {
        b"x-forwarded-proto": forwarding.proto,
        b"x-forwarded-host": headers.host,
        b"x-forwarded-port": forwarding.port,
    }
    if forwarding.trusted:
        said.update(headers.forwarded)
    lines += [b"%b: %b\r\n" % field for field in said.items() if field[1]]
    if password is not None:
        lines.append(b"authorization: Basic %b\r\n" % b64encode(b"waiter:" + password.encode()))
    whole = safe(principal.encode())
    user = whole.partition(b"@")[0]
    lines.append(b"x-waiter-auth-principal: %b\r\nx-waiter-authenticated-principal: %b\r\n" % (user, whole))
    return b"".join(lines)
