"""What C{x-waiter-*} headers say."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from waiter.catalog.validation import KNOWN
from waiter.errors import BadRequest
from waiter.model.checks import shown
from waiter.model.frozen import FrozenDict

PREFIX = b"x-waiter-"
DEBUG = b"x-waiter-debug"
TIMEOUT = b"x-waiter-timeout"
QUEUE_TIMEOUT = b"x-waiter-queue-timeout"
STREAMING_TIMEOUT = b"x-waiter-streaming-timeout"
FALLBACK_PERIOD = b"x-waiter-fallback-period-secs"

_TOKEN = b"x-waiter-token"
_AUTHENTICATION = b"x-waiter-authentication"
_REFUSED = frozenset({b"x-waiter-maintenance"})

#: What belongs to one request and describes no service.
_PER_REQUEST = frozenset(
    {
        DEBUG,
        TIMEOUT,
        QUEUE_TIMEOUT,
        STREAMING_TIMEOUT,
        b"x-waiter-async-check-interval",
        b"x-waiter-async-request-timeout",
        FALLBACK_PERIOD,
    }
)

#: Parameters whose header is the value itself; the others are written as JSON.
_WRITTEN_PLAINLY = frozenset(
    {
        "backend-proto",
        "cmd",
        "cmd-type",
        "distribution-scheme",
        "health-check-authentication",
        "health-check-proto",
        "health-check-url",
        "image",
        "liveness-check-authentication",
        "liveness-check-proto",
        "liveness-check-url",
        "load-balancing",
        "metric-group",
        "name",
        "namespace",
        "permitted-user",
        "profile",
        "routing-mode",
        "run-as-user",
        "scheduler",
        "version",
    }
)

_NAMES = frozenset(PREFIX + name.encode() for name in KNOWN)
_FAMILIES = (b"x-waiter-env-", b"x-waiter-metadata-", b"x-waiter-param-")


@attrs.frozen(kw_only=True)
class Asked:
    """
    A request's C{x-waiter-*} headers, understood but not validated.

    @ivar parameters: given parameters of a description, under their outside names.
    @ivar params: values for environment variables that the description allows requests to set.
    @ivar tokens: the tokens it names, in order.
    @ivar per_request: the raw values of headers that concern this request alone.
    """

    parameters: Mapping[str, Any]
    params: Mapping[str, str]
    tokens: tuple[str, ...]
    per_request: Mapping[bytes, bytes]

    @property
    def describes_service(self) -> bool:
        """Whether it says anything about what a service should be."""
        return bool(self.parameters or self.params)


def describes_service(names: Iterable[bytes]) -> bool:
    """
    Whether any of these headers, by lower-case names, says what a service should be.

    Such a request can run commands, so it has to pass L{waiter.catalog.admission.check_service_request}.
    """
    return any(name in _NAMES or name == _AUTHENTICATION or name.startswith(_FAMILIES) for name in names)


def understand(headers: Iterable[tuple[bytes, bytes]]) -> Asked:
    """
    Read the C{x-waiter-*} headers of one request; headers that mean nothing are passed over.

    @param headers: lower-case names and values.
    @raise BadRequest: a header is there twice, is not UTF-8, or may not be used.
    """
    seen = _once(headers)
    if refused := _REFUSED & seen.keys():
        raise BadRequest(
            "Unsupported waiter headers found",
            details={"unsupported-headers": sorted(name.decode() for name in refused)},
        )
    if _AUTHENTICATION in seen:
        raise BadRequest("An authentication parameter is not supported for on-the-fly headers")
    parameters: dict[str, Any] = {}
    variables: dict[str, str] = {}
    metadata: dict[str, str] = {}
    params: dict[str, str] = {}
    for header, value in seen.items():
        name = header.removeprefix(PREFIX).decode("ascii", "replace")
        if header in _NAMES:
            parameters[name] = _value(name, _text(header, value))
        elif header.startswith(_FAMILIES):
            family, _, rest = name.partition("-")
            if family == "env":
                variables[rest.upper()] = _text(header, value)
            elif family == "param":
                params[rest.upper()] = _text(header, value)
            else:
                metadata[rest] = _text(header, value)
    _merge(parameters, "env", variables)
    _merge(parameters, "metadata", metadata)
    _refuse_no_idle_timeout(parameters)
    return Asked(
        parameters=FrozenDict(parameters),
        params=FrozenDict(params),
        tokens=_tokens(seen),
        per_request=FrozenDict({name: value for name, value in seen.items() if name in _PER_REQUEST}),
    )


def _once(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    seen: dict[bytes, bytes] = {}
    for name, value in headers:
        if name not in _NAMES and name not in _OTHERS and not name.startswith(_FAMILIES):
            continue
        if name in seen:
            raise BadRequest(f"The header {_shown(name)} is there more than once. Send it once.")
        seen[name] = value
    return seen


_OTHERS = _PER_REQUEST | _REFUSED | {_TOKEN, _AUTHENTICATION}


def _text(header: bytes, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise BadRequest(f"The value of the header {_shown(header)} is not UTF-8.") from None


def _shown(header: bytes) -> str:
    return shown(header.decode("ascii", "replace"))


def _value(name: str, text: str) -> Any:
    if name in _WRITTEN_PLAINLY:
        return text
    if name == "allowed-params":
        return [part.strip() for part in text.split(",")] if text.strip() else []
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        # Validation says what should have been there.
        return text


def _merge(parameters: dict[str, Any], name: str, single: Mapping[str, str]) -> None:
    if not single:
        return
    whole = parameters.get(name, {})
    if not isinstance(whole, dict):
        return
    if both := whole.keys() & single.keys():
        raise BadRequest(
            f"x-waiter-{name} and x-waiter-{name}-<name> headers both set {', '.join(shown(key) for key in sorted(both))}."
            " Use one of them."
        )
    parameters[name] = {**whole, **single}


def _refuse_no_idle_timeout(parameters: Mapping[str, Any]) -> None:
    idle_timeout = parameters.get("idle-timeout-mins")
    if isinstance(idle_timeout, int | float) and not isinstance(idle_timeout, bool) and idle_timeout == 0:
        raise BadRequest("idle-timeout-mins on-the-fly header configured to a value of zero is not supported")


def _tokens(seen: Mapping[bytes, bytes]) -> tuple[str, ...]:
    if _TOKEN not in seen:
        return ()
    return tuple(token for part in _text(_TOKEN, seen[_TOKEN]).split(",") if (token := part.strip()))
