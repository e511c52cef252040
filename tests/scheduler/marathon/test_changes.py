"""Killing, creating, scaling and deleting, with a Marathon that says what the test wants."""

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.scheduler.marathon.examples import DEPLOYMENT
from waiter.errors import ServiceFailing, ServiceNotFound
from waiter.model.instance import Instance
from waiter.scheduler.marathon.bell import Bell
from waiter.scheduler.marathon.deployments import Deployments
from waiter.scheduler.marathon.errors import MarathonRefused, MarathonUnreachable
from waiter.scheduler.marathon.kills import Kills
from waiter.scheduler.marathon.translation import read_time
from waiter.support.background import Background

ID = "waiter-service-a"
LOCKED = MarathonRefused("locked", status=409, answer={"message": "locked", "deployments": [{"id": DEPLOYMENT["id"]}]})


class FakeClient:
    """
    One app with tasks.

    @ivar calls: what was asked, but for questions.
    @ivar refusals: by the name of a call, the errors that it fails with, the first one first.
    @ivar deployed: what is under way.
    """

    def __init__(self, *task_ids, instances=None):
        self.tasks = list(task_ids)
        self.instances = len(task_ids) if instances is None else instances
        self.exists = True
        self.calls = []
        self.refusals = {}
        self.deployed = []
        self.dies = True

    def _answer(self, name, answer):
        errors = self.refusals.get(name)
        return fail(errors.pop(0)) if errors else succeed(answer)

    def app(self, service_id):
        if not self.exists:
            return self._answer("app", None)
        tasks = [{"id": task_id, "state": "TASK_RUNNING"} for task_id in self.tasks]
        app = {"id": f"/{service_id}", "cmd": None, "cpus": 1, "mem": 64, "instances": self.instances, "tasks": tasks}
        return self._answer("app", {**app, "deployments": [{"id": each["id"]} for each in self.deployed]})

    def kill(self, service_id, task_ids, *, force):
        self.calls.append(("kill", tuple(task_ids), force))
        if self.dies and not self.refusals.get("kill"):
            self.tasks = [each for each in self.tasks if each not in task_ids]
        return self._answer("kill", {"deploymentId": "d"})

    def create(self, app):
        self.calls.append(("create", app["id"]))
        return self._answer("create", app)

    def update(self, service_id, change):
        self.calls.append(("update", change["instances"]))
        return self._answer("update", {"deploymentId": "d"})

    def delete(self, service_id, *, force):
        self.calls.append(("delete", force))
        return self._answer("delete", {"deploymentId": "d"})

    def deployments(self):
        return self._answer("deployments", self.deployed)

    def delete_deployment(self, deployment_id):
        self.calls.append(("delete-deployment", deployment_id))
        return self._answer("delete-deployment", None)


def instance(unique):
    return Instance(id=f"{ID}.{unique}", service_id=ID)


class KillTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.client = FakeClient(*(f"{ID}.{number}" for number in range(6)))
        self.dead = []
        self.background = Background()
        self.kills = Kills(
            self.clock,
            self.client,
            self.background,
            Bell(self.clock),
            accepted=lambda instance: self.dead.append(instance.id),
            was_killed=lambda instance_id: instance_id in self.dead,
            force_after_secs=60,
        )

    def kill(self, unique):
        return self.kills.kill(instance(unique), "done")

    def test_oneIsKilledAndToldWhenItIsGone(self):
        self.client.dies = False
        killing = self.kill(0)
        self.assertEqual(self.client.calls, [("kill", (f"{ID}.0",), False)])
        self.assertEqual(self.dead, [f"{ID}.0"])
        self.clock.pump([0.1] * 10)
        self.assertNoResult(killing)
        self.client.tasks.pop(0)
        self.clock.advance(1)
        result = self.successResultOf(killing)
        self.assertEqual((result.killed, result.status, result.message), (True, 200, "done"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_theEndOfTheDeploymentIsWaitedForToo(self):
        self.client.deployed = [{"id": "d"}]
        killing = self.kill(0)
        self.clock.pump([0.1] * 10)
        self.assertNoResult(killing)
        self.client.deployed = []
        self.clock.advance(1)
        self.assertTrue(self.successResultOf(killing).killed)

    def test_thoseThatAreAskedForMeanwhileAreKilledTogether(self):
        self.client.deployed = [{"id": "d"}]
        first, *others = [self.kill(number) for number in range(4)]
        self.assertEqual(len(self.client.calls), 1)
        self.client.deployed = []
        self.clock.advance(1)
        self.assertEqual(self.client.calls[1:], [("kill", tuple(f"{ID}.{number}" for number in (1, 2, 3)), False)])
        for killing in (first, *others):
            self.assertTrue(self.successResultOf(killing).killed)

    def test_oneThatIsTakenBackInTimeIsNotKilled(self):
        self.client.deployed = [{"id": "d"}]
        self.kill(0)
        second = self.kill(1)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.client.deployed = []
        self.clock.advance(1)
        self.assertEqual(len(self.client.calls), 1)

    def test_aLockIsGivenAMoment(self):
        self.client.refusals["kill"] = [LOCKED]
        killing = self.kill(0)
        self.assertNoResult(killing)
        self.clock.advance(0.2)
        self.assertTrue(self.successResultOf(killing).killed)

    def test_aLockThatStaysIsTold(self):
        self.client.refusals["kill"] = [LOCKED] * 100
        killing = self.kill(0)
        self.clock.pump([0.2] * 6)
        result = self.successResultOf(killing)
        self.assertEqual((result.killed, result.status), (False, 409))
        self.assertEqual(result.message, "Locked by one or more deployments")
        self.assertEqual(self.dead, [])

    def test_whenKillsHaveFailedForLongTheLockIsBroken(self):
        self.client.refusals["kill"] = [LOCKED] * 100
        self.kill(0)
        self.clock.pump([0.2] * 6)
        self.clock.advance(58)
        self.kill(0)
        self.clock.pump([0.2] * 6)
        self.assertEqual({call[2] for call in self.client.calls}, {False})
        self.clock.advance(2)
        self.client.refusals["kill"] = []
        self.assertTrue(self.successResultOf(self.kill(0)).killed)
        self.assertTrue(self.client.calls[-1][2])
        # A success begins anew.
        self.kill(1)
        self.assertFalse(self.client.calls[-1][2])

    def test_whenTheServiceIsDeletedFailedKillsCountNoMore(self):
        self.client.refusals["kill"] = [LOCKED] * 100
        self.kill(0)
        self.clock.pump([0.2] * 6)
        self.kills.forget(ID)
        self.clock.advance(61)
        self.kill(0)
        self.assertFalse(self.client.calls[-1][2])

    def test_otherRefusalsAreTold(self):
        self.client.refusals["kill"] = [MarathonRefused("no", status=403)]
        self.assertEqual(self.successResultOf(self.kill(0)).status, 403)

    def test_whenMarathonDoesNotAnswerNothingIsSent(self):
        self.client.refusals["app"] = [MarathonUnreachable("away")]
        result = self.successResultOf(self.kill(0))
        self.assertEqual((result.killed, result.status, result.message), (False, 503, "away"))
        self.assertEqual(self.client.calls, [])

    def test_whenItIsNotKnownWhetherOneIsGoneItIsAskedAgain(self):
        self.client.dies = False
        killing = self.kill(0)
        self.client.refusals["app"] = [MarathonUnreachable("away")] * 3
        self.client.tasks.pop(0)
        self.clock.pump([0.05, 0.1, 0.2])
        self.assertNoResult(killing)
        self.clock.pump([1, 1])
        self.assertTrue(self.successResultOf(killing).killed)

    def test_whatIsNotThereIsNotKilled(self):
        self.assertEqual(self.successResultOf(self.kill(9)).status, 404)
        self.client.exists = False
        self.assertEqual(self.successResultOf(self.kill(0)).status, 404)
        self.dead.append(f"{ID}.1")
        self.assertEqual(self.successResultOf(self.kill(1)).status, 400)
        self.assertEqual(self.client.calls, [])

    def test_whenWaiterStopsWhoWaitsIsTold(self):
        self.client.deployed = [{"id": "d"}]
        killings = [self.kill(0), self.kill(1)]
        self.successResultOf(self.background.stop())
        self.assertEqual([self.successResultOf(each).status for each in killings], [503, 503])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_whateverGoesWrongWhoAskedIsTold(self):
        self.client.refusals["kill"] = [RuntimeError("of another kind")]
        self.assertEqual(self.successResultOf(self.kill(0)).status, 500)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertTrue(self.successResultOf(self.kill(0)).killed)

    def test_nothingIsKeptOfAServiceThatWasDeleted(self):
        self.client.refusals["kill"] = [MarathonRefused("no", status=403)]
        self.successResultOf(self.kill(0))
        self.assertIn(ID, self.kills._desks)
        self.kills.forget(ID)
        self.assertEqual(self.kills._desks, {})

    def test_whatIsUnderWayIsShown(self):
        self.assertEqual(self.kills.state(), {})
        self.client.deployed = [{"id": "d"}]
        self.kill(0)
        self.kill(1)
        self.assertEqual(self.kills.state()[ID]["waiting"], [f"{ID}.1"])


class DeploymentTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.now = read_time(DEPLOYMENT["version"])
        self.client = FakeClient(f"{ID}.0", f"{ID}.1")
        self.deployments = Deployments(self.clock, self.client, Bell(self.clock), wall=lambda: self.now)

    def create(self):
        self.client.exists = False
        return Deferred.fromCoroutine(self.deployments.create(ID, {"id": f"/{ID}"}))

    def scale(self, number, *, force=False):
        return Deferred.fromCoroutine(self.deployments.scale(ID, number, force=force))

    def delete(self):
        self.accepted = []
        return Deferred.fromCoroutine(self.deployments.delete(ID, lambda: self.accepted.append(True)))

    def test_whatIsThereIsNotCreated(self):
        self.assertFalse(self.successResultOf(Deferred.fromCoroutine(self.deployments.create(ID, {"id": "x"}))))
        self.assertEqual(self.client.calls, [])

    def test_whatIsCreatedBySomebodyElseMeanwhileIsThere(self):
        self.client.refusals["create"] = [MarathonRefused("exists", status=409, answer={"message": "already exists"})]
        self.assertFalse(self.successResultOf(self.create()))

    def test_aDeploymentThatHasBeenStoppingTheAppForLongIsEnded(self):
        self.client.deployed = [DEPLOYMENT]
        self.client.refusals["create"] = [LOCKED]
        self.now += 301
        self.assertTrue(self.successResultOf(self.create()))
        self.assertEqual([call[0] for call in self.client.calls], ["create", "delete-deployment", "create"])

    def test_oneThatIsYoungerOrDoesOtherThingsIsLeftAlone(self):
        for deployed, age in (
            ([DEPLOYMENT], 299),
            ([{**DEPLOYMENT, "id": "other"}], 301),
            ([{**DEPLOYMENT, "steps": [], "currentActions": []}], 301),
        ):
            self.setUp()
            self.client.deployed = deployed
            self.client.refusals["create"] = [LOCKED]
            self.now += age
            self.failureResultOf(self.create(), MarathonRefused)
            self.assertEqual([call[0] for call in self.client.calls], ["create"])

    def test_itIsTriedAgainOnce(self):
        self.client.deployed = [DEPLOYMENT]
        self.client.refusals["create"] = [LOCKED, LOCKED, LOCKED]
        self.now += 301
        self.failureResultOf(self.create(), MarathonRefused)
        self.assertEqual([call[0] for call in self.client.calls], ["create", "delete-deployment", "create"])

    def test_whatMarathonDoesNotTakeFailsForGood(self):
        answer = {"message": "Object is not valid", "details": [{"path": "/cpus", "errors": ["too many"]}]}
        self.client.refusals["create"] = [MarathonRefused("no", status=422, answer=answer)]
        self.assertIn("/cpus: too many", str(self.failureResultOf(self.create(), ServiceFailing).value))

    def test_moreAreSet(self):
        self.assertEqual(self.successResultOf(self.scale(5)), 5)
        self.assertEqual(self.client.calls, [("update", 5)])

    def test_fewerThanRunAreNotSet(self):
        self.client.instances = 4
        self.assertEqual(self.successResultOf(self.scale(1)), 2)
        self.assertEqual(self.client.calls, [("update", 2)])

    def test_whatIsAlreadySoIsNotSet(self):
        self.assertEqual(self.successResultOf(self.scale(2)), 2)
        self.assertEqual(self.client.calls, [])

    def test_byForceWhatIsBeingDoneIsEndedFirst(self):
        self.client.deployed = [{**DEPLOYMENT, "id": "other", "affectedApps": ["/other"]}, DEPLOYMENT]
        self.client.instances = 4
        self.assertEqual(self.successResultOf(self.scale(3, force=True)), 3)
        self.assertEqual(self.client.calls, [("delete-deployment", DEPLOYMENT["id"]), ("update", 3)])

    def settle(self, instances):
        return self.successResultOf(Deferred.fromCoroutine(self.deployments.settle(ID, instances)))

    def test_whatIsStuckIsSetToWhatRuns(self):
        self.client.instances = 5
        self.settle(5)
        self.assertEqual(self.client.calls, [("update", 2)])

    def test_whatWasScaledMeanwhileOrIsBeingChangedIsNotStuck(self):
        self.client.instances = 6
        self.settle(5)
        self.client.deployed = [{"id": "d"}]
        self.settle(6)
        self.client.deployed, self.client.instances = [], 2
        self.settle(2)
        self.client.exists = False
        self.settle(2)
        self.assertEqual(self.client.calls, [])

    def test_whatIsNotThereCannotBeScaled(self):
        self.client.refusals["update"] = [MarathonRefused("gone", status=404)]
        self.failureResultOf(self.scale(5), ServiceNotFound)
        self.client.exists = False
        self.failureResultOf(self.scale(5), ServiceNotFound)

    def test_whenMarathonDoesNotAnswerNothingIsSent(self):
        for change in (self.create, lambda: self.scale(5)):
            self.client.refusals["app"] = [MarathonUnreachable("away")]
            self.failureResultOf(change(), MarathonUnreachable)
        self.client.refusals["app"] = [MarathonUnreachable("away")]
        self.assertEqual(self.successResultOf(self.delete()).result, "error")
        self.assertEqual((self.client.calls, self.accepted), ([], []))

    def test_whatIsDeletedIsToldWhenItIsGone(self):
        self.client.deployed = [{"id": "d"}]
        deleting = self.delete()
        self.assertEqual((self.client.calls, self.accepted), ([("delete", False)], [True]))
        self.clock.pump([0.1] * 5)
        self.assertNoResult(deleting)
        self.client.deployed = []
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(deleting).result, "deleted")

    def test_whatIsLockedIsDeletedByForce(self):
        self.client.refusals["delete"] = [LOCKED]
        self.assertEqual(self.successResultOf(self.delete()).result, "deleted")
        self.assertEqual(self.client.calls, [("delete", False), ("delete", True)])

    def test_whatIsNotThereCannotBeDeleted(self):
        self.client.refusals["delete"] = [MarathonRefused("gone", status=404)]
        self.assertEqual(self.successResultOf(self.delete()).result, "no-such-service-exists")
        self.client.exists = False
        self.assertEqual(self.successResultOf(self.delete()).result, "no-such-service-exists")
        self.assertEqual(self.accepted, [])
