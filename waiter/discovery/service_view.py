"""All that the aggregator knows of one service."""

from collections.abc import Callable, Iterable, Mapping

import attrs
from twisted.logger import Logger

from waiter.discovery.assessment import Assessment, Circumstances, assess, forgive
from waiter.discovery.batch import CollectedService
from waiter.model.instance import Instance
from waiter.model.routing import ServiceState
from waiter.model.service import Service

_MOST_KILLED = 12

# The weight of the newest measurement in the smoothed start time.
_START_WEIGHT = 0.3

Share = Callable[[Service, tuple[Instance, ...]], Mapping[str, int]]
"""Given a service and its healthy instances, this router's slots by instance id."""


class ServiceView:
    """
    One service from batch to batch, with what a single batch does not tell: which instances were killed, which were once
    healthy, how long starting takes, which failures are history.

    @ivar state: the latest view, replaced only when it differs from the one before.
    """

    _log = Logger()

    def __init__(self, share: Share, watched_since: float) -> None:
        """
        @param watched_since: from when on starts are measured, seconds since the epoch: of instances that are older it is
            not known when they became healthy.
        """
        self.state: ServiceState | None = None
        self._share = share
        self._watched_since = watched_since
        self._service: Service | None = None
        self._collected: CollectedService | None = None
        self._config: Mapping[str, int] = {}
        self._failing: frozenset[str] = frozenset()
        self._killed: frozenset[str] = frozenset()
        self._forgiven: frozenset[str] = frozenset()
        self._once_healthy: frozenset[str] = frozenset()
        self._shown_killed: tuple[Instance, ...] = ()
        self._start_secs: float | None = None
        self._assessed_at = 0.0
        self._holds_until = 0.0

    def update(
        self,
        service: Service,
        collected: CollectedService,
        *,
        failing: frozenset[str],
        config: Mapping[str, int],
        now: float,
    ) -> bool:
        """
        Take in what was collected; does next to nothing when that and everything else is as before.

        @param failing: ids of instances that fail their requests again and again.
        @param config: what differs from the defaults in concluding a deployment error.
        @param now: seconds since the epoch.
        @return: whether C{state} has changed.
        """
        if (
            self._assessed_at <= now < self._holds_until
            and self._collected == collected
            and self._failing == failing
            and self._config == config
            and _same(self._service, service)
        ):
            return False
        self._service = service
        self._collected = collected
        self._failing = failing
        self._config = config
        self._forgiven = forgive(collected, self._forgiven)
        if self._killed:
            # Those that are neither reported nor shown any more cannot come back.
            reported = _ids((*collected.healthy, *collected.unhealthy, *collected.failed))
            self._killed &= reported | _ids(self._shown_killed)
        self._measure_starts(collected, now)
        return self._assess(service, collected, now)

    def kill(self, instance: Instance, now: float) -> None:
        """
        The instance has been killed: from now on it is in no list but C{killed}, even if the scheduler goes on reporting
        it.
        """
        others = tuple(killed for killed in self._shown_killed if killed.id != instance.id)
        self._shown_killed = (*others, instance)[-_MOST_KILLED:]
        self._killed |= {instance.id}
        if self._service is not None and self._collected is not None:
            self._assess(self._service, self._collected, now)

    def was_killed(self, instance_id: str) -> bool:
        """Whether an instance has been killed."""
        return instance_id in self._killed

    def share_again(self) -> None:
        """The routers have changed: find out this router's slots anew."""
        if self.state is not None:
            self.state = attrs.evolve(self.state, slots=self._share(self.state.service, self.state.healthy))

    def gone(self) -> None:
        """The service is no more."""
        if self.state is not None:
            self._report("remove", _active(self.state), ())

    def _assess(self, service: Service, collected: CollectedService, now: float) -> bool:
        known = Circumstances(failing=self._failing, killed=self._killed, forgiven=self._forgiven, config=self._config)
        found = assess(collected, service.description, known, now=now)
        self._assessed_at = now
        self._holds_until = found.holds_until
        before = self.state
        if before is not None and before.healthy == found.healthy and _same(before.service, service):
            slots = before.slots
        else:
            slots = self._share(service, found.healthy)
        state = self._state(service, found, collected, slots)
        if state == before and _same(before.service, service):
            return False
        self.state = state
        self._report_changes(before, state)
        return True

    def _state(
        self, service: Service, found: Assessment, collected: CollectedService, slots: Mapping[str, int]
    ) -> ServiceState:
        return ServiceState(
            service=service,
            healthy=found.healthy,
            unhealthy=found.unhealthy,
            expired=found.expired,
            starting=found.starting,
            failed=found.failed,
            killed=self._shown_killed,
            slots=slots,
            counts=found.counts,
            deployment_error=found.deployment_error,
            instability_issue=found.instability_issue,
            queued_reason=collected.record.queued_reason,
            shortage=collected.record.shortage,
            start_secs=self._start_secs,
        )

    def _measure_starts(self, collected: CollectedService, now: float) -> None:
        for instance in collected.healthy:
            started_at = instance.started_at
            if started_at is None or instance.id in self._once_healthy or not self._watched_since <= started_at <= now:
                continue
            took = now - started_at
            before = took if self._start_secs is None else self._start_secs
            self._start_secs = before + _START_WEIGHT * (took - before)
        healthy = _ids(collected.healthy)
        self._once_healthy = healthy | (self._once_healthy & _ids(collected.unhealthy))

    def _report_changes(self, before: ServiceState | None, after: ServiceState) -> None:
        if before is None:
            before = ServiceState(service=after.service)
        self._report("healthy", after.healthy, before.healthy)
        starting = _ids(after.starting) - self._once_healthy
        self._report(
            "starting", tuple(instance for instance in after.unhealthy if instance.id in starting), before.unhealthy
        )
        self._report(
            "unhealthy",
            tuple(instance for instance in after.unhealthy if instance.id not in starting),
            before.unhealthy,
        )
        self._report("expire", after.expired, before.expired)
        self._report("remove", _active(before), _active(after))

    def _report(self, event: str, instances: tuple[Instance, ...], known: tuple[Instance, ...]) -> None:
        """Log the event of those instances that are not known yet."""
        if instances is known:
            return
        old = _ids(known)
        for instance in instances:
            if instance.id not in old:
                self._log.info(
                    "Instance {instance_id}: {event}",
                    instance_id=instance.id,
                    event=event,
                    service_id=instance.service_id,
                    host=instance.host,
                    port=instance.port,
                )


def _active(state: ServiceState) -> tuple[Instance, ...]:
    return (*state.healthy, *state.unhealthy)


def _ids(instances: Iterable[Instance]) -> frozenset[str]:
    return frozenset(instance.id for instance in instances)


def _same(one: Service | None, other: Service) -> bool:
    """Whether they are described alike; services with one id are equal even if they are not."""
    return one is other or (one is not None and one.description == other.description)
