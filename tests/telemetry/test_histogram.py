"""Distributions that are counted cheaply."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.telemetry.histogram import LATENCY_BOUNDS_SECS, Histogram

BOUNDS = (1.0, 2.0, 5.0)


class HistogramTests(SynchronousTestCase):
    def test_valueThatEqualsABoundIsUnderIt(self):
        histogram = Histogram(BOUNDS)
        for value in (0.0, 1.0, 1.5, 2.0, 5.0, 5.1):
            histogram.observe(value)
        self.assertEqual(histogram.counts, [2, 2, 1, 1])
        self.assertEqual(histogram.count, 6)
        self.assertAlmostEqual(histogram.sum, 14.6)

    def test_boundsOfLatenciesAscend(self):
        self.assertEqual(sorted(set(LATENCY_BOUNDS_SECS)), list(LATENCY_BOUNDS_SECS))

    def test_withoutValuesThereIsNoQuantile(self):
        self.assertIsNone(Histogram().quantile(0.5))

    def test_quantilesAreLinearBetweenBounds(self):
        histogram = Histogram(BOUNDS)
        for _ in range(4):
            histogram.observe(1.5)
        self.assertEqual([histogram.quantile(share) for share in (0.0, 0.25, 0.5, 1.0)], [1.0, 1.25, 1.5, 2.0])

    def test_whatIsAboveAllBoundsCountsAsTheLastOne(self):
        histogram = Histogram(BOUNDS)
        histogram.observe(1000)
        self.assertEqual(histogram.quantile(0.5), 5.0)

    @given(st.lists(st.floats(0, 10)))
    def test_countsAreExact(self, values):
        histogram = Histogram(BOUNDS)
        for value in values:
            histogram.observe(value)
        cumulative = 0
        for bound, count in zip(BOUNDS, histogram.counts, strict=False):
            cumulative += count
            self.assertEqual(cumulative, sum(value <= bound for value in values))
        self.assertEqual(histogram.count, len(values))

    @given(st.lists(st.floats(0, 5), min_size=1), st.floats(0, 1))
    def test_quantileLiesInTheBucketOfTheExactOne(self, values, share):
        histogram = Histogram(BOUNDS)
        for value in values:
            histogram.observe(value)
        estimate = histogram.quantile(share)
        ordered = sorted(values)
        # The smallest value that at least this share of the values do not exceed.
        exact = next(v for n, v in enumerate(ordered, 1) if n >= share * len(values))
        lower = max((bound for bound in (0.0, *BOUNDS) if bound < exact), default=0.0)
        upper = min(bound for bound in BOUNDS if bound >= exact)
        self.assertTrue(lower <= estimate <= upper, (lower, estimate, upper))
