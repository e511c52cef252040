"""What one round of collecting makes of a service, given what the rounds before saw of it."""

from collections.abc import Callable, Mapping

import attrs

from waiter.discovery.batch import CollectedService
from waiter.model.instance import Flag, Instance
from waiter.model.service import ServiceInstances, ServiceRecord

_MOST_VANISHED = 10


@attrs.frozen(kw_only=True)
class Sighting:
    """
    An instance that was unhealthy in the last round.

    @ivar instance: as it was seen then, with all flags seen since it became unhealthy.
    @ivar failed_checks: how many checks it failed in a row.
    @ivar counted_at: when the last of them was counted, in the clock's seconds.
    """

    instance: Instance
    failed_checks: int
    counted_at: float


@attrs.frozen(kw_only=True)
class Sightings:
    """
    The memory of one service from round to round.

    @ivar unhealthy: by instance id.
    @ivar vanished: by instance id, the latest that are taken for failed because they disappeared.
    """

    unhealthy: Mapping[str, Sighting] = attrs.field(factory=dict)
    vanished: Mapping[str, Instance] = attrs.field(factory=dict)

    def without(self, instance_id: str) -> "Sightings":
        """The same, after an instance has turned out to be healthy."""
        if instance_id not in self.unhealthy:
            return self
        unhealthy = {key: sighting for key, sighting in self.unhealthy.items() if key != instance_id}
        return attrs.evolve(self, unhealthy=unhealthy)


@attrs.frozen(kw_only=True)
class CheckRules:
    """
    When failed checks make a failed instance.

    @ivar threshold: how many failed checks must come before an instance's disappearance for it to be a failure.
    @ivar min_gap_secs: rounds that follow each other faster count as one check, so that news do not speed up the verdict.
    """

    threshold: int = 5
    min_gap_secs: float = 2.5


NOTHING_SEEN = Sightings()


def sort_out(
    record: ServiceRecord,
    found: ServiceInstances,
    before: Sightings,
    *,
    now: float,
    rules: CheckRules,
    being_killed: Callable[[str], bool],
) -> tuple[CollectedService, Sightings]:
    """
    Sort what was found into healthy, unhealthy and failed.

    Some schedulers replace an instance that fails their checks without a word; such a one is recognised by its
    disappearance and becomes a failed instance with L{Flag.NEVER_PASSED_HEALTH_CHECKS}.

    @param found: an instance whose health is still unknown counts as unhealthy.
    @param now: the clock's seconds.
    @param being_killed: whether an instance disappears because Waiter wants it to.
    @return: the outcome, and what to remember for the next round.
    """
    active = {instance.id: instance for instance in found.active}
    healthy = [_labelled(instance, "Healthy") for instance in found.active if instance.healthy]
    unhealthy = {
        instance.id: _see(instance, before.unhealthy.get(instance.id), now, rules)
        for instance in found.active
        if not instance.healthy
    }
    vanished = _vanished(active, before, rules, being_killed)
    collected = CollectedService(
        record=record,
        healthy=_ordered(healthy),
        unhealthy=_ordered([sighting.instance for sighting in unhealthy.values()]),
        failed=_ordered(_failed(found, vanished)),
    )
    if not unhealthy and not vanished:
        return collected, NOTHING_SEEN
    return collected, Sightings(unhealthy=unhealthy, vanished=vanished)


def corrected(collected: CollectedService, instance: Instance) -> CollectedService:
    """
    A service of which an instance that was unhealthy shows another face; the very same one if that is no news or the
    instance is not among the unhealthy ones any more.
    """
    known = next((each for each in collected.unhealthy if each.id == instance.id), None)
    if known is None:
        return collected
    if instance.healthy:
        return attrs.evolve(
            collected,
            healthy=_ordered([*collected.healthy, _labelled(instance, "Healthy")]),
            unhealthy=tuple(each for each in collected.unhealthy if each is not known),
        )
    renewed = attrs.evolve(_labelled(instance, "Unhealthy"), flags=instance.flags | known.flags)
    if renewed == known:
        return collected
    return attrs.evolve(collected, unhealthy=tuple(renewed if each is known else each for each in collected.unhealthy))


def _see(instance: Instance, before: Sighting | None, now: float, rules: CheckRules) -> Sighting:
    instance = _labelled(instance, "Unhealthy")
    if before is None:
        return Sighting(instance=instance, failed_checks=1, counted_at=now)
    flags = instance.flags | before.instance.flags
    if flags != instance.flags:
        instance = attrs.evolve(instance, flags=flags)
    if now - before.counted_at < rules.min_gap_secs:
        return attrs.evolve(before, instance=instance)
    return Sighting(instance=instance, failed_checks=before.failed_checks + 1, counted_at=now)


def _vanished(
    active: Mapping[str, Instance], before: Sightings, rules: CheckRules, being_killed: Callable[[str], bool]
) -> Mapping[str, Instance]:
    vanished = {instance_id: instance for instance_id, instance in before.vanished.items() if instance_id not in active}
    for instance_id, sighting in before.unhealthy.items():
        if instance_id in active or sighting.failed_checks < rules.threshold or being_killed(instance_id):
            continue
        flags = sighting.instance.flags | {Flag.NEVER_PASSED_HEALTH_CHECKS}
        vanished[instance_id] = attrs.evolve(sighting.instance, flags=flags)
    latest = _ordered(list(vanished.values()))[-_MOST_VANISHED:]
    return {instance.id: instance for instance in latest}


def _failed(found: ServiceInstances, vanished: Mapping[str, Instance]) -> list[Instance]:
    failed = {instance.id: instance for instance in found.failed}
    for instance_id, instance in vanished.items():
        known = failed.get(instance_id)
        failed[instance_id] = (
            instance
            if known is None
            else attrs.evolve(
                known, flags=known.flags | instance.flags, health_check_status=instance.health_check_status
            )
        )
    return list(failed.values())


def _labelled(instance: Instance, status: str) -> Instance:
    return instance if instance.status is not None else attrs.evolve(instance, status=status)


def _ordered(instances: list[Instance]) -> tuple[Instance, ...]:
    if len(instances) > 1:
        instances.sort(key=lambda instance: instance.order)
    return tuple(instances)
