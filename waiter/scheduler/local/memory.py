"""Keeps what the instances of this machine may use together within its memory."""

from collections.abc import Callable
from pathlib import Path

import psutil

_MIB = 1024 * 1024
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def machine_memory_mib() -> float:
    """The memory of the machine in MiB, or of the container Waiter runs in if that is less."""
    total = float(psutil.virtual_memory().total)
    for limit in _CGROUP_LIMITS:
        try:
            total = min(total, float(Path(limit).read_text(encoding="ascii")))
        except (OSError, ValueError):
            # There is no such file, or it says "max".
            continue
    return total / _MIB


class MemoryGuard:
    """
    Counts the memory that instances were promised, in MiB.

    Only the instances of this server are counted. C{elsewhere} is the place for what other servers of the machine have
    promised.
    """

    def __init__(self, total_mib: float, share: float, elsewhere: Callable[[], float] = lambda: 0.0) -> None:
        """@param share: how much of the machine's memory instances may be promised together, over 0 and up to 1."""
        self._total_mib = total_mib
        self._share = share
        self._elsewhere = elsewhere
        self._promised: dict[str, float] = {}

    @property
    def limit_mib(self) -> float:
        """What instances may be promised together."""
        return self._total_mib * self._share

    @property
    def promised_mib(self) -> float:
        """What they are promised now."""
        return sum(self._promised.values()) + self._elsewhere()

    def promise(self, instance_id: str, mem: float) -> None:
        """Count an instance until C{give_back}."""
        self._promised[instance_id] = mem

    def give_back(self, instance_id: str) -> None:
        """An instance is gone."""
        self._promised.pop(instance_id, None)

    def refusal(self, mem: float) -> str | None:
        """Why an instance that needs C{mem} cannot be started now; C{None} if it can."""
        free = self.limit_mib - self.promised_mib
        if mem <= free:
            return None
        return (
            f"Waits for memory: an instance needs {mem:.0f} MiB and {max(0.0, free):.0f} MiB are free, of the "
            f"{self.limit_mib:.0f} MiB ({self._share:.0%} of the machine's) that instances may use together"
        )

    def impossibility(self, mem: float) -> str | None:
        """Why an instance that needs C{mem} can never be started here; C{None} if it can."""
        if mem <= self.limit_mib:
            return None
        return (
            f"An instance needs {mem:.0f} MiB of memory, but all instances together may use {self.limit_mib:.0f} MiB "
            f"({self._share:.0%} of this machine's {self._total_mib:.0f} MiB). Ask for less with mem, or raise "
            "memory-share in the settings of the scheduler"
        )
