"""Makes, changes and deletes tokens for those who may."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import Literal

import attrs

from waiter.catalog.token_posts import TokenPost, is_name
from waiter.catalog.token_rules import TokenRules
from waiter.catalog.tokens import TokenCatalog
from waiter.errors import NotFound
from waiter.model.checks import shown
from waiter.model.token import Token

Operation = Literal["token-created", "token-updated", "token-no-op"]


@attrs.frozen
class Edited:
    """
    What a post has done.

    @ivar token: as it is now.
    """

    token: Token
    operation: Operation


class TokenEditor:
    """
    Lets users write tokens, by the rules.

    All methods decide on what the store has when they write; cancelling one ends the wait, and it is not known then whether
    it was written.

    @ivar rules: of this installation.
    """

    def __init__(self, catalog: TokenCatalog, rules: TokenRules, wall: Callable[[], float]) -> None:
        """@param wall: seconds since the epoch."""
        self._catalog = catalog
        self._wall = wall
        # Posts under way that may give somebody one more token, and whom: the limit holds for them, too.
        self._under_way: dict[object, str] = {}
        self.rules = rules

    async def post(self, post: TokenPost) -> Edited:
        """
        Make or change a token.

        @raise WaiterError: it may not be, or could not be.
        """
        self.rules.check(post)
        operation: Operation = "token-no-op"
        mine = object()

        def owned(owner: str) -> int:
            return self._catalog.active_count(owner) + self._ahead(mine, owner)

        def change(stored: Token | None) -> Token:
            nonlocal operation
            token = self.rules.result(post, stored, now=self._wall(), owned=owned)
            if token is stored:
                operation = "token-no-op"
            else:
                operation = "token-created" if stored is None or stored.deleted else "token-updated"
            return token

        with self._on_its_way(mine, post):
            token = await self._catalog.write(post.name, change)
        return Edited(token, operation)

    async def delete(self, name: str, *, by: str, if_match: str | None) -> None:
        """
        Delete a token so that it can still be looked at.

        @raise WaiterError: it may not be, or could not be.
        """
        self._check_name(name)

        def change(stored: Token | None) -> Token:
            token = self.rules.check_delete(name, stored, by=by, hard=False, if_match=if_match)
            return self.rules.deleted(token, by=by, now=self._wall())

        await self._catalog.write(name, change)

    async def delete_for_good(self, name: str, *, by: str, if_match: str | None) -> None:
        """
        Delete a token with all that it was before.

        @raise WaiterError: it may not be, or could not be.
        """
        self._check_name(name)
        await self._catalog.remove(
            name, lambda stored: self.rules.check_delete(name, stored, by=by, hard=True, if_match=if_match)
        )

    @contextmanager
    def _on_its_way(self, mine: object, post: TokenPost) -> Iterator[None]:
        current = self._catalog.get(post.name)
        owner = post.owner or (post.by if current is None else current.owner)
        if current is None or current.owner != owner:
            self._under_way[mine] = owner
        try:
            yield
        finally:
            self._under_way.pop(mine, None)

    def _ahead(self, mine: object, owner: str) -> int:
        """How many posts that came before this one may still give the owner one more token."""
        before = takewhile(lambda each: each[0] is not mine, self._under_way.items())
        return sum(1 for _, whose in before if whose == owner)

    def _check_name(self, name: str) -> None:
        if not is_name(name):
            raise NotFound(f"Token {shown(name)} does not exist", details={"token": shown(name)})
