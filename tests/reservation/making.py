"""Small makers of values for the tests of this folder."""

from collections.abc import Collection, Mapping
from random import Random
from typing import Any

from twisted.internet.task import Clock

from waiter.model.description import ServiceDescription
from waiter.model.instance import Instance
from waiter.model.outcome import Outcome
from waiter.model.routing import RoutingState, ServiceState
from waiter.model.service import Service
from waiter.reservation.lease import Lease
from waiter.reservation.manager import ReserverManager
from waiter.reservation.slots import InstanceSlots


def make_service(service_id: str = "s", **parameters: Any) -> Service:
    description = ServiceDescription(cmd="true", cpus=1, mem=1, run_as_user="nobody", version="1", **parameters)
    return Service(id=service_id, core={}, description=description)


def make_instance(name: str, started_at: float | None = None, service_id: str = "s") -> Instance:
    """C{"3"} is instance C{s.3}, started at 3 unless told otherwise."""
    if started_at is None and name.isdigit():
        started_at = float(name)
    return Instance(
        id=f"{service_id}.{name}", service_id=service_id, started_at=started_at, host="127.0.0.1", port=10000
    )


def make_state(
    service: Service,
    slots: Mapping[str, int] | None = None,
    *,
    unhealthy: Collection[str] = (),
    expired: Collection[str] = (),
    starting: Collection[str] = (),
    **more: Any,
) -> ServiceState:
    """
    @param slots: names of healthy instances and their slots here.
    @param starting: names; those are unhealthy, too.
    """
    slots = slots or {}
    bad = [*unhealthy, *(name for name in starting if name not in unhealthy)]
    made = {name: make_instance(name, service_id=service.id) for name in [*slots, *bad, *expired]}
    return ServiceState(
        service=service,
        healthy=tuple(made[name] for name in slots),
        unhealthy=tuple(made[name] for name in bad),
        expired=tuple(made[name] for name in expired),
        starting=tuple(made[name] for name in starting),
        slots={made[name].id: number for name, number in slots.items()},
        **more,
    )


def routing(*states: ServiceState) -> RoutingState:
    return RoutingState(services={state.service.id: state for state in states})


def make_manager(clock: Clock, **more: Any) -> ReserverManager:
    random = Random(0)  # noqa: S311 - reproducible
    return ReserverManager(clock, random=random, wall=lambda: 1_000_000_000.0 + clock.seconds(), **more)


def make_row(
    number: int,
    *,
    slots: int = 1,
    busy_since: Collection[float] = (),
    healthy: bool = False,
    unhealthy: bool = False,
    expired: bool = False,
    starting: bool = False,
    ejected: bool = False,
    killed: bool = False,
    locked: bool = False,
    reported: bool = True,
) -> InstanceSlots:
    row = InstanceSlots(make_instance(str(number)), 0.0)
    row.assigned = slots if healthy else 0
    row.leases = {Lease(row.instance, since, forget) for since in busy_since}
    row.healthy, row.unhealthy, row.expired, row.starting = healthy, unhealthy, expired, starting
    row.ejected_until = 1e9 if ejected else None
    row.killed = killed
    row.lock = Lease(row.instance, 0.0, forget) if locked else None
    row.reported = reported
    row.refresh()
    return row


def forget(lease: Lease, outcome: Outcome) -> None:
    """Nothing to give back."""
