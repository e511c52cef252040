"""What requests have to meet although it is clear which service they are for."""

import json

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.router.world import World, get, head, ok, parse, post, values
from waiter.catalog.cors import allowing, cors_rules
from waiter.catalog.descriptor import Conditions
from waiter.catalog.suspensions import SuspendedState
from waiter.model.source import SourceToken

RULES = cors_rules(
    [
        {"origin-regex": r"https://.*\.friend\.example"},
        {"origin-regex": "https://other.example", "target-path-regex": "/open/.*", "methods": ["GET", "PUT"]},
    ]
)
FRIEND, OTHER = b"Origin: https://a.friend.example", b"Origin: https://other.example"


class ConditionTestCase(SynchronousTestCase):
    def world(self, **conditions):
        self.w = World()
        self.w.catalogue.descriptor = attrs.evolve(
            self.w.catalogue.descriptor, sources=(SourceToken("demo", "E-1"),), conditions=Conditions(**conditions)
        )
        return self.w

    def answered(self, request, **client):
        """The answer of Waiter itself: no instance was asked."""
        client = self.w.client(**client)
        client.deliver(request)
        self.w.step()
        self.assertEqual(self.w.instances.wires, [])
        self.w.check_idle(self)
        return parse(client.take())


class SuspendedTests(ConditionTestCase):
    def test_requestsAreRefusedAndToldWhoSaidSo(self):
        self.world(suspended=SuspendedState(suspended=True, by="bob", at=1769860800.0))
        first, _, body = self.answered(get(b"/", b"Accept: application/json"))
        self.assertEqual(first, b"HTTP/1.1 503 Service Unavailable")
        error = json.loads(body)["waiter-error"]
        self.assertEqual((error["message"], error["waiter-token"]), ("Service has been suspended", "demo"))
        self.assertEqual(
            error["details"],
            {
                "service-id": "s",
                "suspended-at": "2026-01-31T12:00:00.000Z",
                "last-updated-by": "bob",
                "error-class": "waiter.Suspended",
            },
        )


class HttpsTests(ConditionTestCase):
    def setUp(self):
        self.world(https_only=True)

    def test_plainRequestsAreSentToHttps(self):
        for request, status in ((get(b"/a?b=c"), b"301"), (post(b"x", target=b"/a?b=c"), b"307")):
            first, headers, body = self.answered(request)
            self.assertEqual((first.split()[1], body), (status, b""))
            self.assertEqual(values(headers, b"location"), [b"https://app.example/a?b=c"])
        self.assertEqual(self.w.log.records[-1].status, 307)
        self.assertEqual(self.w.log.records[-1].token, "demo")

    def test_aProxyThatIsBelievedMayHaveEndedTheTls(self):
        request = get(b"/", b"X-Forwarded-Proto: HTTPS")
        _, instance = self.w.ask(request)
        self.assertIn(b"GET / HTTP/1.1", instance.take())
        self.world(https_only=True)
        self.assertIn(b"301", self.answered(request, peer=("10.0.0.1", 5))[0])


class CorsTests(ConditionTestCase):
    def setUp(self):
        self.world(cors_rules=RULES)

    def test_thoseThatMayAskGetTheAnswer(self):
        client, instance = self.w.ask(get(b"/", FRIEND))
        instance.deliver(ok(b"hello", b"Access-Control-Allow-Origin: *", b"X-Own: 1"))
        self.w.step()
        _, headers, body = parse(client.take())
        self.assertEqual(values(headers, b"access-control-allow-origin"), [b"https://a.friend.example"])
        self.assertEqual(values(headers, b"access-control-allow-credentials"), [b"true"])
        self.assertEqual((values(headers, b"x-own"), body), ([b"1"], b"hello"))

    def test_othersAreRefused(self):
        for request in (
            get(b"/", b"Origin: https://evil.example"),
            get(b"/", b"Origin: null"),
            get(b"/closed", OTHER),
            post(b"x", OTHER, target=b"/open/x"),
        ):
            first, headers, body = self.answered(request)
            self.assertEqual(first, b"HTTP/1.1 403 Forbidden")
            self.assertEqual(values(headers, b"access-control-allow-origin"), [])
            self.assertIn(b"Cross-origin request not allowed", body)

    def test_ownPagesAndProgramsMayAsk(self):
        for more in ((), (b"Origin: http://app.example",)):
            client, instance = self.w.ask(get(b"/", *more))
            instance.deliver(ok())
            self.w.step()
            self.assertIn(b"200 OK", client.take())

    def test_preflightsAreAnsweredHere(self):
        ask = head(
            b"OPTIONS /open/x HTTP/1.1",
            b"Host: app.example",
            OTHER,
            b"Access-Control-Request-Method: PUT",
            b"Access-Control-Request-Headers: x-a, x-b",
        )
        first, headers, _ = self.answered(ask)
        self.assertEqual(first, b"HTTP/1.1 200 OK")
        self.assertEqual(values(headers, b"access-control-allow-origin"), [b"https://other.example"])
        self.assertEqual(values(headers, b"access-control-allow-methods"), [b"GET, PUT"])
        self.assertEqual(values(headers, b"access-control-allow-headers"), [b"x-a, x-b"])
        self.assertEqual(values(headers, b"access-control-max-age"), [b"3600"])
        self.assertIn(b"403", self.answered(ask.replace(b"PUT", b"DELETE"))[0])
        self.assertIn(b"403", self.answered(ask.replace(b"/open/", b"/closed/"))[0])

    def test_errorsCanBeReadByThoseThatMayAsk(self):
        self.w.run_instances(0)
        self.w.catalogue.descriptor = attrs.evolve(self.w.catalogue.descriptor, queue_timeout_secs=1.0)
        client = self.w.client()
        client.deliver(get(b"/", FRIEND))
        self.w.wait(3)
        _, headers, _ = parse(client.take())
        self.assertEqual(values(headers, b"access-control-allow-origin"), [b"https://a.friend.example"])


class RuleTests(SynchronousTestCase):
    def test_rulesThatCannotBeUnderstoodAllowNothing(self):
        for given in (
            None,
            "x",
            [{}],
            [{"origin-regex": "("}],
            [{"origin-regex": 1}],
            [{"origin-regex": "(?!a)b"}],
            ["x"],
        ):
            self.assertEqual(cors_rules(given), ())

    def test_noPageCanMakeARuleTakeLong(self):
        rules = cors_rules([{"origin-regex": "(a+)+b"}, {"origin-regex": ".*", "target-path-regex": "/(a|aa)+b"}])
        ask = {"host": b"h", "method": b"GET"}
        self.assertIsNone(allowing(rules, origin=b"a" * 100, path=b"/" + b"a" * 4000, **ask))

    def test_theWholeOriginHasToMatch(self):
        rules = cors_rules([{"origin-regex": "http://a"}])
        ask = {"host": b"h", "path": b"/", "method": b"GET"}
        self.assertEqual(allowing(rules, origin=b"http://a", **ask), frozenset())
        self.assertIsNone(allowing(rules, origin=b"http://ab", **ask))
        self.assertIsNone(allowing(rules, origin=b"xhttp://a", **ask))


class ConsentTests(ConditionTestCase):
    def setUp(self):
        self.world(consented=lambda cookies: b"yes=1" in list(cookies))

    def test_whoHasNotAgreedIsAskedFirst(self):
        for request in (get(b"/a?b=c"), get(b"/a?b=c", b"Cookie: no=1"), post(b"x", target=b"/a?b=c")):
            first, headers, body = self.answered(request)
            self.assertEqual((first, body), (b"HTTP/1.1 303 See Other", b""))
            self.assertEqual(values(headers, b"location"), [b"/waiter-consent/a?b=c"])

    def test_soIsWhoWantsAWebSocket(self):
        upgrade = (
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: eA==",
        )
        self.assertEqual(self.answered(get(b"/", *upgrade))[0], b"HTTP/1.1 303 See Other")

    def test_whoHasIsServed_andTheInstanceDoesNotSeeTheCookie(self):
        _, instance = self.w.ask(get(b"/", b"Cookie: yes=1"))
        self.assertIn(b"GET / HTTP/1.1", instance.take())
        self.setUp()
        _, instance = self.w.ask(get(b"/", b"Cookie: yes=1", b"Cookie: a=b; x-waiter-consent=c"))
        sent = instance.take()
        self.assertIn(b"a=b", sent)
        self.assertNotIn(b"x-waiter-consent", sent)
