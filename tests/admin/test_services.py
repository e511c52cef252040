"""C{/apps} and C{/apps/<id>}."""

import attrs
from twisted.internet.defer import succeed
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from tests.admin.support import NOON, Api, Reserver, make_instance, make_service, running
from waiter.admin.resolving import waiter_headers
from waiter.errors import ServiceUnavailable
from waiter.model.instance import Flag
from waiter.model.load import ServiceLoad
from waiter.model.routing import DeploymentError, InstanceCounts, ServiceState
from waiter.scheduler.interface import DeleteResult, Measurement, Usage

A = make_service(name="a")
B = make_service("waiter-service-b", name="b", **{"run-as-user": "bob", "env": {"FOO": "1"}})


class ListTests(SynchronousTestCase):
    def setUp(self):
        self.api = Api()

    def test_withoutServicesTheListIsEmpty(self):
        answer = self.api.ask(self, "/apps")
        self.assertEqual((answer.code, answer.json, answer.header("content-type")), (200, [], "application/json"))

    def test_entryHasWhatIsKnownOfTheService(self):
        self.api.run(running(A, "1", "2", unhealthy=(make_instance(unique="3"),)))
        # 10 s ago, on a clock that shows 1000 s.
        self.api.reservers.all[A.id] = Reserver(load=ServiceLoad(outstanding=3, waiting=1, last_request_at=990.0))
        self.api.parts.metrics.service(A.id).total = 7
        self.api.autoscaler.scaling[A.id] = "scale-up"
        self.assertEqual(
            self.api.json(self, "/apps"),
            [
                {
                    "service-id": "waiter-service-a",
                    "url": "http://localhost:9091/apps/waiter-service-a",
                    "instance-counts": {"healthy-instances": 2, "unhealthy-instances": 1},
                    "status": "Running",
                    "last-request-time": "2026-01-31T11:59:50.000Z",
                    "request-metrics": {"outstanding": 3, "total": 7},
                    "resource-usage": {"cpus": 1.5, "mem": 384},
                    "service-description": {
                        "cmd": "./run",
                        "cpus": 0.5,
                        "mem": 128,
                        "name": "a",
                        "run-as-user": "alice",
                        "version": "v1",
                    },
                    "source-tokens": [],
                    "scaling-state": "scale-up",
                }
            ],
        )

    def test_programsGetAServiceOnALineAndPeopleLinesToRead(self):
        self.api.run(running(A, "1"))
        self.api.run(running(B, "1"))
        lines = self.api.ask(self, "/apps", headers={"accept": "application/json"}).content.splitlines()
        self.assertEqual(len(lines), 2)
        answer = self.api.ask(self, "/apps", headers={"accept": "*/*"})
        self.assertIn(b'\n    "cmd": "./run",\n', answer.content)
        self.assertEqual([entry["service-id"] for entry in answer.json], [A.id, B.id])

    def test_usageIsTheSchedulersWord(self):
        self.api.run(running(A, "1", "2"))
        self.api.scheduler.usage = lambda _: Usage(cpus=0.1, mem=10)
        self.assertEqual(self.api.json(self, "/apps")[0]["resource-usage"], {"cpus": 0.2, "mem": 20})

    def test_serviceThatCannotServeSaysWhy(self):
        error = DeploymentError(
            key="bad-startup-command", message="Invalid startup command", explanation="Exit code 127"
        )
        self.api.run(
            ServiceState(
                service=A, deployment_error=error, queued_reason="Not enough memory", instability_issue="exits-early"
            )
        )
        (entry,) = self.api.json(self, "/apps")
        self.assertEqual(entry["status"], "Failing")
        self.assertEqual(entry["deployment-error-message"], "Invalid startup command\nExit code 127")
        self.assertEqual(entry["queued-reason"], "Not enough memory")
        self.assertEqual(entry["instability-issue"], "exits-early")

    def test_whoKnowsMoreAboutAQueuedServiceIsHeard(self):
        self.api.run(running(A, queued_reason="Not enough memory"))
        self.api.reservers.all[A.id] = Reserver(queued_reason="Not enough memory. Nothing can be stopped")
        (entry,) = self.api.json(self, "/apps")
        self.assertEqual(entry["queued-reason"], "Not enough memory. Nothing can be stopped")

    def test_entriesAreSortedById(self):
        self.api.run(running(B, "1"))
        self.api.run(running(A, "1"))
        self.assertEqual([entry["service-id"] for entry in self.api.json(self, "/apps")], [A.id, B.id])

    def test_parametersChooseAmongTheServices(self):
        self.api.run(running(A, "1"))
        self.api.run(running(B, "1"))

        def ids(query):
            return [entry["service-id"] for entry in self.api.json(self, f"/apps?{query}")]

        self.assertEqual(ids("run-as-user=bob"), [B.id])
        self.assertEqual(ids("name=a&name=b"), [A.id, B.id])
        self.assertEqual(ids("name=.&version=v2"), [])
        self.assertEqual(ids("env.FOO=*"), [B.id])
        self.assertEqual(ids("env.FOO=*&star-mode=exact"), [])
        self.assertEqual(ids("token=x"), [])

    def test_filterThatCouldTakeForEverIsRefused(self):
        self.api.run(running(A, "1"))
        answer = self.api.ask(self, "/apps?cmd=(a%2B)%2B%24", headers={"accept": "application/json"})
        self.assertEqual(answer.code, 400)
        self.assertIn("too complicated", answer.json["waiter-error"]["message"])

    def test_withoutAUserOneSeesWhatOneMayManage(self):
        api = Api(may_manage=lambda principal, service_id: (principal, service_id) == ("alice", A.id))
        api.run(running(A, "1"))
        api.run(running(B, "1"))
        self.assertEqual(len(api.json(self, "/apps")), 1)
        self.assertEqual(len(api.json(self, "/apps?run-as-user=")), 1)
        self.assertEqual(len(api.json(self, "/apps?name=*")), 1)
        self.assertEqual(len(api.json(self, "/apps?run-as-user=*")), 2)

    def test_moreIsShownOnDemand(self):
        self.api.run(running(A, "1"))
        for flag in ("effective-parameters=true", "effective-parameters=True", "include=effective-parameters"):
            (entry,) = self.api.json(self, f"/apps?{flag}")
            self.assertEqual(entry["effective-parameters"]["concurrency-level"], 1)
            self.assertEqual(entry["effective-parameters"]["run-as-user"], "alice")
            self.assertNotIn("instances", entry)
        (entry,) = self.api.json(self, "/apps?include=healthy-instances")
        self.assertEqual(
            entry["instances"],
            {
                "healthy-instances": [
                    {
                        "id": "waiter-service-a.1",
                        "host": "127.0.0.1",
                        "port": 10001,
                        "started-at": "2026-01-31T11:59:00.000Z",
                    }
                ]
            },
        )
        self.assertNotIn("effective-parameters", entry)

    def test_manyServicesAreListedWithoutKeepingTheReactorBusy(self):
        for number in range(300):
            self.api.run(running(make_service(f"waiter-service-{number:03}"), "1"))
        asked = self.api.begin("GET", "/apps")
        self.assertNoResult(asked)
        self.api.settle()
        while not asked.called:
            self.api.settle()
        self.assertEqual(len(self.api.read(self, asked).json), 300)


class ShowTests(SynchronousTestCase):
    def setUp(self):
        self.api = Api()

    def test_runningServiceIsShownWithItsInstances(self):
        failed = make_instance(
            unique="9",
            exit_code=1,
            message="Exited",
            flags=frozenset({Flag.NEVER_PASSED_HEALTH_CHECKS}),
            health_check_status=503,
            log_directory="/logs/9",
        )
        state = running(A, "1", failed=(failed,), killed=(make_instance(unique="8"),))
        self.api.run(attrs.evolve(state, expired=state.healthy))
        body = self.api.json(self, f"/apps/{A.id}")
        instances = body.pop("instances")
        self.assertEqual(
            body,
            {
                "status": "Running",
                "last-request-time": None,
                "request-metrics": {"outstanding": 0, "total": 0},
                "resource-usage": {"cpus": 0.5, "mem": 128},
                "service-description": dict(A.core),
                "source-tokens": [],
                "num-active-instances": 1,
                "num-routers": 1,
                "router-id": "router-1",
            },
        )
        self.assertEqual(
            instances["active-instances"],
            [
                {
                    "id": "waiter-service-a.1",
                    "service-id": "waiter-service-a",
                    "started-at": "2026-01-31T11:59:00.000Z",
                    "healthy?": True,
                    "health-check-status": None,
                    "flags": ["expired"],
                    "exit-code": None,
                    "host": "127.0.0.1",
                    "port": 10001,
                    "extra-ports": [],
                    "protocol": "http",
                    "log-directory": None,
                    "message": None,
                    "status": None,
                    "memory-mib": None,
                    "processes": None,
                    "measured-at": None,
                    "log-url": "http://localhost:9091/apps/waiter-service-a/logs"
                    "?instance-id=waiter-service-a.1&host=127.0.0.1",
                }
            ],
        )
        (dead,) = instances["failed-instances"]
        self.assertEqual(
            (dead["exit-code"], dead["flags"], dead["message"], dead["health-check-status"], dead["log-directory"]),
            (1, ["never-passed-health-checks"], "Exited", 503, "/logs/9"),
        )
        self.assertEqual([each["id"] for each in instances["killed-instances"]], ["waiter-service-a.8"])

    def test_whatAnInstanceUsesIsShown(self):
        self.api.run(running(A, "1", "2"))
        self.api.scheduler.measurements[f"{A.id}.1"] = Measurement(memory_mib=12.34, processes=3, measured_at=NOON)
        first, second = self.api.json(self, f"/apps/{A.id}")["instances"]["active-instances"]
        self.assertEqual(
            (first["memory-mib"], first["processes"], first["measured-at"]), (12.3, 3, "2026-01-31T12:00:00.000Z")
        )
        self.assertEqual((second["memory-mib"], second["processes"], second["measured-at"]), (None, None, None))

    def test_activeInstancesAreInTheUsualOrderWhetherHealthyOrNot(self):
        young = make_instance(unique="0", started_at=NOON)
        self.api.run(running(A, "2", "1", unhealthy=(young,)))
        active = self.api.json(self, f"/apps/{A.id}")["instances"]["active-instances"]
        self.assertEqual(
            [(each["id"][-1], each["healthy?"]) for each in active], [("1", True), ("2", True), ("0", False)]
        )

    def test_atMostTenDeadInstancesAreShown(self):
        dead = tuple(make_instance(unique=str(number)) for number in range(15))
        self.api.run(running(A, "x", failed=dead, killed=dead))
        instances = self.api.json(self, f"/apps/{A.id}")["instances"]
        self.assertEqual((len(instances["failed-instances"]), len(instances["killed-instances"])), (10, 10))

    def test_knownServiceThatDoesNotRunIsInactive(self):
        self.api.catalog[A.id] = A
        answer = self.api.ask(self, f"/apps/{A.id}?effective-parameters=True")
        self.assertEqual(answer.code, 200)
        self.assertEqual(answer.json["status"], "Inactive")
        self.assertEqual(
            answer.json["instances"], {"active-instances": [], "failed-instances": [], "killed-instances": []}
        )
        self.assertEqual(answer.json["resource-usage"], {"cpus": 0, "mem": 0})
        self.assertEqual(answer.json["effective-parameters"]["ports"], 1)

    def test_serviceThatWasNeverDescribedIsNotFound(self):
        answer = self.api.ask(self, "/apps/waiter-service-x", headers={"accept": "application/json"})
        self.assertEqual(answer.code, 404)
        self.assertEqual(answer.json["waiter-error"]["message"], "Service not found")

    def test_startingServiceIsStarting(self):
        counts = InstanceCounts(requested=1, scheduled=1)
        self.api.run(ServiceState(service=A, unhealthy=(make_instance(),), counts=counts))
        self.assertEqual(self.api.json(self, f"/apps/{A.id}")["status"], "Starting")

    def test_logsAreOnlyLinkedForWhoMaySeeThem(self):
        api = Api(may_manage=lambda *_: False)
        api.run(running(A, "1"))
        (instance,) = api.json(self, f"/apps/{A.id}")["instances"]["active-instances"]
        self.assertNotIn("log-url", instance)

    def test_metricsAreShownOnDemand(self):
        self.api.run(running(A, "1"))
        self.api.parts.metrics.service(A.id).total = 2
        metrics = self.api.json(self, f"/apps/{A.id}?include=metrics")["metrics"]
        self.assertEqual(metrics["aggregate"]["counters"]["request-counts"]["total"], 2)
        self.assertEqual(metrics["aggregate"]["routers-sent-requests-to"], 1)
        self.assertEqual(metrics["routers"]["router-1"]["counters"]["request-counts"]["total"], 2)


class DeleteTests(SynchronousTestCase):
    def setUp(self):
        self.api = Api()
        self.path = f"/apps/{A.id}"

    def test_deletedServiceIsGoneFromItsScheduler(self):
        self.api.run(running(A, "1"))
        answer = self.api.ask(self, self.path, method="DELETE")
        self.assertEqual(answer.code, 200)
        self.assertEqual(answer.json, {"message": "Deleted", "result": "deleted", "service-id": A.id, "success": True})
        self.assertEqual(self.api.scheduler.calls, [("delete", A.id)])

    def test_serviceThatTheSchedulerDoesNotHaveIsNotFound(self):
        answer = self.api.ask(self, self.path, method="DELETE")
        self.assertEqual(answer.code, 404)
        self.assertEqual((answer.json["success"], answer.json["result"]), (False, "no-such-service-exists"))

    def test_otherRefusalsAreTheCallersFault(self):
        self.api.scheduler.delete = lambda _: succeed(DeleteResult(result="error", message="No."))
        answer = self.api.ask(self, self.path, method="DELETE")
        self.assertEqual((answer.code, answer.json["success"], answer.json["message"]), (400, False, "No."))

    def test_withATimeoutItWaitsUntilTheServiceIsSeenNoMore(self):
        self.api.run(running(A, "1"))
        asked = self.api.begin("DELETE", f"{self.path}?timeout=5000")
        self.api.settle()
        self.assertNoResult(asked)
        self.api.aggregator.know()
        self.api.settle()
        self.assertIs(self.api.read(self, asked).json["routers-agree"], True)
        self.assertEqual(self.api.clock.getDelayedCalls(), [])

    def test_whenTheTimeIsUp_routersDoNotAgree(self):
        self.api.run(running(A, "1"))
        asked = self.api.begin("DELETE", f"{self.path}?timeout=5000")
        self.api.settle()
        self.api.clock.advance(4.999)
        self.api.settle()
        self.assertNoResult(asked)
        self.api.clock.advance(0.001)
        self.api.settle()
        answer = self.api.read(self, asked)
        self.assertEqual((answer.code, answer.json["success"], answer.json["routers-agree"]), (200, True, False))

    def test_whenItIsSeenNoMoreAlready_routersAgreeAtOnce(self):
        self.api.run(running(A, "1"))
        self.api.aggregator.know()
        self.assertIs(self.api.ask(self, f"{self.path}?timeout=1", method="DELETE").json["routers-agree"], True)

    def test_whenTheClientGoesAway_theWaitEnds(self):
        self.api.run(running(A, "1"))
        asked = self.api.begin("DELETE", f"{self.path}?timeout=5000")
        self.api.settle()
        asked.cancel()
        self.failureResultOf(asked)
        self.api.settle()
        self.assertEqual(self.api.clock.getDelayedCalls(), [])
        self.api.aggregator.know()

    def test_timeoutMustBeAnInteger(self):
        for timeout in ("x", "1.5", "-1", "", "%c2%b2", "9" * 13, "9" * 5000):
            answer = self.api.ask(
                self, f"{self.path}?timeout={timeout}", method="DELETE", headers={"accept": "application/json"}
            )
            self.assertEqual(answer.code, 400, timeout)
            self.assertEqual(answer.json["waiter-error"]["message"], "timeout must be an integer")
        self.assertEqual(self.api.scheduler.calls, [])

    def test_whoMayNotManageMayNotDelete(self):
        api = Api(may_manage=lambda *_: False)
        api.run(running(A, "1"))
        answer = api.ask(self, self.path, method="DELETE", headers={"accept": "application/json"})
        self.assertEqual(answer.code, 403)
        self.assertEqual(answer.json["waiter-error"]["message"], "User not allowed to delete service")
        self.assertEqual(api.scheduler.calls, [])


class ServiceIdTests(SynchronousTestCase):
    def test_idIsThatOfTheServiceTheRequestIsFor(self):
        for deferred in (False, True):
            api = Api()
            api.resolver.deferred = deferred
            for path in ("/service-id", "/app-name"):
                answer = api.ask(
                    self,
                    path,
                    method="POST",
                    headers={"X-Waiter-Cmd": "./run", "host": "foo", "Other": "x", "x-waiter-mem": ["1", "2"]},
                )
                self.assertEqual((answer.code, answer.content), (200, b"waiter-service-a"))
                self.assertEqual(answer.header("content-type"), "text/plain; charset=utf-8")
            host, headers = api.resolver.asked[0]
            self.assertEqual(host, b"foo")
            self.assertEqual(
                sorted(headers), [(b"x-waiter-cmd", b"./run"), (b"x-waiter-mem", b"1"), (b"x-waiter-mem", b"2")]
            )

    def test_blanksAfterAValueAreNoPartOfIt(self):
        # They are not when the request is for the service itself.
        headers = Headers()
        headers.addRawHeader(b"X-Waiter-Cmd", b"./run \t ")
        self.assertEqual(waiter_headers(headers), ((b"x-waiter-cmd", b"./run"),))

    def test_requestForNoServiceIsRefusedAsElsewhere(self):
        answer = Api().ask(self, "/service-id", headers={"accept": "application/json"})
        self.assertEqual(answer.code, 400)
        error = answer.json["waiter-error"]
        self.assertEqual(error["title"], "Service Cannot be Identified")
        self.assertEqual(error["details"], {"error-class": "waiter.ServiceUnknown"})

    def test_whenItIsKnownWhenToTryAgain_theAnswerSaysSo(self):
        api = Api()
        api.resolver.failure = ServiceUnavailable("Not now", retry_after_secs=7)
        answer = api.ask(self, "/service-id")
        self.assertEqual((answer.code, answer.header("retry-after")), (503, "7"))
