"""L{waiter.admin.interstitial}."""

import html
import json
import re

from twisted.trial.unittest import SynchronousTestCase

from tests.admin.support import NOON, Api

HOST = "a-token.example:9091"
#: In milliseconds, ten seconds after now.
SOON = int((NOON + 10) * 1000)


class PageTests(SynchronousTestCase):
    def setUp(self):
        self.api = Api()
        body = {"cmd": "./run", "cpus": 1, "mem": 128, "version": "1", "run-as-user": "alice", "interstitial-secs": 60}
        posted = self.api.ask(self, "/token?token=a-token.example", method="POST", data=json.dumps(body).encode())
        self.assertEqual(posted.code, 200)

    def get(self, path, **headers):
        sent = {name.replace("_", "-"): value for name, value in {"host": HOST, **headers}.items()}
        return self.api.ask(self, f"/waiter-interstitial{path}", headers=sent)

    def back(self, answer):
        """Where the page goes."""
        self.assertEqual((answer.code, answer.header("content-type")), (200, "text/html; charset=utf-8"))
        return html.unescape(re.search(r'http-equiv="refresh" content="0; url=([^"]*)"', answer.content.decode())[1])

    def test_itAsksAgainForWhatWasAskedFor(self):
        for path, back in (("/", "/?"), ("/a%20b/%C3%A9?c=d&e=%27", "/a%20b/%C3%A9?c=d&e=%27&")):
            answer = self.get(path)
            self.assertEqual(self.back(answer), f"{back}x-waiter-bypass-interstitial={SOON}")
            self.assertIn(b"a-token.example", answer.content)

    def test_nothingInItCanRun_andNobodyKeepsIt(self):
        answer = self.get('/a?"><script>alert(1)</script>')
        self.assertNotIn(b"<script", answer.content)
        self.assertEqual(self.back(answer).count("%3Cscript%3E"), 1)
        self.assertEqual(answer.header("cache-control"), "no-store")
        policy = answer.header("content-security-policy")
        self.assertIn("default-src 'none'", policy)
        self.assertNotIn("script-src", policy)
        self.assertIn(policy.encode(), answer.content)

    def test_whomAnotherSiteHasSent_doesNotLookLikeSomebodyOfThisOne(self):
        for site, sandboxed in (("cross-site", True), ("same-site", True), ("same-origin", False), ("none", False)):
            answer = self.get("/a", sec_fetch_site=site)
            self.assertEqual("sandbox" in answer.header("content-security-policy"), sandboxed, site)
            self.assertEqual(answer.header("referrer-policy"), "no-referrer")

    def test_itIsShownOnlyForTokens(self):
        for host in ("localhost:9091", "other.example", "a%3Cb"):
            self.assertEqual(self.get("/apps", host=host).code, 404)
        self.assertIn("/a?", self.back(self.get("/a", host="localhost:9091", x_waiter_token="a-token.example")))
        self.assertEqual(self.get("/a", host="localhost:9091", x_waiter_token="other").code, 404)

    def test_itIsOnlyToBeSeen(self):
        answer = self.api.ask(self, "/waiter-interstitial/a", method="POST", headers={"host": HOST})
        self.assertEqual(answer.code, 405)
