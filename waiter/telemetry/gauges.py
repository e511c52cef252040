"""What the metrics ask other parts when they are read."""

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


def service_gauges(state: RoutingState, reservers: ReserversReading, now: float) -> dict[str, ServiceGauges]:
    """
    The gauges of every service in C{state}.

    @param now: the clock's seconds.
    """
    return {
        service_id: _gauges(service, reservers.find(service_id), now) for service_id, service in state.services.items()
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


def _gauges(service: ServiceState, reserver: ReserverReading | None, now: float) -> ServiceGauges:
    if reserver is None:
        return ServiceGauges(instances=instance_counts(service))
    load = reserver.load
    return ServiceGauges(
        instances=instance_counts(service),
        slots_assigned=reserver.slots_assigned,
        slots_in_use=reserver.slots_in_use,
        slots_available=reserver.slots_available,
        outstanding=load.outstanding,
        waiting=load.waiting,
        oldest_wait_secs=reserver.oldest_wait_secs(now) or 0.0,
        oldest_lease_secs=reserver.oldest_lease_secs(now) or 0.0,
    )
