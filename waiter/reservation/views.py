"""The slot table as people and tests read it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from waiter.model.instance import Instance
from waiter.model.routing import ServiceState
from waiter.reservation.table import SlotTable


def table_state(table: SlotTable, state: ServiceState, to_wall: Callable[[float], float]) -> dict[str, Any]:
    """
    JSON-able, under the names the API has for it.

    @param to_wall: turns the clock's seconds into seconds since the epoch.
    """
    error = state.deployment_error
    rows = table.rows
    return {
        "deployment-error": None if error is None else error.key,
        "id->instance": {row.instance.id: _instance(row.instance) for row in table.order},
        "instability-issue": state.instability_issue,
        "instance-id->consecutive-failures": {key: row.failures for key, row in rows.items() if row.failures},
        "instance-id->eject-expiry-time": {
            key: _iso(to_wall(row.ejected_until)) for key, row in rows.items() if row.ejected_until is not None
        },
        "instance-id->state": {
            key: {"slots-assigned": row.assigned, "slots-used": len(row.leases), "status-tags": row.tags}
            for key, row in rows.items()
        },
        "load-balancing": table.load_balancing,
        "request-id->work-stealer": {},
        "sorted-instance-ids": [row.instance.id for row in table.order],
        "work-stealing-queue": [],
    }


def _instance(instance: Instance) -> dict[str, Any]:
    return {
        "flags": sorted(flag.value for flag in instance.flags),
        "host": instance.host,
        "id": instance.id,
        "port": instance.port,
        "protocol": instance.protocol,
        "service-id": instance.service_id,
        "started-at": None if instance.started_at is None else _iso(instance.started_at),
    }


def _iso(secs: float) -> str:
    return datetime.fromtimestamp(secs, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
