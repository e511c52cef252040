"""For which services browsers see a page while these start."""

from typing import Any

from twisted.internet.interfaces import IReactorTime

from waiter.catalog.interstitial import Promise
from waiter.model.routing import RoutingState

# From this many on it is looked for those that nobody needs any more.
_MANY = 64


class Interstitials:
    """
    Remembers of each service with C{interstitial-secs} since when its first healthy instance is waited for, and whether it
    has come. Services that are gone are forgotten when nobody has to wait for them any more.

    Before it has seen a routing state it is not known which services are healthy, and nobody is sent to the page.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._promises: dict[str, Promise] = {}
        self._known: frozenset[str] | None = None
        self._many = _MANY

    def update(self, state: RoutingState) -> None:
        """Follow the routing state."""
        now = self._clock.seconds()
        promises = self._promises
        known = []
        for service_id, service_state in state.services.items():
            secs = service_state.service.description.interstitial_secs
            if not secs:
                continue
            known.append(service_id)
            promise = promises.get(service_id)
            if promise is None:
                promise = promises[service_id] = Promise(since=now, secs=secs)
            if service_state.healthy and not promise.kept:
                promises[service_id] = promise.seen_healthy(now)
        self._known = frozenset(known)
        if len(promises) > len(known):
            self._tidy(now)

    def awaited(self, service_id: str, secs: float) -> bool:
        """
        Whether browsers are to wait for a service's first instance. If that is not known to be waited for yet, it is from
        now on.

        @param secs: the service's C{interstitial-secs}.
        """
        if self._known is None:
            return False
        now = self._clock.seconds()
        promise = self._promises.get(service_id)
        if promise is None:
            # There may never be a state that has it: services that cannot be started are in none.
            if len(self._promises) >= self._many:
                self._tidy(now)
                self._many = max(_MANY, 2 * len(self._promises))
            promise = self._promises[service_id] = Promise(since=now, secs=secs)
        return promise.outcome(now) is None

    def state(self) -> dict[str, Any]:
        """What has come of waiting for the services, for C{/state}."""
        now = self._clock.seconds()
        outcomes = {
            service_id: promise.outcome(now) or "not-realized" for service_id, promise in self._promises.items()
        }
        return {
            "interstitial": {
                "initialized?": self._known is not None,
                "service-id->interstitial-promise": outcomes,
            }
        }

    def _tidy(self, now: float) -> None:
        known = self._known or frozenset()
        self._promises = {
            service_id: promise
            for service_id, promise in self._promises.items()
            if service_id in known or promise.outcome(now) is None
        }
