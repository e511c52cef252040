"""Everything that is counted, and its readings."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from waiter.telemetry.counters import FleetGauges, RouterMetrics, SchedulerGauges, ServiceGauges, ServiceMetrics
from waiter.telemetry.exposition import exposition
from waiter.telemetry.histogram import Histogram
from waiter.telemetry.nested import nested

__all__ = ["Histogram", "Metrics", "RouterMetrics", "ServiceGauges", "ServiceMetrics"]


class Metrics:
    """
    All numbers of this router.

    @ivar router: the numbers of the router itself.
    """

    def __init__(
        self,
        *,
        gauges: Callable[[], Mapping[str, ServiceGauges]] = dict,
        fleet: Callable[[], FleetGauges] | None = None,
        scheduler: Callable[[], SchedulerGauges] | None = None,
        transient_secs: float = 300.0,
    ) -> None:
        """
        @param gauges: what other parts know of the services now, by service id; called once for each reading.
        @param fleet: what is known of the other routers now; C{None} if there can be none.
        @param scheduler: how asking the scheduler goes.
        @param transient_secs: how long the numbers of a service that is gone are kept.
        """
        self.router = RouterMetrics()
        self._gauges = gauges
        self._fleet = fleet
        self._scheduler = scheduler
        self._transient_secs = transient_secs
        self._services: dict[str, ServiceMetrics] = {}
        self._gone_since: dict[str, float] = {}

    def service(self, service_id: str) -> ServiceMetrics:
        """
        The numbers of a service, from 0 if it is new. Ask again for each request: a service that is gone for a while
        gets new ones.
        """
        found = self._services.get(service_id)
        if found is None:
            found = self._services[service_id] = ServiceMetrics()
        return found

    def find(self, service_id: str) -> ServiceMetrics | None:
        """The numbers of a service, or C{None} if nothing was counted for it."""
        return self._services.get(service_id)

    def forget(self, service_id: str) -> None:
        """Drop the numbers of a service."""
        self._services.pop(service_id, None)
        self._gone_since.pop(service_id, None)

    def collect_gone(self, known_ids: Collection[str], now: float) -> None:
        """
        Drop the numbers of services that have not been among C{known_ids} for long enough and are not in use.

        @param now: the clock's seconds.
        """
        for service_id in [gone for gone in self._gone_since if gone in known_ids]:
            del self._gone_since[service_id]
        gauges: Mapping[str, ServiceGauges] | None = None
        for service_id, numbers in list(self._services.items()):
            if service_id in known_ids:
                continue
            since = self._gone_since.setdefault(service_id, now)
            if now - since >= self._transient_secs and not numbers.busy:
                gauges = self._gauges() if gauges is None else gauges
                gauge = gauges.get(service_id)
                if gauge is None or not gauge.outstanding:
                    self.forget(service_id)

    def read(self) -> dict[str, tuple[ServiceMetrics, ServiceGauges]]:
        """The numbers of every service that has any, by service id in order."""
        gauges = self._gauges()
        nothing = ServiceGauges()
        return {
            service_id: (self._services.get(service_id) or ServiceMetrics(), gauges.get(service_id, nothing))
            for service_id in sorted({*self._services, *gauges})
        }

    def exposition(self) -> bytes:
        """The numbers in the text format of Prometheus, at one go."""
        return b"".join(self.exposition_pieces())

    def exposition_pieces(self) -> Iterator[bytes]:
        """The same piece by piece, for whoever must not be busy for long; some pieces are empty."""
        fleet = None if self._fleet is None else self._fleet()
        scheduler = None if self._scheduler is None else self._scheduler()
        return exposition(self.router, self.read(), fleet, scheduler)

    def as_json(
        self, *, service_id: str | None = None, exclude_services: bool = False, name: str | None = None
    ) -> dict[str, Any]:
        """
        The numbers nested by service, kind and name.

        @param service_id: only this service.
        @param exclude_services: no services, only the router itself.
        @param name: only numbers whose path, such as C{services.<id>.counters.request-counts.total}, contains this.
        """
        services = {} if exclude_services else self.read()
        if service_id is not None:
            services = {known: numbers for known, numbers in services.items() if known == service_id}
        return nested(self.router, services, name=name)
