"""What changes of tokens, for those who watch them."""

from collections.abc import Callable, Iterator
from typing import Any

from waiter.admin.watch import Message
from waiter.catalog.tokens import TokenCatalog
from waiter.model.token import Token


class WatchedTokens:
    """The tokens that one client wants to hear of."""

    def __init__(
        self, tokens: TokenCatalog, *, wants: Callable[[Token], bool], entry: Callable[[Token], dict[str, Any]]
    ) -> None:
        """
        @param wants: whether a token is one of those.
        @param entry: how one is shown.
        """
        self._tokens = tokens
        self._wants = wants
        self._entry = entry
        self._found: dict[str, dict[str, Any]] = {}
        # What the client has been told of.
        self._told: set[str] = set()
        self._changed: dict[str, None] = {}

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call C{changed} at each change from now on; calling what is returned ends that."""

        def change(name: str) -> None:
            self._changed[name] = None
            changed()

        return self._tokens.changes.subscribe(change)

    def find(self) -> Iterator[None]:
        """
        Find those that there are, one at a time.

        @raise BadRequest: a pattern is too complicated for one of them.
        """
        for token in self._tokens.all():
            # It may have changed since the list was begun: then it is among those that have changed, too.
            if self._wants(token):
                self._found[token.name] = self._entry(token)
            yield

    def initial(self) -> Message:
        """Those that were found."""
        found, self._found = self._found, {}
        self._told = set(found)
        return _message("INITIAL", list(found.values()))

    def events(self) -> Message | None:
        """
        Those that have changed, as they are now.

        @raise BadRequest: a pattern is too complicated for one of them.
        """
        names, self._changed = self._changed, {}
        events = [event for name in names if (event := self._event(name)) is not None]
        return _message("EVENTS", events) if events else None

    def _event(self, name: str) -> dict[str, Any] | None:
        token = self._tokens.find(name)
        if token is not None and self._wants(token):
            self._told.add(name)
            return {"object": self._entry(token), "reference-type": "token", "type": "UPDATE"}
        if name in self._told:
            self._told.discard(name)
            gone = {"token": name} if token is None else {"owner": token.owner, "token": name}
            return {"object": gone, "reference-type": "token", "type": "DELETE"}
        return None


def _message(kind: str, objects: list[dict[str, Any]]) -> Message:
    return {"object": objects, "reference-type": "token", "type": kind}
