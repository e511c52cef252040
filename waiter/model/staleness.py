"""Whether the tokens that a service comes from have become others."""

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from waiter.model.source import References, Sources, SourceToken
from waiter.model.token import Token

DEFAULT_FALLBACK_SECS = 300
DEFAULT_STALE_TIMEOUT_MINS = 15


@attrs.frozen(kw_only=True)
class Staleness:
    """
    A service that no request by its tokens is for any more, or soon will be.

    @ivar since: when that began, in seconds since the epoch; C{None} if that is not known.
    @ivar keep_secs: how long after that it may still be wanted.
    """

    since: float | None
    keep_secs: float


def _own(token: Token) -> Mapping[str, Any]:
    return token.data


def staleness(
    references: References,
    find: Callable[[str], Token | None],
    metadata: Callable[[Token], Mapping[str, Any]] = _own,
) -> Staleness | None:
    """
    Whether a service is stale: all tokens of each of its groups are others now. A service that was also asked for without
    any token never is, nor is one of which no token is known.

    @param find: a token as it is now, even if it is deleted.
    @param metadata: what holds for a token itself.
    """
    if references.direct or not references.sources:
        return None
    times: list[float | None] = []
    keep_secs = 0.0
    for group in references.sources:
        tokens = [find(source.token) for source in group]
        if not all(map(_is_replaced, group, tokens)):
            return None
        replaced = [_replaced_at(source, token) for source, token in zip(group, tokens, strict=True)]
        times.append(None if None in replaced else max(filter(None, replaced), default=None))
        keep_secs = max(keep_secs, *(_keep_secs({} if token is None else metadata(token)) for token in tokens))
    since = None if None in times else max(filter(None, times), default=None)
    return Staleness(since=since, keep_secs=keep_secs)


def only_token(references: References) -> str | None:
    """The one token that a service comes from; C{None} if there are none or several."""
    groups: set[str] = set()
    for group in references.sources:
        groups.update(source.token for source in group)
    single: Sources | None = references.sources[-1] if references.sources else None
    return groups.pop() if len(groups) == 1 and single is not None and len(single) == 1 else None


def _is_replaced(source: SourceToken, token: Token | None) -> bool:
    return token is None or token.etag != source.version


def _replaced_at(source: SourceToken, token: Token | None) -> float | None:
    """When the version after this one came."""
    if token is None:
        return None
    after = token
    for version in token.history():
        if version.etag == source.version:
            break
        after = version
    return after.updated_at


def _keep_secs(data: Mapping[str, Any]) -> float:
    fallback_secs = _number(data.get("fallback-period-secs"), DEFAULT_FALLBACK_SECS)
    return float(fallback_secs + _number(data.get("stale-timeout-mins"), DEFAULT_STALE_TIMEOUT_MINS) * 60)


def _number(given: Any, otherwise: int) -> int:
    # A token that an administrator has written as a deleted one may say anything.
    return given if isinstance(given, int) and not isinstance(given, bool) else otherwise
