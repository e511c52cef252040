"""C{/}, C{/status} and what all answers have in common."""

import json

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.admin.support import Api, make_service, running


class RootTests(SynchronousTestCase):
    def setUp(self):
        self.api = Api()

    def test_jsonClientIsWelcomedInJson(self):
        answer = self.api.ask(self, "/", headers={"accept": "application/json", "x-cid": "my-cid"})
        self.assertEqual(answer.code, 200)
        self.assertEqual(answer.header("content-type"), "application/json")
        self.assertEqual(
            answer.json,
            {
                "cid": "my-cid",
                "host": "localhost:9091",
                "hostname": "localhost",
                "message": "Welcome to Waiter",
                "port": 9091,
                "support-info": [],
                "timestamp": "2026-01-31T12:00:00.000Z",
            },
        )

    def test_browserIsWelcomedWithAPageWithLinks(self):
        answer = self.api.ask(self, "/", headers={"accept": "text/html,*/*"})
        self.assertEqual(answer.header("content-type"), "text/html; charset=utf-8")
        self.assertIn(b"<h1>Welcome to Waiter</h1>", answer.content)
        self.assertIn(b'href="http://localhost:9091/apps"', answer.content)

    def test_othersAreWelcomedWithText(self):
        answer = self.api.ask(self, "/")
        self.assertEqual(answer.header("content-type"), "text/plain; charset=utf-8")
        self.assertTrue(answer.content.startswith(b"Welcome to Waiter\n=====\n"[:18]))
        for words in (b"x-waiter-cmd", b"http://localhost:9091/apps\n", b"http://localhost:9091/metrics\n"):
            self.assertIn(words, answer.content)
        self.assertTrue(answer.content.endswith(b"\n"))

    def test_hostHeaderOfAPageIsEscaped(self):
        # A URL in a header's value may say anything.
        answer = self.api.ask(self, "/", headers={"accept": "text/html", "x-cid": "<script>alert(1)</script>"})
        self.assertNotIn(b"<script>", answer.content)

    def test_statusIsOk(self):
        answer = self.api.ask(self, "/status")
        self.assertEqual((answer.code, answer.json), (200, {"status": "ok"}))

    def test_whenItDrains_statusIsUnavailable(self):
        answer = Api(is_draining=lambda: True).ask(self, "/status")
        self.assertEqual((answer.code, answer.json), (503, {"message": "Router is in drain mode."}))

    def test_statusShowsTheRequestOnDemandWithoutItsSecrets(self):
        answer = self.api.ask(
            self,
            "/status?include=request-info&include=server-info",
            method="POST",
            data=b"abc",
            headers={
                "x-cid": "c",
                "x-long": "y" * 100,
                "cookie": "secret",
                "authorization": "secret",
                "content-type": "text/plain; charset=utf-8",
            },
        )
        info = answer.json["request-info"]
        self.assertEqual(info["headers"]["x-long"], "y" * 80)
        self.assertNotIn("secret", answer.content.decode())
        self.assertEqual(info["content-length"], 3)
        self.assertEqual(info["character-encoding"], "utf-8")
        self.assertEqual(info["request-method"], "post")
        self.assertEqual(info["request-id"], "c")
        self.assertEqual(info["uri"], "/status")
        self.assertEqual(info["query-string"], "include=request-info&include=server-info")
        self.assertEqual(answer.json["server-info"]["version"], "1.2.3")

    def test_faviconIsAnImage(self):
        answer = self.api.ask(self, "/favicon.ico")
        self.assertEqual(answer.header("content-type"), "image/x-icon")
        self.assertEqual(answer.header("cache-control"), "public,max-age=600")
        self.assertTrue(answer.content.startswith(b"\x00\x00\x01\x00\x01\x00\x10\x10"))


class CommonTests(SynchronousTestCase):
    def setUp(self):
        self.api = Api()

    def test_everyAnswerNamesItsMakerAndTheRequest(self):
        for path in ("/", "/status", "/apps", "/nothing", "/state", "/settings", "/metrics", "/service-id"):
            answer = self.api.ask(self, path, headers={"x-cid": "abc"})
            self.assertEqual(answer.header("x-cid"), "abc", path)
            self.assertEqual(answer.header("server"), "waiter/1.2.3", path)
            self.assertEqual(answer.header("x-content-type-options"), "nosniff", path)
            self.assertEqual(answer.response.length, len(answer.content), path)

    def test_requestWithoutAnIdGetsOne(self):
        ids = {self.api.ask(self, "/status").header("x-cid") for _ in range(3)}
        self.assertEqual(len(ids), 3)

    def test_idOfAnyBytesComesBack(self):
        for path in ("/", "/nothing"):
            answer = self.api.ask(self, path, headers={b"x-cid": b"\xff\xfe", b"accept": b"application/json"})
            self.assertIn(answer.code, (200, 404))
            self.assertEqual(answer.response.headers.getRawHeaders(b"x-cid"), [b"\xff\xfe"])

    def test_unknownPathIsNotFound(self):
        for path in ("/nothing", "/apps/a/b/c/d", "/state/a/b", "//apps", "/apps/", "/status/x", "/%ff", "/apps/%ff"):
            answer = self.api.ask(self, path, headers={"accept": "application/json"})
            self.assertEqual(answer.code, 404, path)
            self.assertEqual(answer.json["waiter-error"]["message"], "Not found", path)
            self.assertEqual(answer.json["waiter-error"]["uri"], path)

    def test_wrongMethodIsNotAllowedAndTheRightOnesAreNamed(self):
        for path in ("/", "/apps", "/state", "/settings", "/metrics", "/favicon.ico"):
            answer = self.api.ask(self, path, method="POST", headers={"accept": "application/json"})
            self.assertEqual(answer.code, 405, path)
            self.assertEqual(answer.header("allow"), "GET, HEAD")
            self.assertEqual(answer.json["waiter-error"]["message"], "Only GET supported")
        answer = self.api.ask(self, "/apps/waiter-service-a", method="PATCH", headers={"accept": "application/json"})
        self.assertEqual(answer.header("allow"), "DELETE, GET, HEAD")
        self.assertEqual(answer.json["waiter-error"]["message"], "Only DELETE and GET supported")

    def test_jsonEndsItsLine(self):
        """So that it does not stick to a prompt; errors as well."""
        for path in ("/", "/status", "/apps", "/nothing", "/state", "/settings", "/metrics"):
            answer = self.api.ask(self, path, headers={"accept": "application/json"})
            self.assertTrue(answer.content.endswith((b"}\n", b"]\n")), (path, answer.content[-5:]))

    def test_headIsAnsweredWithTheHeadOfGet(self):
        self.api.run(running(make_service(), "1"))
        for path in ("/", "/status", "/apps", "/apps/waiter-service-a", "/settings", "/metrics", "/nothing"):
            got = self.api.ask(self, path, headers={"x-cid": "c"})
            head = self.api.ask(self, path, method="HEAD", headers={"x-cid": "c"})
            self.assertEqual((head.code, head.content), (got.code, b""), path)
            self.assertEqual(head.header("content-type"), got.header("content-type"), path)

    def test_hostThatIsNoneIsABadRequest(self):
        for host in (b"\xff\xfe", b"a" * 70 + b".x", b"xn--\xc3", b"a..b", b"xn--a"):
            answer = self.api.ask(self, "/status", headers={b"host": host, b"accept": b"application/json"})
            self.assertIn(answer.code, (200, 400), host)
            self.assertEqual(answer.header("server"), "waiter/1.2.3")
        answer = self.api.ask(self, "/status", headers={b"host": b"\xff", b"accept": b"application/json"})
        self.assertEqual(answer.json["waiter-error"]["message"], "The Host header is malformed.")

    def test_whenAPartFails_theCallerLearnsThatAndNoMore(self):
        def view():
            raise RuntimeError("the disk is gone")

        answer = Api(settings_view=view).ask(self, "/settings", headers={"accept": "application/json", "x-cid": "c"})
        self.assertEqual(answer.code, 500)
        self.assertEqual(answer.json["waiter-error"]["message"], "Internal error: the disk is gone")
        self.assertNotIn("Traceback", answer.content.decode())
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_whenAPartFailsLater_theCallerLearnsThat(self):
        api = Api()
        api.scheduler.hold()
        api.scheduler.failure = RuntimeError("the disk is gone")
        api.scheduler.delete = lambda _: api.scheduler.services()
        asked = api.begin("DELETE", "/apps/waiter-service-a", headers={"accept": "application/json"})
        api.settle()
        self.assertNoResult(asked)
        api.scheduler.let_go()
        api.settle()
        self.assertEqual(api.read(self, asked).json["waiter-error"]["status"], 500)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_errorsSayWhatIsKnownOfTheRequest(self):
        answer = self.api.ask(self, "/nothing?a=b", headers={"accept": "application/json", "x-cid": "c"})
        self.assertEqual(
            answer.json,
            {
                "waiter-error": {
                    "cid": "c",
                    "details": {},
                    "host": "localhost:9091",
                    "instance-id": None,
                    "message": "Not found",
                    "principal": "alice",
                    "query-string": "a=b",
                    "request-method": "GET",
                    "service-id": None,
                    "status": 404,
                    "support-info": [],
                    "timestamp": "2026-01-31T12:00:00.000Z",
                    "title": "Waiter Error 404",
                    "uri": "/nothing",
                }
            },
        )

    def test_whenTheClientGoesAway_whatWasAskedForIsCancelled(self):
        cancelled = []
        self.api.scheduler.delete = lambda _: Deferred(cancelled.append)
        asked = self.api.begin("DELETE", "/apps/waiter-service-a")
        self.api.settle()
        asked.cancel()
        self.failureResultOf(asked)
        self.api.settle()
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(self.flushLoggedErrors(), [])


class SettingsTests(SynchronousTestCase):
    def test_settingsAreShownAsTheyAreGiven(self):
        view = {"port": 9091, "cluster-config": {"name": "waiter"}, "scheduler-config": {"kind": "local", "local": {}}}
        answer = Api(settings_view=lambda: view).ask(self, "/settings")
        self.assertEqual(answer.header("content-type"), "application/json")
        self.assertEqual(json.loads(answer.content), view)
