"""The page that browsers see while a service starts: who is sent there, and how one comes back. Pure rules."""

import re
from urllib.parse import quote, unquote_to_bytes

import attrs

#: Where the page is. What follows is where the browser wanted to go.
PAGE = "/waiter-interstitial"

#: The parameter with which the page asks again: until when, in milliseconds since the epoch, the request is not sent back.
BYPASS = b"x-waiter-bypass-interstitial"
BYPASS_SECS = 10

#: What has come of waiting for a service.
HEALTHY, TIMEOUT = "healthy-instance-found", "interstitial-timeout"

_AT_THE_END = re.compile(rb"(?:\A|&)x-waiter-bypass-interstitial=([0-9]{1,18})\Z")
# Decoded paths below which the page is found. Two slashes at the beginning would be another host.
_FOUND_BACK_FROM = re.compile(r"/(?:[^/\\].*)?")
# What a browser sends as it is; the rest could mean something else to it than to whoever sent it.
_AS_IT_IS = "!$%&'()*+,-./:;=?@_|~"


@attrs.frozen(kw_only=True)
class Promise:
    """
    That a service is going to have its first healthy instance. Kept or not, it stays so until the service is gone.

    @ivar since: when it was given, in the clock's seconds.
    @ivar secs: for how long it is waited for.
    @ivar kept: whether the instance has come in time.
    """

    since: float
    secs: float
    kept: bool = False

    def outcome(self, now: float) -> str | None:
        """L{HEALTHY}, L{TIMEOUT}, or C{None} as long as it is open."""
        if self.kept:
            return HEALTHY
        return TIMEOUT if now >= self.since + self.secs else None

    def seen_healthy(self, now: float) -> "Promise":
        """What it is when there is a healthy instance."""
        return self if self.outcome(now) is not None else attrs.evolve(self, kept=True)


def shows_pages(accept: bytes | None) -> bool:
    """Whether an C{Accept} header is that of a browser that is about to show a page."""
    return accept is not None and b"text/html" in accept.lower()


def without_bypass(target: bytes) -> tuple[bytes, int | None]:
    """
    A request's target without the parameter that the page has put at its end, and the parameter's value. Anywhere else it
    is the service's own.
    """
    path, _, query = target.partition(b"?")
    found = _AT_THE_END.search(query)
    if found is None:
        return target, None
    rest = query[: found.start()]
    return (b"%b?%b" % (path, rest) if rest else path), int(found[1])


def with_bypass(target: bytes, now: float) -> bytes:
    """
    The target with which the page asks again.

    @param now: seconds since the epoch.
    """
    path, _, query = target.partition(b"?")
    until_ms = int((now + BYPASS_SECS) * 1000)
    return b"%b?%b%b%b=%d" % (path, query, b"&" if query else b"", BYPASS, until_ms)


def page_of(target: bytes) -> bytes | None:
    """Where a request with this target is sent; C{None} if the page could not find back from there."""
    try:
        path = unquote_to_bytes(target.partition(b"?")[0]).decode()
    except UnicodeDecodeError:
        return None
    return PAGE.encode() + target if _FOUND_BACK_FROM.fullmatch(path) else None


def way_back(uri: bytes, now: float) -> str:
    """
    Where the page goes: a path of the same host and nothing else, in characters that every browser leaves as they are.

    @param uri: of the page, with its query.
    @param now: seconds since the epoch.
    """
    path, mark, query = uri.partition(b"?")
    wanted = b"/" + path[1:].partition(b"/")[2].lstrip(b"/\\") + mark + query
    target, _ = without_bypass(wanted)
    return quote(with_bypass(target, now), safe=_AS_IT_IS)
