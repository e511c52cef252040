"""The tokens in memory, by name and by owner."""

from bisect import insort
from collections.abc import Iterator

from waiter.model.token import Token


class TokenIndex:
    """Finds a token in one step, and those of an owner without looking at those of others."""

    def __init__(self) -> None:
        self._tokens: dict[str, Token] = {}
        self._names: dict[str, list[str]] = {}
        self._active: dict[str, int] = {}

    @property
    def count(self) -> int:
        """How many tokens there are, deleted ones among them."""
        return len(self._tokens)

    def get(self, name: str) -> Token | None:
        """A token."""
        return self._tokens.get(name)

    def put(self, name: str, token: Token | None) -> None:
        """The token is now this, or gone."""
        before = self._tokens.get(name)
        if before is not None:
            self._count(before, -1)
        if token is not None:
            self._count(token, 1)
            self._tokens[name] = token
        elif before is not None:
            del self._tokens[name]
        owner_before = None if before is None else before.owner
        owner = None if token is None else token.owner
        if owner_before == owner:
            return
        if owner_before is not None:
            names = self._names[owner_before]
            names.remove(name)
            if not names:
                del self._names[owner_before]
        if owner is not None:
            insort(self._names.setdefault(owner, []), name)

    def owned_by(self, owner: str) -> Iterator[Token]:
        """The tokens of an owner, by name."""
        return (self._tokens[name] for name in tuple(self._names.get(owner, ())))

    def all(self) -> Iterator[Token]:
        """All tokens, by name."""
        return (self._tokens[name] for name in sorted(self._tokens))

    def owners(self) -> list[str]:
        """Who owns tokens; sorted."""
        return sorted(self._names)

    def active_count(self, owner: str) -> int:
        """How many tokens of an owner are not deleted."""
        return self._active.get(owner, 0)

    def _count(self, token: Token, number: int) -> None:
        if token.deleted:
            return
        count = self._active.get(token.owner, 0) + number
        if count:
            self._active[token.owner] = count
        else:
            del self._active[token.owner]
