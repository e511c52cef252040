"""What a request has to meet although it is clear which service it is for."""

import re
from typing import TYPE_CHECKING

from waiter.catalog.cors import allowing, answer_lines, preflight_lines
from waiter.catalog.descriptor import Conditions
from waiter.catalog.hosts import authority
from waiter.errors import CrossOriginForbidden, PreflightForbidden, ServiceSuspended
from waiter.model.checks import shown
from waiter.router.answers import connection_line
from waiter.router.failure_answer import own_debug_lines
from waiter.router.fields import safe
from waiter.router.own_answer import status_line
from waiter.router.waiting_page import waiting_page
from waiter.telemetry.timing import iso_time

if TYPE_CHECKING:
    from waiter.router.exchange import Exchange

_OTHERS_CORS = re.compile(rb"(?im)^access-control-allow-(?:origin|credentials):[^\r\n]*\r\n")


def answered_here(exchange: "Exchange", conditions: Conditions) -> tuple[int, bytes] | None:
    """
    The status and further header lines of the answer that needs no instance; C{None} if an instance is to answer.

    @raise WaiterError: the request may not be answered.
    """
    request = exchange.request
    headers = request.headers
    path = request.target.partition(b"?")[0]
    if conditions.https_only and scheme(exchange) == b"http":
        return _redirect(exchange)
    if conditions.cors_rules is not None and headers.origin is not None:
        asked = dict(headers.fields) if request.method == b"OPTIONS" else {}
        wanted = next(
            (value for name, value in asked.items() if name.lower() == b"access-control-request-method"), None
        )
        methods = allowing(
            conditions.cors_rules,
            origin=headers.origin,
            host=headers.host,
            path=path,
            method=request.method if wanted is None else wanted,
        )
        if methods is None:
            raise _refusal(headers.origin, preflight=wanted is not None)
        if wanted is not None:
            wants = next((value for name, value in asked.items() if name.lower() == _REQUEST_HEADERS), None)
            return 200, preflight_lines(safe(headers.origin), methods, None if wants is None else safe(wants))
        exchange.cors_lines = answer_lines(safe(headers.origin))
    if conditions.consented is not None and not conditions.consented(
        value for name, value in headers.fields if name.lower() == b"cookie"
    ):
        return 303, b"location: /waiter-consent%b\r\n" % safe(request.target)
    if conditions.suspended is not None:
        state = conditions.suspended
        raise ServiceSuspended(
            "Service has been suspended",
            details={
                "service-id": exchange.descriptor.service.id,
                "suspended-at": iso_time(state.at),
                "last-updated-by": state.by,
            },
        )
    if conditions.interstitial_secs:
        lines = waiting_page(exchange, conditions.interstitial_secs)
        if lines is not None:
            return 303, lines
    return None


_REQUEST_HEADERS = b"access-control-request-headers"


def scheme(exchange: "Exchange") -> bytes:
    """By which protocol the client asked, a proxy that can be trusted between them or not."""
    forwarding = exchange.client.forwarding
    if forwarding.trusted:
        for name, value in exchange.request.headers.forwarded:
            if name == b"x-forwarded-proto":
                return value.strip().lower()
    return forwarding.proto


def without_cors(lines: bytes) -> bytes:
    """An answer's header lines without what an instance says of other sites' pages: Waiter has decided."""
    return _OTHERS_CORS.sub(b"", lines)


def _redirect(exchange: "Exchange") -> tuple[int, bytes]:
    request = exchange.request
    named = authority(request.headers.host)
    host = b"localhost" if named is None else named.host.encode()
    status = 301 if request.method in {b"GET", b"HEAD"} else 307
    return status, b"location: https://%b%b\r\n" % (b"[%b]" % host if b":" in host else host, safe(request.target))


def _refusal(origin: bytes, *, preflight: bool) -> CrossOriginForbidden | PreflightForbidden:
    kind = PreflightForbidden if preflight else CrossOriginForbidden
    return kind(
        "Cross-origin request not allowed", details={"origin": shown(origin.decode("latin-1")), "by": "cors-rules"}
    )


def whole_answer(exchange: "Exchange", status: int, lines: bytes, *, keep: bool) -> bytes:
    """
    An answer without a body.

    @param keep: whether the connection may be used for another request.
    """
    return b"%bcontent-length: 0\r\nserver: %b\r\n%b%b%bx-cid: %b\r\n\r\n" % (
        status_line(status),
        exchange.client.parts.product,
        lines,
        own_debug_lines(exchange),
        connection_line(keep=keep, minor=exchange.request.headers.minor),
        safe(exchange.cid),
    )
