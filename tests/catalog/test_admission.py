"""L{waiter.catalog.admission}."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.catalog.admission import check_api_request, check_service_request, check_token_read, is_for_waiter
from waiter.catalog.hosts import own_hosts
from waiter.errors import BadRequest, CrossOriginForbidden

OWN = own_hosts(["waiter.example", "10.0.0.7"])


def for_waiter(path, host, *names):
    return is_for_waiter(path, host, names, OWN)


class IsForWaiterTests(SynchronousTestCase):
    def test_onAnOwnHostEverythingIs(self):
        for host in (
            b"localhost",
            b"LOCALHOST:9091",
            b"127.0.0.1:80",
            b"[::1]:9091",
            b"waiter.example.",
            b"10.0.0.7",
            b"",
        ):
            self.assertTrue(for_waiter(b"/apps", host), host)
            self.assertTrue(for_waiter(b"/anything?x=1", host), host)

    def test_onAnotherHostNothingElseIs(self):
        for host in (
            b"mytoken",
            b"localhost.evil.example",
            b"evil.example:9091",
            b"[::2]",
            b"127.0.0.2",
            b"a b",
            b":80",
        ):
            self.assertFalse(for_waiter(b"/status", host), host)
            self.assertFalse(for_waiter(b"/", host), host)

    def test_aWaiterHeaderMakesItARequestForAService(self):
        for name in (b"x-waiter-cmd", b"x-waiter-token", b"x-waiter-timeout", b"x-waiter-unheard-of"):
            self.assertFalse(for_waiter(b"/apps", b"localhost", name), name)
            self.assertFalse(for_waiter(b"/apps", b"localhost", b"x-waiter-debug", name), name)

    def test_debuggingDoesNot(self):
        self.assertTrue(for_waiter(b"/apps", b"localhost", b"x-waiter-debug"))

    def test_somePathsAreWaitersOnEveryHostWithAnyHeader(self):
        for path in (
            b"/.well-known/auth/expires-at",
            b"/.well-known/auth/keep-alive",
            b"/.well-known/auth/keep-alive?offset=10",
            b"/.well-known/oidc/v1/openid-enabled",
            b"/oidc/v1/callback",
            b"/app-name",
            b"/service-id",
            b"/token",
            b"/token?token=x",
            b"/waiter-ping",
            b"/waiter-async/complete/r/s",
            b"/waiter-async/v2/result/r/d/l",
            b"/waiter-async/status/x",
            b"/waiter-auth/",
            b"/waiter-auth/x",
            b"/waiter-consent",
            b"/waiter-consent/a/b",
            b"/waiter-consent-cookie",
            b"/waiter-interstitial/x",
        ):
            self.assertTrue(for_waiter(path, b"mytoken", b"x-waiter-cmd"), path)

    def test_pathsThatOnlyLookLikeThemAreNot(self):
        for path in (
            b"/token/",
            b"/tokens",
            b"/token/x",
            b"/Token",
            b"/x/token",
            b"/token\n",
            b"/waiter-auth",
            b"/waiter-async",
            b"/waiter-async/other/x",
            b"/waiter-ping/",
            b"/.well-known/auth/other",
            b"/wellXknown",
            b"token",
            b"",
            b"*",
        ):
            self.assertFalse(for_waiter(path, b"mytoken"), path)

    @given(st.binary(max_size=20), st.binary(max_size=20))
    def test_whateverIsSent_itIsDecided(self, path, host):
        self.assertIsInstance(for_waiter(path, host), bool)


class CheckServiceRequestTests(SynchronousTestCase):
    def check(self, host=b"localhost:9091", describes=True, origin=None, site=None):
        check_service_request(host, describes, origin, site, OWN)

    def test_programsAreLetIn(self):
        for host in (b"localhost:9091", b"127.0.0.1", b"[::1]:9091", b"waiter.example", b""):
            self.check(host)

    def test_waitersOwnPagesAreLetIn(self):
        self.check(origin=b"http://localhost:9091", site=b"same-origin")
        self.check(origin=b"http://localhost:9091")
        self.check(site=b"none")

    def test_whenAnotherOriginsPageDescribesAService_itIsForbidden(self):
        for origin in (
            b"http://evil.example",
            b"null",
            b"http://localhost:3000",
            b"https://localhost:9091.evil.example",
            b"",
        ):
            error = self.assertRaises(CrossOriginForbidden, self.check, origin=origin)
            self.assertEqual(error.status, 403)
            self.assertIn("Cross-origin request not allowed", error.message)

    def test_whenTheBrowserSaysItIsAnotherSite_itIsForbidden(self):
        for site in (b"cross-site", b"same-site", b"Cross-Site", b"", b"unheard-of", b"none, cross-site"):
            self.assertRaises(CrossOriginForbidden, self.check, site=site)
            self.assertRaises(CrossOriginForbidden, self.check, site=site, origin=b"http://localhost:9091")

    def test_whenTheHostIsNotWaiters_itIsRefusedWithAdvice(self):
        for host in (b"evil.example:9091", b"localhost.evil.example", b"0.0.0.0:9091", b"a b", b"mytoken"):
            error = self.assertRaises(BadRequest, self.check, host)
            self.assertIn("localhost", error.message)
            self.assertIn("hostnames", error.message)

    def test_aTokenIsAHostWhereServicesAreDescribed(self):
        tokens = {"mytoken"}.__contains__
        check_service_request(b"MyToken:9091", True, None, None, OWN, tokens)
        self.assertRaises(BadRequest, check_service_request, b"other", True, None, None, OWN, tokens)
        foreign = (b"mytoken", True, b"http://evil.example", None, OWN, tokens)
        self.assertRaises(CrossOriginForbidden, check_service_request, *foreign)

    def test_whenANameWasReboundToThisMachine_itIsRefused(self):
        # To the browser it is the same origin: only the host tells.
        host = b"rebound.example:9091"
        self.assertRaises(BadRequest, self.check, host, origin=b"http://" + host, site=b"same-origin")

    def test_requestsThatDescribeNothingAreNotConcerned(self):
        self.check(b"mytoken", describes=False, origin=b"http://evil.example", site=b"cross-site")

    def test_whatIsEchoedIsPrintable(self):
        error = self.assertRaises(BadRequest, self.check, b"\xff\x00<b>" + b"x" * 1000)
        self.assertLess(len(error.message), 400)
        self.assertTrue(error.message.isprintable())


class CheckTokenHostTests(SynchronousTestCase):
    def check(self, path, method=b"GET", **more):
        given = {"host": b"mytoken", "origin": None, "sec_fetch_site": None, **more}
        check_api_request(method, path, own_hosts=OWN, is_token={"mytoken"}.__contains__, **given)

    def test_servicesAreAskedAboutAtTheirTokens(self):
        for path in (b"/waiter-ping", b"/service-id?latest=true", b"/app-name"):
            self.check(path)
            self.check(path, b"POST")
            self.assertRaises(BadRequest, self.check, path, host=b"other")
            self.assertRaises(CrossOriginForbidden, self.check, path, origin=b"http://evil.example")

    def test_whoAgreesIsHeardAtTokens_andCheckedThere(self):
        self.check(b"/waiter-consent", b"POST")
        self.check(b"/waiter-consent", b"POST", origin=b"http://evil.example")
        self.assertRaises(BadRequest, self.check, b"/waiter-consent", b"POST", host=b"other")

    def test_nothingElseIsDoneThere(self):
        for path in (b"/apps/x/suspend", b"/token"):
            self.assertRaises(BadRequest, self.check, path, b"POST")


class CheckApiRequestTests(SynchronousTestCase):
    def check(self, method=b"POST", path=b"/apps/x", host=b"localhost:9091", origin=None, site=None):
        check_api_request(method, path, host, origin, site, OWN)

    CHANGING = [
        (b"POST", b"/token"),
        (b"DELETE", b"/apps/x"),
        (b"PUT", b"/anything"),
        (b"PATCH", b"/anything"),
        (b"TRACE", b"/"),
        (b"get", b"/"),
        (b"GET", b"/apps/x/suspend"),
        (b"GET", b"/apps/x/resume?y=1"),
        (b"GET", b"/apps/x/%73uspend"),
        (b"GET", b"//apps//x//suspend/"),
        (b"GET", b"/apps/%0A/suspend"),
        (b"HEAD", b"/apps/x/resume"),
        (b"GET", b"/waiter-ping"),
        (b"GET", b"/service-id"),
        (b"GET", b"/app-name"),
    ]

    READING = [
        (b"GET", b"/"),
        (b"GET", b"/apps"),
        (b"GET", b"/apps/suspend"),
        (b"GET", b"/apps/x/logs"),
        (b"HEAD", b"/status"),
        (b"OPTIONS", b"/apps/x"),
        (b"GET", b"/state/maintainer"),
    ]

    def test_programsMayChangeThings(self):
        for method, path in self.CHANGING:
            self.check(method, path)
            self.check(method, path, host=b"")

    def test_ownPagesMayChangeThings(self):
        for method, path in self.CHANGING:
            self.check(method, path, origin=b"http://localhost:9091", site=b"same-origin")

    def test_otherPagesMayNot(self):
        for method, path in self.CHANGING:
            self.assertRaises(CrossOriginForbidden, self.check, method, path, origin=b"http://evil.example")
            self.assertRaises(CrossOriginForbidden, self.check, method, path, origin=b"null")
            # An image of a page on another port: GET, and no Origin.
            self.assertRaises(CrossOriginForbidden, self.check, method, path, site=b"same-site")

    def test_onAnotherHostNothingIsChanged(self):
        for method, path in self.CHANGING:
            host = b"rebound.example:9091"
            self.assertRaises(BadRequest, self.check, method, path, host=host)
            self.assertRaises(
                BadRequest, self.check, method, path, host=host, origin=b"http://" + host, site=b"same-origin"
            )

    def test_readingIsOpen(self):
        for method, path in self.READING:
            self.check(method, path, origin=b"http://evil.example", site=b"cross-site")
            self.check(method, path, host=b"mytoken")

    def test_tokensAreNotReadThroughAnotherHost(self):
        self.check(b"GET", b"/token?token=x")
        error = self.assertRaises(BadRequest, self.check, b"GET", b"/token?token=x", host=b"rebound.example:9091")
        self.assertIn("own host names", error.message)

    def test_aTokenIsReadAtItsOwnHost_andNothingElseIsDoneThere(self):
        def check(method, path, host):
            check_api_request(method, path, host, None, None, OWN, {"token.example"}.__contains__)

        for method in (b"GET", b"HEAD"):
            check(method, b"/token", b"Token.example:9091")
            self.assertRaises(BadRequest, check, method, b"/token", b"rebound.example")
        for method, path in (*self.CHANGING, (b"POST", b"/token"), (b"DELETE", b"/token"), (b"OPTIONS", b"/token")):
            if path not in {b"/waiter-ping", b"/service-id", b"/app-name"}:
                self.assertRaises(BadRequest, check, method, path, b"token.example")


class CheckTokenReadTests(SynchronousTestCase):
    def test_atOwnHostsEveryTokenIsRead_elsewhereThatOfTheHostAlone(self):
        for host in (b"localhost:9091", b"", b"a-token", b"A-Token:9091"):
            check_token_read("a-token", host, OWN)
        for host in (b"b-token", b"x" * 999, b"a b"):
            self.assertRaises(BadRequest, check_token_read, "a-token", host, OWN)
        self.assertRaises(BadRequest, check_token_read, "", b"a b", OWN)
