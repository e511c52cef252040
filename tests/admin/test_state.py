"""C{/state}."""

from twisted.trial.unittest import SynchronousTestCase

from tests.admin.support import Api, Reserver, make_instance, make_service, running
from waiter.model.load import ServiceLoad
from waiter.model.routing import DeploymentError, ServiceState

A = make_service()


class StateTests(SynchronousTestCase):
    def setUp(self):
        self.api = Api()

    def state(self, name):
        body = self.api.json(self, f"/state/{name}")
        self.assertEqual(body["router-id"], "router-1")
        return body["state"]

    def test_overviewNamesAllComponents(self):
        body = self.api.json(self, "/state")
        self.assertEqual((body["router-id"], body["routers"]), ("router-1", ["router-1"]))
        self.assertEqual(body["details"]["maintainer"], "http://localhost:9091/state/maintainer")
        for name in body["details"]:
            self.assertEqual(self.api.ask(self, f"/state/{name}").code, 200, name)

    def test_maintainerShowsRoutersAndSlots(self):
        self.api.run(running(A, "1", "2", slots={"waiter-service-a.1": 3}))
        failing = make_service("waiter-service-b")
        self.api.run(ServiceState(service=failing, deployment_error=DeploymentError(key="k", message="m")))
        state = self.state("maintainer")
        self.assertEqual(state["routers"], {"router-1": "http://localhost:9091/"})
        self.assertEqual(
            state["router-details"],
            {
                "router-1": {
                    "address": "localhost",
                    "custom-details": {"router-fqdn": "localhost", "router-ssl-port": None},
                    "id": "router-1",
                    "name": "router-1",
                    "port": 9091,
                }
            },
        )
        self.assertEqual(state["service-id->my-instance->slots"], {A.id: {"waiter-service-a.1": 3}, failing.id: {}})
        self.assertEqual(
            [each["id"] for each in state["service-id->healthy-instances"][A.id]],
            ["waiter-service-a.1", "waiter-service-a.2"],
        )
        self.assertEqual(state["service-id->deployment-error"], {failing.id: "k"})

    def test_leaderNamesItselfOnlyWhileItLeads(self):
        self.assertEqual(self.state("leader"), {"leader?": True, "leader-id": "router-1"})
        self.api = Api(is_leader=lambda: False)
        self.assertEqual(self.state("leader"), {"leader?": False, "leader-id": None})
        self.api = Api(is_leader=lambda: False, leader_id=lambda: "router-2")
        self.assertEqual(self.state("leader"), {"leader?": False, "leader-id": "router-2"})

    def test_usageShowsWhenTheLastRequestCame(self):
        self.api.reservers.all = {
            "a": Reserver(load=ServiceLoad(outstanding=2, waiting=1, last_request_at=999.5)),
            "b": Reserver(),
        }
        self.assertEqual(
            self.state("local-usage"),
            {"a": {"last-request-time": "2026-01-31T11:59:59.500Z"}, "b": {"last-request-time": None}},
        )
        self.assertEqual(
            self.state("router-metrics")["metrics"]["routers"]["router-1"]["a"], {"outstanding": 2, "waiting": 1}
        )

    def test_otherPartsShowWhatTheyHave(self):
        self.api.run(running(A, "1"))
        self.api.reservers.ejected[A.id] = frozenset({"waiter-service-a.1"})
        self.api.autoscaler.scaling[A.id] = "stable"
        self.assertEqual(self.state("scheduler"), {"supported-include-params": [], "type": "MemoryScheduler"})
        self.assertEqual(self.state("service-maintainer"), {"service-id->my-instance->slots": {}})
        self.assertEqual(self.state("autoscaler"), {A.id: {"scaling-state": "stable"}})
        self.assertEqual(self.state("ejection-expiry"), {"service-id->instance-ids": {A.id: ["waiter-service-a.1"]}})
        self.assertEqual(self.state("fallback"), {"available-service-ids": [A.id], "healthy-service-ids": [A.id]})

    def test_serviceIsShownFromAllSides(self):
        self.api = Api(components={"autoscaling-multiplexer": lambda: {A.id: {"killing": 1}}, "other": lambda: "x"})
        self.api.run(running(A, "1", queued_reason="no memory", start_secs=0.5, failed=(make_instance(unique="9"),)))
        self.api.reservers.all[A.id] = Reserver()
        self.api.autoscaler.scaling[A.id] = "stable"
        state = self.state(A.id)
        self.assertEqual(
            sorted(state),
            [
                "autoscaler-state",
                "autoscaling-multiplexer-state",
                "ejection-expiry-state",
                "local-usage",
                "maintainer-state",
                "responder-state",
                "service-maintainer-state",
            ],
        )
        self.assertEqual(state["autoscaler-state"], {"scaling-state": "stable"})
        self.assertEqual(state["autoscaling-multiplexer-state"], {"killing": 1})
        self.assertEqual(state["responder-state"], {"instance-id->state": {}})
        self.assertEqual(state["service-maintainer-state"], {"maintainer-chan-available": True})
        maintainer = state["maintainer-state"]
        self.assertEqual(maintainer["my-instance->slots"], {"waiter-service-a.1": 1})
        self.assertEqual((maintainer["status"], maintainer["queued-reason"]), ("Running", "no memory"))
        self.assertEqual([each["id"] for each in maintainer["healthy-instances"]], ["waiter-service-a.1"])
        self.assertEqual([each["id"] for each in maintainer["failed-instances"]], ["waiter-service-a.9"])

    def test_serviceThatDoesNotRunIsShownAsFarAsItIsKnown(self):
        self.api.catalog[A.id] = A
        state = self.state(A.id)
        self.assertIsNone(state["maintainer-state"])
        self.assertIsNone(state["responder-state"])
        self.assertEqual(state["service-maintainer-state"], {"maintainer-chan-available": False})

    def test_whatIsNeitherComponentNorServiceIsNotFound(self):
        self.assertEqual(self.api.ask(self, "/state/waiter-service-x").code, 404)
