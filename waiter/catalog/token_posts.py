"""What a post of a token asks for."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import rfc8785

from waiter.catalog.validation import KNOWN
from waiter.errors import BadRequest, Forbidden
from waiter.model.checks import shown
from waiter.model.token import SYSTEM_METADATA, USER_METADATA

LONGEST_NAME = 255

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9\-_$.]+")
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9\-_$.]")
_LATEST_MS = 253402300799999
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@attrs.frozen(kw_only=True)
class TokenPost:
    """
    A post of a token, taken apart.

    @ivar data: service parameters and user metadata, as they were given; C{null} is not given.
    @ivar system: the system's metadata, if they were given.
    @ivar other: keys that are none of these.
    @ivar by: the user who posts.
    @ivar admin: whether in the mode for administrators.
    @ivar if_match: the version that must be there; blank if none must, C{None} if it does not matter.
    """

    name: str
    data: Mapping[str, Any]
    system: Mapping[str, Any]
    other: tuple[str, ...]
    by: str
    admin: bool = False
    if_match: str | None = None

    @property
    def owner(self) -> str | None:
        """The owner, if given."""
        return self.data.get("owner")

    @property
    def metadata(self) -> dict[str, Any]:
        """What is said of the token itself."""
        return {key: value for key, value in self.data.items() if key in USER_METADATA}

    @property
    def deletes(self) -> bool:
        """Whether an administrator makes it a deleted one."""
        return self.admin and self.system.get("deleted") is True


def understand_post(
    body: bytes,
    *,
    asked_name: str | None,
    by: str,
    update_mode: str | None,
    if_match: str | None,
) -> TokenPost:
    """
    Take a post apart.

    @param asked_name: the token's name in the query, if there is one.
    @raise BadRequest: it says nothing that can be understood.
    """
    given = _object(body)
    body_name = given.pop("token", None)
    if body_name is not None and asked_name is not None:
        raise BadRequest("The token should be provided only as a query parameter or in the json payload")
    name = asked_name if asked_name is not None else body_name
    if not isinstance(name, str) or not name.strip():
        raise BadRequest("Must provide the token")
    if update_mode not in {None, "", "admin"}:
        raise BadRequest(f"Invalid update-mode: {shown(update_mode)}", details={"token": shown(name)})
    given = {key: value for key, value in given.items() if value is not None}
    known = KNOWN | USER_METADATA
    return TokenPost(
        name=name,
        data={key: value for key, value in given.items() if key in known},
        system={key: value for key, value in given.items() if key in SYSTEM_METADATA},
        other=tuple(sorted(given.keys() - known - SYSTEM_METADATA)),
        by=by,
        admin=update_mode == "admin",
        if_match=None if if_match is None else unquoted(if_match),
    )


def unquoted(if_match: str) -> str:
    """The version that an C{If-Match} header names: it is written without quotes, and with them it means the same."""
    text = if_match.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def check_not_reserved(name: str, own_hosts: frozenset[str]) -> None:
    """
    @raise Forbidden: requests with this host are for Waiter.
    """
    if name.lower().removesuffix(".") in own_hosts:
        raise Forbidden("Token name is reserved", details={"token": shown(name)})


def is_name(name: str) -> bool:
    """Whether a token may be called so."""
    return _NAME.fullmatch(name) is not None and len(name) <= LONGEST_NAME


def check_name(name: str) -> None:
    """
    @raise BadRequest: that is no name for a token.
    """
    if bad := _NOT_IN_NAMES.search(name):
        raise BadRequest(f'Token contains invalid character: "{shown(bad.group())}"', details={"token": shown(name)})
    if _NAME.fullmatch(name) is None:
        raise BadRequest(
            "Token must match pattern: a letter, then one or more letters, digits, '-', '_', '$' or '.'",
            details={"token": shown(name)},
        )
    if len(name) > LONGEST_NAME:
        raise BadRequest(f"Token must have at most {LONGEST_NAME} characters", details={"token": shown(name)})


def milliseconds_of(moment: Any) -> int:
    """
    Milliseconds since the epoch, given as such or in ISO-8601.

    @raise BadRequest: that is no moment.
    """
    if isinstance(moment, str):
        try:
            parsed = datetime.fromisoformat(moment)
            moment = ((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)) - _EPOCH) // timedelta(milliseconds=1)
        except (ValueError, OverflowError):
            moment = None
    if isinstance(moment, bool) or not isinstance(moment, int) or not 0 <= moment <= _LATEST_MS:
        raise BadRequest(
            "last-update-time must be milliseconds since 1970 or an ISO-8601 time, such as 2026-01-31T12:00:00.000Z"
        )
    return moment


def _object(body: bytes) -> dict[str, Any]:
    try:
        given = json.loads(body.decode(), parse_constant=_refuse)
        # What has no canonical form has no version.
        rfc8785.dumps(given)
    except (ValueError, RecursionError) as error:
        why = str(error) or type(error).__name__
        raise BadRequest(f"Invalid JSON payload: {shown(why)}") from None
    if not isinstance(given, dict):
        raise BadRequest("Invalid JSON payload: it must be an object")
    return given


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
