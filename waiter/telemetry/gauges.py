"""What the metrics ask other parts when they are read."""

from collections.abc import Mapping
from typing import Protocol

from waiter.model.load import ServiceLoad
from waiter.model.routing import RoutingState, ServiceState
from waiter.telemetry.counters import ServiceGauges


class ReserverReading(Protocol):
    """What is read of a service's reserver."""

    @property
    def load(self) -> ServiceLoad:
        """Its requests."""

    @property
    def slots_assigned(self) -> int:
        """The slots this router may use."""

    @property
    def slots_in_use(self) -> int:
        """Those that requests hold."""

    @property
    def slots_available(self) -> int:
        """Those that a request would get now."""

    def oldest_wait_secs(self, now: float) -> float | None:
        """How long the first in the queue has waited."""

    def oldest_lease_secs(self, now: float) -> float | None:
        """How long the longest used slot has been in use."""


class ReserversReading(Protocol):
    """Where the reservers are."""

    def find(self, service_id: str) -> ReserverReading | None:
        """The reserver of a service, if it has one."""

    def loads(self) -> Mapping[str, ServiceLoad]:
        """How much is asked of each service that has one."""


def service_gauges(state: RoutingState, reservers: ReserversReading, now: float) -> dict[str, ServiceGauges]:
    """
    The gauges of every service in C{state}, and of those that are asked for before they are in it.

    @param now: the clock's seconds.
    """
    return {
        service_id: _gauges(state.services.get(service_id), reservers.find(service_id), now)
        for service_id in {*state.services, *reservers.loads()}
    }


def instance_counts(service: ServiceState) -> dict[str, int]:
    """How many instances a service has, by what is known of them."""
    return {
        "healthy": len(service.healthy),
        "unhealthy": len(service.unhealthy),
        "starting": len(service.starting),
        "expired": len(service.expired),
        "failed": len(service.failed),
        "killed": len(service.killed),
        "my-instances": len(service.slots),
        "requested": service.counts.requested,
        "scheduled": service.counts.scheduled,
    }


def _gauges(service: ServiceState | None, reserver: ReserverReading | None, now: float) -> ServiceGauges:
    instances = {} if service is None else instance_counts(service)
    if reserver is None:
        return ServiceGauges(instances=instances)
    load = reserver.load
    return ServiceGauges(
        instances=instances,
        slots_assigned=reserver.slots_assigned,
        slots_in_use=reserver.slots_in_use,
        slots_available=reserver.slots_available,
        outstanding=load.outstanding,
        waiting=load.waiting,
        oldest_wait_secs=reserver.oldest_wait_secs(now) or 0.0,
        oldest_lease_secs=reserver.oldest_lease_secs(now) or 0.0,
    )
