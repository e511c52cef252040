"""A mapping that stays as it is."""

from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class FrozenDict(dict[K, V]):
    """
    A C{dict} that refuses to change and, if its values can be hashed, can be hashed.

    It is a C{dict}, not just a C{Mapping}, so that C{json} and everything else that writes JSON takes it.
    """

    __slots__ = ()

    def __hash__(self) -> int:  # type: ignore[override]
        """Equal mappings have equal hashes, whatever their order."""
        return hash(frozenset(self.items()))

    def __repr__(self) -> str:
        return f"FrozenDict({super().__repr__()})"

    def __reduce__(self) -> tuple[type, tuple[dict[K, V]]]:
        """Copies and pickles are made by the constructor, as the way item by item is closed."""
        return (type(self), (dict(self),))

    def __or__(self, other: Mapping[Any, Any]) -> "FrozenDict[Any, Any]":
        """A new one with C{other}'s items over these."""
        return FrozenDict({**self, **other})

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("a FrozenDict cannot be changed")

    __setitem__ = _refuse
    __delitem__ = _refuse
    __ior__ = _refuse
    clear = _refuse
    pop = _refuse
    popitem = _refuse
    setdefault = _refuse
    update = _refuse
