"""How many instances a service should have: the rule, and nothing but the rule."""

import math
from collections.abc import Callable
from typing import Any, Self

import attrs

from waiter.model.description import ServiceDescription

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def _within(low: float, high: float, *, without_low: bool = False, without_high: bool = False) -> Validator:
    def check(_: object, attribute: "attrs.Attribute[Any]", value: float) -> None:
        if not low <= value <= high or (without_low and value == low) or (without_high and value == high):
            raise ValueError(f"{attribute.name} {value!r} is outside {low} to {high}")

    return check


@attrs.frozen(kw_only=True)
class ScalingRules:
    """
    What a service's description says about its size.

    @ivar concurrency_level: requests one instance takes at a time; at least 1.
    @ivar scale_factor: instances wanted per outstanding request at concurrency level 1; above 0, at most 2.
    @ivar scale_up_factor: which part of the way up to the ideal is gone in one tick; 0 to 1.
    @ivar scale_down_factor: the same for the way down.
    @ivar jitter_threshold: a target nearer than this to the current number changes nothing; 0 to below 1.
    @ivar expired_instance_restart_rate: the share of the expired instances replaced at a time; 0 to 1.
    @ivar min_instances: may be 0.
    @ivar max_instances: what the load may ask for. If it is below C{min_instances}, that one wins.
    @ivar max_surge: how many instances, at most, may be requested beyond what the load asks for because expired ones are
        being replaced. C{None} leaves it to C{expired_instance_restart_rate} alone.
    @raise ValueError: one of them is out of its range.
    """

    concurrency_level: int = attrs.field(default=1, validator=_within(1, math.inf))
    scale_factor: float = attrs.field(default=1, validator=_within(0, 2, without_low=True))
    scale_up_factor: float = attrs.field(default=0.1, validator=_within(0, 1))
    scale_down_factor: float = attrs.field(default=0.001, validator=_within(0, 1))
    jitter_threshold: float = attrs.field(default=0.5, validator=_within(0, 1, without_high=True))
    expired_instance_restart_rate: float = attrs.field(default=0.1, validator=_within(0, 1))
    min_instances: int = attrs.field(default=1, validator=_within(0, math.inf))
    max_instances: int = attrs.field(default=500, validator=_within(0, math.inf))
    max_surge: int | None = attrs.field(default=None, validator=attrs.validators.optional(_within(0, math.inf)))

    @classmethod
    def of(cls, description: ServiceDescription, *, max_surge: int | None = None) -> Self:
        """The rules of a described service."""
        return cls(
            concurrency_level=description.concurrency_level,
            scale_factor=description.scale_factor,
            scale_up_factor=description.scale_up_factor,
            scale_down_factor=description.scale_down_factor,
            jitter_threshold=description.jitter_threshold,
            expired_instance_restart_rate=description.expired_instance_restart_rate,
            min_instances=description.min_instances,
            max_instances=description.max_instances,
            max_surge=max_surge,
        )


@attrs.frozen(kw_only=True)
class Scaling:
    """
    What should happen to the size of a service.

    @ivar amount: C{scale_to} minus the number requested now; 0 for nothing to do.
    @ivar scale_to: how many instances to have.
    @ivar target: the smoothed number the next turn starts from; the only thing that is remembered.
    """

    amount: int
    scale_to: int
    target: float


def floor_of(rules: ScalingRules, outstanding: int) -> int:
    """The fewest instances the service may have now: while anything is outstanding there is at least one."""
    return max(rules.min_instances, 1 if outstanding > 0 else 0)


def ideal_instances(rules: ScalingRules, outstanding: int) -> int:
    """How many instances the outstanding requests would keep busy."""
    return math.ceil(outstanding * rules.scale_factor / rules.concurrency_level)


def scale(
    rules: ScalingRules, *, ticks: float, total: int, outstanding: int, target: float, healthy: int, expired: int
) -> Scaling:
    """
    Move the target towards the ideal and decide on a step.

    The target follows the ideal exponentially, with one factor upwards and another downwards. Ticks are seconds and may be
    fractions: many short turns move it as far as one long one, as long as the load stays.

    A step up begins when the target is C{jitter_threshold} above the requested number (and never if there are already as many
    as the load needs); a step down by one needs a target lower by 0.99 at least, however small the threshold is.

    Expired instances are replaced by asking for more than the load needs: C{expired_instance_restart_rate} of them, rounded
    up, and at most C{max_surge}. That is added after the bounds, so the number may exceed C{max_instances}, but it never
    exceeds the rounded target by more than this surge. Healthy instances beyond the wanted number count as replacements
    already. When all are healthy and there are too many, nothing is added, because then it is an expired one that will be
    stopped.

    @param ticks: how long ago the last turn was.
    @param total: how many instances are requested from the scheduler; not how many run.
    @param target: that of the last turn.
    @param healthy: how many instances are healthy.
    @param expired: how many instances are to be replaced.
    @raise ValueError: a number is negative, or not a number.
    """
    for name, value in (
        ("ticks", ticks),
        ("total", total),
        ("outstanding", outstanding),
        ("target", target),
        ("healthy", healthy),
        ("expired", expired),
    ):
        if not (value >= 0 and math.isfinite(value)):
            raise ValueError(f"{name} is {value!r}")

    floor = floor_of(rules, outstanding)
    ideal = ideal_instances(rules, outstanding)
    smoothed = _smoothed(rules, ticks, ideal, target)
    new_target = max(float(floor), min(float(rules.max_instances), smoothed))

    delta = new_target - total
    enough = delta > 0 and ideal <= total and total >= floor
    amount = 0 if enough or abs(delta) < rules.jitter_threshold else math.ceil(delta - 0.01)
    scale_to = total + amount

    if expired > 0 and not (amount < 0 and healthy == total):
        replaced = math.ceil(expired * rules.expired_instance_restart_rate)
        if rules.max_surge is not None:
            replaced = min(replaced, rules.max_surge)
        excess = max(0, healthy - scale_to)
        scale_to += max(0, replaced - excess)

    return Scaling(amount=scale_to - total, scale_to=scale_to, target=new_target)


def _smoothed(rules: ScalingRules, ticks: float, ideal: int, target: float) -> float:
    raised = _nearer(rules.scale_up_factor, ticks, ideal, target)
    return raised if raised >= target else _nearer(rules.scale_down_factor, ticks, ideal, target)


def _nearer(factor: float, ticks: float, ideal: int, target: float) -> float:
    gone = 1 - math.pow(1 - factor, ticks)
    return gone * ideal + (1 - gone) * target
