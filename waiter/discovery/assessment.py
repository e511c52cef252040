"""What follows for a service from what was collected of it: a pure rule."""

from collections.abc import Mapping
from math import inf

import attrs

from waiter.discovery.batch import CollectedService
from waiter.discovery.deployment_errors import deployment_error, instability_issue
from waiter.model.description import ServiceDescription
from waiter.model.instance import Flag, Instance
from waiter.model.routing import DeploymentError, InstanceCounts

_MOST_FAILED = 10

_NOBODY: frozenset[str] = frozenset()


@attrs.frozen(kw_only=True)
class Circumstances:
    """
    What else is known of a service.

    @ivar failing: ids of instances that fail their requests again and again.
    @ivar killed: ids of instances that Waiter has killed, whatever the scheduler still says of them.
    @ivar forgiven: ids of failed instances that no longer tell anything about the service.
    @ivar config: what differs from the defaults in concluding a deployment error.
    """

    failing: frozenset[str] = _NOBODY
    killed: frozenset[str] = _NOBODY
    forgiven: frozenset[str] = _NOBODY
    config: Mapping[str, int] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Assessment:
    """
    The lists and words of a L{waiter.model.routing.ServiceState} that follow from collecting.

    @ivar holds_until: the moment from which time alone makes another one of it, seconds since the epoch.
    """

    healthy: tuple[Instance, ...]
    unhealthy: tuple[Instance, ...]
    expired: tuple[Instance, ...]
    starting: tuple[Instance, ...]
    failed: tuple[Instance, ...]
    counts: InstanceCounts
    deployment_error: DeploymentError | None
    instability_issue: str | None
    holds_until: float


def assess(
    collected: CollectedService, description: ServiceDescription, known: Circumstances, *, now: float
) -> Assessment:
    """
    Judge a service.

    An instance that was killed is in none of the lists. Of the failed ones the latest are kept.

    @param now: seconds since the epoch.
    """
    healthy = _without(collected.healthy, known.killed)
    unhealthy = _without(collected.unhealthy, known.killed)
    failed = collected.failed
    holds_until = inf

    lifetime = description.instance_expiry_mins * 60 or inf
    expired = []
    for instance in (*healthy, *unhealthy):
        if Flag.EXPIRED in instance.flags or instance.id in known.failing:
            expired.append(instance)
        elif instance.started_at is not None:
            end = instance.started_at + lifetime
            if now > end:
                expired.append(instance)
            else:
                holds_until = min(holds_until, end)

    starting = []
    for instance in unhealthy:
        end = starting_until(instance, description)
        if now <= end:
            starting.append(instance)
            holds_until = min(holds_until, end)

    error = None
    if not healthy:
        error = deployment_error(
            healthy=(),
            unhealthy=unhealthy,
            failed=_without(failed, known.forgiven),
            description=description,
            supplied=collected.record.deployment_error,
            config=known.config,
        )
    return Assessment(
        healthy=healthy,
        unhealthy=unhealthy,
        expired=tuple(expired),
        starting=tuple(starting),
        failed=_without(failed, known.killed)[-_MOST_FAILED:],
        counts=InstanceCounts(
            healthy=len(healthy), requested=collected.record.instances, scheduled=collected.record.task_count
        ),
        deployment_error=error,
        instability_issue=instability_issue(failed),
        holds_until=holds_until,
    )


def starting_until(instance: Instance, description: ServiceDescription) -> float:
    """Until when an instance has time to become healthy, seconds since the epoch; infinite if that is not bounded."""
    grace = description.grace_period_secs or inf
    return inf if instance.started_at is None else instance.started_at + grace


def forgive(collected: CollectedService, forgiven: frozenset[str]) -> frozenset[str]:
    """
    The ids of failed instances that tell nothing about whether the service can start now: those that failed before it had
    a healthy instance, and all of them once it rests with no instance at all and the next request deserves a new try.
    """
    record = collected.record
    if not collected.failed:
        return _NOBODY
    ids = frozenset(instance.id for instance in collected.failed)
    resting = record.instances == 0 and record.task_count == 0
    return ids if collected.healthy or resting else forgiven & ids


def _without(instances: tuple[Instance, ...], ids: frozenset[str]) -> tuple[Instance, ...]:
    if not ids or not instances:
        return instances
    return tuple(instance for instance in instances if instance.id not in ids)
