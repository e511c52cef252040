"""A distribution, counted cheaply."""

from bisect import bisect_left

LATENCY_BOUNDS_SECS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
)


class Histogram:
    """
    How many of the observed values fell under each bound.

    @ivar bounds: the upper bounds, ascending; a value that equals a bound is under it.
    @ivar counts: how many values fell between the bound before and this one; the last number, which has no bound, counts
        those above all.
    @ivar sum: of all values.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = LATENCY_BOUNDS_SECS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """
        An estimate of the value that C{share} (0 to 1) of the values do not exceed: exact as to between which bounds it
        lies, linear between them. Values above the last bound count as that bound. C{None} if there are no values.
        """
        count = self.count
        if count == 0:
            return None
        wanted = share * count
        below = 0
        lower = 0.0
        for upper, inside in zip(self.bounds, self.counts, strict=False):
            if inside and below + inside >= wanted:
                return lower + (upper - lower) * max(0.0, wanted - below) / inside
            below += inside
            lower = upper
        return lower
