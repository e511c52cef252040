"""What a token's owner may say of it, beside the parameters of the service."""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from waiter.model.checks import OWN_WORDS, Integer, Says, Truth, User, Word, shown, wrong
from waiter.model.description import outside_name
from waiter.model.patterns import Pattern

_MOST_RULES = 100
_LONGEST_PATTERN = 500
_METHOD = re.compile(r"[A-Z][A-Z_-]{0,31}")


def _pattern(value: Any) -> str:
    if not isinstance(value, str) or not value or len(value) > _LONGEST_PATTERN:
        raise ValueError("not a pattern")
    Pattern(value)
    return value


def _method(value: Any) -> str:
    if not isinstance(value, str) or _METHOD.fullmatch(value) is None:
        raise ValueError("not a method")
    return value


def _items(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise wrong("cors-rules must be a list")
    if len(value) > _MOST_RULES:
        raise wrong(f"cors-rules must have at most {_MOST_RULES} items")
    invalid = []
    for number, item in enumerate(value):
        try:
            CorsItem.model_validate(item)
        except ValidationError as error:
            names = sorted({".".join(map(str, each["loc"])) for each in error.errors()} - {""})
            about = f" ({shown(', '.join(names))})" if names else ""
            invalid.append(f"item {number}{about}")
    if invalid:
        raise wrong(
            f"cors-rules list has invalid items: {', '.join(invalid)}: each has an origin-regex, and may have a "
            "target-path-regex and a non-empty list of methods in upper case"
        )
    return value


def _map(value: Any) -> Any:
    if not isinstance(value, dict):
        raise wrong("maintenance must be a map")
    if extra := sorted(shown(key) for key in value if key != "message"):
        raise wrong(f"maintenance has a message and nothing else, not {', '.join(extra)}")
    return value


class _Given(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=outside_name, validate_by_name=True, validate_by_alias=True
    )


class CorsItem(_Given):
    """One of the rules about pages of other sites."""

    origin_regex: Annotated[str, BeforeValidator(_pattern)] = Field(description="What the whole Origin has to match.")
    target_path_regex: Annotated[str, BeforeValidator(_pattern)] | None = Field(
        None, description="What the whole path has to match; any does if not given."
    )
    methods: Annotated[tuple[Annotated[str, BeforeValidator(_method)], ...], Field(min_length=1)] | None = Field(
        None, description="Which methods are allowed; all are if not given."
    )


class MaintenanceNote(_Given):
    """Says that a token is out of service."""

    message: Annotated[Word, Field(max_length=512)] = Field(description="What those who ask for it are told.")


_Timeout = Annotated[Integer, Field(ge=0, le=3600000)]


def _between(name: str, most: int) -> Says:
    return Says(f"{name} must be an integer between 0 and {most} (inclusive)")


class TokenMetadata(_Given):
    """The user's metadata of a token. What is C{None} was not given."""

    owner: Annotated[User | None, Says("owner must be a non-empty string")] = Field(
        None, description="Who may change the token; who made it if not given."
    )
    editor: Annotated[User | None, Says("editor must be a non-empty string")] = Field(
        None, description="Who else may change it, except for editor, owner and run-as-user."
    )
    cors_rules: Annotated[tuple[CorsItem, ...] | None, BeforeValidator(_items)] = Field(
        None, description="Which pages of other sites may ask for the service."
    )
    fallback_period_secs: Annotated[Integer, _between("fallback-period-secs", 86400)] = Field(
        300,
        ge=0,
        le=86400,
        description="How long requests may go to the version before while the newest has no healthy instance.",
    )
    https_redirect: Annotated[Truth, Says("https-redirect must be a boolean value")] = Field(
        False, description="Whether requests without TLS are sent to https."
    )
    maintenance: Annotated[
        MaintenanceNote | None,
        BeforeValidator(_map),
        Says("maintenance message must be a non-empty string with length at most 512"),
    ] = Field(None, description="If given, requests are answered with its message alone.")
    service_mapping: Annotated[
        Literal["default", "exclusive", "legacy"], Says("service-mapping must be one of default, exclusive or legacy")
    ] = Field(
        "legacy", description="Whether tokens with the same parameters share a service (legacy) or not (exclusive)."
    )
    stale_timeout_mins: Annotated[Integer, _between("stale-timeout-mins", 240)] = Field(
        15, ge=0, le=240, description="How long a service of an earlier version is kept beyond the fallback period."
    )
    queue_timeout_ms: Annotated[_Timeout | None, _between("queue-timeout-ms", 3600000)] = Field(
        None, description="How long a request waits for an instance."
    )
    socket_timeout_ms: Annotated[_Timeout | None, _between("socket-timeout-ms", 3600000)] = Field(
        None, description="How long an instance may be silent."
    )
    streaming_timeout_ms: Annotated[_Timeout | None, _between("streaming-timeout-ms", 3600000)] = Field(
        None, description="How long a peer may take nothing of a body."
    )


_SAYS = {
    outside_name(name): next((note.text for note in field.metadata if isinstance(note, Says)), None)
    for name, field in TokenMetadata.model_fields.items()
}


def metadata_complaints(given: Any) -> list[str]:
    """What is wrong with a token's metadata, a sentence each, by the names they are about; none if it holds."""
    try:
        TokenMetadata.model_validate(given)
    except ValidationError as error:
        sentences: dict[str, str] = {}
        for each in sorted(error.errors(include_url=False, include_input=False), key=lambda each: str(each["loc"])):
            name = str(each["loc"][0]) if each["loc"] else ""
            own = each["msg"] if each["type"] == OWN_WORDS else None
            sentences.setdefault(name, own or _SAYS.get(name) or f"{shown(name)} is not valid")
        return list(sentences.values())
    return []
