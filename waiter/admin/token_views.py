"""Tokens as the API shows them."""

from typing import Any
from uuid import NAMESPACE_URL, uuid5

from waiter.admin.encoding import plain
from waiter.catalog.token_records import nested
from waiter.model.token import Token
from waiter.telemetry.timing import iso_time


def iso_of(milliseconds: int) -> str:
    """A moment as L{iso_time} writes it."""
    # Half a millisecond more, so that none is lost on the way through seconds.
    return iso_time((milliseconds + 0.5) / 1000) or ""


def token_body(token: Token, *, metadata: bool) -> dict[str, Any]:
    """
    One token, as it was given.

    @param metadata: whether with what the system says of it, and what it was before.
    """
    return nested(token, time=iso_of) if metadata else {**token.data}


def token_entry(token: Token, *, metadata: bool, cluster: bool) -> dict[str, Any]:
    """A token in a list."""
    entry: dict[str, Any] = {
        "maintenance": token.data.get("maintenance") is not None,
        "owner": token.owner,
        "reference-type->reference-name": {},
        "token": token.name,
    }
    if cluster:
        entry["cluster"] = token.cluster
    if metadata:
        entry["deleted"] = token.deleted
        entry["etag"] = token.etag or None
        entry["last-update-time"] = iso_of(token.updated_at_ms)
    return entry


def version_entry(version: Token, service_id: str | None) -> dict[str, Any]:
    """What a token was at some time, in its history."""
    entry: dict[str, Any] = {
        "service-description": plain(version.parameters),
        "service-id": service_id,
        "source-component": "token",
        "update-time": iso_of(version.updated_at_ms),
    }
    for name in ("image", "version"):
        if version.data.get(name) is not None:
            entry[f"{name}-effective"] = version.data[name]
    return entry


def owner_key(owner: str) -> str:
    """The name that an owner's tokens go by together: the same on all routers."""
    return f"^TOKEN_OWNERS_{uuid5(NAMESPACE_URL, f'waiter:owner:{owner}')}"
