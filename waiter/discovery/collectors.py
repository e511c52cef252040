"""The collectors: they ask an outside source again and again, and pass on what it says."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

import attrs
from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError, Deferred, FirstError, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from waiter.discovery.batch import CollectedService, SchedulerBatch
from waiter.discovery.routers import IRouterDirectory
from waiter.discovery.sightings import NOTHING_SEEN, CheckRules, Sightings, sort_out
from waiter.model.description import ServiceDescription
from waiter.model.instance import Instance
from waiter.model.service import Service, ServiceInstances, ServiceRecord
from waiter.scheduler.health import HealthResult
from waiter.scheduler.interface import IScheduler, SchedulerUnavailable
from waiter.support.periodic import Periodic
from waiter.support.turns import in_turns

__all__ = ["CollectedService", "Probe", "RouterCollector", "SchedulerBatch", "ServiceCollector"]


class Probe(Protocol):
    """Checks the health of an instance."""

    def check(self, instance: Instance, description: ServiceDescription) -> Deferred[HealthResult]:
        """Ask once, within a time limit of its own."""


class _Collector(MultiService):
    """
    Runs C{_collect} every interval and when prompted, one run at a time; a run that fails is logged and counted, and what
    was collected before stands.

    @ivar took_secs: how long the last round took that did not fail.
    """

    def __init__(self, clock: IReactorTime, interval_secs: float, name: str) -> None:
        super().__init__()
        self.setName(name)
        self._clock = clock
        self._interval_secs = interval_secs
        self._first: Deferred[None] | None = None
        self._failed = False
        self._began: float | None = None
        self.took_secs = 0.0
        self._rounds = Periodic(clock, interval_secs, self._round, name=name, expected=(SchedulerUnavailable,))
        self._rounds.setServiceParent(self)

    @property
    def errors(self) -> int:
        """How many rounds have failed."""
        return self._rounds.failures

    @property
    def in_doubt(self) -> bool:
        """
        Whether what was collected last may not be true any more: the last round failed, or the one under way takes longer
        than usual.
        """
        usual_secs = max(self._interval_secs, 2 * self.took_secs)
        return self._failed or (self._began is not None and self._clock.seconds() - self._began > usual_secs)

    def startService(self) -> Deferred[None]:
        """
        Begin collecting. Fires after the first round, whether it succeeded or not. Cancelling it ends only the wait.
        """
        first = self._first = Deferred()
        super().startService()
        return first

    def prompt(self) -> None:
        """Collect now, or once more right after the round under way."""
        self._rounds.prompt()

    def _round(self) -> Deferred[None]:
        self._began = self._clock.seconds()
        return Deferred.fromCoroutine(self._collect()).addBoth(self._round_over)

    def _round_over(self, result: Any) -> Any:
        began, self._began = self._began, None
        self._failed = isinstance(result, Failure)
        if began is not None and not self._failed:
            self.took_secs = self._clock.seconds() - began
        first, self._first = self._first, None
        if first is not None:
            first.callback(None)
        return result

    def _collect(self) -> Coroutine[Deferred[Any], Any, None]:
        raise NotImplementedError


class ServiceCollector(_Collector):
    """
    Collects the services and instances of a scheduler, checks those whose health the scheduler does not know, and passes
    on the whole as one L{SchedulerBatch}. When the scheduler cannot be asked, nothing is passed on.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        scheduler: IScheduler,
        publish: Callable[[SchedulerBatch], object],
        *,
        probe: Probe,
        describe: Callable[[str], Service | None],
        wall: Callable[[], float],
        interval_secs: float = 5.0,
        fetch_deadline_secs: float = 30.0,
        most_checks: int = 50,
        failed_check_threshold: int = 5,
        being_killed: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """
        @param fetch_deadline_secs: how long the scheduler may take to answer before the round is given up.
        @param most_checks: how many instances are checked at the same time.
        @param failed_check_threshold: how many checks an instance must have failed for its disappearance to be a failure.
        @param being_killed: told an instance id, whether it disappears because Waiter wants it to.
        """
        super().__init__(clock, interval_secs, "service-collector")
        self._scheduler = scheduler
        self._publish = publish
        self._probe = probe
        self._describe = describe
        self._wall = wall
        self._fetch_deadline_secs = fetch_deadline_secs
        self._most_checks = most_checks
        self._rules = CheckRules(threshold=failed_check_threshold, min_gap_secs=interval_secs / 2)
        self._being_killed = being_killed
        self._sightings: Mapping[str, Sightings] = {}
        scheduler.subscribe(self.prompt)

    async def _collect(self) -> None:
        collected_at = self._wall()
        found = await self._scheduler.services().addTimeout(self._fetch_deadline_secs, self._clock)
        checked = await self._checked(found)
        if not self.running:
            # Cancelled, by way of a check that took that for an answer.
            return
        now = self._clock.seconds()
        services: dict[str, CollectedService] = {}
        sightings: dict[str, Sightings] = {}
        async for record, instances in in_turns(self._clock, checked.items()):
            services[record.id], seen = sort_out(
                record,
                instances,
                self._sightings.get(record.id, NOTHING_SEEN),
                now=now,
                rules=self._rules,
                being_killed=self._being_killed,
            )
            if seen is not NOTHING_SEEN:
                sightings[record.id] = seen
        self._sightings = sightings
        self._publish(SchedulerBatch(collected_at=collected_at, services=services))

    async def _checked(
        self, found: Mapping[ServiceRecord, ServiceInstances]
    ) -> Mapping[ServiceRecord, ServiceInstances]:
        """The same, with the health of every instance of a known service found out."""
        unknown = [
            (instance, service.description)
            for record, instances in found.items()
            if any(instance.healthy is None for instance in instances.active)
            and (service := self._describe(record.id)) is not None
            for instance in instances.active
            if instance.healthy is None
        ]
        if not unknown:
            return found
        checked: dict[str, Instance] = {}
        queue = iter(unknown)

        async def work() -> None:
            for instance, description in queue:
                checked[instance.id] = await self._check(instance, description)

        workers = min(self._most_checks, len(unknown))
        try:
            await gatherResults([Deferred.fromCoroutine(work()) for _ in range(workers)], consumeErrors=True)
        except FirstError as error:
            # A cancellation must be seen as one.
            error.subFailure.raiseException()
        return {
            record: attrs.evolve(
                instances, active=tuple(checked.get(instance.id, instance) for instance in instances.active)
            )
            for record, instances in found.items()
        }

    async def _check(self, instance: Instance, description: ServiceDescription) -> Instance:
        try:
            result = await self._probe.check(instance, description)
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - one instance must not hide all the others
            self._log.failure("The health of {instance_id} could not be checked", instance_id=instance.id)
            return instance
        return attrs.evolve(
            instance,
            healthy=result.healthy,
            flags=instance.flags | result.flags,
            health_check_status=result.status,
            message=instance.message if result.healthy else result.message or instance.message,
        )


class RouterCollector(_Collector):
    """
    Collects the routers of the cluster and passes on router id to URL. When the directory cannot be asked, nothing is
    passed on.
    """

    def __init__(
        self,
        clock: IReactorTime,
        directory: IRouterDirectory,
        publish: Callable[[Mapping[str, str]], object],
        *,
        interval_secs: float = 1.5,
        fetch_deadline_secs: float = 10.0,
    ) -> None:
        """
        @param fetch_deadline_secs: how long the directory may take to answer before the round is given up.
        """
        super().__init__(clock, interval_secs, "router-collector")
        self._directory = directory
        self._publish = publish
        self._fetch_deadline_secs = fetch_deadline_secs
        directory.subscribe(self.prompt)

    async def _collect(self) -> None:
        self._publish(await self._directory.members().addTimeout(self._fetch_deadline_secs, self._clock))
