"""The rules for the head of an instance's answer: what it says, and what a client gets to see of it."""

import re
from collections.abc import Iterable

import attrs

from waiter.errors import InstanceFailed
from waiter.router.fields import HOP_BY_HOP, WAITER, Field, Kinds, is_own_cookie, safe, tokens, without_named

# Kinds of headers. The first is passed on as it is, the second not at all.
_PLAIN, _DROPPED, _CONNECTION, _KEPT, _LENGTH, _CODING, _TYPE, _COOKIE, _VIA, _CID, _UPGRADE = range(11)
_BY_NAME = {
    **dict.fromkeys(HOP_BY_HOP, _DROPPED),
    b"connection": _CONNECTION,
    b"content-length": _LENGTH,
    b"content-type": _TYPE,
    b"keep-alive": _KEPT,
    b"set-cookie": _COOKIE,
    b"transfer-encoding": _CODING,
    b"upgrade": _UPGRADE,
    b"via": _VIA,
    b"x-cid": _CID,
}
_TIMEOUT = re.compile(rb"(?:^|[,;\s])timeout\s*=\s*\"?(\d{1,9})", re.IGNORECASE)
# What an instance sends when it closes an idle connection may be on its way when that is used again.
_MARGIN_SECS = 1.0
_KINDS = Kinds(lambda lower: _DROPPED if lower.startswith(WAITER) else _BY_NAME.get(lower, _PLAIN))


@attrs.frozen(kw_only=True, eq=False, slots=False)
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
    @ivar idle_secs: for how long it can, not being used, by what the instance says; C{None} if it does not say.
    @ivar bodiless: no body follows, whatever the request was.
    @ivar has_cid: whether C{lines} has an C{x-cid}.
    @ivar upgrade: the protocol that an answer with the status 101 changes to.
    @ivar plain: whether nothing but an C{x-cid} need be added for an HTTP/1.1 client that keeps its connection.
    """

    status: int
    minor: int
    lines: bytes
    content_length: int | None
    length: int
    chunked: bool
    keep_alive: bool
    idle_secs: float | None
    bodiless: bool
    has_cid: bool
    plain: bool
    content_type: bytes | None
    upgrade: bytes | None


def read_answer(status: int, minor: int, reason: bytes, fields: Iterable[Field], *, product: bytes) -> Answer:
    """
    Understand the head of an answer and make it ready for clients.

    @param minor: of its HTTP version.
    @param product: Waiter's own name, for C{Via}.
    @raise InstanceFailed: it is not one that can be passed on.
    """
    if status < 100:
        raise InstanceFailed("The instance answered with an impossible status.")
    passed: list[bytes] = []
    named: list[bytes] = []
    codings: list[bytes] = []
    vias: list[bytes] = []
    content_length = content_type = upgrade = idle_secs = None
    has_cid = False
    kinds = _KINDS
    for name, raw in fields:
        kind = kinds[name]
        value = raw.rstrip(b" \t")
        if kind == _PLAIN:
            passed.append(b"%b: %b\r\n" % (name, value))
        elif kind == _LENGTH:
            content_length = int(value)
            # It means nothing where there is never a body.
            if status >= 200 and status != 204:
                passed.append(b"%b: %b\r\n" % (name, value))
        elif kind == _TYPE:
            content_type = value
            passed.append(b"%b: %b\r\n" % (name, value))
        elif kind == _COOKIE:
            if not is_own_cookie(value):
                passed.append(b"%b: %b\r\n" % (name, value))
        elif kind == _CONNECTION:
            named += tokens(value)
        elif kind == _KEPT:
            idle_secs = _idle_secs(value)
        elif kind == _CODING:
            codings.append(value.lower())
        elif kind == _VIA:
            vias.append(value)
        elif kind == _UPGRADE:
            upgrade = value
        elif kind == _CID:
            has_cid = True
            passed.append(b"%b: %b\r\n" % (name, value))
    if codings and codings != [b"chunked"]:
        raise InstanceFailed("The instance answered with a transfer coding other than 'chunked'.")
    if named:
        passed = without_named(passed, named)
    vias.append(b"HTTP/1.%d %b" % (minor, product))
    bodiless = status < 200 or status in {204, 304}
    return Answer(
        status=status,
        minor=minor,
        lines=b"HTTP/1.1 %d %b\r\n%bvia: %b\r\n" % (status, safe(reason), b"".join(passed), b", ".join(vias)),
        content_length=content_length,
        length=0 if bodiless else content_length or 0,
        chunked=bool(codings),
        keep_alive=b"close" not in named and (minor == 1 or b"keep-alive" in named),
        idle_secs=idle_secs,
        bodiless=bodiless,
        has_cid=has_cid,
        plain=not has_cid and (bodiless or content_length is not None),
        content_type=content_type,
        upgrade=upgrade,
    )


def _idle_secs(value: bytes) -> float | None:
    """A second less than an instance keeps a connection; half of the time where that is very short."""
    announced = _TIMEOUT.search(value)
    if announced is None:
        return None
    secs = float(announced[1])
    return secs - min(_MARGIN_SECS, secs / 2)


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
    if answer.plain and keep and minor and not more:
        return True, False, b"%bx-cid: %b\r\n\r\n" % (answer.lines, cid)
    chunking = False
    if answer.content_length is None and not answer.bodiless and not head_only:
        if minor:
            chunking = True
            more += b"transfer-encoding: chunked\r\n"
        else:
            # The end of the connection is the end of the answer.
            keep = False
    more += connection_line(keep=keep, minor=minor)
    if not answer.has_cid:
        more += b"x-cid: %b\r\n" % cid
    return keep, chunking, b"%b%b\r\n" % (answer.lines, more)
