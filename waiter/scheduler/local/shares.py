"""How the processors are shared out among the instances."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from waiter.scheduler.local.cgroups import CgroupShares, NotDelegated, find_delegated
from waiter.scheduler.local.limits import InstanceLimits
from waiter.scheduler.local.nice import NiceShares

#: How much likelier an instance is to be ended by a kernel out of memory than Waiter is; in thousandths of all memory.
_OOM_SCORE = 500
_MOST_OOM_SCORE = 1000


class Shares:
    """
    By control groups where some were delegated to Waiter, by priority elsewhere.

    Sees also to it that a kernel out of memory ends instances before it ends Waiter.
    """

    _log = Logger()

    def __init__(self, clock: Any, limits: InstanceLimits, *, proc: Path = Path("/proc")) -> None:
        self._limits = limits
        self._proc = proc
        self._nice = NiceShares(clock, "not started", proc=proc)
        self._groups: CgroupShares | None = None
        # Instances of an earlier server may be in control groups even where this one makes none.
        self._earlier = CgroupShares(Path("/nonexistent"), max_processes=limits.max_processes, proc=proc)

    def start(self) -> None:
        """Find out what there is. With control groups, this process moves itself into one."""
        try:
            groups = CgroupShares(
                find_delegated(proc=self._proc), max_processes=self._limits.max_processes, proc=self._proc
            )
            groups.prepare()
        except NotDelegated as error:
            self._nice.reason = str(error)
        except OSError as error:
            self._nice.reason = f"control groups cannot be used: {error}"
        else:
            self._groups = groups
            self._log.info("Processors are shared out by control groups: {facts}", facts=groups.state())
            return
        self._log.info(
            "Processors are shared out by priorities (nice) instead of control groups: {reason}",
            reason=self._nice.reason,
        )

    def place(self, instance_id: str, pid: int, *, cpus: float, mem_mib: float) -> None:
        """Apply it to a launcher that has not begun, and so to all that comes of it."""
        self._raise_oom_score(pid)
        if self._groups is None or not self._groups.place(instance_id, pid, cpus, mem_mib):
            self._nice.place(instance_id, pid, cpus)

    def adopt(self, instance_id: str, pid: int) -> None:
        """An instance of an earlier server keeps what it has."""
        (self._groups or self._earlier).adopt(instance_id, pid)

    def kill(self, instance_id: str) -> None:
        """Send SIGKILL to all of an instance that can be reached at once."""
        (self._groups or self._earlier).kill(instance_id)

    def remove(self, instance_id: str) -> None:
        """Nothing of the instance is left."""
        self._nice.remove(instance_id)
        (self._groups or self._earlier).remove(instance_id)

    def granted(self, cpus: float) -> Mapping[str, object]:
        """What an instance that is started now gets, JSON-able."""
        return (self._groups or self._nice).granted(cpus)

    def stop(self) -> None:
        """Change nothing more."""
        self._nice.stop()

    def state(self) -> Mapping[str, object]:
        """JSON-able, for C{/state/scheduler}."""
        return (self._groups or self._nice).state()

    def _raise_oom_score(self, pid: int) -> None:
        with contextlib.suppress(OSError, ValueError):
            own = int((self._proc / "self" / "oom_score_adj").read_text(encoding="ascii"))
            score = min(_MOST_OOM_SCORE, own + _OOM_SCORE)
            (self._proc / str(pid) / "oom_score_adj").write_text(f"{score}\n", encoding="ascii")
