"""Takes over the instances of an earlier server, and ends properly what cannot be taken over."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from waiter.scheduler.local.adoption import Finding, Verdict
from waiter.scheduler.local.census import Census
from waiter.scheduler.local.process import RunningProcess
from waiter.scheduler.local.processes import boot_id
from waiter.scheduler.local.records import InstanceDirectory, InstanceRecord
from waiter.scheduler.local.retention import Retention
from waiter.scheduler.local.survey import survey
from waiter.scheduler.local.termination import Termination
from waiter.support.threads import in_thread

ENDED_ALONE = "It ended while Waiter did not run."


class Takeover:
    """
    The start of a server on a directory in which another may have left instances.

    Afterwards each process that belongs to an instance is taken over or on its way out, and each record says so.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        services: Path,
        *,
        wall: Callable[[], float],
        census: Census,
        retention: Retention,
        follow: Callable[[InstanceRecord, InstanceDirectory], RunningProcess],
    ) -> None:
        """
        @param services: the directory of the instances.
        @param follow: begins to follow an instance that runs; may raise C{OSError}.
        """
        self._reactor = reactor
        self._services = services
        self._wall = wall
        self._census = census
        self._retention = retention
        self._follow = follow

    async def run(self) -> list[RunningProcess]:
        """
        Look at everything and settle it. What has to end ends in its own time.

        @return: the instances that are taken over, oldest first.
        @raise OSError: the instances cannot be listed.
        """
        everything = await self._census.take()
        found = await in_thread(self._reactor, survey, self._services, everything, boot_id())
        for directory, reason in found.untouchable.items():
            self._log.warn("{path} is left alone: {reason}", path=str(directory.path), reason=reason)
        for directory in found.empty:
            self._retention.delete(directory)
        for instance_id, processes in found.strays.items():
            self._log.warn(
                "{count} processes of {id} run without a record, and are ended", count=len(processes), id=instance_id
            )
            self._end_stray(instance_id)
        alive = [running for finding in found.findings if (running := self._settle(finding)) is not None]
        self._retention.sweep()
        return alive

    def _settle(self, finding: Finding) -> RunningProcess | None:
        """Do what a verdict asks for; an instance that is taken over is returned."""
        directory, record = finding.directory, finding.record
        if finding.verdict is Verdict.NEVER_STARTED:
            self._retention.delete(directory)
        elif finding.verdict is Verdict.ENDED:
            self._retention.ended(record, directory)
        elif finding.verdict is Verdict.DEAD:
            record = attrs.evolve(explained(record), ended_at=self._wall(), exit_code=directory.read_exit())
            self._save(directory, record)
            self._retention.ended(record, directory)
        elif finding.verdict is Verdict.REMAINS:
            self._log.info("What is left of {id} is stopped", id=record.id)
            running = self._try_to_follow(directory, explained(record))
            if running is not None:
                running.terminate(0)
        else:
            running = self._try_to_follow(directory, record)
            if running is not None:
                self._log.info("{id} runs as process {pid} and is taken over", id=record.id, pid=record.pid)
            return running
        return None

    def _try_to_follow(self, directory: InstanceDirectory, record: InstanceRecord) -> RunningProcess | None:
        self._save(directory, record)
        try:
            return self._follow(record, directory)
        except OSError as error:
            self._log.error("{id} runs but cannot be followed: {error}", id=record.id, error=error)
            return None

    def _save(self, directory: InstanceDirectory, record: InstanceRecord) -> None:
        try:
            directory.write(record)
        except OSError as error:
            self._log.error("The record of {id} cannot be written: {error}", id=record.id, error=error)

    def _end_stray(self, instance_id: str) -> None:
        # Whose launcher it had is not known, so no number but those of the processes found may be signalled.
        ending = Deferred.fromCoroutine(Termination(self._reactor, self._census, instance_id, lambda: None).end(0))
        ending.addErrback(lambda failure: self._log.failure("{id} could not be ended", failure, id=instance_id))


def explained(record: InstanceRecord) -> InstanceRecord:
    """The record of an instance that ended under nobody's eyes: a failure, unless it says already why it ended."""
    if record.killed or record.failed or record.ended_at is not None:
        return record
    return attrs.evolve(record, failed=True, message=ENDED_ALONE)
