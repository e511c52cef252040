"""
What every endpoint of the API has in common: headers, answers, errors.

Requests come here after the router has checked C{Origin} and C{Host} with
L{check_api_request<waiter.catalog.admission.check_api_request>}: what changes something is only asked for by programs and
by Waiter's own pages.
"""

import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar, cast

import attrs
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Cooperator, TaskStopped
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as WerkzeugMethodNotAllowed

from waiter.admin.encoding import json_bytes
from waiter.admin.negotiation import CONTENT_TYPES, ErrorContext, Media, internal_error, preferred, render_error, shown
from waiter.admin.noted import noted
from waiter.admin.parts import Parts
from waiter.errors import BadRequest, MethodNotAllowed, NotFound, WaiterError

T = TypeVar("T")

# Nothing that is answered here is a page with scripts, to be cached, or for other sites' pages.
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
)


@attrs.frozen(kw_only=True)
class Answer:
    """A whole answer."""

    body: bytes
    content_type: bytes
    status: int = 200
    headers: dict[bytes, bytes] = attrs.field(factory=dict)


Result = Answer | IResource
Handler = Callable[..., Result | Awaitable[Result]]


def json_answer(value: Any, *, status: int = 200) -> Answer:
    """C{value} as JSON."""
    return Answer(body=json_bytes(value) + b"\n", content_type=CONTENT_TYPES["json"], status=status)


def text_answer(text: str) -> Answer:
    """Plain text."""
    return Answer(body=text.encode("utf-8", "replace"), content_type=CONTENT_TYPES["text"])


def media_of(request: Request) -> Media:
    """The form in which the client wants its answer."""
    return preferred(request.getHeader(b"accept"), request.getHeader(b"content-type"))


def cid_of(request: Request) -> str:
    """The correlation id of a request that has come through L{ApiResource}."""
    return shown(request.responseHeaders.getRawHeaders(b"x-cid", [b""])[0]) or ""


def gathered(clock: IReactorTime, pieces: Iterator[T]) -> Deferred[list[T]]:
    """
    All of C{pieces}, made some at a time so that other requests go on. Cancelling stops the making.
    """
    made: list[T] = []

    def make() -> Iterator[None]:
        for piece in pieces:
            made.append(piece)
            yield

    task = Cooperator(scheduler=partial(clock.callLater, 0)).cooperate(make())
    result: Deferred[list[T]] = Deferred(lambda _: task.stop())

    def failed(failure: Failure) -> None:
        if not failure.check(TaskStopped):
            result.errback(failure)

    task.whenDone().addCallbacks(lambda _: result.callback(made), failed)
    return result


class Routes:
    """
    The paths of one area of the API: a Klein app whose handlers give L{Answer}s, resources, or awaitables of them, and may
    raise L{WaiterError}s.
    """

    _log = Logger()

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.klein = Klein()
        # A redirect to the tidy path would name the host that the client claims to talk to.
        self.klein.url_map.merge_slashes = False
        self.klein.handle_errors(Exception)(self._klein_failed)

    def add(self, path: str, handler: Handler, *, methods: Sequence[str] | None = ("GET",)) -> None:
        """
        Answer C{path} with C{handler(request, **variables)}.

        @param path: as Klein has it, such as C{/apps/<service_id>}.
        @param methods: C{None} for any. C{HEAD} comes with C{GET}.
        """

        def endpoint(request: Request, **variables: str) -> Any:
            result = handler(request, **variables)
            if isinstance(result, Awaitable):
                return Deferred.fromCoroutine(_awaited(request, result))
            return _for_klein(request, result)

        endpoint.__name__ = name = f"{path} {methods}"
        self.klein.route(path, methods=methods, endpoint=name)(endpoint)

    def _klein_failed(self, request: IRequest, failure: Failure) -> bytes:
        return self.failed(cast("Request", request), failure)

    def failed(self, request: Request, failure: Failure) -> bytes:
        """Answer a failure in the form the client wants."""
        error: BaseException = failure.value or RuntimeError()
        if isinstance(error, WerkzeugMethodNotAllowed):
            allowed = sorted(error.valid_methods or ())
            request.setHeader(b"allow", ", ".join(allowed).encode())
            error = MethodNotAllowed(f"Only {' and '.join(m for m in allowed if m != 'HEAD')} supported")
        elif isinstance(error, HTTPException):
            error = NotFound("Not found") if error.code == 404 else BadRequest(error.description or "Bad request")
        elif not isinstance(error, WaiterError):
            self._log.failure(
                "{method} {uri} failed, cid {cid}",
                failure,
                method=shown(request.method),
                uri=shown(request.uri),
                cid=cid_of(request),
            )
            error = internal_error(error)
        return self._error(request, error)

    def _error(self, request: Request, error: WaiterError) -> bytes:
        noted(request).error = error
        content_type, body = error_body(self.parts, request, error)
        headers = {}
        if error.retry_after_secs is not None:
            headers[b"retry-after"] = str(error.retry_after_secs).encode()
        answer = Answer(body=body, content_type=content_type, status=error.status, headers=headers)
        _apply(request, answer)
        return answer.body


def error_body(parts: Parts, request: Request, error: WaiterError) -> tuple[bytes, bytes]:
    """
    An error in the form the client wants.

    @return: the content type and the body.
    """
    context = ErrorContext(
        cid=cid_of(request),
        timestamp=parts.wall(),
        host=shown(request.getHeader(b"host")),
        request_method=shown(request.method),
        uri=shown(request.uri.partition(b"?")[0]),
        query_string=shown(request.uri.partition(b"?")[2]),
        principal=parts.principal(request),
        support_info=parts.support_info,
    )
    return render_error(error, context, media_of(request))


async def _awaited(request: Request, result: Awaitable[Result]) -> bytes | IResource:
    return _for_klein(request, await result)


def _for_klein(request: Request, result: Result) -> bytes | IResource:
    if not isinstance(result, Answer):
        return result
    _apply(request, result)
    return result.body


def _apply(request: Request, answer: Answer) -> None:
    """Put an answer's head into the request."""
    request.setResponseCode(answer.status)
    request.setHeader(b"content-type", answer.content_type)
    request.setHeader(b"content-length", b"%d" % len(answer.body))
    for name, value in answer.headers.items():
        request.setHeader(name, value)


class ApiResource(Resource):
    """
    The root of the API: sets what every answer carries and hands the request to the area its first path segment names.
    """

    isLeaf = True

    def __init__(self, parts: Parts, areas: Mapping[str, Routes], other: Routes) -> None:
        """
        @param areas: by first path segment; the empty one is C{/}.
        @param other: answers what no area does.
        """
        super().__init__()
        self._parts = parts
        self._areas = {segment.encode(): area for segment, area in areas.items()}
        self._other = other

    def render(self, request: Request) -> int:
        """Answer a request. What it finds in C{x-cid} goes back with the answer; without one a new id does."""
        request.defaultContentType = None
        noted(request).principal = self._parts.principal(request)
        cid = request.getHeader(b"x-cid") or uuid.uuid4().hex.encode()
        request.setHeader(b"x-cid", cid)
        request.setHeader(b"server", self._parts.identity.product.encode())
        for name, value in _HEADERS:
            request.setHeader(name, value)
        segments = request.postpath or [b""]
        area = self._areas.get(segments[0], self._other)
        try:
            b"/".join(segments).decode()
        except UnicodeDecodeError:
            self._refuse(area, request, NotFound("Not found"))
            return NOT_DONE_YET
        try:
            request.getRequestHostname().decode("ascii")
            area.klein.resource().render(request)
        except (HTTPException, UnicodeDecodeError):
            # The Host header is parsed before any handler is asked.
            self._refuse(area, request, BadRequest("The Host header is malformed."))
        return NOT_DONE_YET

    def _refuse(self, area: Routes, request: Request, error: Exception) -> None:
        request.write(area.failed(request, Failure(error)))
        request.finish()
