"""A token: a name somebody gave to the description of a service."""

import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import attrs
import rfc8785

from waiter.model.frozen import FrozenDict

#: What a user may say of a token, beside the parameters of the service.
USER_METADATA = frozenset(
    {
        "cors-rules",
        "editor",
        "fallback-period-secs",
        "https-redirect",
        "maintenance",
        "owner",
        "queue-timeout-ms",
        "service-mapping",
        "socket-timeout-ms",
        "stale-timeout-mins",
        "streaming-timeout-ms",
    }
)

#: What Waiter says of it.
SYSTEM_METADATA = frozenset({"cluster", "deleted", "last-update-time", "last-update-user", "previous", "root"})


def _freeze(value: Any) -> Any:
    if isinstance(value, Mapping):
        return FrozenDict({key: _freeze(inner) for key, inner in value.items()})
    if isinstance(value, list | tuple):
        return tuple(map(_freeze, value))
    return value


def _frozen(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """JSON's values so that nobody can change them."""
    return FrozenDict({key: _freeze(value) for key, value in data.items()})


@attrs.frozen(kw_only=True)
class Token:
    """
    A token as it is, or once was.

    @ivar data: service parameters and user metadata under their outside names, as they were given; always the owner.
    @ivar deleted: whether it was deleted, which keeps it for those who want to look or to bring it back.
    @ivar updated_at: seconds since the epoch, in whole milliseconds.
    @ivar updated_by: who wrote it last.
    @ivar cluster: where it is cared for.
    @ivar root: the cluster where it was made first.
    @ivar previous: what it was before, if that is known.
    """

    name: str
    data: Mapping[str, Any] = attrs.field(converter=_frozen)
    deleted: bool = False
    updated_at: float
    updated_by: str
    cluster: str
    root: str
    previous: "Token | None" = None

    @property
    def owner(self) -> str:
        """Who may change it."""
        return str(self.data["owner"])

    @property
    def updated_at_ms(self) -> int:
        """Milliseconds since the epoch."""
        return round(self.updated_at * 1000)

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the service."""
        return {key: value for key, value in self.data.items() if key not in USER_METADATA}

    @property
    def metadata(self) -> dict[str, Any]:
        """What the user said of the token itself."""
        return {key: value for key, value in self.data.items() if key in USER_METADATA}

    @cached_property
    def etag(self) -> str:
        """
        The version: the same for tokens with the same content, whatever their names. A deleted token has an empty one.
        """
        if self.deleted:
            return ""
        digest = hashlib.md5(rfc8785.dumps(self.flat()), usedforsecurity=False).hexdigest()
        return f"E-{digest}"

    def flat(self) -> dict[str, Any]:
        """The data and the system's metadata in one mapping, the moment in milliseconds, without what it was before."""
        flat = {
            **self.data,
            "cluster": self.cluster,
            "last-update-time": self.updated_at_ms,
            "last-update-user": self.updated_by,
            "root": self.root,
        }
        if self.deleted:
            flat["deleted"] = True
        return flat

    def history(self) -> "Iterator[Token]":
        """The token, then what it was before, newest first."""
        version: Token | None = self
        while version is not None:
            yield version
            version = version.previous

    def with_history(self, length: int) -> "Token":
        """The same with at most so many previous versions."""
        versions = list(self.history())[: length + 1]
        previous: Token | None = None
        for version in reversed(versions):
            previous = version if version.previous is previous else attrs.evolve(version, previous=previous)
        return previous or self
