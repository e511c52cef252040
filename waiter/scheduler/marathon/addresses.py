"""The addresses of Marathon, and which of them to ask: pure rules."""

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit


class Addresses:
    """
    The Marathons of one cluster. The one that answered last is asked first.

    @ivar all: their URLs without a slash at the end.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        """
        @raise ValueError: one of them is no URL of a server.
        """
        self.all = tuple(dict.fromkeys(map(_checked, urls)))
        if not self.all:
            raise ValueError("there must be at least one address")
        self._first = 0

    @property
    def current(self) -> str:
        """The one that is asked first."""
        return self.all[self._first]

    def to_try(self) -> Iterator[str]:
        """All of them, the best first."""
        yield from (*self.all[self._first :], *self.all[: self._first])

    def answered(self, url: str) -> None:
        """Ask this one first from now on."""
        if url in self.all:
            self._first = self.all.index(url)


def may_follow(source: str, target: str) -> bool:
    """Whether a redirect from one URL to another may be followed with credentials: never from TLS to none."""
    to = urlsplit(target)
    return to.scheme == "https" or (to.scheme == "http" and urlsplit(source).scheme == "http")


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{url} is not an address like http://marathon.example.com:8080")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{parts.hostname}: give the credentials in username and password, and no query")
    return url.rstrip("/")
