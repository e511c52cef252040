"""L{waiter.catalog.interstitial}."""

from urllib.parse import unquote_to_bytes, urljoin, urlsplit

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.catalog.interstitial import (
    HEALTHY,
    TIMEOUT,
    Promise,
    page_of,
    shows_pages,
    way_back,
    with_bypass,
    without_bypass,
)

NOW = 1_800_000_000.0
#: In milliseconds, ten seconds later.
SOON = 1_800_000_010_000

TARGETS = st.builds(
    lambda path, query: b"/" + path + (b"?" + query if query else b""),
    st.binary(max_size=20).map(lambda path: path.replace(b"?", b"")),
    st.binary(max_size=40),
)


class BypassTests(SynchronousTestCase):
    def test_onlyAtTheEndOfTheQueryItIsTakenAway(self):
        for target, expected in (
            (b"/p?a=b&x-waiter-bypass-interstitial=123", (b"/p?a=b", 123)),
            (b"/p?x-waiter-bypass-interstitial=123", (b"/p", 123)),
            (b"/p?a=b?&x-waiter-bypass-interstitial=123", (b"/p?a=b?", 123)),
            (b"/p?a=b&&x-waiter-bypass-interstitial=0", (b"/p?a=b&", 0)),
            (
                b"/p?x-waiter-bypass-interstitial=1&x-waiter-bypass-interstitial=2",
                (b"/p?x-waiter-bypass-interstitial=1", 2),
            ),
        ):
            self.assertEqual(without_bypass(target), expected)

    def test_whatIsElsewhereOrNoTimeIsTheServicesOwn(self):
        for target in (
            b"/p",
            b"/p?",
            b"/p?a=b",
            b"/p?x-waiter-bypass-interstitial=123&a=b",
            b"/p?a=x-waiter-bypass-interstitial=123",
            b"/p?ax-waiter-bypass-interstitial=123",
            b"/p?x-waiter-bypass-interstitial=",
            b"/p?x-waiter-bypass-interstitial=-1",
            b"/p?x-waiter-bypass-interstitial=1.5",
            b"/p?x-waiter-bypass-interstitial=12\n",
            b"/p?X-Waiter-Bypass-Interstitial=123",
            b"/p?x-waiter-bypass-interstitial=" + b"9" * 5000,
            b"/p&x-waiter-bypass-interstitial=123",
            b"/x-waiter-bypass-interstitial=123",
        ):
            self.assertEqual(without_bypass(target), (target, None))

    @given(TARGETS, st.integers(0, 4_000_000_000))
    def test_whatThePageAddsIsWhatIsTakenAway(self, target, now):
        self.assertEqual(without_bypass(with_bypass(target, now)), (target, (now + 10) * 1000))

    def test_itHoldsForTenSeconds(self):
        self.assertEqual(with_bypass(b"/p?a=b", NOW), b"/p?a=b&x-waiter-bypass-interstitial=%d" % SOON)
        self.assertEqual(with_bypass(b"/", NOW), b"/?x-waiter-bypass-interstitial=%d" % SOON)


class AcceptTests(SynchronousTestCase):
    def test_browsersSayThatTheyTakePages(self):
        for accept, expected in (
            (b"text/html", True),
            (b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
            (b"Text/HTML;q=0.1", True),
            (b"*/*", False),
            (b"application/json", False),
            (b"", False),
            (None, False),
        ):
            self.assertIs(shows_pages(accept), expected)


class WayTests(SynchronousTestCase):
    def test_thereAndBack(self):
        for target, back in (
            (b"/", "/?"),
            (b"/a/b?c=d", "/a/b?c=d&"),
            (b"/a%20b/%C3%A9?q=%27%22%3C", "/a%20b/%C3%A9?q=%27%22%3C&"),
            (b"/a?b='\"<>\\ \xe9#", "/a?b='%22%3C%3E%5C%20%E9%23&"),
            # What the page had added before is not added to.
            (b"/a?b&x-waiter-bypass-interstitial=12", "/a?b&"),
        ):
            page = page_of(target)
            self.assertEqual(page, b"/waiter-interstitial" + target)
            self.assertEqual(way_back(page, NOW), f"{back}x-waiter-bypass-interstitial={SOON}")

    def test_whereThePageCannotBe_nobodyIsSentThere(self):
        for target in (b"*", b"", b"//evil.example/", b"/\\evil.example", b"/%2Fevil.example", b"/%ff", b"/a%0Ab"):
            self.assertIsNone(page_of(target), target)

    @given(st.binary(max_size=60), st.sampled_from([b"", b"/", b"//", b"/\\", b"/%2f/", b"/./", b"?", b"/?"]))
    def test_whateverThePageIsAskedFor_itGoesToAPathOfItsOwnHost(self, rest, begin):
        back = way_back(b"/waiter-interstitial" + begin + rest, NOW)
        self.assertRegex(back, r"\A/(?![/\\])[!$%&'()*+,\-./0-9:;=?@A-Z_a-z|~]*\Z")
        self.assertEqual(urlsplit(urljoin("http://demo.example/waiter-interstitial/", back)).netloc, "demo.example")
        self.assertEqual(without_bypass(back.encode())[1], SOON)

    @given(TARGETS)
    def test_whoIsSentThereComesBackToWhereHeWas(self, target):
        page = page_of(target)
        if page is not None:
            there, _ = without_bypass(target)
            back, _ = without_bypass(way_back(page, NOW).encode())
            self.assertEqual(unquote_to_bytes(back), unquote_to_bytes(there))


class PromiseTests(SynchronousTestCase):
    def test_itIsKeptOrNotButOnlyOnce(self):
        promise = Promise(since=100.0, secs=10)
        self.assertEqual([promise.outcome(now) for now in (100.0, 109.9, 110.0)], [None, None, TIMEOUT])
        kept = promise.seen_healthy(109.9)
        self.assertEqual([kept.outcome(now) for now in (109.9, 110.0, 9999.0)], [HEALTHY] * 3)
        self.assertEqual(promise.seen_healthy(110.0).outcome(111.0), TIMEOUT)
