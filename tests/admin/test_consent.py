"""L{waiter.admin.consent}."""

import base64
import hashlib
import json
import re

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.admin.support import Api
from waiter.catalog.consent import Question
from waiter.catalog.descriptor import Descriptor
from waiter.errors import ServiceMisconfigured

HOST = "a-token.example:9091"
ORIGIN = f"http://{HOST}"


class ConsentTestCase(SynchronousTestCase):
    def setUp(self):
        self.api = Api(resolver=self)
        self.failure = None
        body = {"cmd": "./run", "cpus": 1, "mem": 128, "version": "1"}
        self.api.ask(self, "/token?token=a-token.example", method="POST", data=json.dumps(body).encode())

    def resolve_newest(self, host, waiter_headers):
        """What a host stands for, asked in place of a resolver."""
        self.assertEqual(waiter_headers, ())
        if self.failure is not None:
            raise self.failure
        return Descriptor(
            service=self.api.resolver.service,
            queue_timeout_secs=1,
            socket_timeout_secs=1,
            streaming_timeout_secs=1,
            principal="alice",
        )

    def question(self, **other):
        question = Question(token="a-token.example", owner="alice", service_id=self.api.resolver.service.id)
        return attrs.evolve(question, **other)

    def get(self, path, **headers):
        sent = {"accept": "application/json", "host": HOST, **headers}
        return self.api.ask(self, path, headers=sent)

    def message(self, answer, status):
        self.assertEqual(answer.code, status, answer.content)
        return answer.json["waiter-error"]["message"]


class PageTests(ConsentTestCase):
    def test_itAsksForTheServiceOfTheHost(self):
        for path in ("/waiter-consent/", "/waiter-consent/a/b?c=d"):
            answer = self.get(path)
            self.assertEqual((answer.code, answer.header("content-type")), (200, "text/html; charset=utf-8"))
            page = answer.content.decode()
            self.assertIn('name="consent-form"', page)
            self.assertIn(f'name="service-id" value="{self.api.resolver.service.id}"', page)

    def test_nothingButItsOwnScriptCanRun_andNoOtherPageCanShowIt(self):
        answer = self.get("/waiter-consent/")
        policy = answer.header("content-security-policy")
        script = re.search(b"<script>(.*)</script>", answer.content, re.DOTALL)[1]
        allowed = base64.b64encode(hashlib.sha256(script).digest()).decode()
        self.assertIn(f"script-src 'sha256-{allowed}'", policy)
        self.assertIn(f"script-src 'sha256-{allowed}'".encode(), answer.content)
        self.assertIn("frame-ancestors 'none'", policy)

    def test_aHostThatIsNoTokenIsNotFound(self):
        self.message(self.get("/waiter-consent/", host="other.example"), 404)

    def test_whatDescribesNoServiceIsRefused(self):
        self.failure = ServiceMisconfigured("no cmd")
        self.assertEqual(self.message(self.get("/waiter-consent/"), 400), "no cmd")


class AgreeTests(ConsentTestCase):
    def agree(self, query="mode=token", **headers):
        sent = {
            "accept": "application/json",
            "host": HOST,
            "origin": ORIGIN,
            "referer": f"{ORIGIN}/waiter-consent/",
            "x-requested-with": "XMLHttpRequest",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        sent = {name: value for name, value in sent.items() if value is not None}
        return self.api.ask(self, f"/waiter-consent?{query}", method="POST", headers=sent)

    def cookie(self, answer):
        self.assertEqual((answer.code, answer.content), (200, b"Added cookie x-waiter-consent"))
        return answer.header("set-cookie")

    def test_whoAgreesGetsACookieThatSaysSo(self):
        said = self.cookie(self.agree())
        cookie, *attributes = said.split("; ")
        self.assertEqual(attributes, ["Max-Age=7776000", "Path=/", "HttpOnly", "SameSite=Lax"])
        given = self.api.parts.consents.given
        self.assertTrue(given(self.question(service_id="another"), [cookie.encode()]))
        self.assertFalse(given(self.question(owner="eve"), [cookie.encode()]))

    def test_oneMayAgreeToOneServiceOnly(self):
        cookie = self.cookie(self.agree(f"mode=service&service-id={self.api.resolver.service.id}")).partition(";")[0]
        given = self.api.parts.consents.given
        self.assertTrue(given(self.question(), [cookie.encode()]))
        self.assertFalse(given(self.question(service_id="another"), [cookie.encode()]))

    def test_byHttpsTheCookieStaysThere(self):
        said = self.cookie(self.agree(origin=f"https://{HOST}", referer=f"https://{HOST}/"))
        self.assertTrue(said.endswith("; Secure"))

    def test_aFormIsUnderstood(self):
        body = b'--x\r\nContent-Disposition: form-data; name="mode"\r\n\r\ntoken\r\n--x--\r\n'
        headers = {
            "content-type": "multipart/form-data; boundary=x",
            "host": HOST,
            "origin": ORIGIN,
            "referer": f"{ORIGIN}/waiter-consent/",
            "x-requested-with": "XMLHttpRequest",
        }
        self.cookie(self.api.ask(self, "/waiter-consent", method="POST", headers=headers, data=body))

    def test_whatIsMissingIsSaidInThisOrder(self):
        steps = [
            ({"origin": None}, "Origin is not the same as the host"),
            ({"origin": "http://evil.example"}, "Origin is not the same as the host"),
            ({"origin": "null"}, "Origin is not the same as the host"),
            ({"referer": None}, "Referer does not start with origin"),
            ({"referer": f"{ORIGIN}1/"}, "Referer does not start with origin"),
            ({"x_requested_with": None}, "Header x-requested-with does not match expected value"),
            ({"query": ""}, "Missing or invalid mode"),
            ({"query": "mode=all"}, "Missing or invalid mode"),
            ({"query": "mode=service"}, "Missing service-id"),
            ({"query": "mode=service&service-id=another"}, "Invalid service-id for specified token"),
        ]
        later = {}
        for wrong, message in reversed(steps):
            # What comes later may be wrong, too: this is said first.
            later = {**later, **wrong}
            answer = self.agree(**later)
            self.assertEqual(self.message(answer, 400), message)
            self.assertIsNone(answer.header("set-cookie"))

    def test_aHostWithoutAServiceCanNotBeAgreedTo(self):
        text = "Unable to load description for token"
        other = {"host": "other.example", "origin": "http://other.example", "referer": "http://other.example/"}
        self.assertEqual(self.message(self.agree(**other), 400), text)
        self.failure = ServiceMisconfigured("no cmd")
        self.assertEqual(self.message(self.agree("mode=service&service-id=x"), 400), text)

    def test_itIsAPost(self):
        self.message(self.get("/waiter-consent"), 405)


class CookieTests(ConsentTestCase):
    def test_itIsShown(self):
        value = self.api.parts.consents.agree("token", self.question())
        shown = self.get("/waiter-consent-cookie", cookie=f"x-waiter-consent={value}").json["x-waiter-consent"]
        self.assertEqual(shown["raw-content"], value)
        self.assertEqual(
            shown["formatted-content"],
            {"mode": "token", "issue-time": "2026-01-31T12:00:00.000Z", "token": "a-token.example", "owner": "alice"},
        )
        value = self.api.parts.consents.agree("service", self.question())
        shown = self.get("/waiter-consent-cookie", cookie=f"x-waiter-consent={value}").json["x-waiter-consent"]
        self.assertEqual(shown["formatted-content"]["service-id"], self.api.resolver.service.id)

    def test_whereThereIsNoneThatIsShown(self):
        for headers in ({}, {"cookie": "x-waiter-consent=x"}):
            shown = self.get("/waiter-consent-cookie", **headers).json
            self.assertEqual(shown, {"x-waiter-consent": {"raw-content": None, "formatted-content": None}})
