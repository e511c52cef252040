"""Which form an answer takes, and errors in each of the forms. No other place renders errors."""

import json
import re
from collections.abc import Mapping
from html import escape
from typing import Any, Literal

import attrs

from waiter.admin.encoding import json_bytes
from waiter.errors import WaiterError
from waiter.telemetry.timing import iso_time

Media = Literal["json", "html", "text"]

CONTENT_TYPES: Mapping[Media, bytes] = {
    "json": b"application/json",
    "html": b"text/html; charset=utf-8",
    "text": b"text/plain; charset=utf-8",
}

_URL = re.compile(r"https?://[^\s<>\"'`]+")
_NOT_IN_URL = ".,;:!?)]}"

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:50em;margin:3em auto;padding:0 1em;color:#222}"
    "h1{font-size:1.5em;border-bottom:2px solid #c33;padding-bottom:.3em}"
    ".message{white-space:pre-wrap;overflow-wrap:anywhere}"
    "table{border-collapse:collapse;margin-top:1.5em;font-size:.9em}"
    "th{text-align:left;font-weight:600;color:#666}"
    "th,td{padding:.2em 1em .2em 0;vertical-align:top;white-space:pre-wrap;overflow-wrap:anywhere}"
)


@attrs.frozen(kw_only=True)
class ErrorContext:
    """
    The request that failed, as far as it is known. What is C{None} is not known.

    @ivar timestamp: when it failed, seconds since the epoch.
    @ivar support_info: links for people who need help: C{{"label", "link": {"type": "url", "value"}}} each.
    """

    cid: str
    timestamp: float
    host: str | None = None
    request_method: str | None = None
    uri: str | None = None
    query_string: str | None = None
    principal: str | None = None
    service_id: str | None = None
    instance_id: str | None = None
    waiter_token: str | None = None
    support_info: tuple[Mapping[str, Any], ...] = ()


def preferred(accept: bytes | None, content_type: bytes | None) -> Media:
    """
    The form a client wants: what C{Accept} contains, JSON before HTML before text; without such a word, JSON for a client
    that sends JSON; otherwise text.
    """
    if accept is not None:
        accept = accept.lower()
        if b"application/json" in accept:
            return "json"
        if b"text/html" in accept:
            return "html"
        if b"text/plain" in accept:
            return "text"
    if content_type is not None and b"application/json" in content_type.lower():
        return "json"
    return "text"


def shown(value: bytes | None) -> str | None:
    """Bytes from a client as text that can be shown: what is not UTF-8 becomes an escape."""
    return None if value is None else value.decode("utf-8", "backslashreplace")


def internal_error(error: BaseException) -> WaiterError:
    """What a caller is told of an exception that nobody expected."""
    return WaiterError(f"Internal error: {str(error) or type(error).__name__}")


def render_error(error: WaiterError, context: ErrorContext, media: Media) -> tuple[bytes, bytes]:
    """
    An error as it is answered, except for its status and C{Retry-After}.

    @return: the content type and the body.
    """
    fields = _fields(error, context)
    if media == "json":
        body = json_bytes({"waiter-error": fields}) + b"\n"
    elif media == "html":
        body = _html(fields)
    else:
        body = _text(fields)
    return CONTENT_TYPES[media], body


#: What a page of Waiter's own may load and run: nothing.
NO_SCRIPTS = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def html_page(title: str, inside: str, policy: str = NO_SCRIPTS, head: str = "") -> bytes:
    """
    A small page that needs nothing from elsewhere and, unless C{policy} allows it, can run nothing.

    @param title: plain text.
    @param inside: HTML, already escaped.
    @param policy: of its content.
    @param head: more of what comes before the title, as HTML.
    """
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width">'
        f"{head}<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>\n{inside}\n</body></html>\n"
    )
    return page.encode("utf-8", "replace")


def html_table(pairs: Mapping[str, Any]) -> str:
    """Names and values as an HTML table, escaped, URLs as links."""
    rows = (f"<tr><th>{escape(name)}</th><td>{linked(flat(value))}</td></tr>" for name, value in pairs.items())
    return f"<table>{''.join(rows)}</table>"


def linked(text: str) -> str:
    """Text as HTML: escaped, and bare C{http} URLs made into links."""
    parts = []
    end = 0
    for match in _URL.finditer(text):
        url = match.group().rstrip(_NOT_IN_URL)
        parts.append(escape(text[end : match.start()]))
        parts.append(f'<a href="{escape(url)}" rel="noopener noreferrer">{escape(url)}</a>')
        end = match.start() + len(url)
    parts.append(escape(text[end:]))
    return "".join(parts)


def flat(value: Any) -> str:
    """A value as one short text: strings as they are, all else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json_bytes(value, indent=None).decode()


def _fields(error: WaiterError, context: ErrorContext) -> dict[str, Any]:
    details = dict(error.details)
    if error.error_class is not None:
        details.setdefault("error-class", error.error_class)
    fields: dict[str, Any] = {
        "cid": context.cid,
        "details": details,
        "host": context.host,
        "instance-id": context.instance_id,
        "message": error.message,
        "principal": context.principal,
        "query-string": context.query_string,
        "request-method": context.request_method and context.request_method.upper(),
        "service-id": context.service_id,
        "status": error.status,
        "support-info": list(context.support_info),
        "timestamp": iso_time(context.timestamp),
        "title": error.title or f"Waiter Error {error.status}",
        "uri": context.uri,
    }
    if context.waiter_token is not None:
        fields["waiter-token"] = context.waiter_token
    return {**fields, **error.members}


def _pairs(fields: Mapping[str, Any]) -> dict[str, Any]:
    """
    The fields that stand below the message, in reading order; the details last, each under its own name. Details that are
    objects are for programs: the message has them in words.
    """
    apart = ("details", "message", "support-info", "title")
    pairs = {name: value for name, value in fields.items() if name not in apart and value is not None}
    for name, value in fields["details"].items():
        if not isinstance(value, Mapping):
            pairs.setdefault(str(name), value)
    for support in fields["support-info"]:
        pairs.setdefault(str(support.get("label", "support")), support.get("link", {}).get("value"))
    return pairs


def _html(fields: Mapping[str, Any]) -> bytes:
    return html_page(
        fields["title"], f'<p class="message">{linked(fields["message"])}</p>\n{html_table(_pairs(fields))}'
    )


def _text(fields: Mapping[str, Any]) -> bytes:
    title = fields["title"]
    lines = [title, "=" * len(title), ""]
    lines += [f"  {line}" for line in fields["message"].split("\n")]
    lines += ["", *(f"  {name} {_on_one_line(value)}".rstrip() for name, value in _pairs(fields).items()), ""]
    return "\n".join(lines).encode("utf-8", "replace")


def _on_one_line(value: Any) -> str:
    text = flat(value)
    return json.dumps(text, ensure_ascii=False) if "\n" in text or "\r" in text else text
