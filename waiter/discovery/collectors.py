"""The collectors: they ask an outside source again and again, and pass on what it says."""

from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

import attrs
from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError, Deferred, FirstError, gatherResults, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from waiter.discovery.assessment import starting_until
from waiter.discovery.batch import CollectedService, SchedulerBatch
from waiter.discovery.routers import IRouterDirectory
from waiter.discovery.sightings import NOTHING_SEEN, CheckRules, Sightings, corrected, sort_out
from waiter.discovery.watch import Awaited, HealthWatch, Probe, with_result
from waiter.model.description import ServiceDescription
from waiter.model.instance import Instance
from waiter.model.service import Service, ServiceInstances, ServiceRecord
from waiter.scheduler.health import target
from waiter.scheduler.interface import IScheduler, SchedulerUnavailable
from waiter.support.periodic import Periodic
from waiter.support.turns import SLICE_SECS, in_turns, next_turn

__all__ = ["CollectedService", "Probe", "RouterCollector", "SchedulerBatch", "ServiceCollector"]


#: How many times longer than passing on news takes others have their turn.
_SHARE_OF_OTHERS = 4


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
    def _collecting(self) -> bool:
        return self._began is not None

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

    An instance that is starting, or of a service that requests wait for, is checked between the rounds as well, early and
    often, and what that shows is passed on at once. No round waits for such a check, but for the first.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        scheduler: IScheduler,
        publish: Callable[[SchedulerBatch], Deferred[None]],
        *,
        probe: Probe,
        describe: Callable[[str], Service | None],
        wall: Callable[[], float],
        interval_secs: float = 5.0,
        fetch_deadline_secs: float = 30.0,
        most_checks: int = 50,
        most_watched: int = 500,
        failed_check_threshold: int = 5,
        being_killed: Callable[[str], bool] = lambda _: False,
        is_waited_for: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """
        @param publish: told each batch; what it returns fires when the batch has been taken in.
        @param fetch_deadline_secs: how long the scheduler may take to answer before the round is given up.
        @param most_checks: how many instances a round checks at the same time.
        @param most_watched: how many instances are checked between the rounds.
        @param failed_check_threshold: how many checks an instance must have failed for its disappearance to be a failure.
        @param being_killed: told an instance id, whether it disappears because Waiter wants it to.
        @param is_waited_for: told a service id, whether requests wait for an instance of it.
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
        self._is_waited_for = is_waited_for
        self._sightings: Mapping[str, Sightings] = {}
        self._batch: SchedulerBatch | None = None
        # What was noticed since the round under way began, or is to be passed on.
        self._news: dict[str, Instance] = {}
        self._noticed_more = False
        self._passing_on: IDelayedCall | None = None
        self._being_told: Deferred[None] | None = None
        self._not_before = float("-inf")
        # Instances that a round found unhealthy and that nobody awaited, by service id.
        self._left: dict[str, list[Instance]] = {}
        self._watch = HealthWatch(clock, probe, self._noticed, is_awaited=self._is_awaited, most=most_watched)
        self._watch.setServiceParent(self)
        scheduler.subscribe(self.prompt)

    def stopService(self) -> Deferred[list[Any]]:
        """Check and collect nothing any more. Fires when the round under way has ended."""
        if self._passing_on is not None:
            self._passing_on.cancel()
            self._passing_on = None
        stopped: Deferred[list[Any]] = super().stopService()
        if self._being_told is not None:
            self._being_told.cancel()
        return stopped

    def demand(self, service_id: str) -> None:
        """A request has begun to wait for an instance of a service."""
        left = self._left.pop(service_id, ())
        service = self._describe(service_id) if left else None
        if service is not None and self.running:
            for instance in left:
                self._watch.add(Awaited(instance=instance, description=service.description, waited_for=True))

    async def _collect(self) -> None:
        if self._passing_on is not None:
            self._passing_on.cancel()
            self._pass_on()
        if not self._noticed_more:
            self._news.clear()
        collected_at = self._wall()
        found = await self._scheduler.services().addTimeout(self._fetch_deadline_secs, self._clock)
        checked = await self._checked(found)
        if not self.running:
            # Cancelled, by way of a check that took that for an answer.
            return
        now = self._clock.seconds()
        services: dict[str, CollectedService] = {}
        sightings: dict[str, Sightings] = {}
        async for record, instances in in_turns(self._clock, found.items()):
            services[record.id], seen = sort_out(
                record,
                self._seen(instances, checked),
                self._sightings.get(record.id, NOTHING_SEEN),
                now=now,
                rules=self._rules,
                being_killed=self._being_killed,
            )
            if seen is not NOTHING_SEEN:
                sightings[record.id] = seen
        self._sightings = sightings
        self._correct(services)
        self._news.clear()
        self._batch = SchedulerBatch(collected_at=collected_at, services=services)
        await self._publish(self._batch)

    async def _checked(self, found: Mapping[ServiceRecord, ServiceInstances]) -> Mapping[str, Instance]:
        """
        Let those be watched that may be, and check the others whose health the scheduler does not know.

        @return: those that were checked, by their ids.
        """
        to_watch: list[Awaited] = []
        to_check: list[Awaited] = []
        async for each, was_healthy in in_turns(self._clock, self._unknown(found)):
            # Of those that were known to be healthy, and of all at first, nothing is said before it is known whether they
            # are. That the others are not is no news.
            may_wait = self._batch is not None and not was_healthy
            (to_watch if may_wait and self._can_be_watched(each) else to_check).append(each)
        self._watch.follow(to_watch)
        to_check += [each for each in to_watch if each.instance.id not in self._watch]
        checked: dict[str, Instance] = {}
        left: dict[str, list[Instance]] = {}
        queue = iter([each for each in to_check if each.instance.id not in self._news])

        turn_began = self._clock.seconds()

        async def work() -> None:
            nonlocal turn_began
            for each in queue:
                checked[each.instance.id] = await self._check(each, left)
                # Some checks are over at once.
                if self._clock.seconds() - turn_began > SLICE_SECS:
                    before = turn_began
                    await next_turn(self._clock)
                    # The turn begins with the first of them.
                    turn_began = self._clock.seconds() if turn_began == before else turn_began

        workers = [Deferred.fromCoroutine(work()) for _ in range(min(self._most_checks, len(to_check)))]
        try:
            await gatherResults(workers, consumeErrors=True)
        except FirstError as error:
            # A cancellation must be seen as one.
            error.subFailure.raiseException()
        self._left = left
        return checked

    def _unknown(self, found: Mapping[ServiceRecord, ServiceInstances]) -> Iterator[tuple[Awaited, bool]]:
        """The instances of known services that the scheduler does not know the health of, and whether they were healthy."""
        before = {} if self._batch is None else self._batch.services
        for record, instances in found.items():
            if not _any_unknown(instances):
                continue
            service = self._describe(record.id)
            if service is None:
                continue
            known = before.get(record.id)
            healthy = frozenset() if known is None else frozenset(instance.id for instance in known.healthy)
            waited_for = self._is_waited_for(record.id)
            for instance in instances.active:
                if instance.healthy is None:
                    awaited = Awaited(instance=instance, description=service.description, waited_for=waited_for)
                    yield awaited, instance.id in healthy

    def _seen(self, instances: ServiceInstances, checked: Mapping[str, Instance]) -> ServiceInstances:
        """The instances with what their checks showed."""
        if not _any_unknown(instances):
            return instances
        active = tuple(
            instance if instance.healthy is not None else checked.get(instance.id) or self._watch.seen(instance)
            for instance in instances.active
        )
        return attrs.evolve(instances, active=active)

    def _is_awaited(self, instance: Instance, description: ServiceDescription) -> bool:
        """Whether somebody wants to know as soon as the instance is healthy."""
        return not self._being_killed(instance.id) and (
            self._wall() <= starting_until(instance, description) or self._is_waited_for(instance.service_id)
        )

    def _can_be_watched(self, awaited: Awaited) -> bool:
        """The same, if it is known where to ask."""
        instance, description = awaited.instance, awaited.description
        return target(instance, description) is not None and self._is_awaited(instance, description)

    async def _check(self, unknown: Awaited, left: dict[str, list[Instance]]) -> Instance:
        instance = unknown.instance
        try:
            result = await self._probe.check(instance, unknown.description)
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - one instance must not hide all the others
            self._log.failure("The health of {instance_id} could not be checked", instance_id=instance.id)
            return instance
        if not result.healthy and self.running:
            if self._can_be_watched(unknown):
                self._watch.add(unknown, result)
            else:
                left.setdefault(instance.service_id, []).append(instance)
        return with_result(instance, result)

    # What is noticed between the rounds

    def _noticed(self, instance: Instance) -> None:
        self._news[instance.id] = instance
        self._noticed_more = True
        self._plan_to_pass_on()

    def _plan_to_pass_on(self) -> None:
        if self._passing_on is not None or self._being_told is not None:
            return
        pause_secs = self._not_before - self._clock.seconds()
        if pause_secs > 0:
            self._passing_on = self._clock.callLater(pause_secs, self._pass_on)
        else:
            self._pass_on()

    def _pass_on(self) -> None:
        self._passing_on = None
        if self._batch is None:
            return
        began = self._clock.seconds()
        self._noticed_more = False
        services = dict(self._batch.services)
        news = self._correct(services)
        if not self._collecting:
            self._news.clear()
        told: Deferred[None] = succeed(None)
        if news:
            self._batch = SchedulerBatch(collected_at=self._batch.collected_at, services=services)
            told = self._publish(self._batch)
        self._being_told = told
        told.addErrback(self._not_told)
        told.addCallback(lambda _: self._told(began))

    def _not_told(self, failure: Failure) -> None:
        if self.running or not failure.check(CancelledError):
            self._log.failure("What was noticed could not be passed on", failure)

    def _told(self, began: float) -> None:
        self._being_told = None
        # With thousands of services that takes its time: others must have theirs.
        ended = self._clock.seconds()
        self._not_before = ended + _SHARE_OF_OTHERS * (ended - began)
        if self._noticed_more and self.running:
            self._plan_to_pass_on()

    def _correct(self, services: dict[str, CollectedService]) -> bool:
        """Take in what was noticed; whether that changed anything."""
        sightings = dict(self._sightings)
        changed = False
        for instance in self._news.values():
            collected = services.get(instance.service_id)
            better = None if collected is None else corrected(collected, instance)
            if better is None or better is collected:
                continue
            changed = True
            services[instance.service_id] = better
            if instance.healthy and instance.service_id in sightings:
                sightings[instance.service_id] = sightings[instance.service_id].without(instance.id)
        self._sightings = sightings
        return changed


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


def _any_unknown(instances: ServiceInstances) -> bool:
    return any(instance.healthy is None for instance in instances.active)
