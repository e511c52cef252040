"""What the tasks wrote."""

from waiter.errors import NotFound
from waiter.model.instance import Instance
from waiter.scheduler.interface import ILog, LogEntry, LoggedInstance
from waiter.scheduler.marathon.agent import AgentFiles, AgentLog, inside
from waiter.scheduler.marathon.sightings import Sightings

_LAST_BYTES = 4096
_LAST_LINES = 10


class TaskLogs:
    """The files of the tasks of services, on their agents."""

    def __init__(self, files: AgentFiles, seen: Sightings) -> None:
        self._files = files
        self._seen = seen

    async def entries(self, service_id: str, instance_id: str, directory: str) -> tuple[LogEntry, ...]:
        """See L{waiter.scheduler.interface.IScheduler.log_entries}."""
        instance, place = self._find(service_id, instance_id)
        return await self._files.entries(instance.host, place, directory)

    async def log(self, service_id: str, instance_id: str, path: str) -> ILog:
        """See L{waiter.scheduler.interface.IScheduler.log}."""
        instance, place = self._find(service_id, instance_id)
        path = inside(place, path)
        size = await self._files.size(instance.host, path)
        log: ILog = AgentLog(
            self._files,
            instance.host,
            path,
            size=size,
            complete=lambda: self._seen.instance(service_id, instance_id) is None,
        )
        return log

    async def instances(self, service_id: str) -> tuple[LoggedInstance, ...]:
        """See L{waiter.scheduler.interface.IScheduler.logged_instances}."""
        failures = self._seen.failures
        logged = [_logged(each, "running") for each in self._seen.tasks_of(service_id).values() if self._lives(each)]
        logged += [_logged(each, "failed", failures.ended_at.get(each.id)) for each in failures.of(service_id)]
        logged += [
            _logged(each, "killed", at) for each, at in self._seen.dead.values() if each.service_id == service_id
        ]
        known = [each for each in logged if each is not None]
        return tuple(sorted(known, key=lambda each: (each.started_at, each.id), reverse=True))

    async def last_lines(self, instance: Instance) -> tuple[str, ...]:
        """The last lines that an instance wrote to C{stderr}, or else to C{stdout}."""
        if instance.log_directory is None:
            return ()
        for name in ("stderr", "stdout"):
            data = await self._files.tail(instance.host, inside(instance.log_directory, name), _LAST_BYTES)
            if data.strip():
                return tuple(data.decode("utf-8", "replace").splitlines()[-_LAST_LINES:])
        return ()

    def _lives(self, instance: Instance) -> bool:
        return self._seen.instance(instance.service_id, instance.id) is not None

    def _find(self, service_id: str, instance_id: str) -> tuple[Instance, str]:
        candidates = [self._seen.instance(service_id, instance_id)]
        candidates += [each for each in self._seen.failures.of(service_id) if each.id == instance_id]
        if instance_id in self._seen.dead:
            candidates.append(self._seen.dead[instance_id][0])
        for found in candidates:
            if found is not None and found.service_id == service_id and found.log_directory is not None:
                return found, found.log_directory
        raise NotFound("There is no such instance, or it is not known where its files are.")


def _logged(instance: Instance, state: str, ended_at: float | None = None) -> LoggedInstance | None:
    if instance.log_directory is None:
        return None
    return LoggedInstance(
        id=instance.id,
        service_id=instance.service_id,
        host=instance.host,
        state=state,
        started_at=instance.started_at or 0.0,
        log_directory=instance.log_directory,
        ended_at=ended_at,
        exit_code=instance.exit_code,
        message=instance.message,
    )
