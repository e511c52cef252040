"""C{/token}: one token, its making and its end."""

from typing import Any

import attrs
from twisted.web.server import Request

from waiter.admin.arguments import arguments, first, includes, is_true
from waiter.admin.endpoint import Answer, Routes, json_answer
from waiter.admin.parts import Parts
from waiter.admin.token_listing import TokenListing
from waiter.admin.token_views import token_body
from waiter.catalog.admission import check_token_read, host_name, is_own_host
from waiter.catalog.resolver import user_of
from waiter.catalog.token_posts import understand_post, unquoted
from waiter.errors import BadRequest, MethodNotAllowed, NotFound
from waiter.model.checks import shown

_RESULT = b"x-waiter-operation-result"
_DONE = {
    "token-created": "Successfully created {}",
    "token-updated": "Successfully updated {}",
    "token-no-op": "No changes detected for {}",
}


def token_routes(parts: Parts) -> Routes:
    """The areas C{/token}, C{/tokens} and C{/token-history}."""
    area = _Token(parts)
    listing = TokenListing(parts)
    routes = Routes(parts)
    routes.add("/token", area.render, methods=None)
    routes.add("/tokens", listing.list)
    routes.add("/tokens/owners", listing.owners)
    routes.add("/tokens/reindex", listing.reindex, methods=("POST",))
    routes.add("/token-history", listing.history)
    return routes


class _Token:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def render(self, request: Request) -> Answer:
        """
        Show, write or delete a token.

        @raise MethodNotAllowed: it is something else that is asked for.
        """
        match request.method:
            case b"GET" | b"HEAD":
                return await self._show(request)
            case b"POST":
                return await self._post(request)
            case b"DELETE":
                return await self._delete(request)
        request.setHeader(b"allow", b"DELETE, GET, HEAD, POST")
        raise MethodNotAllowed("Invalid request method")

    async def _show(self, request: Request) -> Answer:
        given = arguments(request)
        name = self._name(request)
        check_token_read(name, request.getHeader(b"host") or b"", self._parts.token_editor.rules.own_hosts)
        token = await self._parts.tokens.seen(name)
        if token is None or (token.deleted and not includes(given, "deleted")):
            raise NotFound(f"Couldn't find token {shown(name)}", details={"token": shown(name)})
        answer = json_answer(token_body(token, metadata=includes(given, "metadata")))
        return attrs.evolve(answer, headers={b"etag": token.etag.encode()}) if token.etag else answer

    async def _post(self, request: Request) -> Answer:
        given = arguments(request)
        body = b"" if request.content is None else request.content.read()
        post = understand_post(
            body,
            asked_name=first(given, "token"),
            by=self._user(request),
            update_mode=first(given, "update-mode"),
            if_match=_header(request, b"if-match"),
        )
        edited = await self._parts.token_editor.post(post)
        token = edited.token
        answer = json_answer(
            {"message": _DONE[edited.operation].format(token.name), "service-description": token.parameters}
        )
        headers = {_RESULT: edited.operation.encode()}
        if token.etag:
            headers[b"etag"] = token.etag.encode()
        return attrs.evolve(answer, headers=headers)

    async def _delete(self, request: Request) -> Answer:
        hard = is_true(arguments(request), "hard-delete")
        name = self._name(request)
        if_match = _header(request, b"if-match")
        delete = self._parts.token_editor.delete_for_good if hard else self._parts.token_editor.delete
        await delete(name, by=self._user(request), if_match=None if if_match is None else unquoted(if_match))
        answer = json_answer({"delete": name, "hard-delete": hard, "success": True})
        return attrs.evolve(answer, headers={_RESULT: b"token-deleted"})

    def _name(self, request: Request) -> str:
        """
        Which token is meant: that of the query, of the header, or of the host.

        @raise BadRequest: none is.
        """
        host = request.getHeader(b"host") or b""
        given: Any = first(arguments(request), "token") or _header(request, b"x-waiter-token")
        if not given and not is_own_host(host, self._parts.token_editor.rules.own_hosts):
            given = host_name(host)
        if not given:
            raise BadRequest("Couldn't find token in request")
        return str(given)

    def _user(self, request: Request) -> str:
        return user_of(self._parts.principal(request))


def _header(request: Request, name: bytes) -> str | None:
    value = request.getHeader(name)
    return None if value is None else value.decode("utf-8", "backslashreplace").strip()
