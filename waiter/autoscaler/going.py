"""Why a service may go although it is not idle for long: it was replaced, or it never works."""

from collections.abc import Callable

import attrs

from waiter.model.load import ServiceLoad
from waiter.model.routing import ServiceState
from waiter.model.staleness import Staleness

# Services that are not looked at any more are forgotten when there are so many.
_MOST = 1000


class Replaced:
    """The rule for services whose tokens have become others: they go when nobody can fall back to them any more."""

    def __init__(self, staleness: Callable[[str], Staleness | None], wall: Callable[[], float]) -> None:
        """
        @param staleness: of a service, by its id.
        @param wall: seconds since the epoch.
        """
        self._staleness = staleness
        self._wall = wall

    def __call__(self, state: ServiceState, load: ServiceLoad, idle_secs: float) -> str | None:
        """See L{waiter.autoscaler.collection.Rule}."""
        if load.outstanding:
            return None
        stale = self._staleness(state.service.id)
        if stale is None:
            return None
        replaced_secs = idle_secs if stale.since is None else self._wall() - stale.since
        return "its tokens stand for other services now" if replaced_secs > stale.keep_secs else None


@attrs.define
class _Watch:
    """
    @ivar since: when the service was seen to be broken, in the clock's seconds.
    @ivar looked_at: when it was looked at last.
    """

    since: float
    looked_at: float


class Broken:
    """
    The rule for services that never work: without a healthy instance, with failed ones on several hosts, for long.

    A service that goes is forgotten with its failures, so the next request for it is a new try.
    """

    def __init__(self, seconds: Callable[[], float], *, min_hosts: int, timeout_secs: float) -> None:
        """
        @param seconds: the clock.
        @param min_hosts: on how many hosts instances have to have failed.
        @param timeout_secs: how long a service may stay broken beyond its grace period.
        """
        self._seconds = seconds
        self._min_hosts = min_hosts
        self._timeout_secs = timeout_secs
        self._broken: dict[str, _Watch] = {}

    def __call__(self, state: ServiceState, load: ServiceLoad, idle_secs: float) -> str | None:  # noqa: ARG002 - a rule
        """See L{waiter.autoscaler.collection.Rule}."""
        service = state.service
        if state.healthy:
            self._broken.pop(service.id, None)
            return None
        now = self._seconds()
        watch = self._broken.get(service.id)
        if watch is None:
            if len({instance.host for instance in state.failed}) < self._min_hosts:
                return None
            if len(self._broken) >= _MOST:
                longest_unseen = min(self._broken, key=lambda service_id: self._broken[service_id].looked_at)
                del self._broken[longest_unseen]
            watch = self._broken[service.id] = _Watch(now, now)
        watch.looked_at = now
        if not state.failed or now - watch.since <= service.description.grace_period_secs + self._timeout_secs:
            return None
        # If it is there again, it has all the time again.
        self._broken.pop(service.id)
        return "none of its instances ever became healthy"
