"""How long ejections last."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.reservation.ejection import EjectionRules


def periods(count: int, **rules: float) -> list[float]:
    made = EjectionRules(**rules)
    return [made.period_secs(failures) for failures in range(1, count + 1)]


class EjectionRulesTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        """The original's vector: the doubling stops before the maximum is reached."""
        self.assertEqual(periods(7), [10, 20, 40, 80, 160, 160, 160])

    def test_maximum_of_a_minute(self) -> None:
        """The original's vector."""
        self.assertEqual(periods(5, max_secs=60), [10, 20, 40, 60, 60])

    def test_base_of_a_second(self) -> None:
        """The original's vector: with a base of one second the doubling stops at 128."""
        self.assertEqual(periods(9, base_secs=1), [1, 2, 4, 8, 16, 32, 64, 128, 128])

    @given(
        st.floats(0.0005, 1000),
        st.floats(0.0005, 100_000),
        st.integers(1, 100_000),
    )
    def test_never_shorter_and_never_above_the_maximum(self, base: float, most: float, failures: int) -> None:
        """Whatever the settings, a further failure never shortens the ejection."""
        rules = EjectionRules(base_secs=base, max_secs=most)
        period = rules.period_secs(failures)
        self.assertLessEqual(0, period)
        self.assertLessEqual(period, most)
        self.assertLessEqual(period, rules.period_secs(failures + 1))
        self.assertEqual(rules.period_secs(1), min(base, most))

    def test_a_base_of_a_millisecond(self) -> None:
        """Where the formula would divide by zero, the doubling goes on to the maximum."""
        self.assertEqual(periods(25, base_secs=0.001)[-1], 300)

    def test_rules_must_be_positive(self) -> None:
        """An ejection of no time, or one after no failure, is refused."""
        for wrong in ({"base_secs": 0}, {"max_secs": 0}, {"expiry_threshold": 0}):
            with self.assertRaises(ValueError):
                EjectionRules(**wrong)
