"""L{waiter.catalog.timeouts}."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.catalog.timeouts import Timeouts, asked_secs


class AskedTests(SynchronousTestCase):
    def test_headersAreMilliseconds(self):
        for header, secs in [(b"1500", 1.5), (b"1", 0.001), (b"+20", 0.02), (b" 7000 ", 7.0), (b"0000000100", 0.1)]:
            self.assertEqual(asked_secs(header, 300.0), secs)

    def test_withoutAHeaderTheConfiguredOneHolds(self):
        self.assertEqual(asked_secs(None, 300.0), 300.0)

    def test_junkIsAsIfItWereNotThere(self):
        for header in (
            b"",
            b"abc",
            b"1.5",
            b"1e3",
            b"0x10",
            b"10 000",
            b"\xff",
            "\u0661".encode(),
            b"2147483648",
            b"9" * 5000,
        ):
            self.assertEqual(asked_secs(header, 300.0), 300.0, header[:20])

    def test_zeroAndLessMeanTheConfiguredOne(self):
        for header in (b"0", b"-1", b"-0", b"-2147483648"):
            self.assertEqual(asked_secs(header, 300.0), 300.0)

    def test_moreThanAnHourIsAnHour(self):
        self.assertEqual(asked_secs(b"3600000", 300.0), 3600.0)
        self.assertEqual(asked_secs(b"3600001", 300.0), 3600.0)
        self.assertEqual(asked_secs(b"2147483647", 300.0), 3600.0)

    def test_theDefaults(self):
        defaults = Timeouts()
        self.assertEqual(
            (defaults.queue_timeout_secs, defaults.socket_timeout_secs, defaults.streaming_timeout_secs), (300, 900, 20)
        )

    @given(st.binary(max_size=15))
    def test_whateverIsAsked_itIsPositiveAndAtMostAnHour(self, header):
        self.assertTrue(0 < asked_secs(header, 300.0) <= 3600)
