"""Starting what comes after services that are replaced."""

from collections.abc import Awaitable, Callable, Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from waiter.model.load import ServiceLoad
from waiter.model.staleness import Staleness
from waiter.support.periodic import Periodic


class Renewal(Periodic):
    """
    When requests still come for a service whose token has become another, by whatever way, the service that the token
    stands for now is started, so that it is there when it is asked for.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        loads: Callable[[], Mapping[str, ServiceLoad]],
        staleness: Callable[[str], Staleness | None],
        token_of: Callable[[str], str | None],
        start: Callable[[str], Awaitable[None]],
        wall: Callable[[], float],
        interval_secs: float = 5.0,
    ) -> None:
        """
        @param loads: of this router's requests, by service id.
        @param staleness: of a service, by its id.
        @param token_of: the one token that a service comes from; C{None} if there are none or several.
        @param start: starts the service of a token, if it is not there; never fails.
        @param wall: seconds since the epoch.
        """
        super().__init__(clock, interval_secs, self._look, name="renewal", at_once=False)
        self._loads = loads
        self._staleness = staleness
        self._token_of = token_of
        self._start = start
        self._wall = wall
        self._seen: dict[str, float] = {}

    async def _look_at_all(self) -> None:
        before, self._seen = self._seen, {}
        for service_id, load in self._loads().items():
            at = load.last_request_at
            if at is None:
                continue
            self._seen[service_id] = at
            if at <= before.get(service_id, float("-inf")):
                continue
            token = self._token_of(service_id)
            stale = None if token is None else self._staleness(service_id)
            if token is None or stale is None or stale.since is None:
                continue
            if self._wall() - (self._clock.seconds() - at) >= stale.since:
                await self._start(token)

    def _look(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._look_at_all())
