"""Runs services as apps of a Marathon."""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import attrs
from twisted.application.service import MultiService
from twisted.application.service import Service as TwistedService
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from zope.interface import implementer

from waiter.errors import ShuttingDown
from waiter.model.description import ServiceDescription
from waiter.model.instance import Instance
from waiter.model.service import Service, ServiceInstances, ServiceRecord
from waiter.scheduler.interface import (
    DeleteResult,
    ILog,
    IScheduler,
    KillResult,
    LogEntry,
    LoggedInstance,
    Measurement,
    Signal,
    Usage,
)
from waiter.scheduler.marathon.agent import AgentFiles
from waiter.scheduler.marathon.bell import Bell
from waiter.scheduler.marathon.client import MarathonClient
from waiter.scheduler.marathon.deployments import Deployments
from waiter.scheduler.marathon.errors import MarathonError, MarathonRefused
from waiter.scheduler.marathon.events import EventStream
from waiter.scheduler.marathon.kills import Kills
from waiter.scheduler.marathon.logs import TaskLogs
from waiter.scheduler.marathon.rules import MarathonRules
from waiter.scheduler.marathon.sightings import Sightings
from waiter.scheduler.marathon.translation import App, Place, app_json, read_app
from waiter.scheduler.marathon.upkeep import Upkeep
from waiter.scheduler.marathon.validation import check_may_run
from waiter.support.background import Background
from waiter.support.periodic import Periodic
from waiter.support.topic import Topic
from waiter.support.turns import next_turn

#: How long a list waits for the last output of those that failed.
_LAST_WORDS_SECS = 0.5


@implementer(IScheduler)
class MarathonScheduler(TwistedService):
    """
    The apps of a Marathon that are services.

    Marathon starts and replaces the instances; their number, and which of them are stopped, is said from here. They run on
    when Waiter stops, and are recognised by the id of their app.

    What Marathon lists is asked for anew each time. What it does not keep is kept here for as long as Waiter runs: which
    instances failed, were killed or have expired.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        client: MarathonClient,
        *,
        cluster: str,
        prefix: str,
        wall: Callable[[], float],
        password: Callable[[str], str],
        user: str,
        rules: MarathonRules | None = None,
        is_leader: Callable[[], bool] = lambda: True,
        files: AgentFiles | None = None,
    ) -> None:
        """
        @param prefix: what the ids of services begin with; all other apps are left alone.
        @param password: of a service, by its id.
        @param user: who services may be run as.
        @param is_leader: whether this router looks after apps that got stuck.
        @param files: how the files of tasks are read.
        """
        self._reactor = reactor
        self._client = client
        self._cluster = cluster
        self._wall = wall
        self._password = password
        self._user = user
        self._rules = rules = rules or MarathonRules()
        self._background = Background()
        self._bell = Bell(reactor)
        self._words_bell = Bell(reactor)
        # Since when the last output of which failed instance is being read.
        self._reading: dict[str, float] = {}
        self._changes: Topic[None] = Topic()
        self._seen = Sightings(reactor, prefix=prefix, wall=wall, lowered_secs=rules.lowered_secs)
        self._place = Place(directory=rules.agent_directory)
        self._framework_asked_at: float | None = None
        self._publishing: IDelayedCall | None = None
        self._listed_at: float | None = None
        self._listing_secs = 0.0
        self._trouble: str | None = None
        self._no_more = False
        self._kills = Kills(
            reactor,
            client,
            self._background,
            self._bell,
            accepted=self._accepted,
            was_killed=self._seen.was_killed,
            force_after_secs=rules.force_kill_after_secs,
        )
        self._deployments = Deployments(reactor, client, self._bell, wall=wall)
        self._upkeep = Upkeep(reactor, is_leader, patience_secs=4 * rules.sync_deployment_secs)
        self._logs = TaskLogs(files or AgentFiles(reactor, port=rules.agent_port), self._seen)
        self._events = EventStream(reactor, client, self._heard)
        upkeep = Periodic(reactor, rules.sync_deployment_secs, self._look_after, name="marathon-upkeep", at_once=False)
        # Children of another service: a MultiService has an attribute of the name of services().
        self._parts = MultiService()
        upkeep.setServiceParent(self._parts)
        if rules.events:
            self._events.setServiceParent(self._parts)

    # Life

    def startService(self) -> None:
        """Begin to listen. Marathon need not be there yet."""
        self._client.open()
        self._background.restart()
        super().startService()
        self._parts.startService()

    def start_no_more(self) -> None:
        """Create no further service, for ever. Marathon goes on replacing what ends."""
        self._no_more = True

    def stopService(self) -> Deferred[None]:
        """Cancel what is under way; the instances run on. Fires when the connections are closed."""
        super().stopService()
        if self._publishing is not None:
            self._publishing.cancel()
            self._publishing = None
        stopping = [self._background.stop(), self._parts.stopService() or succeed(None)]
        return gatherResults(stopping, consumeErrors=True).addBoth(lambda _: self._client.close())

    # What is there

    @property
    def events_connected(self) -> bool | None:
        """Whether Marathon's events are heard now; C{None} if they are not to be."""
        return self._events.connected if self._rules.events else None

    def services(self) -> Deferred[Mapping[ServiceRecord, ServiceInstances]]:
        """See L{IScheduler}. Cancelling it drops the connection."""
        return Deferred.fromCoroutine(self._services())

    def usage(self, service_id: str) -> Usage | None:
        """See L{IScheduler}."""
        return self._seen.usage(service_id)

    def measured(self, service_id: str) -> Mapping[str, Measurement]:  # noqa: ARG002
        """See L{IScheduler}. Marathon does not measure."""
        return {}

    def deployment_error_config(self, service_id: str) -> Mapping[str, int]:  # noqa: ARG002
        """See L{IScheduler}."""
        return {"min-hosts": self._rules.min_hosts}

    def subscribe(self, changed: Callable[[], object]) -> None:
        """See L{IScheduler}."""
        self._changes.subscribe(lambda _: changed())

    def state(self) -> Mapping[str, object]:
        """See L{IScheduler}."""
        now = self._reactor.seconds()
        return {
            "type": "MarathonScheduler",
            "addresses": list(self._client.addresses.all),
            "asked-first": self._client.addresses.current,
            "framework-id": self._place.framework_id,
            "listed-secs-ago": None if self._listed_at is None else round(now - self._listed_at, 3),
            "listing-secs": round(self._listing_secs, 3),
            "trouble": self._trouble,
            "events": {
                "connected": self._events.connected,
                "connections": self._events.connections,
                "received": self._events.received,
            },
            "kills": self._kills.state(),
            "services": self._seen.state(),
        }

    # Changes

    def create(self, service: Service) -> Deferred[bool]:
        """See L{IScheduler}."""
        return Deferred.fromCoroutine(self._create(service))

    def redescribe(self, service: Service) -> None:
        """See L{IScheduler}. An app stays as it was created: to change it would be to start all its instances anew."""

    def scale(self, service_id: str, instances: int, force: bool = False) -> Deferred[None]:
        """
        See L{IScheduler}. A number lower than what runs is shown for a while and then given up, as Marathon would stop
        instances for it.
        """
        return Deferred.fromCoroutine(self._scale(service_id, instances, force))

    def waited_for(self, service_ids: AbstractSet[str]) -> None:
        """See L{IScheduler}. Mesos decides who gets room."""

    def kill(self, instance: Instance) -> Deferred[KillResult]:
        """See L{IScheduler}."""
        return self._kills.kill(instance, "Successfully killed instance")

    def signal(self, service_id: str, instance_id: str, signal: Signal) -> Deferred[KillResult]:
        """See L{IScheduler}. Marathon knows no kill without the grace period, so both kills are the same."""
        instance = self._seen.instance(service_id, instance_id) or Instance(id=instance_id, service_id=service_id)
        done = f"{signal.value} successfully sent to {instance_id}"
        if signal is not Signal.EXPIRE:
            return self._kills.kill(instance, done)
        found = self._seen.expire(service_id, instance_id)
        if found:
            self._publish()
        return succeed(
            KillResult(
                service_id=service_id,
                instance_id=instance_id,
                killed=False,
                message=done if found else f"There is no instance {instance_id}",
                status=200 if found else 404,
            )
        )

    def delete(self, service_id: str) -> Deferred[DeleteResult]:
        """See L{IScheduler}. It is not shown any more as soon as Marathon has agreed."""

        def accepted() -> None:
            self._seen.deleted(service_id)
            self._kills.forget(service_id)
            self._publish()

        return Deferred.fromCoroutine(self._deployments.delete(service_id, accepted))

    def validate(self, description: ServiceDescription) -> None:
        """See L{IScheduler}."""
        check_may_run(description, user=self._user, privileged=self._rules.any_user)

    # Logs

    def log_entries(self, service_id: str, instance_id: str, directory: str) -> Deferred[tuple[LogEntry, ...]]:
        """See L{IScheduler}."""
        return Deferred.fromCoroutine(self._logs.entries(service_id, instance_id, directory))

    def log(self, service_id: str, instance_id: str, path: str) -> Deferred[ILog]:
        """See L{IScheduler}."""
        return Deferred.fromCoroutine(self._logs.log(service_id, instance_id, path))

    def logged_instances(self, service_id: str) -> Deferred[tuple[LoggedInstance, ...]]:
        """See L{IScheduler}."""
        return Deferred.fromCoroutine(self._logs.instances(service_id))

    # How

    async def _services(self) -> Mapping[ServiceRecord, ServiceInstances]:
        began = self._reactor.seconds()
        try:
            await self._find_framework()
            apps = await self._listed()
        except MarathonError as error:
            self._trouble = str(error)
            raise
        self._trouble = None
        self._listing_secs = self._reactor.seconds() - began
        self._listed_at = began
        for failure in self._seen.listed(apps, began=began):
            self._explain(failure)
        await self._last_words()
        # With thousands of services each of these takes some milliseconds.
        await next_turn(self._reactor)
        view = self._seen.view()
        await next_turn(self._reactor)
        return view

    async def _listed(self) -> dict[str, App]:
        """All apps that are services."""
        apps: dict[str, App] = {}
        async for app in self._client.each_app():
            service_id = self._seen.service_id_of(app.get("id"))
            if service_id is not None:
                try:
                    apps[service_id] = read_app(
                        app, service_id, place=self._place, known=self._seen.tasks_of(service_id)
                    )
                except ValueError as error:
                    raise MarathonError(str(error)) from None
        return apps

    async def _find_framework(self) -> None:
        """Ask for Marathon's name at Mesos, from time to time."""
        now = self._reactor.seconds()
        asked_at = self._framework_asked_at
        if asked_at is not None and now - asked_at < self._rules.framework_id_ttl_secs:
            return
        try:
            framework_id = await self._client.framework_id()
        except MarathonRefused as refusal:
            # Marathon may keep it from us; only logs need it.
            self._framework_asked_at = now
            self._log.warn("Logs of instances may not be found: {refusal}", refusal=refusal)
            return
        if framework_id is not None:
            self._framework_asked_at = now
            self._place = attrs.evolve(self._place, framework_id=framework_id)

    async def _create(self, service: Service) -> bool:
        if self._no_more or not self.running:
            raise ShuttingDown("Waiter is stopping and starts no services")
        self.validate(service.description)
        app = app_json(
            service,
            cluster=self._cluster,
            password=self._password(service.id),
            home_prefix=self._rules.home_path_prefix,
            init_commands=self._rules.container_init_commands,
        )
        created = await self._deployments.create(service.id, app)
        self._seen.created(service)
        self._publish()
        return created

    async def _scale(self, service_id: str, instances: int, force: bool) -> None:
        number = await self._deployments.scale(service_id, instances, force=force)
        self._seen.scaled(service_id, asked=instances, done=number)
        self._publish()

    async def _look_after_all(self) -> None:
        if self._listed_at is None or self._trouble is not None:
            return
        for service_id, instances in self._upkeep.due(self._seen.apps, self._seen.asked).items():
            try:
                await self._deployments.settle(service_id, instances)
            except MarathonRefused as refusal:
                # The others are looked after all the same.
                self._log.warn("{service_id} stays stuck: {refusal}", service_id=service_id, refusal=refusal)

    def _look_after(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._look_after_all())

    def _accepted(self, instance: Instance) -> None:
        self._seen.killed(instance)
        self._publish()

    def _heard(self, kind: str, data: Mapping[str, Any]) -> None:
        """Marathon says that something has changed."""
        self._bell.ring()
        app_id = data.get("appId")
        if app_id is not None and self._seen.service_id_of(app_id) is None:
            return
        failure = self._seen.event(kind, data, self._place)
        if failure is not None:
            self._explain(failure)
        self._publish()

    def _explain(self, failure: Instance) -> None:
        """Get the last words of an instance that failed."""
        reason = failure.message or ("unknown" if failure.exit_code is None else f"exit code {failure.exit_code}")
        self._log.warn("{id} failed: {reason}", id=failure.id, reason=reason)
        self._background.start(self._find_last_words(failure), f"Reading the last output of {failure.id}")

    async def _last_words(self) -> None:
        """Wait a little for what is being read of failed instances: who hears of a failure wants to know why."""
        while self._reading:
            left = min(self._reading.values()) + _LAST_WORDS_SECS - self._reactor.seconds()
            if left <= 0:
                return
            await self._words_bell.wait(left)

    async def _find_last_words(self, failure: Instance) -> None:
        self._reading[failure.id] = self._reactor.seconds()
        try:
            await self._read_last_words(failure)
        finally:
            del self._reading[failure.id]
            self._words_bell.ring()

    async def _read_last_words(self, failure: Instance) -> None:
        try:
            lines = await self._logs.last_lines(failure)
        except Exception as error:  # noqa: BLE001 - the failure itself is known all the same
            self._log.debug("The last output of {id} cannot be read: {error}", id=failure.id, error=error)
            return
        if lines:
            self._seen.failures.change(failure.id, failure.service_id, lambda it: attrs.evolve(it, last_output=lines))
            self._publish()

    def _publish(self) -> None:
        """Tell the subscribers soon, and not again before what they do then can have ended."""
        if self._publishing is None and self.running:
            spacing_secs = max(self._rules.event_spacing_secs, 2 * self._listing_secs)
            since = self._reactor.seconds() - (self._listed_at or 0.0)
            self._publishing = self._reactor.callLater(max(0.0, spacing_secs - since), self._publish_now)

    def _publish_now(self) -> None:
        self._publishing = None
        self._changes.publish(None)
