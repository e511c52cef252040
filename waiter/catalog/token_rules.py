"""Whether a token may be made, changed or deleted so, and what it is then: pure rules."""

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from waiter.catalog.rules import Rules
from waiter.catalog.token_posts import TokenPost, check_name, check_not_reserved, milliseconds_of
from waiter.catalog.validation import check_token_parameters, missing_parameters
from waiter.errors import BadRequest, Forbidden, NotFound, PreconditionFailed
from waiter.model.checks import shown
from waiter.model.token import SYSTEM_METADATA, Token
from waiter.model.token_metadata import metadata_complaints

_EDITORS_MAY_NOT = ("editor", "owner", "run-as-user")
_MAY_NOT_BE_SAID = ("last-update-time", "last-update-user", "root", "previous", "deleted")


@attrs.frozen(kw_only=True)
class Entitlements:
    """
    Who may what.

    @ivar may_run_as: whether the first user may run services as the second.
    @ivar may_manage: whether the first user may change what the second owns.
    @ivar is_admin: whether a user may do everything.
    """

    may_run_as: Callable[[str, str], bool]
    may_manage: Callable[[str, str], bool]
    is_admin: Callable[[str], bool]


@attrs.frozen(kw_only=True)
class TokenRules:
    """
    The rules of one installation.

    @ivar cluster: its name.
    @ivar descriptions: what service parameters have to be.
    @ivar own_hosts: the hosts that are Waiter.
    @ivar history_length: how many earlier versions of a token are kept.
    @ivar limit_per_owner: how many tokens that are not deleted one may own.
    """

    cluster: str
    own_hosts: frozenset[str]
    descriptions: Rules
    entitlements: Entitlements
    history_length: int = 5
    limit_per_owner: int = 1000

    def check(self, post: TokenPost) -> None:
        """
        What can be said of a post without knowing the token.

        @raise WaiterError: it does not hold.
        """
        check_not_reserved(post.name, self.own_hosts)
        if not post.data:
            raise BadRequest(f"No parameters provided for {shown(post.name)}")
        check_name(post.name)
        if not post.deletes:
            self._check_values(post)
        if post.other:
            keys = " ".join(f'"{shown(key)}"' for key in post.other)
            raise BadRequest(f"Unsupported key(s) in token: [{keys}]", details={"token": post.name})
        if post.deletes:
            _check_owner(post)
            return
        missing = missing_parameters(post.data, self.descriptions)
        if post.data.get("authentication") == "disabled":
            permitted = post.data.get("permitted-user")
            if permitted != "*":
                raise BadRequest(
                    "Tokens with authentication disabled must specify permitted-user as *, instead provided "
                    f"{shown(permitted or '')}"
                )
            if missing:
                raise BadRequest(
                    "Tokens with authentication disabled must specify all required parameters, and these are missing: "
                    f"{', '.join(missing)}"
                )
        if missing and post.data.get("interstitial-secs", 0) > 0:
            raise BadRequest(
                "Tokens with missing required parameters cannot use interstitial support; missing: "
                f"{', '.join(missing)}"
            )

    def result(self, post: TokenPost, stored: Token | None, *, now: float, owned: Callable[[str], int]) -> Token:
        """
        What the token is after a post that L{check} has let pass; C{stored} itself if nothing is to be changed.

        @param stored: what it is, which may be deleted.
        @param now: seconds since the epoch.
        @param owned: how many tokens that are not deleted a user owns, this one included if it is one of them.
        @raise WaiterError: it may not be changed so.
        """
        # Who makes a token does not go on with one that was deleted.
        current = None if stored is None or stored.deleted else stored
        owner = post.owner or (current.owner if current is not None else post.by)
        if post.admin:
            self._check_admin(post, current)
        else:
            self._check_user(post, current, owner)
        check_version(post.if_match, current)
        new_owner = current is None or current.owner != owner
        if not post.admin and new_owner and owned(owner) >= self.limit_per_owner:
            raise Forbidden(
                "You have reached the limit of number of tokens allowed. Please delete at least one of your existing "
                "tokens to create more tokens.",
                details={"token": post.name, "owner": owner, "limit": self.limit_per_owner},
            )
        token = self._made(post, current, owner, now)
        return stored if stored is not None and _changes_nothing(post, stored, token) else token

    def deleted(self, token: Token, *, by: str, now: float) -> Token:
        """What a token is after it was deleted."""
        return attrs.evolve(
            token,
            deleted=True,
            updated_at=_moment(now, token),
            updated_by=by,
            previous=token.with_history(self.history_length - 1),
        )

    def check_delete(self, name: str, stored: Token | None, *, by: str, hard: bool, if_match: str | None) -> Token:
        """
        The token as it is.

        @raise WaiterError: the token may not be deleted so, or is not there.
        """
        if stored is None or (stored.deleted and not hard):
            raise NotFound(f"Token {shown(name)} does not exist", details={"token": shown(name)})
        if hard:
            if not self.entitlements.is_admin(by):
                raise Forbidden("Cannot hard-delete token", details={"token": name, "user": by})
            if not stored.deleted and not if_match:
                raise BadRequest("Must specify if-match header for token hard deletes", details={"token": name})
        elif not self.entitlements.may_manage(by, stored.owner):
            raise Forbidden(
                "User not allowed to delete token", details={"token": name, "owner": stored.owner, "user": by}
            )
        check_version(if_match, None if stored.deleted else stored)
        return stored

    def _check_values(self, post: TokenPost) -> None:
        check_token_parameters(post.data, self.descriptions)
        complaints = metadata_complaints(post.metadata)
        cluster = post.system.get("cluster")
        if cluster is not None and (not isinstance(cluster, str) or not cluster.strip()):
            complaints.append("cluster must be a non-empty string")
        if complaints:
            raise BadRequest("\n".join(["Validation failed for token:", *complaints]), details={"token": post.name})

    def _check_user(self, post: TokenPost, current: Token | None, owner: str) -> None:
        """What somebody may who is no administrator, or does not act as one."""
        may = self.entitlements
        by, run_as = post.by, post.data.get("run-as-user")
        edits = current is not None and not may.may_manage(by, current.owner) and _is_editor(may, by, current)
        if run_as not in {None, "*"} and not edits and not may.may_run_as(by, run_as):
            raise Forbidden(f"Authenticated user '{shown(by)}' cannot run as user '{shown(run_as)}'")
        if current is None:
            if not may.may_run_as(by, owner):
                raise Forbidden(f"Cannot create token as provided owner: {shown(owner)}", details={"user": by})
        elif edits:
            for key in _EDITORS_MAY_NOT:
                if post.data.get(key, owner if key == "owner" else None) != current.data.get(key):
                    raise Forbidden(f"Not allowed to edit parameter {key}", details={"token": post.name, "user": by})
        elif not may.may_manage(by, current.owner):
            editor = current.data.get("editor")
            raise Forbidden(
                f"User '{shown(by)}' is not allowed to edit this token: its owner is '{shown(current.owner)}'"
                + (f" and its editor '{shown(editor)}'" if editor else ""),
                details={"token": post.name, "owner": current.owner, "editor": editor, "user": by},
            )
        if run_as not in {None, "*"} and not may.may_run_as(owner, run_as):
            raise Forbidden(f"Owner '{shown(owner)}' cannot run as user '{shown(run_as)}'")
        for key in _MAY_NOT_BE_SAID:
            if key in post.system:
                raise BadRequest(f"Cannot modify {key} token metadata", details={"token": post.name})

    def _check_admin(self, post: TokenPost, current: Token | None) -> None:
        if not self.entitlements.is_admin(post.by):
            raise Forbidden("Cannot administer token", details={"token": post.name, "user": post.by})
        if current is not None and not post.if_match:
            raise BadRequest("Must specify if-match header for admin mode token updates", details={"token": post.name})
        for key in ("last-update-user", "root", "cluster"):
            value = post.system.get(key)
            if value is not None and (not isinstance(value, str) or not value.strip()):
                raise BadRequest(f"{key} must be a non-empty string", details={"token": post.name})
        if "last-update-time" in post.system:
            milliseconds_of(post.system["last-update-time"])
        if not isinstance(post.system.get("deleted", False), bool):
            raise BadRequest("deleted must be a boolean value", details={"token": post.name})
        if not isinstance(post.system.get("previous", {}), dict):
            raise BadRequest("Token previous must be a map", details={"token": post.name})

    def _made(self, post: TokenPost, current: Token | None, owner: str, now: float) -> Token:
        system = post.system
        root = self.cluster if current is None else current.root
        given_time = system.get("last-update-time")
        token = Token(
            name=post.name,
            data={**post.data, "owner": owner},
            deleted=post.deletes,
            updated_at=_moment(now, current) if given_time is None else milliseconds_of(given_time) / 1000,
            updated_by=system.get("last-update-user", post.by),
            cluster=system.get("cluster", self.cluster),
            root=system.get("root", root),
            previous=current,
        )
        if "previous" in system:
            token = attrs.evolve(token, previous=_given_history(token, system["previous"], self.history_length))
        return token.with_history(self.history_length)


def check_version(if_match: str | None, current: Token | None) -> None:
    """
    @param if_match: blank if there must be no such token, C{*} if there must be one, C{None} if it does not matter.
    @raise PreconditionFailed: the token is at another version.
    """
    version = "" if current is None else current.etag
    if if_match is None or if_match == version or (if_match == "*" and current is not None):
        return
    raise PreconditionFailed(
        "Cannot modify stale token: it has been changed since you read it. Read it again, and send its etag as If-Match.",
        details={"provided-version": shown(if_match), "current-version": version},
    )


def _check_owner(post: TokenPost) -> None:
    owner = post.data.get("owner", post.by)
    if not isinstance(owner, str) or not owner.strip():
        raise BadRequest("Validation failed for token:\nowner must be a non-empty string")


def _is_editor(may: Entitlements, user: str, token: Token) -> bool:
    editor = token.data.get("editor")
    return isinstance(editor, str) and may.may_run_as(user, editor)


def _changes_nothing(post: TokenPost, stored: Token, token: Token) -> bool:
    """Whether all that a post says is so already."""
    if token.data != stored.data or token.deleted != stored.deleted:
        return False
    before, after = stored.flat(), token.flat()
    if any(before.get(key) != after.get(key) for key in post.system if key != "previous"):
        return False
    return "previous" not in post.system or token.previous == stored.previous


def _moment(now: float, before: Token | None) -> float:
    """Now in whole milliseconds, and later than before, so that each change gives another version."""
    at_ms = int(now * 1000)
    return (at_ms if before is None else max(at_ms, before.updated_at_ms + 1)) / 1000


def _given_history(token: Token, given: Mapping[str, Any], length: int) -> Token | None:
    """The versions before that an administrator says there were; what is not said of one is as in the token."""
    levels: list[dict[str, Any]] = []
    level: Any = given
    while isinstance(level, dict) and level and len(levels) < length:
        levels.append(level)
        level = level.get("previous")
    previous = None
    for each in reversed(levels):
        data = {key: value for key, value in each.items() if key not in SYSTEM_METADATA and value is not None}
        owner = data.get("owner")
        previous = Token(
            name=token.name,
            data={**data, "owner": owner if isinstance(owner, str) else token.owner},
            deleted=each.get("deleted") is True,
            updated_at=milliseconds_of(each.get("last-update-time", 0)) / 1000,
            updated_by=str(each.get("last-update-user", token.updated_by)),
            cluster=str(each.get("cluster", token.cluster)),
            root=str(each.get("root", token.root)),
            previous=previous,
        )
    return previous
