"""What is made to go wrong with the double, and what it was asked."""

import base64
import re

import attrs

#: How many requests are remembered.
KEPT = 10000


@attrs.define(kw_only=True)
class Faults:
    """
    @ivar latency_secs: how long every answer is held back.
    @ivar status: what every request is answered with instead.
    @ivar drop: whether connections are closed instead of answered.
    @ivar cut: whether answers break off in the middle.
    @ivar stale: whether questions are answered as they were answered when this began.
    @ivar leaderless: whether there is no leader.
    @ivar redirect: the address of the leader that questions are redirected to.
    @ivar method: a regular expression; other methods are left alone.
    @ivar path: the same for paths.
    @ivar credentials: C{user:password} or C{token=...} that requests must carry.
    """

    latency_secs: float = 0.0
    status: int | None = None
    drop: bool = False
    cut: bool = False
    stale: bool = False
    leaderless: bool = False
    redirect: str | None = None
    method: str = ".*"
    path: str = ".*"
    credentials: str | None = None

    def concern(self, method, path):
        """Whether a request is to be spoilt."""
        return bool(re.fullmatch(self.method, method) and re.fullmatch(self.path, path))

    def refuses(self, authorization):
        """Whether a request with this header is from somebody unknown."""
        if self.credentials is None:
            return False
        wanted = self.credentials
        if not wanted.startswith("token="):
            wanted = "Basic " + base64.b64encode(wanted.encode()).decode()
        return authorization != wanted
