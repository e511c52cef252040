"""What the local scheduler knows of one service."""

from collections import deque
from typing import Any

from waiter.model.instance import Instance
from waiter.model.resources import Resources, Shortage
from waiter.model.service import Service, ServiceInstances, ServiceRecord
from waiter.scheduler.interface import Measurement
from waiter.scheduler.local.backoff import Backoff
from waiter.scheduler.local.instance import LocalInstance

#: How many failed instances of a service are remembered.
KEPT_FAILED = 10
#: How many instances in a row may find their port taken before that counts as a failure.
_PORT_CONFLICTS = 5


class LocalService:
    """
    A service and its instances.

    @ivar need: what one instance needs.
    @ivar requested: how many instances there should be.
    @ivar instances: those of which something is left, ending ones included, in the order of their starts.
    @ivar failed: the latest that failed, oldest first.
    @ivar impossible: why none can ever run here; C{None} normally.
    @ivar queued_reason: why the next one is not started yet, if it is held back; a pause after a failure is not one.
    @ivar queued_since: since when, in the clock's seconds.
    @ivar shortage: what is missing, if it is held back for lack of room.
    """

    def __init__(self, service: Service, *, impossible: str | None = None) -> None:
        self.service = service
        self.need = Resources.of(service.description)
        self.requested = 0
        self.instances: dict[str, LocalInstance] = {}
        self.failed: deque[Instance] = deque(maxlen=KEPT_FAILED)
        self.backoff = Backoff(service.description.restart_backoff_factor)
        self.impossible = impossible
        self.queued_reason: str | None = None
        self.queued_since: float | None = None
        self.shortage: Shortage | None = None
        self._conflicts = 0

    def redescribe(self, service: Service) -> None:
        """The description is another now: for what is started, and for the checks and the end of what runs."""
        self.service = service
        self.backoff.factor = service.description.restart_backoff_factor
        for instance in self.instances.values():
            instance.redescribe(service.description)

    @property
    def active(self) -> list[LocalInstance]:
        """The instances that run and are meant to."""
        return [instance for instance in self.instances.values() if instance.active]

    @property
    def missing(self) -> int:
        """How many have to be started; 0 if none can."""
        return 0 if self.impossible else max(0, self.requested - len(self.active))

    def hold_back(self, reason: str, shortage: Shortage | None, now: float) -> bool:
        """Note why the next instance is not started. Whether that is news."""
        news = self.queued_reason != reason or self.shortage != shortage
        self.queued_reason = reason
        self.shortage = shortage
        if self.queued_since is None:
            self.queued_since = now
        return news

    def let_go(self) -> None:
        """Nothing is held back any more."""
        self.queued_reason = None
        self.queued_since = None
        self.shortage = None

    def healthy(self, now: float) -> None:
        """One of the instances has become healthy; C{now} is in the clock's seconds."""
        self._conflicts = 0
        self.backoff.healthy(now)

    def port_conflict(self) -> bool:
        """An instance found its port taken. Whether to start another at once; C{False} when it happened too often."""
        self._conflicts += 1
        return self._conflicts <= _PORT_CONFLICTS

    def fail(self, instance: Instance) -> None:
        """Remember an instance that failed."""
        self.failed.append(instance)

    def record(self) -> ServiceRecord:
        """The service as others see it."""
        missing = self.missing > 0
        return ServiceRecord(
            id=self.service.id,
            instances=self.requested,
            task_count=len(self.active),
            deployment_error=self.impossible,
            queued_reason=self.queued_reason if missing else None,
            shortage=self.shortage if missing else None,
        )

    def measured(self) -> dict[str, Measurement]:
        """What its instances use, as far as that is known."""
        found = {name: instance.running.measured() for name, instance in self.instances.items()}
        return {name: each for name, each in found.items() if each is not None}

    def view(self) -> ServiceInstances:
        """Its instances as others see them."""
        return ServiceInstances(active=tuple(instance.view() for instance in self.active), failed=tuple(self.failed))

    def state(self, now: float) -> dict[str, Any]:
        """Its inside, JSON-able; C{now} is in the clock's seconds."""
        record = self.record()
        return {
            "requested": self.requested,
            "instances": {each.id: each.phase.value for each in self.instances.values()},
            "measured": {
                name: {"memory-mib": round(each.memory_mib, 1), "processes": each.processes}
                for name, each in self.measured().items()
            },
            "failed": [each.id for each in self.failed],
            "pause-secs": round(self.backoff.remaining_secs(now), 3),
            "queued-reason": record.queued_reason,
            "queued-secs": None if self.queued_since is None else round(now - self.queued_since, 3),
            "deployment-error": self.impossible,
        }
