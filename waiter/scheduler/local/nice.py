"""Shares out the processors by priority, where the kernel offers no better."""

import contextlib
import math
import os
from collections.abc import Mapping
from pathlib import Path

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: What an instance of one CPU gets. Each level is about a factor of 1.25 in time on the processors.
_OF_ONE_CPU = 5
_FACTOR = 1.25
_LOWEST, _HIGHEST = 1, 19
#: The kernel lets users other than root change a session's priority about ten times a second, all together.
_AGAIN_SECS = 0.11


def nice_level(cpus: float) -> int:
    """How much lower than Waiter's own the priority of an instance is: the less it asked for, the lower."""
    level = _OF_ONE_CPU - math.log(cpus) / math.log(_FACTOR)
    return round(min(_HIGHEST, max(_LOWEST, level)))


class NiceShares:
    """
    Gives instances priorities (nice levels): when processors are short, those that asked for more get more of them.

    Where the kernel groups processes by session for that (autogroup), the priority of the session is what counts; each
    instance is a session of its own.

    @ivar reason: why there is nothing better.
    """

    def __init__(self, clock: IReactorTime, reason: str, *, proc: Path = Path("/proc")) -> None:
        """@param proc: where the kernel shows its processes."""
        self._clock = clock
        self.reason = reason
        self._proc = proc
        self._again: dict[str, IDelayedCall] = {}

    def place(self, instance_id: str, pid: int, cpus: float) -> None:
        """Apply it to a launcher that has not begun, and so to all that comes of it."""
        level = self._level(cpus)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.setpriority(os.PRIO_PROCESS, pid, level)
        self._set_session(instance_id, pid, level)

    def remove(self, instance_id: str) -> None:
        """Nothing of the instance is left."""
        again = self._again.pop(instance_id, None)
        if again is not None:
            again.cancel()

    def stop(self) -> None:
        """Change nothing more."""
        for instance_id in tuple(self._again):
            self.remove(instance_id)

    def granted(self, cpus: float) -> Mapping[str, object]:
        """What an instance gets, JSON-able."""
        return {"kind": "nice", "nice": self._level(cpus)}

    def state(self) -> Mapping[str, object]:
        """JSON-able, for C{/state/scheduler}."""
        return {"kind": "nice", "reason": self.reason, "autogroup": (self._proc / "self" / "autogroup").exists()}

    def _level(self, cpus: float) -> int:
        return min(_HIGHEST, max(0, os.getpriority(os.PRIO_PROCESS, 0)) + nice_level(cpus))

    def _set_session(self, instance_id: str, pid: int, level: int) -> None:
        self._again.pop(instance_id, None)
        try:
            (self._proc / str(pid) / "autogroup").write_text(f"{level}\n", encoding="ascii")
        except BlockingIOError:
            # Until C{remove} the pid is the instance's: it is not reaped before that.
            self._again[instance_id] = self._clock.callLater(_AGAIN_SECS, self._set_session, instance_id, pid, level)
        except OSError:
            # There is no such grouping here, or the process has ended.
            return
