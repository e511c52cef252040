"""What there is of instances, on disk and in the machine. Reads a lot: for a thread."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

import attrs

from waiter.scheduler.local.adoption import Finding, Verdict, judge_all
from waiter.scheduler.local.marks import places
from waiter.scheduler.local.processes import Process, Snapshot
from waiter.scheduler.local.records import (
    InstanceDirectory,
    InstanceRecord,
    NewerRecord,
    NoRecord,
    RecordOutOfReach,
    UnreadableRecord,
    instance_directories,
)

UNREADABLE = "Its record could not be read."


@attrs.frozen(kw_only=True)
class Survey:
    """
    What was found.

    @ivar findings: every record of this format, in the order of their ends or starts. What cannot be read stands there
        as an instance that is to be ended.
    @ivar empty: directories without a record. It comes before the process, so nothing was started there.
    @ivar untouchable: instances whose records this Waiter may not judge, and why.
    @ivar strays: processes that say they belong to an instance below this directory which has no record, by its id.
    """

    findings: tuple[Finding, ...]
    empty: tuple[InstanceDirectory, ...]
    untouchable: Mapping[InstanceDirectory, str]
    strays: Mapping[str, tuple[Process, ...]]


def survey(services: Path, everything: Snapshot, boot_id: str) -> Survey:
    """
    Look at every instance below C{services}.

    @param everything: taken before: what is started later has its record before its process, and is no stray.
    @raise OSError: C{services} cannot be listed.
    """
    records: list[tuple[InstanceDirectory, InstanceRecord]] = []
    empty: list[InstanceDirectory] = []
    untouchable: dict[InstanceDirectory, str] = {}
    for directory in instance_directories(services):
        try:
            record = directory.read()
        except NoRecord:
            empty.append(directory)
        except (NewerRecord, RecordOutOfReach) as error:
            untouchable[directory] = str(error)
        except UnreadableRecord:
            records.append((directory, _to_be_ended(directory)))
        else:
            # A copy of another's record names that other's process.
            is_own = record.id == directory.path.name
            records.append((directory, record if is_own else _to_be_ended(directory)))
    known = {directory.path.name for directory, _ in records} | {each.path.name for each in untouchable}
    return Survey(
        findings=tuple(_unless_elsewhere(finding, everything) for finding in judge_all(records, everything, boot_id)),
        empty=tuple(empty),
        untouchable=untouchable,
        strays=_strays(services, everything, known),
    )


def _to_be_ended(directory: InstanceDirectory) -> InstanceRecord:
    """What stands for a record that says nothing."""
    try:
        created_at = directory.path.stat().st_mtime
    except OSError:
        created_at = 0.0
    return InstanceRecord(
        id=directory.path.name,
        service_id=directory.path.parent.name,
        cluster="",
        run_as_user="",
        core={},
        environment={},
        ports=(),
        created_at=created_at,
        failed=True,
        message=UNREADABLE,
    )


def _unless_elsewhere(finding: Finding, everything: Snapshot) -> Finding:
    """A copy of a state directory names processes that are the original's; one that was moved takes its own along."""
    launcher = finding.launcher(everything)
    if launcher is None or finding.verdict not in {Verdict.ALIVE, Verdict.REMAINS}:
        return finding
    try:
        is_here = os.path.samestat(finding.directory.work.stat(), Path(f"/proc/{launcher}/cwd").stat())
    except OSError:
        # Another user's, or something is gone: nothing speaks against it.
        is_here = True
    return finding if is_here else attrs.evolve(finding, verdict=Verdict.DEAD)


def _strays(services: Path, everything: Snapshot, known: Collection[str]) -> dict[str, tuple[Process, ...]]:
    root = os.path.realpath(services)
    found: dict[str, tuple[Process, ...]] = {}
    for process in everything.values():
        name = process.instance_id
        # A later look at the process: it may have ended in peace while the records were read.
        if name is not None and name not in known and _is_below(process.pid, root) and process.still_there():
            found[name] = (*found.get(name, ()), process)
    return found


def _is_below(pid: int, root: str) -> bool:
    """Whether a process was given a directory below C{root}, works or writes there."""
    return any(os.path.realpath(place).startswith(f"{root}{os.sep}") for place in _possible_places(pid))


def _possible_places(pid: int) -> list[str]:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        # Another user's, or gone.
        return []
    sandboxes = [entry.partition(b"=")[2] for entry in environment if entry.startswith(b"WAITER_SANDBOX=")]
    if sandboxes:
        return [os.fsdecode(sandboxes[0])]
    return list(places(pid))
