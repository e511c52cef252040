"""C{/waiter-ping}."""

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from tests.admin.support import Api, HealthAnswer, Reserver, make_instance, running
from waiter.catalog.descriptor import Conditions
from waiter.catalog.suspensions import SuspendedState
from waiter.errors import InstanceUnreachable, Maintenance, NotFound, ServiceFailing
from waiter.model.outcome import Outcome
from waiter.model.routing import DeploymentError, ServiceState
from waiter.reservation.lease import Lease

HEADERS = {"accept": "application/json", "x-waiter-token": "demo"}
UNKNOWN = {"exists?": False, "healthy?": False, "service-id": None, "status": "Inactive"}


class PingTests(SynchronousTestCase):
    def setUp(self):
        self.api = Api()
        self.service = self.api.resolver.service
        self.reserver = self.api.reservers.all[self.service.id] = Reserver()
        self.released = []

    def lease(self, unique="1"):
        return Lease(make_instance(unique=unique), 0.0, lambda _, outcome: self.released.append(outcome))

    def ping(self, query="", **more):
        asked = self.api.begin(
            more.pop("method", "GET"), f"/waiter-ping{query}", headers={**HEADERS, **more}, allow_redirects=False
        )
        self.api.settle()
        return asked

    def read(self, asked):
        return self.api.read(self, asked)

    def condition(self, **conditions):
        """Have the descriptor come with these conditions."""
        self.api.resolver.more = {"conditions": Conditions(**conditions)}

    def test_anInstanceAnswersTheHealthCheck(self):
        self.api.run(running(self.service, "1"))
        self.reserver.leases = [self.lease()]
        self.api.health_requests.answers = [HealthAnswer(status=201, headers={"a": "b"}, body=b"well\xff")]
        answer = self.read(self.ping())
        self.assertEqual(answer.code, 200)
        self.assertEqual(
            answer.json["ping-response"],
            {
                "result": "received-response",
                "status": 201,
                "headers": {"a": "b"},
                "body": "well\ufffd",
                "instance": {"host": "127.0.0.1", "id": "waiter-service-a.1", "port": 10001},
            },
        )
        self.assertEqual(answer.json["service-description"]["version"], "v1")
        self.assertEqual(
            answer.json["service-state"],
            {"exists?": True, "healthy?": True, "service-id": self.service.id, "status": "Running"},
        )
        self.assertEqual((self.released, self.reserver.reserved[0]["priority"]), ([Outcome.SUCCESS], 1))
        self.assertIsNone(answer.header("x-waiter-service-id"))

    def test_theNewestVersionIsMeantUnlessSaidOtherwise(self):
        for query, newest in (("", True), ("?include=fallback", False)):
            self.reserver.leases = [self.lease()]
            self.read(self.ping(query))
            self.assertEqual((b"newest", b"") in self.api.resolver.asked[-1][1], newest)

    def test_theStateCanBeLeftOut(self):
        self.reserver.leases = [self.lease()]
        answer = self.read(self.ping("?exclude=service-state"))
        self.assertEqual(answer.json["service-state"], {"result": "excluded", "service-id": self.service.id})

    def test_debugNamesTheService(self):
        self.api.resolver.more = {"debug": True}
        self.reserver.leases = [self.lease()]
        self.assertEqual(self.read(self.ping()).header("x-waiter-service-id"), self.service.id)

    def test_aServiceThatStartsIsWaitedFor(self):
        waiting = Deferred()
        self.reserver.leases = [waiting]
        asked = self.ping()
        self.assertNoResult(asked)
        waiting.callback(self.lease())
        self.api.settle()
        self.assertEqual(self.read(asked).json["ping-response"]["result"], "received-response")

    def test_whenTheTimeIsUpTheStateIsToldAndNothingIsKept(self):
        self.api.run(ServiceState(service=self.service, counts=attrs.evolve(running(self.service).counts, requested=1)))
        cancelled = []
        for leases in ([Deferred(cancelled.append)], [self.lease()]):
            self.reserver.leases = leases
            self.api.health_requests.answers = [Deferred(cancelled.append)]
            asked = self.ping(**{"x-waiter-timeout": "5000"})
            self.api.clock.advance(5)
            self.api.settle()
            answer = self.read(asked)
            self.assertEqual(answer.json["ping-response"]["result"], "timed-out")
            self.assertEqual(answer.json["service-state"]["status"], "Starting")
        self.assertEqual((len(cancelled), self.released), (2, [Outcome.CLIENT_ERROR]))

    def test_whatEndsTheWaitIsAnAnswer(self):
        error = DeploymentError(key="bad-startup-command", message="Invalid startup command")
        self.api.run(ServiceState(service=self.service, deployment_error=error))
        self.reserver.leases = [fail(ServiceFailing("Deployment error: Invalid startup command"))]
        answer = self.read(self.ping()).json
        self.assertEqual(
            (answer["ping-response"]["result"], answer["ping-response"]["status"]), ("received-response", 503)
        )
        self.assertIn("Deployment error: Invalid startup command", answer["ping-response"]["body"])
        self.assertEqual(answer["service-state"]["status"], "Failing")

    def test_anInstanceThatDoesNotAnswerMakesRoomForAnother(self):
        self.reserver.leases = [self.lease("1"), self.lease("2")]
        self.api.health_requests.answers = [InstanceUnreachable("no"), HealthAnswer(status=200, headers={}, body=b"")]
        answer = self.read(self.ping()).json
        self.assertEqual(answer["ping-response"]["instance"]["id"], "waiter-service-a.2")
        self.assertEqual(self.released, [Outcome.INSTANCE_ERROR, Outcome.SUCCESS])

    def test_aSuspendedServiceIsNotAsked(self):
        self.condition(suspended=SuspendedState(suspended=True, by="bob", at=1.0))
        response = self.read(self.ping()).json["ping-response"]
        self.assertEqual((response["result"], response["status"]), ("received-response", 503))
        self.assertIn("Service has been suspended", response["body"])

    def test_whatCannotBeResolvedIsSaid(self):
        for error, result in (
            (NotFound("Token not found: demo"), "descriptor-error"),
            (Maintenance("back at noon"), "waiter-response"),
        ):
            self.api.resolver.failure = error
            answer = self.read(self.ping())
            self.assertEqual(answer.code, 200)
            response = answer.json["ping-response"]
            self.assertEqual((response["result"], response["status"]), (result, error.status))
            self.assertIn(error.message, response["body"])
            self.assertEqual((answer.json["service-state"], answer.json["service-description"]), (UNKNOWN, None))

    def test_pingsComeByHttpsWhereRequestsHaveTo(self):
        self.condition(https_only=True)
        for method, status in (("GET", 301), ("POST", 307)):
            answer = self.read(self.ping("?a=b", method=method))
            self.assertEqual((answer.code, answer.json["ping-response"]["status"]), (status, 301))
            self.assertEqual(answer.header("location"), "https://localhost/waiter-ping?a=b")
            self.assertEqual(answer.json["service-state"], UNKNOWN)
        there = self.read(self.ping(host="[::1]:9091")).header("location")
        self.assertEqual(there, "https://[::1]/waiter-ping")
        self.reserver.leases = [self.lease()]
        self.assertEqual(self.read(self.ping(**{"x-forwarded-proto": "https"})).code, 200)

    def test_otherMethodsAreRefused(self):
        self.assertEqual(self.read(self.ping(method="DELETE")).code, 405)

    def test_theClientThatLeavesKeepsNothing(self):
        self.reserver.leases = [self.lease()]
        self.api.health_requests.answers = [Deferred()]
        asked = self.ping()
        asked.cancel()
        self.failureResultOf(asked)
        self.api.settle()
        self.assertEqual(self.released, [Outcome.CLIENT_ERROR])
