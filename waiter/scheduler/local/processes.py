"""What runs on this machine, and which of it belongs to an instance."""

import os
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

import attrs

from waiter.model.resources import NOTHING, Resources
from waiter.scheduler.local.marks import instance_by_files, read_mark


@attrs.frozen(kw_only=True)
class Process:
    """
    One process that is alive; a zombie is not.

    @ivar start_ticks: when it started, in the kernel's ticks since boot: with the pid and the boot id it names one process
        for ever. (psutil gives the time since the epoch, which moves when the clock is set.)
    @ivar instance_id: the instance it says it belongs to, by its environment or, where that is overwritten and the process
        has lost its parents, by the files it holds.
    @ivar owner: the user it runs as, if its environment names an instance.
    @ivar declared: what its environment says that instance was promised.
    """

    pid: int
    parent: int
    group: int
    session: int
    start_ticks: int
    instance_id: str | None = None
    owner: int | None = None
    declared: Resources = NOTHING

    def still_there(self) -> bool:
        """Whether this very process is alive now."""
        now = read_process(self.pid, with_environment=False)
        return now is not None and now.start_ticks == self.start_ticks


Snapshot = Mapping[int, Process]


def boot_id() -> str:
    """Names this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def read_process(pid: int, *, with_environment: bool = True) -> Process | None:
    """One process, or C{None} if it is dead."""
    # By hand: psutil takes ten times as long for the same facts, and the router answers requests meanwhile.
    try:
        stat = read_file(f"/proc/{pid}/stat")
        # The name, in parentheses, may contain anything.
        state, parent, group, session, *rest = stat[stat.rindex(b")") + 2 :].split()
        if state in {b"Z", b"X"}:
            return None
        mark = read_mark(pid) if with_environment else None
        return Process(
            pid=pid,
            parent=int(parent),
            group=int(group),
            session=int(session),
            start_ticks=int(rest[15]),
            instance_id=mark.instance_id if mark else None,
            owner=mark.owner if mark else None,
            declared=mark.declared if mark else NOTHING,
        )
    except (OSError, ValueError):
        return None


def snapshot() -> dict[int, Process]:
    """Every process of the machine. Takes some 30 µs for each."""
    found = (read_process(pid) for pid in pids())
    everything = {process.pid: process for process in found if process is not None}
    for process in tuple(everything.values()):
        everything[process.pid] = with_files(process, everything)
    return everything


def pids() -> list[int]:
    """The numbers of all processes, zombies included."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - the fastest


def with_files(process: Process, everything: Container[int]) -> Process:
    """
    The process, with the instance that the files of one without a mark show if it has lost its parents.

    @param everything: the numbers of all processes.
    """
    if process.instance_id is not None or (process.parent != 1 and process.session in everything):
        return process
    instance_id = instance_by_files(process.pid)
    return process if instance_id is None else attrs.evolve(process, instance_id=instance_id)


def members(everything: Snapshot, instance_id: str, leader: int | None) -> list[Process]:
    """The processes of one instance; see L{all_members}."""
    return all_members(everything, {instance_id: leader})[instance_id]


def all_members(everything: Snapshot, leaders: Mapping[str, int | None]) -> dict[str, list[Process]]:
    """
    The processes of each instance: those that carry its id, those in the session or group of its launcher, and all
    descendants of these.

    Anybody can write an id into an environment. So that nobody burdens the instance of another user with what he runs
    himself, an id counts only from the launcher's user, or from root, as long as the launcher is there to compare with.

    @param leaders: the launcher's pid for each instance's id, as long as that number cannot mean another process; else
        C{None}.
    """
    led = {leader: instance_id for instance_id, leader in leaders.items() if leader is not None}
    owners = {instance_id: everything[leader].owner for leader, instance_id in led.items() if leader in everything}
    found: dict[str, dict[int, Process]] = {instance_id: {} for instance_id in leaders}
    children: dict[int, list[Process]] = {}
    for pid, process in everything.items():
        siblings = children.get(process.parent)
        if siblings is None:
            children[process.parent] = [process]
        else:
            siblings.append(process)
        for instance_id in (led.get(process.session), led.get(process.group)):
            if instance_id is not None:
                found[instance_id][pid] = process
        if process.instance_id in found and _is_believed(process.owner, owners.get(process.instance_id)):
            found[process.instance_id][pid] = process
    for instance_id, leader in leaders.items():
        _add_descendants(found[instance_id], leader, children)
    own = os.getpid()
    for belonging in found.values():
        belonging.pop(own, None)
    return {instance_id: list(belonging.values()) for instance_id, belonging in found.items()}


def _is_believed(owner: int | None, launchers: int | None) -> bool:
    return launchers is None or owner in {None, 0, launchers}


def _add_descendants(
    belonging: dict[int, Process], leader: int | None, children: Mapping[int, Sequence[Process]]
) -> None:
    ahead = [pid for pid in belonging if pid in children]
    if leader is not None and leader not in belonging:
        ahead.append(leader)
    while ahead:
        for child in children.get(ahead.pop(), ()):
            if child.pid not in belonging:
                belonging[child.pid] = child
                ahead.append(child.pid)


def read_file(path: str) -> bytes:
    """
    The first 4 KiB of a small file, of C{/proc} for instance.

    @raise OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)
