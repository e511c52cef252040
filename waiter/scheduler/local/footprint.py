"""How much memory an instance uses, and when it is worth asking exactly: pure rules."""

import attrs

MIB = 1024 * 1024

# An idle instance keeps its size, so its exact size is asked for once a minute; else when it has changed visibly.
_RENEW_SECS = 60.0
_VISIBLE = 0.05
_VISIBLE_BYTES = 4 * MIB
# Asking takes time in proportion to the memory: at most this share of a core's, and more where the limit may be exceeded.
_SHARE = 0.05
_URGENT_SHARE = 0.25


@attrs.frozen(kw_only=True)
class Footprint:
    """
    What an instance was seen to use.

    Resident memory is cheap to learn, but counts what processes share once for each of them, and that of the launcher is
    left out. The exact number, which counts everything once, is dear.

    @ivar processes: how many there are.
    @ivar resident: the sum of their resident memory, in bytes.
    @ivar at: when that was seen, in the clock's seconds.
    @ivar exact: the exact number, in bytes.
    @ivar exact_resident: the sum of their resident memory when that was learnt.
    @ivar exact_at: when that was, in the clock's seconds.
    @ivar exact_secs: how long it took to learn.
    """

    processes: int
    resident: int
    at: float
    exact: int
    exact_resident: int
    exact_at: float
    exact_secs: float

    @property
    def memory(self) -> int:
        """The best guess at the exact number now, in bytes."""
        return max(0, self.exact + self.resident - self.exact_resident)

    def grown(self, *, processes: int, resident: int, now: float) -> "Footprint":
        """The same instance later, with the exact number still to be learnt."""
        return Footprint(
            processes=processes,
            resident=resident,
            at=now,
            exact=self.exact,
            exact_resident=self.exact_resident,
            exact_at=self.exact_at,
            exact_secs=self.exact_secs,
        )

    def outdated(self, now: float, limit: int | None) -> bool:
        """Whether the exact number should be learnt anew, for C{limit} may be exceeded or it has changed visibly."""
        age = now - self.exact_at
        if limit is not None and self.memory > limit:
            return age * _URGENT_SHARE >= self.exact_secs
        changed = abs(self.resident - self.exact_resident) > max(_VISIBLE_BYTES, _VISIBLE * self.exact_resident)
        return (changed or age >= _RENEW_SECS) and age * _SHARE >= self.exact_secs


def growth(before: Footprint | None, now: Footprint) -> float:
    """By how many bytes a second an instance grows; 0 for one that shrinks or was not seen before."""
    if before is None or now.at <= before.at:
        return 0.0
    return max(0.0, (now.resident - before.resident) / (now.at - before.at))


def may_exceed(footprint: Footprint, growing: float, *, limit: int, secs: float) -> bool:
    """Whether an instance that grows by C{growing} bytes a second, or twice as fast, exceeds its limit within C{secs}."""
    return growing > 0 and footprint.memory + 2 * growing * secs > limit
