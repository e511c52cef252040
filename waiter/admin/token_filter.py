"""Which tokens a listing's query parameters ask for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from waiter.admin.arguments import Arguments, first
from waiter.admin.filters import Effort, make_matcher, texts_of
from waiter.catalog.validation import KNOWN
from waiter.errors import BadRequest
from waiter.model.checks import shown
from waiter.model.token import USER_METADATA, Token

TokenFilter = Callable[[Token], bool]

_SYSTEM = frozenset({"cluster", "last-update-user", "root"})
_DATA = KNOWN | USER_METADATA | _SYSTEM


def token_filter(given: Arguments, may_manage: Callable[[str, str], bool]) -> TokenFilter:
    """
    The filter that query parameters make.

    A key is one of a token's data, with a dot and a key for one of a map (C{env.FOO}). A value is meant literally or as a
    regular expression for the whole; an empty one is for tokens that do not say it. Of several values for a key one must
    match, and all keys must. C{can-manage-as-user}, C{maintenance}, C{run-as-requester}, C{requires-parameters} and
    C{parameters} ask for more than what is written. Deleted tokens are left out unless C{include=deleted}.

    The filter raises a C{BadRequest} when the regular expressions could take very long on a token.

    @param may_manage: whether the first user may change what the second owns.
    @raise BadRequest: a value is not one of those that can be.
    """
    effort = Effort()
    conditions: list[TokenFilter] = []
    if "deleted" not in given.get("include", ()):
        conditions.append(lambda token: not token.deleted)
    for key, values in given.items():
        if key == "can-manage-as-user":
            conditions.append(_managed_by(values, may_manage))
        elif key in _TRUTHS:
            conditions.append(_is(_TRUTHS[key], _truth(given, key)))
        elif key == "parameters":
            conditions.append(_takes(frozenset(name for value in values for name in value.split(",") if name)))
        elif key.partition(".")[0] in _DATA:
            conditions.append(_says(key, values, effort))

    def wants(token: Token) -> bool:
        effort.steps = 0
        return all(condition(token) for condition in conditions)

    return wants


def is_run_as_requester(token: Token) -> bool:
    """Whether its service runs as whoever asks."""
    return token.data.get("run-as-user") in {None, "*"}


def requires_parameters(token: Token) -> bool:
    """Whether requests have to bring parameters that the token does not give."""
    env = token.data.get("env")
    return not _names(token.data.get("allowed-params")) <= (env.keys() if isinstance(env, Mapping) else frozenset())


def _in_maintenance(token: Token) -> bool:
    return token.data.get("maintenance") is not None


_TRUTHS: Mapping[str, TokenFilter] = {
    "maintenance": _in_maintenance,
    "requires-parameters": requires_parameters,
    "run-as-requester": is_run_as_requester,
}


def _truth(given: Arguments, key: str) -> bool:
    value = (first(given, key) or "").lower()
    if value not in {"true", "false"}:
        raise BadRequest(f"{key} must be true or false", details={key: shown(value)})
    return value == "true"


def _is(property_of: TokenFilter, truth: bool) -> TokenFilter:
    return lambda token: property_of(token) is truth


def _managed_by(users: Sequence[str], may_manage: Callable[[str, str], bool]) -> TokenFilter:
    return lambda token: any(may_manage(user, token.owner) for user in users)


def _takes(parameters: frozenset[str]) -> TokenFilter:
    return lambda token: parameters <= _names(token.data.get("allowed-params"))


def _says(key: str, values: Sequence[str], effort: Effort) -> TokenFilter:
    matchers = [make_matcher(key, value, effort, star_means_any=False) for value in values if value]
    unset_too = "" in values
    name, _, inner = key.partition(".")

    def says(token: Token) -> bool:
        texts = texts_of(token.flat().get(name) if name in _SYSTEM else token.data.get(name), inner)
        if not texts:
            return unset_too
        return any(matches(text) for matches in matchers for text in texts)

    return says


def _names(given: Any) -> frozenset[str]:
    return frozenset(map(str, given)) if isinstance(given, list | tuple) else frozenset()
