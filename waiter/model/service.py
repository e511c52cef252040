"""A service: a group of identical instances."""

from collections.abc import Mapping
from typing import Any

import attrs

from waiter.model.description import ServiceDescription
from waiter.model.instance import Instance
from waiter.model.resources import Shortage


@attrs.frozen(kw_only=True)
class Service:
    """
    A service that somebody asked for.

    @ivar id: the service id; contains no dot.
    @ivar core: the parameters that were given, coerced, under their outside names (C{concurrency-level}); what the id is
        made from and what is stored.
    @ivar description: C{core} with defaults applied.
    """

    id: str
    core: Mapping[str, Any] = attrs.field(eq=False)
    description: ServiceDescription = attrs.field(eq=False)


@attrs.frozen(kw_only=True)
class ServiceRecord:
    """
    What a scheduler knows of a service.

    @ivar instances: how many instances are requested.
    @ivar task_count: how many exist, starting ones included.
    @ivar deployment_error: the scheduler's own word on why it cannot run, if it has one.
    @ivar queued_reason: why requested instances are not started yet, if the scheduler holds them back.
    @ivar shortage: what is missing if they wait for room that other services' instances take.
    """

    id: str
    instances: int
    task_count: int
    deployment_error: str | None = None
    queued_reason: str | None = None
    shortage: Shortage | None = None


@attrs.frozen(kw_only=True)
class ServiceInstances:
    """
    The instances of one service at its scheduler.

    @ivar active: those not known to be dead, healthy or not.
    @ivar failed: those certainly dead by failure, the latest of them.
    """

    active: tuple[Instance, ...] = ()
    failed: tuple[Instance, ...] = ()
