"""What is remembered of the services at Marathon, and what is concluded from it."""

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.scheduler.marathon.test_translation import service
from waiter.model.instance import Flag, Instance
from waiter.scheduler.marathon.failures import MOST_FAILURES, Failures
from waiter.scheduler.marathon.sightings import Sightings
from waiter.scheduler.marathon.translation import App, Place
from waiter.scheduler.marathon.upkeep import Upkeep

ID = "waiter-service-a"
PLACE = Place(directory="/slaves", framework_id="f")


def instance(unique="1", **fields):
    return Instance(id=f"{ID}.{unique}", service_id=ID, **{"healthy": True, **fields})


def app(*tasks, instances=None, **fields):
    return App(
        service_id=ID, instances=len(tasks) if instances is None else instances, cpus=1, mem=64, tasks=tasks, **fields
    )


class FailuresTests(SynchronousTestCase):
    def setUp(self):
        self.failures = Failures()

    def test_eachFailureCountsOnce(self):
        self.assertTrue(self.failures.add(instance(started_at=1.0)))
        self.assertFalse(self.failures.add(instance(started_at=1.0)))
        self.assertEqual(len(self.failures.of(ID)), 1)

    def test_theOldestAreForgotten(self):
        for number in range(MOST_FAILURES + 2):
            self.failures.add(instance(f"{number:02}", started_at=float(number)))
        kept = self.failures.of(ID)
        self.assertEqual(len(kept), MOST_FAILURES)
        self.assertEqual(kept[0].id, f"{ID}.02")
        self.assertEqual(len(self.failures.ended_at), MOST_FAILURES)

    def test_whatWasKnownOfItIsKept(self):
        seen = instance(host="h", port=7, started_at=5.0, log_directory="/d")
        self.failures.add(instance(host="other", started_at=9.0, healthy=False), seen)
        (failed,) = self.failures.of(ID)
        self.assertEqual((failed.host, failed.port, failed.started_at, failed.log_directory), ("h", 7, 5.0, "/d"))
        self.assertEqual(self.failures.ended_at, {failed.id: 9.0})

    def test_whoLivesAfterAllHasNotFailed(self):
        self.failures.add(instance(started_at=1.0))
        self.failures.living(ID, [f"{ID}.1"])
        self.assertEqual((self.failures.of(ID), self.failures.ended_at), ((), {}))

    def test_theFailuresOfServicesThatAreGoneAreForgotten(self):
        self.failures.add(instance(started_at=1.0))
        self.failures.retain([])
        self.assertEqual((self.failures.of(ID), self.failures.ended_at), ((), {}))


class SightingsTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.seen = Sightings(self.clock, prefix="waiter-service-", wall=lambda: 1000.0, lowered_secs=10)

    def listed(self, *apps):
        found = self.seen.listed({each.service_id: each for each in apps}, began=self.clock.seconds())
        self.clock.advance(1)
        return found

    def only(self):
        ((record, instances),) = self.seen.view().items()
        return record, instances

    def test_whatIsListedIsShown(self):
        self.listed(app(instance("1"), instance("2"), instances=3))
        record, instances = self.only()
        self.assertEqual((record.instances, record.task_count, len(instances.active)), (3, 2, 2))

    def test_whatIsBeingKilledIsNotShownAndNotCounted(self):
        self.listed(app(instance("1"), instance("2")))
        self.seen.killed(instance("1"))
        record, instances = self.only()
        self.assertEqual((record.task_count, [each.id for each in instances.active]), (1, [f"{ID}.2"]))
        self.assertTrue(self.seen.was_killed(f"{ID}.1"))
        self.assertIsNone(self.seen.instance(ID, f"{ID}.1"))

    def test_whatWasKilledHasNotFailed(self):
        self.listed(app(instance("1")))
        self.seen.killed(instance("1"))
        self.assertEqual(self.listed(app(failure=instance("1", healthy=False))), [])
        self.assertEqual(self.only()[1].failed, ())

    def test_aNumberBelowWhatRunsIsShownForAWhile(self):
        self.listed(app(instance("1"), instance("2")))
        self.seen.scaled(ID, asked=1, done=2)
        self.assertEqual(self.only()[0].instances, 1)
        self.clock.advance(11)
        self.assertEqual(self.only()[0].instances, 2)

    def test_aNumberThatWasSetIsTheTruth(self):
        self.listed(app(instance("1"), instance("2")))
        self.seen.scaled(ID, asked=1, done=2)
        self.seen.scaled(ID, asked=5, done=5)
        self.listed(app(instance("1"), instance("2"), instances=5))
        self.assertEqual(self.only()[0].instances, 5)

    def test_aServiceThatIsDeletedIsHiddenUntilItIsGone(self):
        self.listed(app(instance("1")))
        self.seen.deleted(ID)
        self.assertEqual(self.seen.view(), {})
        self.listed(app(instance("1")))
        self.assertEqual((self.seen.view(), self.seen.usage(ID)), ({}, None))
        self.listed()
        self.listed(app(instance("2")))
        self.assertEqual(self.only()[0].task_count, 1)

    def test_aDeletedServiceThatIsListedForLongWasCreatedAgainBySomebody(self):
        self.listed(app(instance("1")))
        self.seen.deleted(ID)
        self.clock.advance(61)
        self.listed(app(instance("2")))
        self.assertEqual(self.only()[0].task_count, 1)

    def test_whatIsGrantedIsKnownBeforeItIsListed(self):
        self.seen.created(service())
        self.assertEqual(self.seen.usage(ID).cpus, 0.5)
        self.clock.advance(1)
        self.listed(app())
        self.assertEqual(self.seen.usage(ID).cpus, 1)

    def test_expiredInstancesAreFlagged(self):
        self.listed(app(instance("1"), instance("2")))
        self.assertTrue(self.seen.expire(ID, f"{ID}.1"))
        self.assertFalse(self.seen.expire(ID, f"{ID}.3"))
        self.assertEqual([each.flags for each in self.only()[1].active], [{Flag.EXPIRED}, frozenset()])

    def test_failuresAreNewOnce(self):
        failure = instance("0", healthy=False, started_at=1.0)
        self.assertEqual(self.listed(app(instance("1"), failure=failure)), [failure])
        self.assertEqual(self.listed(app(instance("1"), failure=failure)), [])
        self.assertEqual(self.only()[1].failed, (failure,))

    def test_anEventTellsOfAFailureThatNoListEverShows(self):
        self.listed(app())
        event = {
            "appId": f"/{ID}",
            "taskId": f"{ID}.9",
            "taskStatus": "TASK_FAILED",
            "message": "Command exited with status 3",
            "host": "h",
            "ports": [31000],
            "timestamp": "2015-09-30T12:44:45.681Z",
        }
        failure = self.seen.event("status_update_event", event, PLACE)
        self.assertEqual((failure.exit_code, failure.port), (3, 31000))
        self.assertIsNone(self.seen.event("status_update_event", event, PLACE))
        self.assertEqual(self.only()[1].failed, (failure,))

    def test_otherEventsTellOfNone(self):
        for event in (
            {},
            {"appId": "/other", "taskStatus": "TASK_FAILED", "taskId": "x"},
            {"appId": f"/{ID}", "taskStatus": "TASK_RUNNING", "taskId": "x"},
            {"appId": f"/{ID}", "taskStatus": "TASK_FAILED"},
        ):
            self.assertIsNone(self.seen.event("status_update_event", event, PLACE))


class UpkeepTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.leads = True
        self.upkeep = Upkeep(self.clock, lambda: self.leads, patience_secs=60)

    def due(self, app, asked=None, after=0):
        self.clock.advance(after)
        return self.upkeep.due({ID: app}, lambda _: asked)

    def test_anAppThatStaysStuckIsSetToWhatItHas(self):
        stuck = app(instance("1"), instances=3)
        self.assertEqual(self.due(stuck), {})
        self.assertEqual(self.due(stuck, after=60), {})
        self.assertEqual(self.due(stuck, after=1), {ID: 3})

    def test_oneThatMovesIsLeftAlone(self):
        self.due(app(instance("1"), instances=3))
        self.assertEqual(self.due(app(instance("1"), instance("2"), instances=3), after=40), {})
        self.assertEqual(self.due(app(instance("1"), instance("2"), instances=3), after=40), {})

    def test_oneThatIsBeingDeployedIsLeftAlone(self):
        busy = attrs.evolve(app(instance("1"), instances=3), deployments=("d",))
        self.due(busy)
        self.assertEqual(self.due(busy, after=100), {})

    def test_oneThatHasWhatItShouldIsLeftAlone(self):
        self.due(app(instance("1")))
        self.assertEqual(self.due(app(instance("1")), after=100), {})

    def test_oneWhoseNumberWasJustAskedForIsLeftAlone(self):
        stuck = app(instance("1"), instance("2"), instances=3)
        self.due(stuck, asked=1)
        self.assertEqual(self.due(stuck, asked=1, after=100), {})

    def test_onlyTheLeaderActsAndANewOneWaitsForTheWholeTime(self):
        stuck = app(instance("1"), instances=3)
        self.due(stuck)
        self.leads = False
        self.assertEqual(self.due(stuck, after=100), {})
        self.leads = True
        self.assertEqual(self.due(stuck, after=1), {})
        self.assertEqual(self.due(stuck, after=61), {ID: 3})
