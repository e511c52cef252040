"""L{waiter.admin.instance_watch}."""

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.admin.support import Api, make_instance, make_service, running

A = make_service(name="a")
B = make_service("waiter-service-b", name="b", **{"run-as-user": "bob"})


class InstanceWatchTests(SynchronousTestCase):
    def setUp(self):
        self.api = Api()

    def watch(self, query=""):
        self.watching = self.api.watch(self, f"/apps/instances?watch=true{query}")
        self.assertEqual(self.watching.code, 200)

    def told(self):
        """Of each message its type, and the ids of what is updated and of what is removed."""
        ids = []
        for message in self.watching.messages():
            changes = message["object"]["healthy-instances"]
            ids.append(
                (message["type"], *([view["id"] for view in changes.get(kind, ())] for kind in ("updated", "removed")))
            )
        return ids

    def refused(self, query, message):
        answer = self.api.ask(self, f"/apps/instances{query}", headers={"accept": "application/json"})
        self.assertEqual((answer.code, answer.json["waiter-error"]["message"]), (400, message))

    def test_firstThereAreAllThatAreHealthy(self):
        self.api.run(running(A, "1", "2", unhealthy=(make_instance(unique="3"),)))
        self.watch()
        [initial] = self.watching.messages()
        self.assertEqual(set(initial), {"id", "type", "object"})
        self.assertEqual(self.told(), [("initial", [f"{A.id}.1", f"{A.id}.2"], [])])
        shown = self.api.json(self, f"/apps/{A.id}")["instances"]["active-instances"][0]
        told = initial["object"]["healthy-instances"]["updated"][0]
        self.assertEqual({key: shown[key] for key in told}, told)

    def test_withoutAnyTheFirstMessageComesAllTheSame(self):
        self.watch()
        self.assertEqual(self.told(), [("initial", [], [])])

    def test_thenOnlyWhatChanges_withTheSameId(self):
        self.api.aggregator.know(running(A, "1", "2"), running(B, "1"))
        self.watch()
        self.api.aggregator.know(running(A, "2", "3"), running(B, "1"))
        self.assertEqual(self.told()[1:], [("events", [f"{A.id}.3"], [f"{A.id}.1"])])
        [initial, events] = self.watching.messages()
        self.assertEqual(events["id"], initial["id"])
        self.assertEqual([view["healthy?"] for view in events["object"]["healthy-instances"]["removed"]], [False])
        self.assertEqual([view["healthy?"] for view in events["object"]["healthy-instances"]["updated"]], [True])

    def test_kindsOfChangesThatThereAreNoneOfAreLeftOut(self):
        self.watch()
        self.api.aggregator.know(running(A, "1"))
        self.assertEqual(set(self.watching.messages()[1]["object"]["healthy-instances"]), {"updated"})
        self.api.aggregator.know()
        self.assertEqual(set(self.watching.messages()[2]["object"]["healthy-instances"]), {"removed"})

    def test_whenAnInstanceIsToBeReplaced_itIsToldAnew(self):
        state = running(A, "1", "2")
        self.api.aggregator.know(state)
        self.watch()
        self.api.aggregator.know(attrs.evolve(state, expired=state.healthy[:1]))
        self.assertEqual(self.told()[1:], [("events", [f"{A.id}.1"], [])])
        self.assertEqual(self.watching.messages()[1]["object"]["healthy-instances"]["updated"][0]["flags"], ["expired"])

    def test_whenNothingChangesForTheHealthyOnes_nothingIsTold(self):
        self.api.aggregator.know(running(A, "1"))
        self.watch()
        self.api.aggregator.know(running(A, "1", failed=(make_instance(unique="4", exit_code=1),)))
        self.assertEqual(len(self.watching.messages()), 1)

    def test_whenAServiceIsGone_itsInstancesAre(self):
        self.api.aggregator.know(running(A, "1"), running(B, "1"))
        self.watch()
        self.api.aggregator.know(running(B, "1"))
        self.assertEqual(self.told()[1:], [("events", [], [f"{A.id}.1"])])

    def test_onlyThoseOfTheServicesThatAreChosenAreTold(self):
        for query in ("&service-id=waiter-service-b", "&name=b", "&service-id=.*-b", "&run-as-user=bob"):
            self.api = Api()
            self.api.aggregator.know(running(A, "1"), running(B, "1"))
            self.watch(query)
            self.api.aggregator.know(running(A, "2"), running(B, "1"))
            self.assertEqual(self.told(), [("initial", [f"{B.id}.1"], [])], query)

    def test_withoutNamingAUserOneSeesWhatOneMayManage(self):
        def mine(user, service_id):
            return service_id == A.id

        self.api = Api(may_manage=mine)
        self.api.aggregator.know(running(A, "1"), running(B, "1"))
        self.watch()
        self.assertEqual(self.told(), [("initial", [f"{A.id}.1"], [])])
        self.watch("&run-as-user=*")
        self.assertEqual(self.told(), [("initial", [f"{A.id}.1", f"{B.id}.1"], [])])
        views = self.watching.messages()[0]["object"]["healthy-instances"]["updated"]
        self.assertEqual(["log-url" in view for view in views], [True, False])

    def test_whatChangesWhileTheFirstMessageIsMadeIsToldAfterIt(self):
        later = [running(A, "2")]

        def may_manage(_user, _service_id):
            if later:
                self.api.aggregator.know(later.pop())
            return True

        self.api = Api(may_manage=may_manage)
        self.api.aggregator.know(running(A, "1"))
        self.watch()
        self.assertEqual(self.told(), [("initial", [f"{A.id}.1"], []), ("events", [f"{A.id}.2"], [f"{A.id}.1"])])

    def test_whenNothingChangesForLong_itEndsAndLeavesNothingBehind(self):
        self.watch("&streaming-timeout=3000")
        self.api.clock.advance(2)
        self.api.aggregator.know(running(A, "1"))
        self.watching.messages()
        for _ in range(5):
            self.api.clock.advance(0.5)
        self.api.settle()
        self.assertEqual(self.watching.ended, [])
        for _ in range(2):
            self.api.clock.advance(0.5)
        self.api.settle()
        self.assertEqual(self.watching.ended, [None])
        self.assertEqual(self.api.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.api.aggregator.states._subscribers), 0)

    def test_whatIsAskedOtherwiseIsRefused(self):
        only = "watch query parameter must be true, no other option is supported."
        self.refused("", only)
        self.refused("?watch=false", only)
        self.refused("?watch=true&streaming-timeout=x", "streaming-timeout query parameter must be an integer")

    def test_itIsOnlyRead(self):
        answer = self.api.ask(self, "/apps/instances?watch=true", method="POST")
        self.assertEqual(answer.code, 405)
