"""Suspending, resuming and refreshing services; killing and expiring instances."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.admin.support import Api, make_instance, make_service, running
from tests.model.test_token import make_token
from waiter.model.source import SourceToken
from waiter.scheduler.interface import KillResult, Signal

A = make_service()
JSON = {"accept": "application/json"}


class SuspensionTests(SynchronousTestCase):
    def setUp(self):
        self.api = Api()
        self.api.run(running(A, "1"))

    def test_aServiceIsSuspendedAndResumed(self):
        for action, suspended in (("suspend", True), ("resume", False)):
            answer = self.api.json(self, f"/apps/{A.id}/{action}")
            self.assertEqual(answer, {"action": action, "service-id": A.id, "success": True})
            shown = self.api.json(self, f"/apps/{A.id}")["service-suspended-state"]
            self.assertEqual(
                shown, {"suspended": suspended, "last-updated-by": "alice", "time": "2026-01-31T12:00:00.000Z"}
            )

    def test_aServiceNobodyEverSuspendedSaysNothing(self):
        self.assertNotIn("service-suspended-state", self.api.json(self, f"/apps/{A.id}"))

    def test_anUnknownServiceCannotBeSuspended(self):
        answer = self.api.ask(self, "/apps/other/suspend", headers=JSON)
        self.assertEqual(answer.code, 500)
        self.assertEqual(answer.json["waiter-error"]["message"], "Internal error: No description found!")

    def test_whoMayNotManageItMayNotSuspendIt(self):
        api = Api(may_manage=lambda *_: False)
        api.run(running(A, "1"))
        answer = api.ask(self, f"/apps/{A.id}/suspend", headers=JSON)
        self.assertEqual(answer.code, 403)
        self.assertEqual(answer.json["waiter-error"]["message"], f"alice not allowed to modify {A.id}")
        self.assertIsNone(api.suspensions.get(A.id))

    def test_refreshReadsWhatIsStored(self):
        self.assertEqual(self.api.json(self, f"/apps/{A.id}/refresh"), {"service-id": A.id, "success": True})

    def test_whatCannotBeAnIdIsNotRefreshed(self):
        self.assertEqual(self.api.ask(self, "/apps/%00/refresh").code, 404)
        self.assertEqual(self.flushLoggedErrors(), [])


class SignalTests(SynchronousTestCase):
    def setUp(self):
        self.api = Api()
        self.api.run(running(A, "1", failed=(make_instance(unique="2"),)))
        self.sent = []
        self.result = None
        self.api.scheduler.signal = self.signal

    def signal(self, service_id, instance_id, signal):
        self.sent.append((service_id, instance_id, signal))
        self.result = Deferred()
        return self.result

    def fire(self, *, killed=True, status=200, message="Killed"):
        self.result.callback(
            KillResult(service_id=A.id, instance_id=f"{A.id}.1", killed=killed, status=status, message=message)
        )
        self.api.settle()

    def begin(self, path, method="POST"):
        asked = self.api.begin(method, f"/apps/{A.id}/instance/{A.id}.{path}", headers=JSON, data=b'""')
        self.api.settle()
        return asked

    def refused(self, path, method="POST"):
        answer = self.api.read(self, self.begin(path, method))
        self.assertEqual(self.sent, [])
        return answer

    def test_anInstanceIsKilledGracefullyOrByForce(self):
        for query, kind in (("", "soft-kill"), ("?force=True", "force-kill"), ("?force=False", "soft-kill")):
            asked = self.begin(f"1/kill{query}")
            self.assertNoResult(asked)
            self.assertEqual(self.api.aggregator.being_killed, [f"{A.id}.1"])
            self.fire()
            self.assertEqual(self.api.aggregator.being_killed, [])
            answer = self.api.read(self, asked)
            self.assertEqual(answer.code, 200)
            self.assertEqual(
                answer.json["signal-response"],
                {"message": f"{kind} successfully sent to {A.id}.1", "success": True},
            )
        self.assertEqual([signal for *_, signal in self.sent], [Signal.SOFT_KILL, Signal.FORCE_KILL, Signal.SOFT_KILL])
        self.assertEqual(self.api.aggregator.killed_ones, [f"{A.id}.1"] * 3)

    def test_anExpiredInstanceIsNotKilled(self):
        asked = self.begin("1/expire")
        self.fire(killed=False, message="Expired")
        self.assertEqual(
            self.api.read(self, asked).json["signal-response"],
            {"message": f"expire successfully sent to {A.id}.1", "success": True},
        )
        self.assertEqual(self.api.aggregator.killed_ones, [])

    def test_aKillIsWaitedForAsLongAsIsSaid(self):
        asked = self.begin("1/kill?timeout=500")
        self.api.clock.advance(0.4)
        self.assertNoResult(asked)
        self.api.clock.advance(0.1)
        self.api.settle()
        self.assertTrue(self.api.read(self, asked).json["signal-response"]["success"])
        self.fire()
        self.assertEqual(self.api.aggregator.killed_ones, [f"{A.id}.1"])

    def test_whatTheSchedulerRefusesIsTold(self):
        asked = self.begin("1/kill")
        self.fire(killed=False, status=404, message="No such instance")
        answer = self.api.read(self, asked)
        self.assertEqual((answer.code, answer.json["signal-response"]["success"]), (404, False))

    def test_onlyPostsAreTaken(self):
        answer = self.refused("1/kill", "GET")
        self.assertEqual((answer.code, answer.json), (405, {"message": "Method not allowed"}))

    def test_timeoutsArePositiveNumbers(self):
        for wrong in ("0", "-1", "abc", "1.5"):
            answer = self.refused(f"1/kill?timeout={wrong}")
            self.assertEqual((answer.code, answer.json), (400, {"message": f"Invalid timeout specified: {wrong}"}))

    def test_anInstanceThatIsGoneIsNotKilledAgain(self):
        self.assertEqual(self.refused("2/kill").code, 400)

    def test_whatIsNotThereIsNotFound(self):
        self.assertEqual(self.refused("3/kill").code, 404)
        asked = self.api.begin("POST", "/apps/other/instance/other.1/expire", headers=JSON)
        self.api.settle()
        self.assertEqual(self.api.read(self, asked).code, 404)

    def test_whoMayNotManageItMayNotKillItsInstances(self):
        self.api = Api(may_manage=lambda *_: False)
        self.api.run(running(A, "1"))
        self.api.scheduler.signal = self.signal
        self.assertEqual(self.refused("1/kill").code, 403)


class ReferenceTests(SynchronousTestCase):
    def test_aServiceSaysWhichTokensItComesFrom(self):
        api = Api()
        api.run(running(A, "1"))
        token = self.successResultOf(api.tokens.write("one", lambda _: make_token("one")))
        api.references.note(A.id, (SourceToken("one", token.etag),))
        api.references.note(A.id, (SourceToken("one", "E-old"), SourceToken("two", "E-2")))
        api.references.note(A.id, ())
        sources = [
            [{"token": "one", "version": token.etag}],
            [{"token": "one", "version": "E-old"}, {"token": "two", "version": "E-2"}],
        ]
        (listed,) = api.json(self, "/apps?token=two&include=references")
        for shown in (listed, api.json(self, f"/apps/{A.id}?include=references")):
            self.assertEqual(shown["source-tokens"], sources)
            self.assertEqual(shown["current-for-tokens"], ["one"])
            self.assertEqual(shown["references"], [{}, *({"token": {"sources": group}} for group in sources)])
        self.assertNotIn("references", api.json(self, f"/apps/{A.id}"))
        self.assertEqual(api.json(self, "/apps?token=three"), [])

    def test_aServiceSaysWhereItsRequestsGoWhileItStarts(self):
        api = Api(fallback_of=lambda token: {"two": "waiter-service-b"}.get(token.name))
        api.run(running(A))
        for name in ("one", "two"):
            token = self.successResultOf(api.tokens.write(name, lambda _, name=name: make_token(name)))
            api.references.note(A.id, (SourceToken(name, token.etag),))
        (listed,) = api.json(self, "/apps?include=token-fallback")
        for shown in (listed, api.json(self, f"/apps/{A.id}?include=token-fallback")):
            self.assertEqual(shown["token-fallback"], {"service-id": "waiter-service-b"})
        self.assertNotIn("token-fallback", api.json(self, f"/apps/{A.id}"))
        api.run(running(A, "1"))
        self.assertNotIn("token-fallback", api.json(self, f"/apps/{A.id}?include=token-fallback"))
