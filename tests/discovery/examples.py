"""What the tests of discovery share."""

from waiter.discovery.batch import CollectedService, SchedulerBatch
from waiter.model.description import ServiceDescription
from waiter.model.instance import Instance
from waiter.model.service import Service, ServiceRecord


def description(**parameters) -> ServiceDescription:
    """A description, with the defaults for what is not given."""
    return ServiceDescription(
        **{"cmd": "serve", "cpus": 1, "mem": 128, "run_as_user": "u", "version": "1", **parameters}
    )


def service(service_id="s", **parameters) -> Service:
    """A service so described."""
    return Service(id=service_id, core={}, description=description(**parameters))


def instance(number=1, *flags, service_id="s", **fields) -> Instance:
    """The instance of that number, started at that second on that host."""
    return Instance(
        **{
            "id": f"{service_id}.{number}",
            "service_id": service_id,
            "started_at": float(number),
            "healthy": True,
            "host": f"h{number}",
            "port": 10000 + number,
            "flags": frozenset(flags),
            **fields,
        }
    )


def collected(service_id="s", *, healthy=(), unhealthy=(), failed=(), requested=None, scheduled=None, **words):
    """A collected service; as many instances are requested and scheduled as there are active ones, unless it is said."""
    active = len(healthy) + len(unhealthy)
    return CollectedService(
        record=ServiceRecord(
            id=service_id,
            instances=active if requested is None else requested,
            task_count=active if scheduled is None else scheduled,
            **words,
        ),
        healthy=tuple(healthy),
        unhealthy=tuple(unhealthy),
        failed=tuple(failed),
    )


def batch(*services: CollectedService, at=0.0) -> SchedulerBatch:
    """All of them."""
    return SchedulerBatch(collected_at=at, services={each.record.id: each for each in services})
