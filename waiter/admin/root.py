"""C{/}, C{/status} and the picture for browsers."""

from collections.abc import Sequence
from typing import Any

from twisted.web.server import Request

from waiter.admin.arguments import arguments, includes
from waiter.admin.endpoint import Answer, Routes, cid_of, json_answer, media_of
from waiter.admin.favicon import favicon
from waiter.admin.negotiation import CONTENT_TYPES, html_page, html_table, shown
from waiter.admin.parts import Parts
from waiter.telemetry.timing import iso_time

_WELCOME = "Welcome to Waiter"
_PLACES = ("/apps", "/state", "/settings", "/metrics")
_HOW = "A request with x-waiter-cmd, x-waiter-version, x-waiter-cpus and x-waiter-mem is answered by that command."
_SHOWN_HEADER_LENGTH = 80
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})


def root_routes(parts: Parts) -> Routes:
    """The area."""
    area = _Root(parts)
    routes = Routes(parts)
    routes.add("/", area.welcome)
    routes.add("/status", area.status, methods=None)
    routes.add("/favicon.ico", area.favicon)
    return routes


class _Root:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._icon = Answer(
            body=favicon(), content_type=b"image/x-icon", headers={b"cache-control": b"public,max-age=600"}
        )

    def welcome(self, request: Request) -> Answer:
        """Say hello, in the form the client wants."""
        identity = self._parts.identity
        fields: dict[str, Any] = {
            "cid": cid_of(request),
            "host": shown(request.getHeader(b"host")),
            "hostname": identity.hostnames[0],
            "message": _WELCOME,
            "port": identity.port,
            "support-info": list(self._parts.support_info),
            "timestamp": iso_time(self._parts.wall()),
        }
        media = media_of(request)
        if media == "json":
            return json_answer(fields)
        del fields["message"], fields["support-info"]
        fields |= {path: f"{identity.url}{path}" for path in _PLACES}
        if media == "html":
            body = html_page(_WELCOME, f"<p>{_HOW}</p>\n{html_table(fields)}")
        else:
            lines = [_WELCOME, "=" * len(_WELCOME), "", f"  {_HOW}", ""]
            lines += [*(f"  {name} {value}" for name, value in fields.items()), ""]
            body = "\n".join(lines).encode("utf-8", "replace")
        return Answer(body=body, content_type=CONTENT_TYPES[media])

    def status(self, request: Request) -> Answer:
        """Say whether requests may be sent here, and on demand what this request looked like from here."""
        if self._parts.is_draining():
            return json_answer({"message": "Router is in drain mode."}, status=503)
        given = arguments(request)
        fields: dict[str, Any] = {"status": "ok"}
        if includes(given, "request-info"):
            fields["request-info"] = self._request_info(request)
        if includes(given, "server-info"):
            fields["server-info"] = self._server_info()
        return json_answer(fields)

    def favicon(self, _request: Request) -> Answer:
        """The picture."""
        return self._icon

    def _request_info(self, request: Request) -> dict[str, Any]:
        path, _, query = request.uri.partition(b"?")
        length = request.getHeader(b"content-length")
        protocol = shown(request.clientproto)
        return {
            "character-encoding": _charset(shown(request.getHeader(b"content-type"))),
            "client-protocol": protocol,
            "content-length": int(length) if length is not None and length.isdigit() else None,
            "content-type": shown(request.getHeader(b"content-type")),
            "headers": dict(map(_shown_header, request.requestHeaders.getAllRawHeaders())),
            "internal-protocol": protocol,
            "query-string": shown(query) or None,
            "request-id": cid_of(request),
            "request-method": (shown(request.method) or "").lower(),
            "request-time": iso_time(self._parts.wall()),
            "router-id": self._parts.identity.router_id,
            "scheme": "https" if request.isSecure() else "http",
            "uri": shown(path),
        }

    def _server_info(self) -> dict[str, Any]:
        identity = self._parts.identity
        return {
            "cluster": identity.cluster,
            "hostname": identity.hostnames[0],
            "port": identity.port,
            "router-id": identity.router_id,
            "started-at": iso_time(identity.started_at),
            "version": identity.version,
        }


def _shown_header(header: tuple[bytes, Sequence[bytes]]) -> tuple[str, str]:
    """A header for show; one that proves who somebody is would tell scripts what browsers keep from them."""
    name = (shown(header[0]) or "").lower()
    if name in _SECRET_HEADERS:
        return name, "<hidden>"
    return name, ",".join(shown(value) or "" for value in header[1])[:_SHOWN_HEADER_LENGTH]


def _charset(content_type: str | None) -> str | None:
    for parameter in (content_type or "").split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"') or None
    return None
