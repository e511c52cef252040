"""What runs on this machine, and which of it belongs to an instance."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

_MARK = b"\0WAITER_INSTANCE_ID="


@attrs.frozen(kw_only=True)
class Process:
    """
    One process that is alive; a zombie is not.

    @ivar start_ticks: when it started, in the kernel's ticks since boot: with the pid and the boot id it names one process
        for ever. (psutil gives the time since the epoch, which moves when the clock is set.)
    @ivar instance_id: the instance it says it belongs to, by its environment or, where that is overwritten and the process
        has lost its parents, by the files it holds.
    """

    pid: int
    parent: int
    group: int
    session: int
    start_ticks: int
    instance_id: str | None = None

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
        stat = _read(f"/proc/{pid}/stat")
        # The name, in parentheses, may contain anything.
        state, parent, group, session, *rest = stat[stat.rindex(b")") + 2 :].split()
        if state in {b"Z", b"X"}:
            return None
        return Process(
            pid=pid,
            parent=int(parent),
            group=int(group),
            session=int(session),
            start_ticks=int(rest[15]),
            instance_id=_instance_id(pid) if with_environment else None,
        )
    except (OSError, ValueError):
        return None


def snapshot() -> dict[int, Process]:
    """Every process of the machine. Takes some 15 µs for each."""
    found = (read_process(int(name)) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - the fastest
    everything = {process.pid: process for process in found if process is not None}
    for process in tuple(everything.values()):
        if process.instance_id is None and (process.parent == 1 or process.session not in everything):
            instance_id = _instance_by_files(process.pid)
            if instance_id is not None:
                everything[process.pid] = attrs.evolve(process, instance_id=instance_id)
    return everything


def members(everything: Snapshot, instance_id: str, leader: int | None) -> list[Process]:
    """
    The processes of an instance: those that carry its id, those in the session or group of its launcher, and all
    descendants of these.

    @param leader: the launcher's pid, as long as that number cannot mean another process; else C{None}.
    """
    own = os.getpid()
    children: dict[int, list[Process]] = {}
    found: dict[int, Process] = {}
    for process in everything.values():
        children.setdefault(process.parent, []).append(process)
        if process.instance_id == instance_id or (leader is not None and leader in {process.group, process.session}):
            found[process.pid] = process
    ahead = list(found)
    if leader is not None:
        ahead.append(leader)
    while ahead:
        for child in children.get(ahead.pop(), ()):
            if child.pid not in found:
                found[child.pid] = child
                ahead.append(child.pid)
    found.pop(own, None)
    return list(found.values())


class Census:
    """
    Takes snapshots off the reactor's thread.

    Any number of callers share one scan, but never one that began before they asked.
    """

    def __init__(self, reactor: Any, scan: Callable[[], Snapshot] = snapshot) -> None:
        self._reactor = reactor
        self._scan = scan
        self._waiting: list[Deferred[Snapshot]] = []
        self._busy = False

    def take(self) -> Deferred[Snapshot]:
        """A snapshot that begins after this call. Cancelling it does not end the scan."""
        asked: Deferred[Snapshot] = Deferred()
        self._waiting.append(asked)
        if not self._busy:
            self._begin()
        return asked

    def _begin(self) -> None:
        served, self._waiting = self._waiting, []
        self._busy = True
        scanning: Deferred[Snapshot] = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._scan)
        scanning.addBoth(self._end, served)

    def _end(self, result: Any, served: Iterable[Deferred[Snapshot]]) -> None:
        self._busy = False
        if self._waiting:
            self._begin()
        for asked in served:
            if not asked.called:
                asked.callback(result)


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)


def _instance_id(pid: int) -> str | None:
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:  # noqa: PTH123 - the fastest
            environment = b"\0" + file.read()
    except OSError:
        # Another user's.
        return None
    start = environment.find(_MARK)
    if start < 0:
        return None
    start += len(_MARK)
    return environment[start : environment.find(b"\0", start)].decode("utf-8", "replace")


def _instance_by_files(pid: int) -> str | None:
    """
    The instance in whose directory a process works or writes its output.

    Servers like nginx write their titles over their environment. While the launcher lives its group tells what is its
    own; this is for those whose launcher has been killed.
    """
    for link in ("cwd", "fd/1", "fd/2"):
        try:
            path = Path(os.readlink(f"/proc/{pid}/{link}"))  # noqa: PTH115 - the fastest
        except OSError:
            # Another user's, or gone.
            continue
        for inner in path.parents:
            # services/<service-id>/<instance-id>/..., where an instance id is its service's id, a dot and more.
            if inner.name.startswith(f"{inner.parent.name}.") and inner.parent.name:
                return inner.name
    return None
