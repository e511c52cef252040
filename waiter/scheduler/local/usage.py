"""What the kernel says of the memory of processes."""

import ctypes
import os
import platform
from collections.abc import Collection

from waiter.scheduler.local.processes import Process, read_file

_PAGE = os.sysconf("SC_PAGE_SIZE")
_VM_COUNTERS = "/proc/vmstat"

# The kernel can tell whether two processes have the same memory, but neither Python nor libc has a function for it.
_KCMP = {"x86_64": 312, "aarch64": 272, "riscv64": 272, "loongarch64": 272, "ppc64le": 354, "s390x": 343}
_KCMP_VM = 1
_libc = ctypes.CDLL(None)


def resident_bytes(processes: Collection[Process]) -> list[int]:
    """The resident memory of each process that is alive. Takes 6 µs for each."""
    found = []
    for process in processes:
        try:
            size, resident, _ = read_file(f"/proc/{process.pid}/statm").split(None, 2)
        except (OSError, ValueError):
            continue
        # A zombie has no memory at all.
        if size != b"0":
            found.append(int(resident) * _PAGE)
    return found


def exact_bytes(processes: Collection[Process]) -> int:
    """
    The memory of processes together (PSS): what some of them share, and files they have mapped, counts once; what they
    share with others counts in part. A process that has only just been started from a large one, and has not yet turned
    into another program, has the memory of that one: it does not count. Takes from 50 µs for a small process to 100 ms for tens of GiB.

    Of a process that may not be asked - it runs as another user, and Waiter not as root - what it shares does not count.
    """
    present = {process.pid for process in processes}
    return sum(
        _exact_bytes(process.pid)
        for process in processes
        if process.parent not in present or not same_memory(process.pid, process.parent)
    )


def same_memory(pid: int, other: int) -> bool:
    """
    Whether two processes work in the same memory, as they do after C{vfork} until the new one runs its own program.

    C{False} where the kernel does not say.
    """
    number = _KCMP.get(platform.machine())
    return number is not None and _libc.syscall(number, pid, other, _KCMP_VM, 0, 0) == 0


def out_of_memory_kills() -> int | None:
    """How many processes the kernel has killed for lack of memory since the boot; C{None} if it does not say."""
    try:
        with open(_VM_COUNTERS, "rb", buffering=0) as file:  # noqa: PTH123 - the fastest
            for line in file.readall().splitlines():
                name, _, number = line.partition(b" ")
                if name == b"oom_kill":
                    return int(number)
    except (OSError, ValueError):
        return None
    return None


def _exact_bytes(pid: int) -> int:
    try:
        for line in read_file(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    except ProcessLookupError:
        return 0
    except (OSError, ValueError):
        pass
    return _unshared_bytes(pid)


def _unshared_bytes(pid: int) -> int:
    try:
        _, resident, shared, *_ = read_file(f"/proc/{pid}/statm").split()
        return max(0, int(resident) - int(shared)) * _PAGE
    except (OSError, ValueError):
        return 0
