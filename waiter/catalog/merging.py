"""How tokens and headers make the parameters of a service together."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import attrs

from waiter.catalog.headers import Asked
from waiter.catalog.rules import Rules
from waiter.errors import BadRequest, ServiceMisconfigured
from waiter.model.checks import shown
from waiter.model.token import USER_METADATA, Token

#: Tells an instance the tokens of its service, if it is theirs alone.
CONFIG_TOKEN = "WAITER_CONFIG_TOKEN"  # noqa: S105 - a name
_MERGED = ("env", "metadata")


@attrs.frozen(kw_only=True)
class TokenData:
    """
    What the tokens of a request say together.

    @ivar parameters: of the service.
    @ivar metadata: of the tokens themselves.
    """

    parameters: Mapping[str, Any]
    metadata: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Wish:
    """
    A service as a request asks for it.

    @ivar core: its parameters, not validated.
    @ivar preauthorised: whoever wrote the token was asked whether the service may be run so; the caller need not be.
    """

    core: Mapping[str, Any]
    preauthorised: bool = False


def token_data(tokens: Iterable[Token], rules: Rules) -> TokenData:
    """
    From left to right: what a later token says holds, except that environment variables and metadata are gathered. What
    none of them says of itself their profile may say.

    @raise BadRequest: the service is to be the tokens' own, and its environment uses the variable that makes it so.
    """
    parameters: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    names = []
    for token in tokens:
        names.append(token.name)
        for name, value in token.data.items():
            if name in USER_METADATA:
                metadata[name] = value
            elif name in _MERGED and isinstance(value, Mapping) and isinstance(parameters.get(name), Mapping):
                parameters[name] = {**parameters[name], **value}
            else:
                parameters[name] = _thawed(value)
    metadata = {**rules.profile(parameters.get("profile")).metadata, **metadata}
    if metadata.get("service-mapping") == "exclusive":
        env = parameters.get("env", {})
        if isinstance(env, Mapping):
            if CONFIG_TOKEN in env:
                raise BadRequest(
                    f"The environment of a token with service-mapping exclusive cannot have {CONFIG_TOKEN}"
                )
            parameters["env"] = {**env, CONFIG_TOKEN: ",".join(names)}
    return TokenData(parameters=parameters, metadata=metadata)


def wish(data: TokenData, asked: Asked, *, user: str, tokens: int, allowed_params: Collection[str]) -> Wish:
    """
    What a request asks for.

    @param user: who asks. Runs the service where nothing is said about it, and where headers change what a token says.
    @param tokens: how many tokens it names.
    @param allowed_params: the environment variables that requests may set if nothing is said about it.
    @raise BadRequest: it sets others.
    @raise ServiceMisconfigured: it contradicts itself.
    """
    if asked.describes_service and data.parameters.get("authentication") == "disabled":
        raise BadRequest("An authentication disabled token may not be combined with on-the-fly headers")
    given = {**data.parameters, **asked.parameters}
    if asked.params:
        given["env"] = _with_params(given, asked.params, given.get("allowed-params", allowed_params))
    if asked.parameters:
        given["run-as-user"] = asked.parameters.get("run-as-user", user)
    if asked.describes_service:
        given["permitted-user"] = asked.parameters.get("permitted-user", user)
    if given.get("run-as-user") == "*":
        if given.get("namespace") not in (None, "*"):
            raise ServiceMisconfigured("Cannot use run-as-requester with a specific namespace")
        del given["run-as-user"]
    if given.get("namespace") == "*":
        given["namespace"] = user
    preauthorised = bool(
        tokens == 1 and not asked.describes_service and given.get("permitted-user") and given.get("run-as-user")
    )
    if "run-as-user" not in given:
        given["run-as-user"] = given["permitted-user"] = user
    return Wish(core=given, preauthorised=preauthorised)


def versions(tokens: Sequence[Token], most: int) -> Iterable[tuple[Token, ...]]:
    """
    What the tokens of a request were before, the latest first: each time the one that was changed last steps back.

    @param most: how many steps at most.
    """
    current = tuple(tokens)
    for _ in range(most):
        newest = max(range(len(current)), key=lambda at: current[at].updated_at, default=None)
        previous = None if newest is None else current[newest].previous
        if newest is None or previous is None or previous.deleted:
            return
        current = (*current[:newest], previous, *current[newest + 1 :])
        yield current


def _with_params(given: Mapping[str, Any], params: Mapping[str, str], allowed: Any) -> Any:
    names = allowed if isinstance(allowed, Collection) else ()
    if refused := sorted(shown(name) for name in params if name not in names):
        raise BadRequest(
            "Some params cannot be configured", details={"params": refused, "allowed-params": sorted(map(str, names))}
        )
    env = given.get("env", {})
    return {**env, **params} if isinstance(env, Mapping) else env


def _thawed(value: Any) -> Any:
    """As JSON gives it, to be coerced like any other."""
    if isinstance(value, Mapping):
        return {name: _thawed(inner) for name, inner in value.items()}
    return list(map(_thawed, value)) if isinstance(value, tuple) else value
