"""The log files of the instances of this machine, as the scheduler shows them."""

from collections.abc import Container
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from waiter.scheduler.interface import ILog, LogEntry, LoggedInstance
from waiter.scheduler.local.instance import HOST
from waiter.scheduler.local.interface import IRunner
from waiter.scheduler.local.log_reader import LogReader
from waiter.scheduler.local.output import entries, file_path
from waiter.scheduler.local.records import InstanceDirectory, InstanceRecord, UnreadableRecord
from waiter.support.threads import in_thread


class LocalLogs:
    """Answers for an ended instance as long as its files are kept. Looks at the disk in threads."""

    def __init__(self, reactor: Any, runner: IRunner, running: Container[str]) -> None:
        """@param running: the ids of the instances of which something is left; kept by the caller."""
        self._reactor = reactor
        self._runner = runner
        self._running = running

    def entries(self, service_id: str, instance_id: str, directory: str) -> Deferred[tuple[LogEntry, ...]]:
        """See L{IScheduler.log_entries<waiter.scheduler.interface.IScheduler.log_entries>}."""
        return in_thread(self._reactor, entries, self._runner.path(service_id, instance_id), directory)

    def log(self, service_id: str, instance_id: str, path: str) -> Deferred[ILog]:
        """See L{IScheduler.log<waiter.scheduler.interface.IScheduler.log>}."""

        def reader(found: str) -> ILog:
            directory = InstanceDirectory(Path(found).parent)
            rotated = Path(found) in {directory.stdout, directory.stderr} and directory.record.exists()
            return LogReader(found, rotated=rotated, complete=lambda: instance_id not in self._running)

        return in_thread(self._reactor, file_path, self._runner.path(service_id, instance_id), path).addCallback(reader)

    def instances(self, service_id: str) -> Deferred[tuple[LoggedInstance, ...]]:
        """See L{IScheduler.logged_instances<waiter.scheduler.interface.IScheduler.logged_instances>}."""
        return in_thread(self._reactor, _logged, self._runner.path(service_id))


def _logged(service: Path | None) -> tuple[LoggedInstance, ...]:
    if service is None:
        return ()
    found = []
    for path in service.iterdir():
        directory = InstanceDirectory(path)
        try:
            found.append(_view(directory, directory.read()))
        except UnreadableRecord:
            # It is just being made or deleted, or is somebody else's.
            continue
    return tuple(sorted(found, key=lambda each: each.started_at, reverse=True))


def _view(directory: InstanceDirectory, record: InstanceRecord) -> LoggedInstance:
    if record.ended_at is None:
        state = "running"
    elif record.failed:
        state = "failed"
    else:
        state = "killed" if record.killed else "finished"
    return LoggedInstance(
        id=record.id,
        service_id=record.service_id,
        host=HOST,
        state=state,
        started_at=record.created_at,
        log_directory=str(directory.path),
        ended_at=record.ended_at,
        exit_code=record.exit_code,
        message=record.message,
    )
