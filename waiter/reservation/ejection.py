"""How long a failing instance is left alone."""

from math import exp, log

import attrs


@attrs.frozen(kw_only=True)
class EjectionRules:
    """
    The back-off of instances that fail requests.

    @ivar base_secs: how long the first ejection lasts. Each further failure in a row doubles it, a bounded number of times.
    @ivar max_secs: the longest ejection, and how long a killed instance is remembered after it was last reported.
    @ivar expiry_threshold: failures in a row from which an instance counts as failing and is to be replaced.
    """

    base_secs: float = attrs.field(default=10.0, validator=attrs.validators.gt(0))
    max_secs: float = attrs.field(default=300.0, validator=attrs.validators.gt(0))
    expiry_threshold: int = attrs.field(default=5, validator=attrs.validators.ge(1))

    def period_secs(self, failures: int) -> float:
        """
        How long an instance is ejected after its latest failure.

        With the defaults 10, 20, 40, 80, 160, 160, ... seconds.

        @param failures: failures in a row, this one included: at least 1.
        """
        return min(self.max_secs, self.base_secs * 2.0 ** min(self._most_doublings, failures - 1))

    @property
    def _most_doublings(self) -> int:
        # The formula depends on the unit: it was made for milliseconds.
        base, longest = log(self.base_secs * 1000), log(self.max_secs * 1000)
        # A base of one millisecond would divide by zero, and one just above it doubles for ever.
        return 64 if base == 0 or longest / base > 4 else int(max(1, exp(longest / base) + 1))
