"""What a reserver needs from outside."""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

import attrs

from waiter.model.service import Service
from waiter.reservation.ejection import EjectionRules

if TYPE_CHECKING:
    from waiter.reservation.reserver import InstanceReserver


@attrs.frozen(kw_only=True)
class ReserverContext:
    """
    What a reserver needs from the manager it belongs to.

    @ivar wall: seconds since the epoch.
    @ivar lingering_secs: age from which requests no longer protect their expired instance from being killed.
    @ivar demand: told the service id whenever a request has begun to wait.
    @ivar became_idle: told the service id whenever an instance of a reserver that is watched has become idle.
    @ivar successor: finds the reserver that serves after this one was retired.
    @ivar idle: told, after L{InstanceReserver.orphan}, when nothing is left to do or to remember.
    @ivar waiting_to_stream: how many requests of a service have an instance but no answer yet; for details of errors.
    """

    wall: Callable[[], float]
    random: Random
    ejection: EjectionRules
    lingering_secs: float
    demand: Callable[[str], object]
    became_idle: Callable[[str], object]
    successor: "Callable[[Service], InstanceReserver]"
    idle: "Callable[[InstanceReserver], object]"
    waiting_to_stream: Callable[[str], int] | None
