"""Answers that Waiter gives itself."""

from http import HTTPStatus

from waiter.admin.negotiation import ErrorContext, preferred, render_error, shown
from waiter.catalog.descriptor import Descriptor
from waiter.errors import WaiterError
from waiter.model.instance import Instance
from waiter.router.answers import connection_line
from waiter.router.fields import safe
from waiter.router.request import Request

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def status_line(status: int) -> bytes:
    """The first line of an answer."""
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = "Unknown"
    return b"HTTP/1.1 %d %b\r\n" % (status, reason.encode())


def error_answer(
    error: WaiterError,
    *,
    cid: bytes,
    product: bytes,
    at: float,
    keep: bool,
    request: Request | None = None,
    descriptor: Descriptor | None = None,
    instance: Instance | None = None,
    extra_lines: bytes = b"",
) -> bytes:
    """
    A whole answer that tells a client of an error, in the form it asked for.

    @param at: seconds since the epoch.
    @param keep: whether the connection may be used for another request.
    @param request: what was asked, as far as it was understood.
    @param instance: the instance that had to do with it.
    @param extra_lines: more headers.
    """
    context = ErrorContext(cid=cid.decode(), timestamp=at)
    accept = content_type = None
    minor = 1
    head_only = False
    if request is not None:
        headers = request.headers
        path, _, query = request.target.partition(b"?")
        context = ErrorContext(
            cid=cid.decode(),
            timestamp=at,
            host=shown(headers.host),
            request_method=shown(request.method),
            uri=shown(path),
            query_string=shown(query),
            principal=None if descriptor is None else descriptor.principal,
            service_id=None if descriptor is None else descriptor.service.id,
            instance_id=None if instance is None else instance.id,
            waiter_token=None if descriptor is None else descriptor.token,
        )
        accept, content_type = headers.accept, headers.content_type
        minor = headers.minor
        head_only = request.method == b"HEAD"
    kind, body = render_error(error, context, preferred(accept, content_type))
    lines = [
        status_line(error.status),
        b"content-type: %b\r\ncontent-length: %d\r\nserver: %b\r\n" % (kind, len(body), product),
        connection_line(keep=keep, minor=minor),
    ]
    if error.retry_after_secs is not None:
        lines.append(b"retry-after: %d\r\n" % error.retry_after_secs)
    lines += [extra_lines, b"x-cid: %b\r\n\r\n" % safe(cid)]
    if not head_only:
        lines.append(body)
    return b"".join(lines)
