"""Moments as text."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.telemetry.timing import IsoClock, iso_time


class TimingTests(SynchronousTestCase):
    def test_momentsAreIsoInUtcWithMilliseconds(self):
        self.assertEqual(iso_time(1769860800.25), "2026-01-31T12:00:00.250Z")
        self.assertEqual(iso_time(0), "1970-01-01T00:00:00.000Z")
        self.assertIsNone(iso_time(None))

    @given(st.floats(0, 253402300000))
    def test_momentIsRightToTheMillisecond(self, secs):
        shown = datetime.fromisoformat(iso_time(secs))
        self.assertEqual(shown.tzinfo, UTC)
        self.assertLessEqual(abs(shown.timestamp() - secs), 0.0011)

    @given(st.lists(st.floats(0, 4e9)))
    def test_clockThatKeepsTheSecondWritesTheSame(self, moments):
        write = IsoClock()
        self.assertEqual([write(secs) for secs in moments], [iso_time(secs) for secs in moments])
