"""What people agree to: that a service runs as them because they have opened its host in a browser. Pure rules."""

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from secrets import token_bytes
from typing import Any

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

COOKIE = "x-waiter-consent"

#: What one agrees to: one service, or all that a token is going to be as long as it has the same owner.
SERVICE, TOKEN = "service", "token"

_NONCE_BYTES = 12
_LONGEST = 4096
# Clocks of routers differ.
_AHEAD_SECS = 60.0


@attrs.frozen(kw_only=True)
class Question:
    """What somebody is asked to agree to."""

    token: str
    owner: str | None
    service_id: str


@attrs.frozen(kw_only=True)
class Consent:
    """
    What somebody has agreed to.

    @ivar mode: L{SERVICE} or L{TOKEN}.
    @ivar at: when, in seconds since the epoch.
    @ivar content: the id of the service, or the token and its owner.
    """

    mode: str
    at: float
    content: tuple[str | None, ...]

    def answers(self, question: Question) -> bool:
        """Whether that is what is asked."""
        if self.mode == SERVICE:
            return self.content == (question.service_id,)
        return self.mode == TOKEN and self.content == (question.token, question.owner)


class Consents:
    """Writes consents into cookies that nobody else can write, and reads them. They hold for one user."""

    def __init__(
        self, secret: Callable[[], bytes], *, principal: str, wall: Callable[[], float], life_secs: float
    ) -> None:
        """
        @param secret: known to routers alone; asked for at each use.
        @param principal: who agrees.
        @param wall: seconds since the epoch.
        @param life_secs: how long a consent holds.
        """
        self._secret = secret
        self._bound_to = f"{COOKIE} {principal}".encode()
        self._wall = wall
        self.life_secs = life_secs

    def agree(self, mode: str, question: Question) -> str:
        """The value of the cookie that says so from now on."""
        content = (question.service_id,) if mode == SERVICE else (question.token, question.owner)
        said = json.dumps([mode, self._wall(), *content]).encode()
        nonce = token_bytes(_NONCE_BYTES)
        return urlsafe_b64encode(nonce + self._cipher().encrypt(nonce, said, self._bound_to)).decode()

    def read(self, value: bytes) -> Consent | None:
        """The consent in a cookie; C{None} if it is none of this user, or too old."""
        try:
            sealed = urlsafe_b64decode(value) if len(value) <= _LONGEST else b""
            nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            mode, at, *content = json.loads(self._cipher().decrypt(nonce, text, self._bound_to))
        except (InvalidTag, ValueError):
            return None
        consent = Consent(mode=mode, at=at, content=tuple(content))
        age_secs = self._wall() - consent.at
        return consent if -_AHEAD_SECS <= age_secs < self.life_secs else None

    def given(self, question: Question, cookie_headers: Iterable[bytes]) -> bool:
        """
        Whether a request's cookies say that its sender agrees.

        @param cookie_headers: the values of its C{Cookie} headers.
        """
        return any(
            consent.answers(question)
            for value in consent_cookies(cookie_headers)
            if (consent := self.read(value)) is not None
        )

    def _cipher(self) -> Any:
        return AESGCM(hmac.digest(self._secret(), b"waiter consent cookies", "sha256"))


def consent_cookies(cookie_headers: Iterable[bytes]) -> Iterable[bytes]:
    """The values of those of a request's cookies that may be consents."""
    for header in cookie_headers:
        for cookie in header.split(b";"):
            name, _, value = cookie.strip(b" \t").partition(b"=")
            if name == COOKIE.encode():
                yield value.strip(b'"')
