"""What has become of the instances of an earlier server: pure rules."""

from collections.abc import Collection, Iterable
from enum import Enum

import attrs

from waiter.scheduler.local.processes import Process, Snapshot
from waiter.scheduler.local.records import InstanceDirectory, InstanceRecord


class Verdict(Enum):
    """What is to be done with a record that was found."""

    #: It runs: take it over.
    ALIVE = "alive"
    #: It must not run any more, but something of it does: end that.
    REMAINS = "remains"
    #: Nothing of it is left, but its end is not recorded.
    DEAD = "dead"
    #: Its end is recorded.
    ENDED = "ended"
    #: Its process was never started.
    NEVER_STARTED = "never-started"


@attrs.frozen(kw_only=True)
class Finding:
    """
    A record, and what it means now.

    @ivar record: completed if it was half-written.
    """

    directory: InstanceDirectory
    record: InstanceRecord
    verdict: Verdict
    half_written: bool = False

    def launcher(self, everything: Snapshot) -> int | None:
        """The launcher's pid, if it lives."""
        return self.record.pid if _launcher(self.record, everything) is not None else None


def judge_all(
    records: Iterable[tuple[InstanceDirectory, InstanceRecord]], everything: Snapshot, boot_id: str
) -> list[Finding]:
    """
    What all records mean, in the order of their ends or, before that, their starts.

    One process is one instance: of several records that name it only the oldest has it.
    """
    carriers: dict[str, list[Process]] = {}
    for process in everything.values():
        if process.instance_id is not None:
            carriers.setdefault(process.instance_id, []).append(process)
    findings = []
    taken: set[int | None] = set()
    for directory, before in sorted(records, key=lambda each: each[1].ended_at or each[1].created_at):
        verdict, record = _judge(before, everything, boot_id, carriers.get(before.id, ()))
        if _launcher(record, everything) is not None and verdict in {Verdict.ALIVE, Verdict.REMAINS}:
            if record.pid in taken:
                verdict = Verdict.DEAD
            taken.add(record.pid)
        findings.append(Finding(directory=directory, record=record, verdict=verdict, half_written=before.pid is None))
    return findings


def _judge(
    record: InstanceRecord, everything: Snapshot, boot_id: str, carriers: Collection[Process]
) -> tuple[Verdict, InstanceRecord]:
    """
    What a record means now.

    A process counts as the recorded one only if boot, pid and start time all agree and it does not say that it belongs to
    another instance, so neither a reboot nor a number used again is mistaken for an instance. One that was to be ended is
    ended, whether it was told to or had failed.

    @param carriers: the processes that say they belong to the instance.
    @return: the verdict, and the record, completed if it was half-written.
    """
    if record.boot_id not in {None, boot_id}:
        return (Verdict.DEAD if record.ended_at is None else Verdict.ENDED), record
    if record.ended_at is not None:
        return (Verdict.REMAINS if carriers else Verdict.ENDED), record
    half_written = record.pid is None
    if half_written:
        # The launcher leads a session; of others that do, it is the oldest.
        leaders = [process for process in carriers if process.pid == process.session]
        if leaders:
            launcher = min(leaders, key=lambda process: (process.start_ticks, process.pid))
            record = attrs.evolve(record, pid=launcher.pid, start_ticks=launcher.start_ticks, boot_id=boot_id)
    to_end = record.killed or record.failed
    if _launcher(record, everything) is not None:
        return (Verdict.REMAINS if to_end else Verdict.ALIVE), record
    if carriers:
        return Verdict.REMAINS, record
    return (Verdict.NEVER_STARTED if half_written and not to_end else Verdict.DEAD), record


def _launcher(record: InstanceRecord, everything: Snapshot) -> Process | None:
    """The recorded process itself, if it lives."""
    process = None if record.pid is None else everything.get(record.pid)
    if process is None or process.start_ticks != record.start_ticks:
        return None
    return process if process.instance_id in {None, record.id} else None
