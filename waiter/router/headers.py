"""
The rules for headers: what a request's say, what an instance gets to see of them, what a client gets to see of its answer.

Values in, bytes out. Names and values come from the parser, which has refused line breaks and NUL in them; what is added
here is checked here.
"""

import re
from base64 import b64encode
from collections.abc import Iterable

import attrs

from waiter.errors import BadRequest, InstanceFailed, NotImplementedHere

Field = tuple[bytes, bytes]
Fields = tuple[Field, ...]

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

# What the router writes itself, whatever Connection or a look-alike name says.
_OWN = frozenset({b"authorization", b"content-length", b"expect", b"via", b"x-cid", b"x-forwarded-for"})
_FORWARDED = frozenset({b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto"})
# Naming these in Connection would change what the request is.
_NEVER_NAMED = frozenset({b"cache-control", b"content-type", b"content-encoding", b"cookie", b"host"})
_FRAMING = frozenset({b"content-encoding", b"content-length", b"content-range", b"content-type", b"host", b"trailer"})
_NOT_IN_TRAILERS = HOP_BY_HOP | _OWN | _FORWARDED | _NEVER_NAMED | _FRAMING | {b"set-cookie"}

_WAITER = b"x-waiter-"
_HOST = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]*")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]+)(.*)", re.DOTALL)
_CID = re.compile(rb"[\x21-\x7e]{1,256}")
_UNSAFE = re.compile(rb"[^\t\x20-\x7e\x80-\xff]")
_OWN_COOKIES = (b"x-waiter-auth=", b"x-auth-expires-at=", b"x-waiter-oidc-challenge-")

_NOTED = frozenset({b"accept", b"content-type", b"origin", b"referer", b"sec-fetch-site", b"user-agent"})


@attrs.frozen(kw_only=True, eq=False)
class RequestHeaders:
    """
    What the headers of one request say. It does not depend on the request's line, save for the HTTP version.

    @ivar fields: all of them, in order, names and values as they came.
    @ivar minor: 1 for HTTP/1.1, 0 for HTTP/1.0.
    @ivar host: empty if there is none.
    @ivar waiter: the C{x-waiter-*} ones, names in lower case.
    @ivar waiter_names: the names of those.
    @ivar named: the lower-case names that C{Connection} names.
    @ivar content_length: the length of the body; C{None} if it is chunked or there is none.
    @ivar chunked: whether the body comes in chunks.
    @ivar bodiless: whether no body follows.
    @ivar keep_alive: whether the client means to send another request.
    @ivar expects_continue: whether it waits for a word before it sends its body.
    @ivar upgrade: to which protocol it wants to change; C{None} if to none.
    @ivar cid: the client's correlation id, if it is a usable one.
    """

    fields: Fields
    minor: int
    host: bytes
    waiter: Fields
    named: frozenset[bytes]
    content_length: int | None
    chunked: bool
    keep_alive: bool
    expects_continue: bool
    upgrade: bytes | None
    cid: bytes | None
    accept: bytes | None = None
    content_type: bytes | None = None
    origin: bytes | None = None
    referer: bytes | None = None
    sec_fetch_site: bytes | None = None
    user_agent: bytes | None = None

    waiter_names: tuple[bytes, ...] = attrs.field(init=False)
    bodiless: bool = attrs.field(init=False)

    @waiter_names.default
    def _waiter_names(self) -> tuple[bytes, ...]:
        return tuple(name for name, _ in self.waiter)

    @bodiless.default
    def _bodiless(self) -> bool:
        return not self.chunked and not self.content_length


@attrs.frozen(kw_only=True)
class Forwarding:
    """
    What an instance is told of the connection a request came on.

    @ivar address: the client's address.
    @ivar proto: C{http} or C{https}.
    @ivar port: where the client connected to; empty if there is none.
    @ivar trusted: whether the client may say these things itself, because it is a proxy on this machine.
    """

    address: bytes
    proto: bytes
    port: bytes
    trusted: bool


@attrs.frozen(kw_only=True, eq=False)
class Answer:
    """
    The head of an instance's answer, made ready for clients.

    @ivar minor: of the instance's HTTP version.
    @ivar lines: status line and headers for a client, without C{x-cid} (unless the instance sent one) and without what
        depends on the client's connection.
    @ivar content_length: C{None} if not known.
    @ivar length: of the body; 0 also if it is not known.
    @ivar chunked: whether the instance sends chunks.
    @ivar keep_alive: whether the instance's connection can be used again, if the body has an end of its own.
    @ivar bodiless: no body follows, whatever the request was.
    @ivar has_cid: whether C{lines} has an C{x-cid}.
    """

    status: int
    minor: int
    lines: bytes
    content_length: int | None
    length: int
    chunked: bool
    keep_alive: bool
    bodiless: bool
    has_cid: bool
    content_type: bytes | None


def read_request(fields: Iterable[Field], minor: int) -> RequestHeaders:
    """
    Understand the headers of a request.

    @raise BadRequest: it could be understood in two ways.
    @raise NotImplementedHere: its body comes in a form that is not supported.
    """
    fields = tuple(fields)
    hosts: list[bytes] = []
    lengths: list[bytes] = []
    codings: list[bytes] = []
    named: list[bytes] = []
    waiter: list[Field] = []
    noted: dict[bytes, bytes] = {}
    upgrade = cid = None
    expects_continue = False
    for name, value in fields:
        lower = name.lower()
        if lower in _NOTED:
            noted.setdefault(lower, value.rstrip(b" \t"))
        elif lower == b"host":
            hosts.append(value.strip(b" \t"))
        elif lower == b"content-length":
            lengths.append(value.strip(b" \t"))
        elif lower == b"transfer-encoding":
            codings.append(value.strip(b" \t").lower())
        elif lower == b"connection":
            named += _tokens(value)
        elif lower.startswith(_WAITER):
            waiter.append((lower, value.rstrip(b" \t")))
        elif lower == b"upgrade":
            upgrade = value.strip(b" \t")
        elif lower == b"expect":
            expects_continue = minor == 1 and value.strip(b" \t").lower() == b"100-continue"
        elif lower == b"x-cid" and cid is None:
            cid = value.strip(b" \t")
    content_length = _body(lengths, codings, minor)
    return RequestHeaders(
        fields=fields,
        minor=minor,
        host=_host(hosts, minor),
        waiter=tuple(waiter),
        named=frozenset(named),
        content_length=content_length,
        chunked=bool(codings),
        keep_alive=b"close" not in named if minor else b"keep-alive" in named and b"close" not in named,
        expects_continue=expects_continue and (bool(codings) or bool(content_length)),
        upgrade=upgrade if minor and b"upgrade" in named else None,
        cid=cid if cid is not None and _CID.fullmatch(cid) else None,
        accept=noted.get(b"accept"),
        content_type=noted.get(b"content-type"),
        origin=noted.get(b"origin"),
        referer=noted.get(b"referer"),
        sec_fetch_site=noted.get(b"sec-fetch-site"),
        user_agent=noted.get(b"user-agent"),
    )


def _tokens(value: bytes) -> list[bytes]:
    return [token for part in value.lower().split(b",") if (token := part.strip(b" \t"))]


def _body(lengths: list[bytes], codings: list[bytes], minor: int) -> int | None:
    """The content length. The parser knows most of this, too; a mistake here is a request smuggled in."""
    if codings:
        if lengths:
            raise BadRequest("The request has both Content-Length and Transfer-Encoding.")
        if codings != [b"chunked"]:
            raise NotImplementedHere("Of all transfer codings, only 'chunked' alone is supported.")
        if not minor:
            raise BadRequest("There is no Transfer-Encoding in HTTP/1.0.")
    if len(lengths) > 1:
        raise BadRequest("The request has more than one Content-Length.")
    if not lengths:
        return None
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
    if not _HOST.fullmatch(hosts[0]):
        raise BadRequest("The Host is not a host.")
    return hosts[0]


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
    if match is None or not _HOST.fullmatch(match[1]):
        raise BadRequest("The request's target is neither a path nor a URL of http or https.")
    host, path = match.groups()
    if headers.host.lower() != host.lower():
        if headers.host or headers.minor:
            raise BadRequest("The request's target and its Host name different hosts.")
        headers = attrs.evolve(headers, host=host)
    if not path:
        return (b"*" if method == b"OPTIONS" else b"/"), headers
    return (path if path.startswith(b"/") else b"/" + path), headers


def for_instance(
    headers: RequestHeaders, *, product: bytes, forwarding: Forwarding, principal: str, password: str | None
) -> bytes:
    """
    The lines of a request's headers for an instance, without C{x-cid}, C{Expect} and the empty line.

    @param product: Waiter's own name, for C{Via}.
    @param password: what proves to the instance that Waiter asks; C{None} for nothing.
    """
    dropped = HOP_BY_HOP | _OWN | (headers.named - _NEVER_NAMED)
    if not forwarding.trusted:
        dropped |= _FORWARDED
    lines: list[bytes] = []
    vias: list[bytes] = []
    addresses: list[bytes] = []
    seen: set[bytes] = set()
    for name, value in headers.fields:
        lower = name.lower()
        if lower in dropped or lower.startswith(_WAITER):
            if lower == b"via":
                vias.append(value.strip(b" \t"))
            elif lower == b"x-forwarded-for":
                addresses.append(value.strip(b" \t"))
            continue
        # An application behind CGI or WSGI cannot tell x_waiter_auth_principal from x-waiter-auth-principal.
        if b"_" in lower and _is_guarded(lower.replace(b"_", b"-")):
            continue
        kept = value.rstrip(b" \t")
        if lower == b"cookie":
            kept = _without_own_cookies(kept)
            if not kept:
                continue
        seen.add(lower)
        lines.append(b"%b: %b\r\n" % (name, kept))
    if b"host" not in seen and headers.host:
        lines.append(b"host: %b\r\n" % headers.host)
    if headers.chunked:
        lines.append(b"transfer-encoding: chunked\r\n")
    elif headers.content_length is not None:
        lines.append(b"content-length: %d\r\n" % headers.content_length)
    if headers.upgrade is not None:
        lines.append(b"connection: Upgrade\r\nupgrade: %b\r\n" % headers.upgrade)
    vias.append(b"HTTP/1.%d %b" % (headers.minor, product))
    addresses.append(forwarding.address)
    lines.append(b"via: %b\r\nx-forwarded-for: %b\r\n" % (b", ".join(vias), b", ".join(addresses)))
    for name, value in (
        (b"x-forwarded-proto", forwarding.proto),
        (b"x-forwarded-host", headers.host),
        (b"x-forwarded-port", forwarding.port),
    ):
        if value and name not in seen:
            lines.append(b"%b: %b\r\n" % (name, value))
    if password is not None:
        lines.append(b"authorization: Basic %b\r\n" % b64encode(b"waiter:" + password.encode()))
    whole = safe(principal.encode())
    user = whole.partition(b"@")[0]
    lines.append(b"x-waiter-auth-principal: %b\r\nx-waiter-authenticated-principal: %b\r\n" % (user, whole))
    return b"".join(lines)


def _is_guarded(name: bytes) -> bool:
    return name.startswith(_WAITER) or name in HOP_BY_HOP or name in _OWN or name in _FORWARDED


def _without_own_cookies(value: bytes) -> bytes:
    if not any(own in value for own in _OWN_COOKIES):
        return value
    return b"; ".join(part for part in re.split(rb"; ?", value) if not part.lstrip().startswith(_OWN_COOKIES))


def read_answer(status: int, minor: int, reason: bytes, fields: Iterable[Field], *, product: bytes) -> Answer:
    """
    Understand the head of an answer and make it ready for clients.

    @param product: Waiter's own name, for C{Via}.
    @raise InstanceFailed: it is not one that can be passed on.
    """
    fields = tuple(fields)
    if status < 100:
        raise InstanceFailed("The instance answered with an impossible status.")
    named: set[bytes] = set()
    codings: list[bytes] = []
    for name, value in fields:
        lower = name.lower()
        if lower == b"connection":
            named.update(_tokens(value))
        elif lower == b"transfer-encoding":
            codings.append(value.strip(b" \t").lower())
    if codings and codings != [b"chunked"]:
        raise InstanceFailed("The instance answered with a transfer coding other than 'chunked'.")
    bodiless = status < 200 or status in (204, 304)
    dropped = HOP_BY_HOP | (named - _FRAMING - {b"set-cookie"})
    # A length means nothing where there is never a body.
    no_length = status < 200 or status == 204
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, _UNSAFE.sub(b"", reason))]
    vias: list[bytes] = []
    content_length = content_type = None
    has_cid = False
    for name, value in fields:
        lower = name.lower()
        if lower in dropped or lower.startswith(_WAITER):
            continue
        kept = value.rstrip(b" \t")
        if lower == b"via":
            vias.append(kept)
            continue
        if lower == b"content-length":
            content_length = int(kept)
            if no_length:
                continue
        elif lower == b"set-cookie":
            if kept.lstrip().startswith(_OWN_COOKIES):
                continue
        elif lower == b"content-type":
            content_type = kept
        elif lower == b"x-cid":
            has_cid = True
        lines.append(b"%b: %b\r\n" % (name, kept))
    vias.append(b"HTTP/1.%d %b" % (minor, product))
    lines.append(b"via: %b\r\n" % b", ".join(vias))
    return Answer(
        status=status,
        minor=minor,
        lines=b"".join(lines),
        content_length=content_length,
        length=0 if bodiless else content_length or 0,
        chunked=bool(codings),
        keep_alive=b"close" not in named if minor else b"keep-alive" in named and b"close" not in named,
        bodiless=bodiless,
        has_cid=has_cid,
        content_type=content_type,
    )


def connection_line(*, keep: bool, minor: int) -> bytes:
    """
    What a client is told of its connection; nothing where that goes without saying.

    @param keep: whether it may be used for another request.
    @param minor: of the client's HTTP version.
    """
    if keep:
        return b"" if minor else b"connection: keep-alive\r\n"
    return b"connection: close\r\n"


def client_head(
    answer: Answer, *, minor: int, head_only: bool, keep: bool, cid: bytes, more: bytes = b""
) -> tuple[bool, bool, bytes]:
    """
    The head of an answer for one client.

    @param minor: of the client's HTTP version.
    @param head_only: whether no body follows, as after C{HEAD}.
    @param keep: whether the connection may be used for another request.
    @param more: further header lines.
    @return: whether the connection may still be, whether the body is to be sent in chunks, and the head.
    """
    lines = more
    chunking = False
    if answer.content_length is None and not answer.bodiless and not head_only:
        if minor:
            chunking = True
            lines += b"transfer-encoding: chunked\r\n"
        else:
            # The end of the connection is the end of the answer.
            keep = False
    if not keep or not minor:
        lines += connection_line(keep=keep, minor=minor)
    if not answer.has_cid:
        lines += b"x-cid: %b\r\n" % cid
    return keep, chunking, b"%b%b\r\n" % (answer.lines, lines)


def trailer_lines(fields: Iterable[Field]) -> bytes:
    """The lines of those trailers that may be passed on: they change neither framing nor routing nor who asks."""
    return b"".join(
        b"%b: %b\r\n" % (name, value.rstrip(b" \t"))
        for name, value in fields
        if (lower := name.lower().replace(b"_", b"-")) not in _NOT_IN_TRAILERS and not lower.startswith(_WAITER)
    )


def fields_bytes(fields: Iterable[Field]) -> int:
    """How long the lines of some headers are."""
    return sum(len(name) + len(value) + 4 for name, value in fields)


def safe(value: bytes) -> bytes:
    """A header's value without what could end it."""
    return _UNSAFE.sub(b"", value)
