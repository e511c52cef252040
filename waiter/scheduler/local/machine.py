"""What this machine has."""

import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from waiter.model.resources import Resources

_MIB = 1024 * 1024
_PROCESS = Path("/proc/self")
_GROUPS = Path("/sys/fs/cgroup")


def machine_resources(process: Path = _PROCESS, groups: Path = _GROUPS) -> Resources:
    """
    The CPUs and the memory that processes of this one may use together: the machine's, or less if a container, a unit
    or an affinity says so.

    @param process: where the system shows this process.
    @param groups: where it shows control groups.
    """
    cpus = [float(len(os.sched_getaffinity(0))), *_quotas(process, groups)]
    memory = [float(psutil.virtual_memory().total), *_memory_limits(process, groups)]
    return Resources(cpus=min(cpus), mem=min(memory) / _MIB)


def _quotas(process: Path, groups: Path) -> Iterator[float]:
    for group in _own_groups(process, groups, "cpu"):
        quota = _words(group / "cpu.max") or [
            *_words(group / "cpu.cfs_quota_us"),
            *_words(group / "cpu.cfs_period_us"),
        ]
        try:
            used, period = (float(word) for word in quota)
        except ValueError:
            # There is no quota here, or it says "max".
            continue
        if used > 0 and period > 0:
            yield used / period


def _memory_limits(process: Path, groups: Path) -> Iterator[float]:
    for group in _own_groups(process, groups, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            try:
                (limit,) = (float(word) for word in _words(group / name))
            except ValueError:
                continue
            yield limit


def _own_groups(process: Path, groups: Path, controller: str) -> Iterator[Path]:
    """The directories of the groups this process is in, from the innermost to the root of each hierarchy."""
    lines = [line.split(":", 2) for line in _text(process / "cgroup").splitlines()]
    for _, controllers, inside in (line for line in lines if len(line) == 3):
        if not controllers:
            root = groups
        elif controller in controllers.split(","):
            root = groups / controller
        else:
            continue
        # In a container the path may be that of the world outside, of which only the root is to be seen.
        parts = [part for part in inside.split("/") if part not in {"", ".", ".."}]
        for depth in range(len(parts), -1, -1):
            yield root.joinpath(*parts[:depth])


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
