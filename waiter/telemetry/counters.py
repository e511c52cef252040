"""The numbers themselves. On the request path they are plain attributes that somebody adds to."""

from collections.abc import Mapping

import attrs

from waiter.telemetry.histogram import Histogram


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
    @ivar interstitials: requests sent to the page that browsers see while the service starts.
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
        "interstitials",
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
        self.interstitials = 0
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

    def outcomes(self) -> dict[str, int]:
        """How requests ended."""
        return {
            "successful": self.successful,
            "client-error": self.client_error,
            "generic-error": self.generic_error,
            "instance-error": self.instance_error,
        }

    def active(self, now: "ServiceGauges") -> dict[str, int]:
        """The requests under way, by what they wait for."""
        return {
            "outstanding": now.outstanding,
            "waiting-for-available-instance": now.waiting,
            "waiting-to-stream": self.waiting_to_stream,
            "streaming": self.streaming,
        }


class RouterMetrics:
    """
    The numbers of the router itself.

    @ivar connections_open: client connections now.
    @ivar connections_total: client connections ever.
    @ivar requests_total: request heads parsed, for services and for Waiter itself.
    @ivar api_requests: those of them for Waiter itself.
    @ivar refused_total: requests answered with an error before a service was resolved, and connections refused at a limit.
    @ivar tls_failures_total: TLS handshakes with clients that failed.
    @ivar tls_timeouts_total: those that took too long.
    @ivar upgrades_open: tunnels now.
    """

    __slots__ = (
        "api_requests",
        "connections_open",
        "connections_total",
        "refused_total",
        "requests_total",
        "tls_failures_total",
        "tls_timeouts_total",
        "upgrades_open",
    )

    def __init__(self) -> None:
        self.connections_open = 0
        self.connections_total = 0
        self.requests_total = 0
        self.api_requests = 0
        self.refused_total = 0
        self.tls_failures_total = 0
        self.tls_timeouts_total = 0
        self.upgrades_open = 0


@attrs.frozen(kw_only=True)
class FleetGauges:
    """
    What is known of the other routers at this moment.

    @ivar leads: whether this router acts for all.
    @ivar routers: how many there are, this one included.
    @ivar connected: whether there is a connection to ZooKeeper.
    """

    leads: bool
    routers: int
    connected: bool


@attrs.frozen(kw_only=True)
class SchedulerGauges:
    """
    How asking the scheduler goes.

    @ivar in_doubt: whether what it said last may not be true any more.
    @ivar failures: how often it could not be asked.
    @ivar took_secs: how long it took the last time that it could.
    @ivar events_connected: whether it tells of changes by itself now; C{None} if there is no connection for that.
    """

    in_doubt: bool
    failures: int
    took_secs: float
    events_connected: bool | None = None


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

    def slots(self) -> dict[str, int]:
        """The slots of this router."""
        return {"assigned": self.slots_assigned, "available": self.slots_available, "in-use": self.slots_in_use}
