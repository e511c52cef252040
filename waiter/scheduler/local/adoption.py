"""What has become of the instances of an earlier server: pure rules."""

from enum import Enum

import attrs

from waiter.scheduler.local.processes import Snapshot
from waiter.scheduler.local.records import InstanceRecord


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


def judge(record: InstanceRecord, everything: Snapshot, boot_id: str) -> tuple[Verdict, InstanceRecord]:
    """
    What a record means now.

    A process counts as the recorded one only if boot, pid and start time all agree, so neither a reboot nor a number used
    again is mistaken for an instance.

    @return: the verdict, and the record, completed if it was half-written.
    """
    if record.ended_at is not None:
        return Verdict.ENDED, record
    if record.boot_id not in {None, boot_id}:
        return Verdict.DEAD, record
    carriers = [process for process in everything.values() if process.instance_id == record.id]
    half_written = record.pid is None
    if half_written:
        # The launcher leads a session; of others that do, it is the oldest.
        leaders = [process for process in carriers if process.pid == process.session]
        if leaders:
            launcher = min(leaders, key=lambda process: (process.start_ticks, process.pid))
            record = attrs.evolve(record, pid=launcher.pid, start_ticks=launcher.start_ticks, boot_id=boot_id)
    launched = None if record.pid is None else everything.get(record.pid)
    if launched is not None and launched.start_ticks == record.start_ticks:
        return (Verdict.REMAINS if record.killed else Verdict.ALIVE), record
    if carriers:
        return Verdict.REMAINS, record
    return (Verdict.NEVER_STARTED if half_written else Verdict.DEAD), record
