"""Which idle instances make room for a service that requests wait for: the rule, and nothing but the rule."""

from collections.abc import Iterable, Mapping
from typing import Self

import attrs

from waiter.autoscaler.scaling import ScalingRules, floor_of
from waiter.model.load import ServiceLoad
from waiter.model.resources import NOTHING, Resources
from waiter.model.routing import ServiceState


def needs_another(state: ServiceState, load: ServiceLoad) -> bool:
    """Whether more requests wait than the instances that are starting will take. All other starts are for later."""
    return load.waiting > len(state.starting) * state.service.description.concurrency_level


@attrs.frozen(kw_only=True)
class Candidate:
    """
    A service that could make room.

    @ivar need: what each of its instances gives back.
    @ivar used_at: its idle instances, and when each was last used.
    @ivar spare: how many of them it can do without. Were it left with fewer, others would be started in their place.
    @ivar total: how many instances there are, if they may all go and the service with them; otherwise C{None}.
    """

    service_id: str
    need: Resources
    used_at: Mapping[str, float]
    spare: int
    total: int | None

    @classmethod
    def of(cls, state: ServiceState, load: ServiceLoad, requested: int, used_at: Mapping[str, float]) -> Self | None:
        """
        What a service could give; C{None} if nothing: it is pinned, requests wait for it, or all it has is in use or needed.

        While it is in use it keeps its C{min-instances}. A service that is not in use may go altogether: with less than its
        minimum it would grow again at once, and without any instance it rests until its next request.

        @param requested: how many instances are requested of its scheduler.
        @param used_at: its idle instances, and when each was last used.
        """
        description = state.service.description
        if description.pin or load.waiting or not used_at:
            return None
        total = state.counts.scheduled
        floor = floor_of(ScalingRules.of(description), load.outstanding)
        spare = max(0, min(requested - floor, len(used_at)))
        may_go = load.outstanding == 0 and len(used_at) >= len(state.healthy) + len(state.unhealthy)
        if not spare and not may_go:
            return None
        return cls(
            service_id=state.service.id,
            need=Resources.of(description),
            used_at=used_at,
            spare=spare,
            total=max(total, len(used_at)) if may_go else None,
        )


@attrs.frozen(kw_only=True)
class Victim:
    """
    What is to be stopped of one service.

    @ivar instance_ids: the instances; all that are known if the service goes.
    @ivar goes: whether the service goes with them.
    @ivar used_at: when the last of them was used.
    @ivar gives: what that gives back.
    """

    service_id: str
    instance_ids: tuple[str, ...]
    goes: bool
    used_at: float
    gives: Resources


def choose(need: Resources, room: Resources, candidates: Iterable[Candidate]) -> list[Victim] | None:
    """
    Whom to stop so that C{need} finds room: those that have not been used for longest. Of these nobody is stopped without
    whom it would do, too.

    @param room: what there is without stopping anybody.
    @return: one entry for each service, C{None} if even all candidates together would not make enough room.
    """
    chosen: list[Victim] = []
    for victim in sorted(
        _offers(candidates), key=lambda offer: (offer.used_at, offer.service_id, offer.goes, offer.instance_ids)
    ):
        if need.fits(room + _sum(chosen)):
            break
        if victim.goes:
            chosen = [other for other in chosen if other.service_id != victim.service_id]
        chosen.append(victim)
    if not need.fits(room + _sum(chosen)):
        return None
    for victim in reversed(tuple(chosen)):
        others = [other for other in chosen if other is not victim]
        if need.fits(room + _sum(others)):
            chosen = others
    return _by_service(chosen)


def _offers(candidates: Iterable[Candidate]) -> Iterable[Victim]:
    """The single instances, and the services as wholes, which take the place of their single instances."""
    for candidate in candidates:
        ids = sorted(candidate.used_at, key=lambda instance_id: (candidate.used_at[instance_id], instance_id))
        for instance_id in ids[: candidate.spare]:
            yield Victim(
                service_id=candidate.service_id,
                instance_ids=(instance_id,),
                goes=False,
                used_at=candidate.used_at[instance_id],
                gives=candidate.need,
            )
        if candidate.total is not None:
            yield Victim(
                service_id=candidate.service_id,
                instance_ids=tuple(ids),
                goes=True,
                used_at=candidate.used_at[ids[-1]],
                gives=sum((candidate.need for _ in range(candidate.total)), start=NOTHING),
            )


def _by_service(victims: Iterable[Victim]) -> list[Victim]:
    joined: dict[str, Victim] = {}
    for victim in victims:
        before = joined.get(victim.service_id)
        joined[victim.service_id] = (
            victim
            if before is None
            else attrs.evolve(
                victim, instance_ids=before.instance_ids + victim.instance_ids, gives=before.gives + victim.gives
            )
        )
    return list(joined.values())


def _sum(victims: Iterable[Victim]) -> Resources:
    return sum((victim.gives for victim in victims), start=NOTHING)
