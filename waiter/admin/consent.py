"""Asking people whether a service may run as them."""

import hashlib
from base64 import b64encode
from html import escape
from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.server import Request

from waiter.admin.arguments import arguments, first
from waiter.admin.endpoint import Answer, Routes, json_answer, text_answer
from waiter.admin.negotiation import CONTENT_TYPES, html_page, shown
from waiter.admin.parts import Parts
from waiter.catalog.admission import host_name
from waiter.catalog.consent import COOKIE, SERVICE, TOKEN, Consent, Question, consent_cookies
from waiter.catalog.hosts import is_same_origin
from waiter.errors import BadRequest, MethodNotAllowed, NotFound, WaiterError
from waiter.model.token import Token
from waiter.telemetry.timing import iso_time

# What is after its own path is where the browser wanted to go.
_SCRIPT = """
const form = document.forms["consent-form"];
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = new FormData(form);
  body.append("mode", event.submitter.value);
  const headers = {"X-Requested-With": "XMLHttpRequest"};
  const answer = await fetch("/waiter-consent", {method: "POST", body, headers, credentials: "same-origin"});
  if (answer.ok) location.replace(location.origin + location.pathname.slice(15) + location.search);
  else document.getElementById("outcome").textContent = await answer.text();
});
"""
_HASH = b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{_HASH}'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)


def consent_routes(parts: Parts) -> Routes:
    """The areas C{/waiter-consent} and C{/waiter-consent-cookie}."""
    area = _Consent(parts)
    routes = Routes(parts)
    routes.add("/waiter-consent", area.agree, methods=None)
    routes.add("/waiter-consent/", area.ask)
    routes.add("/waiter-consent/<path:asked_path>", area.ask)
    routes.add("/waiter-consent-cookie", area.cookie)
    return routes


class _Consent:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def ask(self, request: Request, asked_path: str = "") -> Answer:  # noqa: ARG002 - the page's script goes there
        """
        The page that asks.

        @raise NotFound: the host is no token.
        @raise WaiterError: the token describes no service.
        """
        host = request.getHeader(b"host") or b""
        token = self._token(host)
        if token is None:
            raise NotFound(f"Unable to load description for token {host_name(host)}: there is none.")
        question = await self._question(host, token)
        body = html_page("May this service run as you?", _form(question, self._parts.principal(request)), _POLICY)
        body = body.replace(b"</body>", f"<script>{_SCRIPT}</script>\n</body>".encode())
        policy = f"{_POLICY}; frame-ancestors 'none'".encode()
        return Answer(body=body, content_type=CONTENT_TYPES["html"], headers={b"content-security-policy": policy})

    async def agree(self, request: Request) -> Answer:
        """
        Give a browser the cookie that says that its user agrees. Only the page of the same host can ask for it.

        @raise MethodNotAllowed: it is no C{POST}.
        @raise BadRequest: the request does not come from that page, or is not about what the host stands for now.
        """
        if request.method != b"POST":
            request.setHeader(b"allow", b"POST")
            raise MethodNotAllowed("Only POST supported")
        host = request.getHeader(b"host") or b""
        origin = request.getHeader(b"origin") or b""
        _check_page(request, origin, host)
        given = arguments(request)
        mode, service_id = first(given, "mode"), first(given, "service-id")
        if mode not in {SERVICE, TOKEN}:
            raise BadRequest("Missing or invalid mode")
        if mode == SERVICE and not service_id:
            raise BadRequest("Missing service-id")
        question = await self._asked(host)
        if mode == SERVICE and service_id != question.service_id:
            raise BadRequest("Invalid service-id for specified token")
        consents = self._parts.consents
        value = consents.agree(mode, question)
        cookie = f"{COOKIE}={value}; Max-Age={consents.life_secs:.0f}; Path=/; HttpOnly; SameSite=Lax"
        if origin.lower().startswith(b"https:"):
            cookie += "; Secure"
        answer = text_answer(f"Added cookie {COOKIE}")
        answer.headers[b"set-cookie"] = cookie.encode()
        return answer

    def cookie(self, request: Request) -> Answer:
        """What the caller's cookie says."""
        for raw in consent_cookies(request.requestHeaders.getRawHeaders(b"cookie", ())):
            consent = self._parts.consents.read(raw)
            if consent is not None:
                return json_answer({COOKIE: {"raw-content": shown(raw), "formatted-content": _formatted(consent)}})
        return json_answer({COOKIE: {"raw-content": None, "formatted-content": None}})

    async def _asked(self, host: bytes) -> Question:
        token = self._token(host)
        try:
            if token is not None:
                return await self._question(host, token)
        except WaiterError:
            pass
        raise BadRequest("Unable to load description for token")

    def _token(self, host: bytes) -> Token | None:
        token = self._parts.tokens.get(host_name(host))
        return None if token is None or token.deleted else token

    async def _question(self, host: bytes, token: Token) -> Question:
        found = self._parts.resolver.resolve_newest(host, ())
        descriptor = await found if isinstance(found, Deferred) else found
        return Question(token=token.name, owner=token.owner, service_id=descriptor.service.id)


def _check_page(request: Request, origin: bytes, host: bytes) -> None:
    """@raise BadRequest: it is not the page of this host that asks."""
    if not is_same_origin(origin, host):
        raise BadRequest("Origin is not the same as the host")
    referer = request.getHeader(b"referer") or b""
    if referer != origin and not referer.startswith(origin + b"/"):
        raise BadRequest("Referer does not start with origin")
    if request.getHeader(b"x-requested-with") != b"XMLHttpRequest":
        raise BadRequest("Header x-requested-with does not match expected value")


def _form(question: Question, principal: str) -> str:
    user, token = escape(principal), escape(question.token)
    return (
        f"<p>{token} belongs to {escape(question.owner or 'nobody')}. Its service would run as {user} and could do whatever "
        f"{user} can.</p>\n"
        f'<form name="consent-form"><input type="hidden" name="service-id" value="{escape(question.service_id)}">\n'
        f'<button name="choice" value="{SERVICE}">Run this version as me</button>\n'
        f'<button name="choice" value="{TOKEN}">Run this and later versions as me</button></form>\n'
        '<p id="outcome" class="message"></p>'
    )


def _formatted(consent: Consent) -> dict[str, Any]:
    names = ("service-id",) if consent.mode == SERVICE else ("token", "owner")
    return {
        "mode": consent.mode,
        "issue-time": iso_time(consent.at),
        **dict(zip(names, consent.content, strict=False)),
    }
