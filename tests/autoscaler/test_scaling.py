"""The scaling rule: the original's golden vectors, its behaviour over time, and what must hold for all numbers."""

import math

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.autoscaler.support import description
from waiter.autoscaler.scaling import ScalingRules, floor_of, ideal_instances, scale

DEFAULT = {
    "concurrency_level": 1,
    "expired_instance_restart_rate": 0.1,
    "scale_factor": 1,
    "scale_up_factor": 0.5,
    "scale_down_factor": 0.5,
    "min_instances": 1,
    "max_instances": 50,
    "jitter_threshold": 0.9,
}
FAST = {"scale_up_factor": 0.999, "scale_down_factor": 0.999}
SLOW = {"scale_up_factor": 0.1, "scale_down_factor": 0.001}

# number, differences from DEFAULT, (total, outstanding, target, healthy, expired), (amount, scale to, target)
VECTORS = [
    (1, FAST, (5, 10, 5, 5, 0), (5, 10, 10)),
    (2, {"scale_up_factor": 0.999}, (5, 4, 10, 5, 0), (0, 5, 7)),
    (3, {}, (10, 20, 10, 10, 0), (5, 15, 15)),
    (4, {"ticks": 2}, (0, 20, 0, 0, 0), (15, 15, 15)),
    (5, {}, (50, 100, 50, 50, 0), (0, 50, 50)),
    (6, {}, (1, 0, 1, 1, 0), (0, 1, 1)),
    (7, {}, (60, 100, 60, 60, 0), (-10, 50, 50)),
    (8, {}, (0, 0, 0, 0, 0), (1, 1, 1)),
    (9, {"scale_up_factor": 0.89}, (1, 2, 1.0, 1, 0), (0, 1, 1.89)),
    (10, {"scale_up_factor": 0.91}, (1, 2, 1.0, 1, 0), (1, 2, 1.91)),
    (11, {"scale_down_factor": 0.98}, (2, 1, 2.0, 2, 0), (0, 2, 1.02)),
    (12, {"scale_down_factor": 1}, (2, 1, 2.0, 2, 0), (-1, 1, 1)),
    (13, {}, (2, 1, 1.01, 1, 0), (-1, 1, 1)),
    (14, {"scale_factor": 0.5}, (10, 60, 10, 10, 0), (10, 20, 20)),
    (15, {"concurrency_level": 2}, (10, 60, 10, 10, 0), (10, 20, 20)),
    (16, {**FAST, "concurrency_level": 2}, (10, 60, 10, 10, 0), (20, 30, 29.98)),
    (17, {"concurrency_level": 5}, (2, 50, 2, 2, 0), (4, 6, 6)),
    (18, {**FAST, "concurrency_level": 5}, (2, 50, 2, 2, 0), (8, 10, 10)),
    (19, {**FAST, "concurrency_level": 2, "scale_factor": 0.1}, (1, 45, 1, 1, 0), (2, 3, 3)),
    (20, {**FAST, "concurrency_level": 5, "scale_factor": 0.166666666}, (1, 45, 1, 1, 0), (1, 2, 2)),
    (21, {**FAST, "concurrency_level": 5, "scale_factor": 0.1}, (1, 95, 1, 1, 0), (1, 2, 2)),
    (22, {**FAST, "concurrency_level": 5, "scale_factor": 0.1}, (1, 150, 1, 1, 0), (2, 3, 3)),
    (23, {}, (1, 0, 1.2, 1, 1), (1, 2, 1)),
    (24, FAST, (1, 2, 0.9, 1, 1), (2, 3, 2)),
    (25, FAST, (5, 0, 5.3, 5, 5), (-4, 1, 1)),
    (26, SLOW, (10, 0, 7.927, 9, 0), (-2, 8, 7.919)),
    (27, SLOW, (9, 0, 7.927, 8, 0), (-1, 8, 7.919)),
    (28, {}, (2, 0, 1.3, 1, 1), (0, 2, 1)),
    (29, {}, (2, 0, 1.1, 2, 1), (-1, 1, 1)),
    (30, {}, (20, 20, 19.9, 20, 20), (2, 22, 19.95)),
    (31, {"expired_instance_restart_rate": 1}, (20, 20, 20, 20, 20), (20, 40, 20)),
    (32, {"expired_instance_restart_rate": 0}, (1, 0, 1, 1, 1), (0, 1, 1)),
    (33, {"expired_instance_restart_rate": 1}, (1, 1, 1, 0, 1), (1, 2, 1)),
    (34, {"expired_instance_restart_rate": 1}, (3, 5, 5, 2, 1), (3, 6, 5)),
]


class GoldenVectors(SynchronousTestCase):
    def test_original(self):
        """For whole ticks the answers are the original's, all 34 of them."""
        self.assertEqual(len(VECTORS), 34)
        for number, differences, given_values, expected in VECTORS:
            parameters = {**DEFAULT, **differences}
            ticks = parameters.pop("ticks", 1)
            total, outstanding, target, healthy, expired = given_values
            decision = scale(
                ScalingRules(**parameters),
                ticks=ticks,
                total=total,
                outstanding=outstanding,
                target=target,
                healthy=healthy,
                expired=expired,
            )
            self.assertEqual((decision.amount, decision.scale_to), expected[:2], f"vector {number}")
            self.assertLess(abs(decision.target - expected[2]), 0.03, f"vector {number}: {decision.target}")

    def test_ten_seconds_after(self):
        """A cycle ten seconds after the one before, with one of two instances expired, asks for one more."""
        decision = scale(
            ScalingRules(**{**DEFAULT, **SLOW, "max_instances": 100}),
            ticks=10,
            total=2,
            outstanding=2,
            target=2,
            healthy=1,
            expired=1,
        )
        self.assertEqual((decision.amount, decision.scale_to, decision.target), (1, 3, 2.0))


class ProductDefaults(SynchronousTestCase):
    """What a service with default factors does, each second, when its scheduler is instant."""

    def run_cycles(self, *, total, outstanding, cycles):
        rules = ScalingRules.of(description())
        target = float(total)
        totals, targets = [], []
        for _ in range(cycles):
            decision = scale(
                rules, ticks=1, total=total, outstanding=outstanding, target=target, healthy=total, expired=0
            )
            total, target = decision.scale_to, decision.target
            totals.append(total)
            targets.append(target)
        return totals, targets

    def test_ten_requests(self):
        """Ten requests for one instance are met step by step."""
        totals, targets = self.run_cycles(total=1, outstanding=10, cycles=9)
        self.assertEqual(totals, [2, 3, 3, 5, 5, 5, 6, 6, 7])
        for actual, expected in zip(targets, [1.9, 2.71, 3.439, 4.0951], strict=False):
            self.assertAlmostEqual(actual, expected)

    def test_ten_idle_instances(self):
        """Ten instances without requests go slowly, the first after 105 seconds, the ninth after 38 minutes."""
        totals, _ = self.run_cycles(total=10, outstanding=0, cycles=2400)
        falls = [
            tick for tick, (before, after) in enumerate(zip([10, *totals], totals, strict=False), 1) if after < before
        ]
        self.assertEqual(falls[:6], [105, 222, 356, 509, 691, 914])
        self.assertEqual((len(falls), falls[-1]), (9, 2292))


class Zero(SynchronousTestCase):
    """C{min-instances} may be 0."""

    rules = ScalingRules(min_instances=0, scale_up_factor=0.001, scale_down_factor=0.9)

    def decide(self, **values):
        return scale(
            self.rules, **{"ticks": 0, "total": 0, "outstanding": 0, "target": 0, "healthy": 0, "expired": 0, **values}
        )

    def test_stays_at_zero(self):
        """Without requests a service with no instances gets none."""
        self.assertEqual(self.decide(ticks=100).amount, 0)

    def test_first_request(self):
        """The first request gets an instance at once, however slow the factor and short the tick."""
        decision = self.decide(outstanding=1, ticks=0)
        self.assertEqual((decision.amount, decision.target), (1, 1.0))

    def test_goes_to_zero(self):
        """Without requests the last instance goes too."""
        self.assertEqual(self.decide(ticks=3, total=1, target=1, healthy=1).scale_to, 0)

    def test_last_stays_in_use(self):
        """The last instance stays as long as a request is outstanding."""
        self.assertEqual(self.decide(ticks=3, total=1, target=0.02, healthy=1, outstanding=1).amount, 0)


class Surge(SynchronousTestCase):
    """How far the replacement of expired instances goes."""

    def settle(self, rules, *, total, target, expired):
        """Repeat the decision as if each new instance stayed unhealthy, and answer the highest number requested."""
        healthy = total
        for _ in range(30):
            decision = scale(
                rules, ticks=0, total=total, outstanding=0, target=target, healthy=healthy, expired=expired
            )
            total, target = decision.scale_to, decision.target
        return total

    def test_does_not_creep(self):
        """While the replacement of one instance starts, no further one is asked for each second."""
        rules = ScalingRules(jitter_threshold=0.9, max_instances=50)
        self.assertEqual(self.settle(rules, total=2, target=2.0, expired=1), 3)
        self.assertEqual(self.settle(rules, total=2, target=1.4, expired=1), 3)

    def test_beyond_the_maximum(self):
        """At the maximum an expired instance is replaced all the same, one beyond it."""
        rules = ScalingRules(min_instances=5, max_instances=5)
        self.assertEqual(self.settle(rules, total=5, target=5, expired=5), 6)

    def test_limited(self):
        """With a limit on the surge no more are replaced at a time."""
        rules = ScalingRules(expired_instance_restart_rate=1, max_surge=3)
        self.assertEqual(self.settle(rules, total=20, target=20, expired=20), 23)

    def test_overshoot_is_no_reason_to_shrink(self):
        """Healthy instances beyond the requested number replace the expired ones; the number is not lowered below the target."""
        rules = ScalingRules(max_instances=50)
        decision = scale(rules, ticks=1, total=10, outstanding=10, target=10, healthy=13, expired=1)
        self.assertEqual(decision.amount, 0)


RULES = st.builds(
    ScalingRules,
    concurrency_level=st.integers(1, 50),
    scale_factor=st.floats(0.01, 2),
    scale_up_factor=st.floats(0.001, 0.999),
    scale_down_factor=st.floats(0.001, 0.999),
    jitter_threshold=st.floats(0, 0.99),
    expired_instance_restart_rate=st.floats(0.01, 1),
    min_instances=st.integers(0, 20),
    max_instances=st.integers(20, 200),
    max_surge=st.none() | st.integers(0, 10),
)
COUNTS = st.integers(0, 300)
TICKS = st.floats(0, 100)


class Properties(SynchronousTestCase):
    @settings(deadline=None)
    @given(rules=RULES, ticks=st.floats(0, 10), outstanding=COUNTS, share=st.floats(0, 1), total=COUNTS)
    def test_two_turns_are_one(self, rules, ticks, outstanding, share, total):
        """Two turns of n ticks move the target as far as one of 2 n while the load stays."""
        low, high = floor_of(rules, outstanding), rules.max_instances
        values = {"total": total, "outstanding": outstanding, "healthy": total, "expired": 0}
        start = low + share * (high - low)
        first = scale(rules, ticks=ticks, target=start, **values)
        second = scale(rules, ticks=ticks, target=first.target, **values)
        once = scale(rules, ticks=2 * ticks, target=start, **values)
        self.assertAlmostEqual(second.target, once.target, places=6)

    @settings(deadline=None)
    @given(rules=RULES, ticks=TICKS, total=COUNTS, outstanding=COUNTS, target=st.floats(0, 300), healthy=COUNTS)
    def test_bounds(self, rules, ticks, total, outstanding, target, healthy):
        """Without expired instances the target and every step end within the bounds."""
        decision = scale(
            rules, ticks=ticks, total=total, outstanding=outstanding, target=target, healthy=healthy, expired=0
        )
        low, high = floor_of(rules, outstanding), rules.max_instances
        self.assertTrue(low <= decision.target <= high)
        self.assertEqual(decision.scale_to, total + decision.amount)
        if decision.amount != 0:
            self.assertTrue(low <= decision.scale_to <= high)
        if total < low:
            self.assertGreater(decision.amount, 0)
        if total >= high + 1:
            self.assertLess(decision.amount, 0)

    @settings(deadline=None)
    @given(
        rules=RULES,
        ticks=TICKS,
        total=COUNTS,
        outstanding=COUNTS,
        target=st.floats(0, 300),
        healthy=COUNTS,
        expired=COUNTS,
    )
    def test_surge(self, rules, ticks, total, outstanding, target, healthy, expired):
        """Replacing expired instances never asks for more than the rounded target and the stated surge, and never for fewer."""
        values = {"ticks": ticks, "total": total, "outstanding": outstanding, "target": target, "healthy": healthy}
        plain = scale(rules, expired=0, **values)
        decision = scale(rules, expired=expired, **values)
        surge = math.ceil(expired * rules.expired_instance_restart_rate)
        if rules.max_surge is not None:
            surge = min(surge, rules.max_surge)
        self.assertEqual(decision.target, plain.target)
        self.assertGreaterEqual(decision.scale_to, plain.scale_to)
        self.assertLessEqual(decision.scale_to, max(plain.scale_to, math.ceil(decision.target)) + surge)
        self.assertLessEqual(plain.scale_to, max(total, math.ceil(decision.target)))

    @settings(deadline=None)
    @given(rules=RULES, ticks=TICKS, total=COUNTS, loads=st.tuples(COUNTS, COUNTS), target=st.floats(0, 300))
    def test_monotonic_in_load(self, rules, ticks, total, loads, target):
        """More requests never mean a lower target or fewer instances."""
        less, more = sorted(loads)
        values = {"ticks": ticks, "total": total, "target": target, "healthy": total, "expired": 0}
        small, large = scale(rules, outstanding=less, **values), scale(rules, outstanding=more, **values)
        self.assertLessEqual(small.target, large.target + 1e-9)
        self.assertLessEqual(small.scale_to, large.scale_to)

    @settings(deadline=None)
    @given(rules=RULES, ticks=st.tuples(TICKS, TICKS), total=COUNTS, outstanding=COUNTS, target=st.floats(0, 300))
    def test_monotonic_in_time(self, rules, ticks, total, outstanding, target):
        """Waiting longer brings the target nearer to the ideal, and never past it."""
        assume(floor_of(rules, outstanding) <= target <= rules.max_instances)
        ideal = min(max(ideal_instances(rules, outstanding), floor_of(rules, outstanding)), rules.max_instances)
        values = {"total": total, "outstanding": outstanding, "target": target, "healthy": total, "expired": 0}
        early, late = (scale(rules, ticks=n, **values).target for n in sorted(ticks))
        self.assertLessEqual(abs(late - ideal), abs(early - ideal) + 1e-9)
        self.assertGreaterEqual((late - ideal) * (target - ideal), -1e-9)


class Refusals(SynchronousTestCase):
    def test_rules(self):
        """Rules out of range are refused."""
        for wrong in (
            {"concurrency_level": 0},
            {"scale_factor": 0},
            {"scale_factor": 2.1},
            {"scale_up_factor": -0.1},
            {"scale_up_factor": 1.1},
            {"scale_down_factor": 1.1},
            {"jitter_threshold": 1},
            {"expired_instance_restart_rate": 1.5},
            {"min_instances": -1},
            {"max_instances": -1},
            {"max_surge": -1},
            {"scale_factor": math.nan},
        ):
            with self.assertRaises(ValueError, msg=str(wrong)):
                ScalingRules(**wrong)

    def test_situation(self):
        """Negative and unreal numbers are refused."""
        good = {"ticks": 1, "total": 1, "outstanding": 1, "target": 1, "healthy": 1, "expired": 0}
        scale(ScalingRules(), **good)
        for name in good:
            for value in (-1, math.nan, math.inf):
                with self.assertRaises(ValueError, msg=name):
                    scale(ScalingRules(), **{**good, name: value})
