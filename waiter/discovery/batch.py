"""What one round of collecting found."""

from collections.abc import Mapping

import attrs

from waiter.model.instance import Instance
from waiter.model.service import ServiceRecord


@attrs.frozen(kw_only=True)
class CollectedService:
    """
    One service as it was found, each list in instance order.

    @ivar healthy: what its scheduler or a check calls healthy.
    @ivar unhealthy: the other ones that are not known to be dead.
    @ivar failed: the dead ones, and those that vanished after they had failed their checks for long.
    """

    record: ServiceRecord
    healthy: tuple[Instance, ...] = ()
    unhealthy: tuple[Instance, ...] = ()
    failed: tuple[Instance, ...] = ()


@attrs.frozen(kw_only=True)
class SchedulerBatch:
    """
    All services of a scheduler at one moment.

    @ivar collected_at: when the round began, seconds since the epoch.
    @ivar services: by service id; one that is not in it is gone.
    """

    collected_at: float
    services: Mapping[str, CollectedService] = attrs.field(factory=dict)
