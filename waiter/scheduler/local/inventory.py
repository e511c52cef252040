"""The instances of a state directory for somebody who looks from outside. Reads a lot, and waits for it."""

from enum import Enum
from pathlib import Path

import attrs

from waiter.scheduler.local.adoption import Finding, Verdict
from waiter.scheduler.local.footprint import MIB
from waiter.scheduler.local.processes import Snapshot, boot_id, members, snapshot
from waiter.scheduler.local.survey import survey
from waiter.scheduler.local.usage import exact_bytes


class State(str, Enum):
    """How things stand with an instance of which something runs."""

    RUNNING = "running"
    #: It was to end, or its launcher has, and something of it is left.
    REMAINS = "remains"
    #: It is being started, or whoever started it died meanwhile.
    HALF_WRITTEN = "half-written"
    #: Its record is gone.
    NO_RECORD = "no-record"
    #: A newer Waiter wrote its record, or it may not be read.
    UNREADABLE = "unreadable"


@attrs.frozen(kw_only=True)
class Entry:
    """
    One instance of which something runs.

    @ivar finding: what its record says; C{None} where there is none that may be judged.
    @ivar pid: its launcher; C{None} if that is dead or not known.
    @ivar memory_mib: of its processes, as the server measures it.
    @ivar command: of its service; C{None} if not known.
    """

    id: str
    service_id: str
    state: State
    finding: Finding | None
    pid: int | None
    ports: tuple[int, ...] = ()
    started_at: float | None = None
    processes: int
    memory_mib: float
    command: str | None = None


def inventory(services: Path) -> list[Entry]:
    """
    Every instance below C{services} of which something runs.

    @raise OSError: they cannot be listed.
    """
    everything = snapshot()
    found = survey(services, everything, boot_id())
    entries = [
        entry for finding in found.findings if (entry := _recorded(finding, everything)) is not None and entry.processes
    ]
    entries += [
        entry
        for directory in found.untouchable
        if (entry := _unrecorded(directory.path.name, State.UNREADABLE, everything)).processes
    ]
    entries += [_unrecorded(instance_id, State.NO_RECORD, everything) for instance_id in found.strays]
    return entries


def _recorded(finding: Finding, everything: Snapshot) -> Entry | None:
    record = finding.record
    if finding.verdict not in {Verdict.ALIVE, Verdict.REMAINS}:
        return None
    launcher = finding.launcher(everything)
    state = State.RUNNING if finding.verdict is Verdict.ALIVE else State.REMAINS
    present = members(everything, record.id, launcher)
    command = record.core.get("cmd")
    return Entry(
        id=record.id,
        service_id=record.service_id,
        state=State.HALF_WRITTEN if finding.half_written else state,
        finding=finding,
        pid=launcher,
        ports=record.ports,
        started_at=record.created_at,
        processes=len(present),
        memory_mib=exact_bytes(present) / MIB,
        command=command if isinstance(command, str) else None,
    )


def _unrecorded(instance_id: str, state: State, everything: Snapshot) -> Entry:
    present = members(everything, instance_id, None)
    return Entry(
        id=instance_id,
        service_id=instance_id.partition(".")[0],
        state=state,
        finding=None,
        pid=None,
        processes=len(present),
        memory_mib=exact_bytes(present) / MIB,
    )
