from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.router.pace import Pace


class PaceTests(SynchronousTestCase):
    def test_tooFewBytesInAWindowAreTooSlow(self):
        pace = Pace(10, 60, now=1000.0)
        self.assertFalse(pace.too_slow(1059.9, 1))
        self.assertTrue(pace.too_slow(1060, 599))

    def test_enoughBytesInAWindowAreNot(self):
        self.assertFalse(Pace(10, 60, now=1000.0).too_slow(1060, 600))

    def test_aGoodWindowDoesNotMakeUpForABadOne(self):
        pace = Pace(10, 60, now=0)
        self.assertFalse(pace.too_slow(60, 100000))
        self.assertTrue(pace.too_slow(120, 100001))

    def test_aPauseWithinTheWindowIsMadeUpFor(self):
        pace = Pace(10, 60, now=0)
        for now in range(55):
            self.assertFalse(pace.too_slow(now, 0))
        self.assertFalse(pace.too_slow(60, 600))

    def test_whatWasBeforeARestartDoesNotMatter(self):
        pace = Pace(10, 60, now=0)
        pace.restart(59, 0)
        self.assertFalse(pace.too_slow(118, 0))
        self.assertTrue(pace.too_slow(119, 0))

    @given(st.lists(st.tuples(st.floats(0.1, 100), st.integers(0, 10000)), max_size=30))
    def test_nothingIsExpectedIfNothingIsAsked(self, steps):
        pace = Pace(0, 60, now=0)
        now = at = 0
        for secs, more in steps:
            now, at = now + secs, at + more
            self.assertFalse(pace.too_slow(now, at))

    @given(st.lists(st.floats(0.1, 5), max_size=60))
    def test_whoSendsAsFastAsIsAskedIsNeverTooSlow(self, steps):
        pace = Pace(16, 60, now=0.0)
        now = 0.0
        for secs in steps:
            now += secs
            self.assertFalse(pace.too_slow(now, int(now * 16) + 1))
