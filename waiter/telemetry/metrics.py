"""What is counted: plain numbers on the request path, read when somebody asks."""

from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping

import attrs

LATENCY_BOUNDS_SECS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
)


class Histogram:
    """
    How many of the observed values fell under each bound.

    @ivar bounds: the upper bounds, ascending; a value that equals a bound is under it.
    @ivar counts: how many values fell between the bound before and this one; the last number, which has no bound, counts
        those above all.
    @ivar sum: of all values.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = LATENCY_BOUNDS_SECS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """
        An estimate of the value that C{share} (0 to 1) of the values do not exceed: exact as to between which bounds it
        lies, linear between them. Values above the last bound count as that bound. C{None} if there are no values.
        """
        count = self.count
        if count == 0:
            return None
        wanted = share * count
        below = 0
        lower = 0.0
        for upper, inside in zip(self.bounds, self.counts, strict=False):
            if inside and below + inside >= wanted:
                return lower + (upper - lower) * max(0.0, wanted - below) / inside
            below += inside
            lower = upper
        return lower


class ServiceMetrics:
    """
    The numbers of one service at this router. Whoever does the thing counted changes the number.

    @ivar total: requests that came.
    @ivar successful: those of them that were answered by an instance. Not every status is a good one: it is the exchange
        that succeeded.
    @ivar client_error: those that ended by the client's doing.
    @ivar instance_error: those that ended by the instance's doing.
    @ivar generic_error: those that ended in any other failure.
    @ivar streaming: answers being sent now.
    @ivar waiting_to_stream: requests that have an instance and no answer yet.
    @ivar retries: attempts on another instance.
    @ivar request_bytes: of request bodies, as decoded.
    @ivar response_bytes: of response bodies, as decoded.
    @ivar status: answers by status.
    @ivar get_instance_secs: time until a slot was there.
    @ivar backend_response_secs: time from the request's being sent to the head of the answer.
    @ivar process_secs: time from the request's head to the end of its answer.
    """

    __slots__ = (
        "backend_response_secs",
        "client_error",
        "generic_error",
        "get_instance_secs",
        "instance_error",
        "process_secs",
        "request_bytes",
        "response_bytes",
        "retries",
        "status",
        "streaming",
        "successful",
        "total",
        "waiting_to_stream",
    )

    def __init__(self) -> None:
        self.total = 0
        self.successful = 0
        self.client_error = 0
        self.generic_error = 0
        self.instance_error = 0
        self.streaming = 0
        self.waiting_to_stream = 0
        self.retries = 0
        self.request_bytes = 0
        self.response_bytes = 0
        self.status: dict[int, int] = {}
        self.get_instance_secs = Histogram()
        self.backend_response_secs = Histogram()
        self.process_secs = Histogram()

    @property
    def busy(self) -> bool:
        """Whether a request is under way that will count here."""
        return self.streaming > 0 or self.waiting_to_stream > 0


class RouterMetrics:
    """
    The numbers of the router itself.

    @ivar connections_open: client connections now.
    @ivar connections_total: client connections ever.
    @ivar requests_total: request heads parsed, for services and for Waiter itself.
    @ivar api_requests: those of them for Waiter itself.
    @ivar refused_total: requests answered with an error before a service was resolved, and connections refused at a limit.
    @ivar upgrades_open: tunnels now.
    """

    __slots__ = (
        "api_requests",
        "connections_open",
        "connections_total",
        "refused_total",
        "requests_total",
        "upgrades_open",
    )

    def __init__(self) -> None:
        self.connections_open = 0
        self.connections_total = 0
        self.requests_total = 0
        self.api_requests = 0
        self.refused_total = 0
        self.upgrades_open = 0


@attrs.frozen(kw_only=True)
class ServiceGauges:
    """
    What other parts know of a service at this moment.

    @ivar instances: how many are C{healthy}, C{unhealthy}, C{expired}, ...
    @ivar outstanding: requests that wait for a slot or use one.
    @ivar waiting: those of them that wait.
    @ivar oldest_wait_secs: how long the first of those has waited; 0 if none does.
    @ivar oldest_lease_secs: how long the longest used slot has been in use; 0 if none is.
    """

    instances: Mapping[str, int] = attrs.field(factory=dict)
    slots_assigned: int = 0
    slots_in_use: int = 0
    slots_available: int = 0
    outstanding: int = 0
    waiting: int = 0
    oldest_wait_secs: float = 0.0
    oldest_lease_secs: float = 0.0


class Metrics:
    """
    All numbers of this router.

    @ivar router: the numbers of the router itself.
    """

    def __init__(
        self, *, gauges: Callable[[], Mapping[str, ServiceGauges]] = dict, transient_secs: float = 300.0
    ) -> None:
        """
        @param gauges: what other parts know of the services now, by service id; called once for each reading.
        @param transient_secs: how long the numbers of a service that is gone are kept.
        """
        self.router = RouterMetrics()
        self._gauges = gauges
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
        for service_id, numbers in list(self._services.items()):
            if service_id in known_ids:
                continue
            since = self._gone_since.setdefault(service_id, now)
            if now - since >= self._transient_secs and not numbers.busy:
                self.forget(service_id)

    def read(self) -> dict[str, tuple[ServiceMetrics, ServiceGauges]]:
        """The numbers of every service that has any, by service id in order."""
        gauges = self._gauges()
        nothing = ServiceGauges()
        return {
            service_id: (self._services.get(service_id) or ServiceMetrics(), gauges.get(service_id, nothing))
            for service_id in sorted({*self._services, *gauges})
        }
