"""Keeps what the instances of this machine may use together within what it has."""

from collections.abc import Callable
from math import fsum

from waiter.model.resources import NOTHING, Resources


class Capacity:
    """
    Counts what instances were promised.

    Memory that is promised twice ends programs; a CPU that is promised twice makes them slower, and most instances do
    nothing most of the time. So the share of the memory is less than one, and that of the CPUs may be more.

    An instance counts until nothing of it is left.
    """

    def __init__(
        self,
        machine: Resources,
        *,
        cpu_overcommit: float,
        memory_share: float,
        elsewhere: Callable[[], Resources] = lambda: NOTHING,
    ) -> None:
        """
        @param cpu_overcommit: how many times the machine's CPUs instances may be promised together.
        @param memory_share: how much of the machine's memory instances may be promised together, over 0 and up to 1.
        @param elsewhere: what instances of other servers hold.
        """
        self._machine = machine
        self._cpu_overcommit = cpu_overcommit
        self._memory_share = memory_share
        self._elsewhere = elsewhere
        self._promised: dict[str, Resources] = {}
        self._ending: set[str] = set()
        self.limit = Resources(cpus=machine.cpus * cpu_overcommit, mem=machine.mem * memory_share)

    @property
    def promised(self) -> Resources:
        """What the instances of this server are promised."""
        return Resources(
            cpus=fsum(need.cpus for need in self._promised.values()),
            mem=fsum(need.mem for need in self._promised.values()),
        )

    @property
    def elsewhere(self) -> Resources:
        """What instances of other servers hold."""
        return self._elsewhere()

    @property
    def free(self) -> Resources:
        """What can be promised now; negative where more is held than may be."""
        return self.limit - self.promised - self._elsewhere()

    @property
    def room(self) -> Resources:
        """What can be promised when all that is ending has ended."""
        ending = [self._promised[instance_id] for instance_id in self._ending]
        return self.free + Resources(cpus=fsum(need.cpus for need in ending), mem=fsum(need.mem for need in ending))

    def promise(self, instance_id: str, need: Resources) -> None:
        """Count an instance until C{give_back}."""
        self._promised[instance_id] = need

    def ending(self, instance_id: str) -> None:
        """An instance is on its way out."""
        if instance_id in self._promised:
            self._ending.add(instance_id)

    def give_back(self, instance_id: str) -> None:
        """An instance is gone."""
        self._promised.pop(instance_id, None)
        self._ending.discard(instance_id)

    def refusal(self, need: Resources, free: Resources) -> str | None:
        """
        Why an instance that needs so much cannot be started now; C{None} if it can.

        @param free: what C{free} is now.
        """
        short_of, reasons = [], []
        if not Resources(cpus=need.cpus).fits(Resources(cpus=max(0.0, free.cpus))):
            short_of.append("CPUs")
            reasons.append(
                f"an instance needs {need.cpus:.6g} CPUs and {max(0.0, free.cpus):.6g} are free, of the "
                f"{self._limit_cpus()} that instances may be promised together{self._others('cpus')}"
            )
        if not Resources(mem=need.mem).fits(Resources(mem=max(0.0, free.mem))):
            short_of.append("memory")
            reasons.append(
                f"an instance needs {need.mem:.0f} MiB and {max(0.0, free.mem):.0f} MiB are free, of the "
                f"{self.limit.mem:.0f} MiB ({self._memory_share:.0%} of the machine's) that instances may use together"
                f"{self._others('mem')}"
            )
        return f"Waits for {' and '.join(short_of)}: {'; '.join(reasons)}" if reasons else None

    def impossibility(self, need: Resources) -> str | None:
        """Why an instance that needs so much can never be started here; C{None} if it can."""
        reasons = []
        if not Resources(cpus=need.cpus).fits(self.limit):
            reasons.append(
                f"An instance needs {need.cpus:.6g} CPUs, but all instances together may be promised "
                f"{self._limit_cpus()}. Ask for less with cpus, or raise cpu-overcommit in the settings of the scheduler"
            )
        if not Resources(mem=need.mem).fits(self.limit):
            reasons.append(
                f"An instance needs {need.mem:.0f} MiB of memory, but all instances together may use "
                f"{self.limit.mem:.0f} MiB ({self._memory_share:.0%} of this machine's {self._machine.mem:.0f} MiB). Ask "
                "for less with mem, or raise memory-share in the settings of the scheduler"
            )
        return ". ".join(reasons) or None

    def state(self) -> dict[str, dict[str, float]]:
        """The numbers, JSON-able: CPUs, and memory in MiB."""
        shown = {"limit": self.limit, "promised": self.promised, "elsewhere": self._elsewhere(), "free": self.free}
        return {name: {"cpus": round(held.cpus, 6), "mem": round(held.mem, 3)} for name, held in shown.items()}

    def _limit_cpus(self) -> str:
        return f"{self.limit.cpus:.6g} ({self._cpu_overcommit:.6g} times the machine's {self._machine.cpus:.6g})"

    def _others(self, what: str) -> str:
        held = getattr(self._elsewhere(), what)
        if held <= 0:
            return ""
        amount = f"{held:.6g}" if what == "cpus" else f"{held:.0f} MiB"
        return f"; instances of other servers hold {amount}"
