"""Shares out the processors by control groups, where a part of the machine's tree (cgroup v2) was delegated to Waiter."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import attrs
from twisted.logger import Logger

#: The control group of Waiter itself.
ROUTER = "router"
#: That of all instances, each of which has one below it.
INSTANCES = "instances"
_CONTROLLERS = ("cpu", "memory", "pids")
_MIB = 1024 * 1024
_WEIGHT_OF_ONE_CPU, _MOST_WEIGHT = 100, 10000
_DELEGATED = ("user.delegate", "trusted.delegate")


class NotDelegated(Exception):
    """There is no part of the tree to share out; the text says why."""


@attrs.frozen(kw_only=True)
class Allowance:
    """
    What the files of one instance's control group say.

    @ivar weight: of processor time among the instances.
    @ivar memory_bytes: at which the kernel ends the instance at once.
    @ivar tasks: processes and threads.
    """

    weight: int
    memory_bytes: int
    tasks: int


def weight(cpus: float) -> int:
    """The weight of an instance, in the kernel's measure."""
    return min(_MOST_WEIGHT, max(1, round(_WEIGHT_OF_ONE_CPU * cpus)))


def allowance(*, cpus: float, mem_mib: float, max_processes: int) -> Allowance:
    """
    What an instance is allowed.

    Memory and number of processes are what Waiter itself watches, and it can say what was wrong; these bounds hold what
    grows too fast for that, so they lie higher. The kernel counts cached files in the memory, and threads among the tasks.
    """
    return Allowance(
        weight=weight(cpus),
        memory_bytes=int((mem_mib * 1.25 + 32) * _MIB),
        tasks=8 * max_processes,
    )


def find_delegated(*, proc: Path = Path("/proc"), systemd: Path = Path("/run/systemd/system")) -> Path:
    """
    The directory of the control group that was given to Waiter to share out.

    @param proc: where the kernel shows its processes.
    @param systemd: is there where systemd manages the machine.
    @raise NotDelegated: there is none.
    """
    try:
        own = _own_group(proc)
        # Where this process was put, or put itself before it was started again, below what was delegated.
        base = own.parent if own.name == ROUTER else own
        if not (base / "cgroup.type").exists():
            raise NotDelegated("Waiter runs in the machine's root control group")
        if "cpu" not in _words(base / "cgroup.controllers"):
            raise NotDelegated(f"the control group {base} has no cpu controller (cgroup v2)")
        if (base / "cgroup.type").read_text(encoding="ascii").strip() != "domain":
            raise NotDelegated(f"the control group {base} is not a plain one")
        for needed in (base, base / "cgroup.procs", base / "cgroup.subtree_control"):
            if not os.access(needed, os.W_OK):
                raise NotDelegated(f"the control group {base} is not delegated to Waiter's user")
        if os.geteuid() == 0 and systemd.exists() and not _marked(base):
            # Root may write everywhere, but what systemd has not given away it changes as it likes.
            raise NotDelegated(f"systemd has not delegated the control group {base}")
        others = set(_words(base / "cgroup.procs")) - {str(os.getpid())}
        if others:
            raise NotDelegated(f"other processes are in the control group {base}: {', '.join(sorted(others)[:5])}")
    except OSError as error:
        raise NotDelegated(f"control groups cannot be used: {error}") from error
    return base


class CgroupShares:
    """
    Gives each instance a control group: processor time by weight, and bounds on memory and tasks that the kernel holds.

    Where a control group cannot be made, the instance runs without one.
    """

    _log = Logger()

    def __init__(self, base: Path, *, max_processes: int, proc: Path = Path("/proc")) -> None:
        """
        @param base: from L{find_delegated}.
        @param max_processes: of an instance.
        @param proc: where the kernel shows its processes.
        """
        self._base = base
        self._instances = base / INSTANCES
        self._max_processes = max_processes
        self._proc = proc
        self._controllers: tuple[str, ...] = ()
        self._groups: dict[str, Path] = {}

    def prepare(self) -> None:
        """
        Move this process out of the way, because a control group that shares out has no processes of its own, and begin
        to share out. The groups of instances that ended while no server ran are removed.

        @raise OSError: the kernel does not let us.
        """
        router = self._base / ROUTER
        router.mkdir(exist_ok=True)
        self._instances.mkdir(exist_ok=True)
        (router / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
        offered = _words(self._base / "cgroup.controllers")
        enabled = []
        for controller in (each for each in _CONTROLLERS if each in offered):
            try:
                for group in (self._base, self._instances):
                    (group / "cgroup.subtree_control").write_text(f"+{controller}", encoding="ascii")
            except OSError:
                if controller == "cpu":
                    raise
                continue
            enabled.append(controller)
        self._controllers = tuple(enabled)
        for group in self._instances.iterdir():
            if group.is_dir() and _is_empty(group):
                _remove(group)

    def place(self, instance_id: str, pid: int, cpus: float, mem_mib: float) -> bool:
        """Put a launcher that has not begun into a control group of its own. Whether that was possible."""
        allowed = allowance(cpus=cpus, mem_mib=mem_mib, max_processes=self._max_processes)
        group = self._instances / instance_id
        try:
            group.mkdir()
            (group / "cpu.weight").write_text(str(allowed.weight), encoding="ascii")
            if "memory" in self._controllers:
                (group / "memory.max").write_text(str(allowed.memory_bytes), encoding="ascii")
                (group / "memory.oom.group").write_text("1", encoding="ascii")
            if "pids" in self._controllers:
                (group / "pids.max").write_text(str(allowed.tasks), encoding="ascii")
            (group / "cgroup.procs").write_text(str(pid), encoding="ascii")
        except OSError as error:
            self._log.error("{id} gets no control group: {error}", id=instance_id, error=error)
            _remove(group)
            return False
        self._groups[instance_id] = group
        return True

    def adopt(self, instance_id: str, pid: int) -> bool:
        """Look after the control group that an earlier server made for an instance. Whether there is one."""
        try:
            group = _group_of(self._proc, str(pid))
        except OSError:
            return False
        if group.name != instance_id:
            return False
        self._groups[instance_id] = group
        return True

    def kill(self, instance_id: str) -> None:
        """Send SIGKILL to all that is in the control group of an instance, at the same moment."""
        group = self._groups.get(instance_id)
        if group is not None:
            # Linux before 5.14 has no such file.
            with contextlib.suppress(OSError):
                (group / "cgroup.kill").write_text("1", encoding="ascii")

    def remove(self, instance_id: str) -> None:
        """Nothing of the instance is left."""
        group = self._groups.pop(instance_id, None)
        if group is not None:
            _remove(group)

    def granted(self, cpus: float) -> Mapping[str, object]:
        """What an instance gets, JSON-able."""
        return {"kind": "cgroup", "weight": weight(cpus)}

    def state(self) -> Mapping[str, object]:
        """JSON-able, for C{/state/scheduler}."""
        return {"kind": "cgroup", "path": str(self._base), "controllers": list(self._controllers)}


def _own_group(proc: Path) -> Path:
    return _group_of(proc, "self")


def _group_of(proc: Path, pid: str) -> Path:
    """
    The directory of the control group (v2) of a process.

    @raise OSError: it has none that can be seen.
    """
    lines = (proc / pid / "cgroup").read_text(encoding="utf-8").splitlines()
    inside = next((line[3:] for line in lines if line.startswith("0::")), None)
    mount = _mount(proc)
    if inside is None or mount is None:
        raise FileNotFoundError("there are no control groups of version 2")
    point, root = mount
    try:
        return point / Path(inside).relative_to(root)
    except ValueError:
        raise FileNotFoundError(f"the control group {inside} is out of sight") from None


def _mount(proc: Path) -> tuple[Path, str] | None:
    """Where the tree is mounted, and what of it."""
    for line in (proc / "self" / "mountinfo").read_text(encoding="utf-8").splitlines():
        fields, _, rest = line.partition(" - ")
        if rest.startswith("cgroup2 "):
            _, _, _, root, point, *_ = fields.split()
            return Path(point), root
    return None


def _marked(group: Path) -> bool:
    """Whether systemd says that it has given a control group away."""
    for name in _DELEGATED:
        with contextlib.suppress(OSError):
            if os.getxattr(group, name) == b"1":
                return True
    return False


def _words(path: Path) -> list[str]:
    return path.read_text(encoding="ascii").split()


def _is_empty(group: Path) -> bool:
    """Whether no process is in a control group or below it."""
    try:
        return not any(_words(Path(path) / "cgroup.procs") for path, _, _ in os.walk(group))
    except OSError:
        return False


def _remove(group: Path) -> None:
    """Remove a control group and those that its processes made below it."""
    for path, _, _ in os.walk(group, topdown=False):
        # Its files cannot be removed and need not be. It stays while something runs in it.
        with contextlib.suppress(OSError):
            Path(path).rmdir()
