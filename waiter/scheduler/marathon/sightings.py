"""What was seen of the services at Marathon, and what it does not keep itself."""

from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime

from waiter.model.instance import Flag, Instance
from waiter.model.service import Service, ServiceInstances, ServiceRecord
from waiter.scheduler.interface import Usage
from waiter.scheduler.marathon.events import STATUS
from waiter.scheduler.marathon.failures import Failures
from waiter.scheduler.marathon.translation import FAILURES, App, Place, read_failure, service_id_of

_MOST_DEAD = 10000
#: How long a list may take to show a deletion.
_DELETION_SHOWS_SECS = 60.0


@attrs.frozen
class _Lowered:
    """A number of instances that was asked for and is not set, because more of them run."""

    asked: int
    until: float


class Sightings:
    """
    The latest list of apps, with what is known beyond it.

    @ivar apps: as they were listed, by service id.
    @ivar failures: the instances that failed.
    @ivar dead: the instances that were killed from here and when that was agreed, seconds since the epoch.
    """

    def __init__(
        self, clock: IReactorTime, *, prefix: str, wall: Callable[[], float], lowered_secs: float = 10.0
    ) -> None:
        """
        @param prefix: what the ids of services begin with.
        @param lowered_secs: how long a number that is lower than what runs is shown; see L{scaled}.
        """
        self._clock = clock
        self._prefix = prefix
        self._wall = wall
        self._lowered_secs = lowered_secs
        self.apps: Mapping[str, App] = {}
        self.failures = Failures()
        self.dead: dict[str, tuple[Instance, float]] = {}
        self._tasks: dict[str, dict[str, Instance]] = {}
        self._expired: set[str] = set()
        self._created: dict[str, tuple[float, Usage]] = {}
        self._deleted: dict[str, float] = {}
        self._lowered: dict[str, _Lowered] = {}

    def service_id_of(self, app_id: object) -> str | None:
        """The service that an app is; C{None} if it is none."""
        return service_id_of(app_id, self._prefix)

    # What is told

    def listed(self, apps: Mapping[str, App], *, began: float) -> list[Instance]:
        """
        Take in a whole list.

        @param began: when it was asked for; what was done since may not show in it.
        @return: the failures that were not known yet.
        """
        before = self._tasks
        self.apps = apps
        self._tasks = {service_id: {task.id: task for task in app.tasks} for service_id, app in apps.items()}
        alive = {task_id for tasks in self._tasks.values() for task_id in tasks}
        self._expired &= alive
        self._created = {key: each for key, each in self._created.items() if each[0] > began and key not in apps}
        self._deleted = {
            key: at
            for key, at in self._deleted.items()
            # Listed for longer, it was created again by somebody else.
            if at > began or (key in apps and began - at < _DELETION_SHOWS_SECS)
        }
        self.failures.retain({*apps, *self._created})
        new = []
        for service_id, app in apps.items():
            if app.failure is not None and self._add_failure(app.failure, before.get(service_id, {})):
                new.append(app.failure)
            self.failures.living(service_id, self._tasks[service_id])
        return new

    def event(self, kind: str, data: Mapping[str, Any], place: Place) -> Instance | None:
        """Take in an event; an instance that has failed, if that is news."""
        service_id = self.service_id_of(data.get("appId"))
        if kind != STATUS or service_id is None or data.get("taskStatus") not in FAILURES:
            return None
        try:
            failure = read_failure(data, service_id, place=place)
        except KeyError:
            return None
        known = self._tasks.get(service_id, {})
        ports = data.get("ports")
        if failure.id not in known and isinstance(ports, list) and ports and isinstance(ports[0], int):
            failure = attrs.evolve(failure, port=ports[0])
        return failure if self._add_failure(failure, known) else None

    def created(self, service: Service) -> None:
        """It is there, though a list may not show it yet."""
        description = service.description
        usage = Usage(cpus=description.cpus, mem=description.mem)
        self._created[service.id] = (self._clock.seconds(), usage)
        self._deleted.pop(service.id, None)

    def deleted(self, service_id: str) -> None:
        """It is going; do not show it."""
        self._deleted[service_id] = self._clock.seconds()
        self._created.pop(service_id, None)
        self._lowered.pop(service_id, None)

    def scaled(self, service_id: str, *, asked: int, done: int) -> None:
        """
        A number was asked for and another set, as Marathon would stop instances for a lower one. The one asked for is shown
        for a while, so that whoever asked sees that it was heard; then the truth, so that he can stop instances himself.
        """
        if asked < done:
            until = self._clock.seconds() + self._lowered_secs
            self._lowered[service_id] = _Lowered(asked, until)
        else:
            self._lowered.pop(service_id, None)

    def killed(self, instance: Instance) -> None:
        """It is being killed, and the requested number is lower by one."""
        self.dead[instance.id] = (instance, self._wall())
        while len(self.dead) > _MOST_DEAD:
            del self.dead[next(iter(self.dead))]

    def expire(self, service_id: str, instance_id: str) -> bool:
        """Mark an instance; whether it is there."""
        if self.instance(service_id, instance_id) is None:
            return False
        self._expired.add(instance_id)
        return True

    # What is known

    def view(self) -> dict[ServiceRecord, ServiceInstances]:
        """The services and their instances."""
        return {self._record(app): self._instances(app) for key, app in self.apps.items() if key not in self._deleted}

    def tasks_of(self, service_id: str) -> Mapping[str, Instance]:
        """The tasks of a service as they were listed last, by id."""
        return self._tasks.get(service_id, {})

    def instance(self, service_id: str, instance_id: str) -> Instance | None:
        """An instance that lives; C{None} if there is none."""
        if service_id in self._deleted or instance_id in self.dead:
            return None
        return self._tasks.get(service_id, {}).get(instance_id)

    def was_killed(self, instance_id: str) -> bool:
        """Whether an instance was killed from here."""
        return instance_id in self.dead

    def asked(self, service_id: str) -> int | None:
        """How many instances were asked for, if that is lower than what runs."""
        lowered = self._lowered.get(service_id)
        return None if lowered is None or self._clock.seconds() >= lowered.until else lowered.asked

    def usage(self, service_id: str) -> Usage | None:
        """What one instance is granted; C{None} if the service is not there."""
        if service_id in self._created:
            return self._created[service_id][1]
        app = self.apps.get(service_id)
        return None if app is None or service_id in self._deleted else Usage(cpus=app.cpus, mem=app.mem)

    def state(self) -> dict[str, Any]:
        """Everything by service id; JSON-able."""
        shown = {
            service_id: {
                "instances": app.instances,
                "tasks": [task.id for task in app.tasks],
                "deployments": list(app.deployments),
                "deleted": service_id in self._deleted,
                "asked": self.asked(service_id),
                "failed": [instance.id for instance in self.failures.of(service_id)],
            }
            for service_id, app in self.apps.items()
        }
        return {**{service_id: {"created": True} for service_id in self._created}, **shown}

    def _record(self, app: App) -> ServiceRecord:
        asked = self.asked(app.service_id)
        living = self._living(app)
        lowered = asked is not None and asked < len(living)
        return ServiceRecord(
            id=app.service_id,
            instances=asked if lowered and asked is not None else app.instances,
            task_count=len(living),
        )

    def _instances(self, app: App) -> ServiceInstances:
        active = self._living(app)
        if self._expired:
            active = tuple(
                attrs.evolve(each, flags=each.flags | {Flag.EXPIRED}) if each.id in self._expired else each
                for each in active
            )
        return ServiceInstances(active=active, failed=self.failures.of(app.service_id))

    def _living(self, app: App) -> tuple[Instance, ...]:
        if self.dead.keys().isdisjoint(self._tasks[app.service_id]):
            return app.tasks
        return tuple(task for task in app.tasks if task.id not in self.dead)

    def _add_failure(self, failure: Instance, known: Mapping[str, Instance]) -> bool:
        if failure.id in self.dead:
            return False
        return self.failures.add(failure, known.get(failure.id))
