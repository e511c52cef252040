"""L{waiter.admin.overrides}."""

from twisted.trial.unittest import SynchronousTestCase

from tests.admin.support import Api, make_service

PATH = "/apps/waiter-service-a/override"


class OverrideTests(SynchronousTestCase):
    def setUp(self):
        self.api = Api()
        self.service = make_service()
        self.api.catalog[self.service.id] = self.service

    def post(self, body):
        return self.api.ask(self, PATH, method="POST", data=body, headers={"accept": "application/json"})

    def test_atFirstThereAreNone(self):
        self.assertEqual(
            self.api.json(self, PATH),
            {"service-id": self.service.id, "overrides": {}, "last-updated-by": None, "time": None},
        )
        self.assertNotIn("service-description-overrides", self.api.json(self, f"/apps/{self.service.id}"))

    def test_theyAreSetShownAndTakenBack(self):
        self.assertEqual(self.post(b'{"max-instances": 3}').json, {"service-id": self.service.id, "success": True})
        expected = {
            "overrides": {"max-instances": 3},
            "last-updated-by": "alice",
            "time": "2026-01-31T12:00:00.000Z",
        }
        self.assertEqual(self.api.json(self, PATH), {"service-id": self.service.id, **expected})
        self.assertEqual(self.api.json(self, f"/apps/{self.service.id}")["service-description-overrides"], expected)
        self.assertTrue(self.api.json(self, PATH, method="DELETE")["success"])
        self.assertEqual(self.api.json(self, PATH)["overrides"], {})

    def test_whatCannotBeOverriddenIsRefused(self):
        answer = self.post(b'{"cmd": "x"}')
        self.assertEqual(answer.code, 400)
        self.assertIn("Cannot override", answer.json["waiter-error"]["message"])
        self.assertEqual(self.api.overrides, {})

    def test_whatIsNoMapIsRefused(self):
        for body in (b"", b"[]", b"{", b"1", b"\xff", b"[" * 100000):
            answer = self.post(body)
            self.assertEqual(answer.code, 400)
            self.assertIn("Invalid JSON payload", answer.json["waiter-error"]["message"])

    def test_otherMethodsAreRefused(self):
        answer = self.api.ask(self, PATH, method="PUT")
        self.assertEqual((answer.code, answer.header("allow")), (405, "DELETE, GET, HEAD, POST"))
        self.assertIn(b"Unsupported request method", answer.content)

    def test_anUnknownServiceHasNone(self):
        for method in ("GET", "POST", "DELETE"):
            self.assertEqual(self.api.ask(self, "/apps/waiter-service-b/override", method=method).code, 404)

    def test_whoMayNotManageTheServiceMayNotEvenLook(self):
        api = Api(may_manage=lambda user, service_id: False)
        api.catalog[self.service.id] = self.service
        for method in ("GET", "POST", "DELETE"):
            answer = api.ask(self, PATH, method=method, data=b'{"pin": true}')
            self.assertEqual(answer.code, 403)
            self.assertIn(b"alice not allowed to modify waiter-service-a", answer.content)
        self.assertEqual(api.overrides, {})
