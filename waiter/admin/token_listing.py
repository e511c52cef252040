"""Many tokens: listed, watched, by owner, and what one was before."""

import re
from collections.abc import Iterator
from itertools import islice

from twisted.web.server import Request

from waiter.admin.arguments import Arguments, arguments, first, includes, is_true, whole_number
from waiter.admin.encoding import json_bytes
from waiter.admin.endpoint import Answer, Result, gathered, json_answer
from waiter.admin.negotiation import CONTENT_TYPES
from waiter.admin.parts import Parts
from waiter.admin.token_filter import token_filter
from waiter.admin.token_views import owner_key, token_entry, version_entry
from waiter.admin.token_watch import WatchedTokens
from waiter.admin.watch import Watch, watch_end
from waiter.errors import BadRequest, NotFound
from waiter.model.checks import shown
from waiter.model.token import Token

_HISTORY_LENGTH = 10
# No such text is a pattern for others than itself.
_PLAIN = re.compile(r"[A-Za-z0-9_@/-]+")


class TokenListing:
    """Shows tokens out of memory."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def list(self, request: Request) -> Result:
        """
        The tokens that the query parameters choose, by name; with C{watch} go on with what changes.

        @raise BadRequest: a parameter is not one of those that can be.
        """
        given = arguments(request)
        may_manage = self._parts.token_editor.rules.entitlements.may_manage
        wants = token_filter(given, may_manage)
        if is_true(given, "watch"):
            watched = WatchedTokens(self._parts.tokens, wants=wants, entry=lambda token: self._entry(token, given))
            return Watch(self._parts.clock, watched, watch_end(given, self._parts.is_draining))

        def entries() -> Iterator[bytes]:
            for token in self._chosen(given):
                yield json_bytes(self._entry(token, given), indent=None) if wants(token) else b""

        lines = filter(None, await gathered(self._parts.clock, entries()))
        return Answer(body=b"[" + b",\n".join(lines) + b"]\n", content_type=CONTENT_TYPES["json"])

    def owners(self, _request: Request) -> Answer:
        """Who owns tokens."""
        return json_answer({owner: owner_key(owner) for owner in self._parts.tokens.owners()})

    async def reindex(self, _request: Request) -> Answer:
        """
        Read all tokens anew.

        @raise ServiceUnavailable: they cannot be read.
        """
        number = await self._parts.tokens.reread()
        return json_answer({"message": "Successfully re-indexed", "tokens": number})

    def history(self, request: Request) -> Answer:
        """
        What a token is and was, newest first.

        @raise BadRequest: no token is named, or the length is no number.
        @raise NotFound: there is no such token.
        """
        given = arguments(request)
        name = first(given, "token")
        if not name:
            raise BadRequest("Must provide the token")
        length = whole_number(given, "length", _HISTORY_LENGTH)
        token = self._parts.tokens.get(name)
        if token is None:
            raise NotFound(f"Token not found: {shown(name)}", details={"token": shown(name)})
        versions = islice(token.history(), length)
        return json_answer([version_entry(version, self._parts.service_id_of(version)) for version in versions])

    def _chosen(self, given: Arguments) -> Iterator[Token]:
        """All that may be asked for: who names one owner, and no pattern, does not wait for the tokens of the others."""
        owners = given.get("owner", ())
        if len(owners) == 1 and _PLAIN.fullmatch(owners[0]):
            return self._parts.tokens.owned_by(owners[0])
        return self._parts.tokens.all()

    def _entry(self, token: Token, given: Arguments) -> dict[str, object]:
        entry = token_entry(token, metadata=includes(given, "metadata"), cluster=includes(given, "cluster"))
        if includes(given, "service-id"):
            entry["service-id"] = None if token.deleted else self._parts.service_id_of(token)
        return entry
