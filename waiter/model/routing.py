"""The aggregator's view of the world at one moment."""

from collections.abc import Mapping
from typing import Any

import attrs

from waiter.model.instance import Instance
from waiter.model.resources import Shortage
from waiter.model.service import Service


@attrs.frozen(kw_only=True)
class DeploymentError:
    """
    Why a service cannot serve.

    @ivar key: C{bad-startup-command}, C{not-enough-memory}, ... (spec 2.5), or C{scheduler-error}.
    @ivar message: the text for that key.
    @ivar explanation: what the failed instances show: exit code, last lines of output, failing check. May be empty.
    @ivar facts: the same as JSON-able data, of the instance that the explanation is about.
    """

    key: str
    message: str
    explanation: str = ""
    facts: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class InstanceCounts:
    """How many instances are healthy, requested and existing."""

    healthy: int = 0
    requested: int = 0
    scheduled: int = 0


@attrs.frozen(kw_only=True)
class ServiceState:
    """
    One service in a L{RoutingState}.

    @ivar slots: instance id to the number of slots this router may use on it; the seed's C{my-instance->slots}.
    @ivar expired: instances to be replaced; they are also in C{healthy} or C{unhealthy}.
    @ivar starting: unhealthy instances that still have time to become healthy.
    @ivar queued_reason: why requested instances are not started yet.
    @ivar shortage: what is missing if that is for lack of room.
    @ivar start_secs: how long its instances took from start to healthy, smoothed; C{None} before the first did.
    """

    service: Service
    healthy: tuple[Instance, ...] = ()
    unhealthy: tuple[Instance, ...] = ()
    expired: tuple[Instance, ...] = ()
    starting: tuple[Instance, ...] = ()
    failed: tuple[Instance, ...] = ()
    killed: tuple[Instance, ...] = ()
    slots: Mapping[str, int] = attrs.field(factory=dict)
    counts: InstanceCounts = InstanceCounts()
    deployment_error: DeploymentError | None = None
    instability_issue: str | None = None
    queued_reason: str | None = None
    shortage: Shortage | None = None
    start_secs: float | None = None

    @property
    def status(self) -> str:
        """The label users see: Failing, Inactive, Starting or Running."""
        if self.deployment_error is not None:
            return "Failing"
        if self.counts.requested == 0 and self.counts.scheduled == 0:
            return "Inactive"
        return "Running" if self.healthy else "Starting"


@attrs.frozen(kw_only=True)
class RoutingState:
    """
    All that the aggregator knows, immutable.

    @ivar iteration: grows with every state.
    @ivar time: when the scheduler's part was collected, seconds since the epoch.
    @ivar routers: router id to its URL, this router included.
    @ivar services: by service id; a service the scheduler does not know is not in it.
    @ivar whole: whether all of it is of one time. Otherwise some services are as they were before, or not in it yet, and it may not be
        concluded that one is not there or how they go together; a whole state follows.
    """

    iteration: int = 0
    time: float = 0.0
    routers: Mapping[str, str] = attrs.field(factory=dict)
    services: Mapping[str, ServiceState] = attrs.field(factory=dict)
    whole: bool = True
