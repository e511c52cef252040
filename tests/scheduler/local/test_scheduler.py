"""The local scheduler's decisions, on a clock and with fake processes."""

from itertools import pairwise
from pathlib import Path

import attrs
from twisted.internet.defer import TimeoutError as WaitedTooLong
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.scheduler.local.fakes import HEALTHY, NOT_FOUND, REFUSED, FakeProbe, FakeRunner, FakeRunning, service
from waiter.errors import ServiceForbidden, ServiceNotFound, ShuttingDown
from waiter.model.instance import Flag, Instance
from waiter.model.resources import Resources, Shortage
from waiter.scheduler.interface import IScheduler, Measurement, Signal
from waiter.scheduler.local.interface import CannotStart, Excess, IRunner, IRunning
from waiter.scheduler.local.listening import ListeningSocket
from waiter.scheduler.local.scheduler import LocalScheduler


class SchedulerCase(SynchronousTestCase):
    on_stop = "stop"

    def setUp(self):
        self.clock = Clock()
        self.clock.advance(1000)
        self.probe = FakeProbe(self.clock)
        self.runner = FakeRunner(self.clock)
        self.known = {}
        self.changes = []
        self.elsewhere = Resources()
        self.scheduler = LocalScheduler(
            self.clock,
            directory=Path(self.mktemp()),
            cluster="waiter",
            wall=self.clock.seconds,
            probe=self.probe,
            describe=self.known.get,
            secret=lambda: b"secret",
            machine=Resources(cpus=4, mem=1000),
            elsewhere=lambda: self.elsewhere,
            user="tester",
            on_stop=self.on_stop,
            runner=self.runner,
        )
        self.scheduler.subscribe(lambda: self.changes.append(self.clock.seconds()))

    def start(self):
        self.successResultOf(self.scheduler.startService())

    def create(self, *args, **parameters):
        described = service(*args, **parameters)
        self.known[described.id] = described
        self.assertTrue(self.successResultOf(self.scheduler.create(described)))
        return described

    def scale(self, described, number):
        self.successResultOf(self.scheduler.scale(described.id, number))
        self.settle()

    def settle(self, secs=0.05):
        """Let the coalesced turns and first checks happen."""
        for _ in range(20):
            self.clock.advance(secs / 20)

    def look(self, described):
        for record, instances in self.successResultOf(self.scheduler.services()).items():
            if record.id == described.id:
                return record, instances
        return None

    def healthy(self, described):
        return [each.healthy for each in self.look(described)[1].active]


class FakesTests(SynchronousTestCase):
    def test_theFakesHaveTheShapeOfTheRealOnes(self):
        clock = Clock()
        verifyObject(IRunner, FakeRunner(clock))
        verifyObject(IRunning, FakeRunning("a.1", "a", (1,), 0))


class StartingTests(SchedulerCase):
    def setUp(self):
        super().setUp()
        self.start()

    def test_itIsAScheduler(self):
        verifyObject(IScheduler, self.scheduler)

    def test_aNewServiceIsStartedInTheSameTurn(self):
        described = self.create()
        self.assertEqual(len(self.runner.started), 1)
        record, instances = self.look(described)
        self.assertEqual((record.instances, record.task_count), (1, 1))
        self.assertEqual([(each.healthy, each.port) for each in instances.active], [(False, 10000)])

    def test_anInstanceIsFoundHealthyFiveMillisecondsAfterItsStart(self):
        described = self.create()
        self.clock.advance(0.004)
        self.assertEqual(self.healthy(described), [False])
        self.clock.advance(0.001)
        self.assertEqual(self.healthy(described), [True])

    def test_aStartingInstanceIsAskedAtGrowingIntervals(self):
        self.probe.result = REFUSED
        self.create()
        for _ in range(20000):
            self.clock.advance(0.001)
        elapsed = [time - 1000 for time in self.probe.times]
        self.assertLess(elapsed[1], 0.0125)
        gaps = [(before, after - before) for before, after in pairwise(elapsed)]
        for before, gap in gaps:
            self.assertLessEqual(gap, max(0.005, min(1, 0.08 * before)) + 0.0021)
        self.assertAlmostEqual(gaps[-1][1], 1, 2)

    def test_aHealthyInstanceIsAskedAtTheServicesInterval(self):
        self.create(health_check_interval_secs=20)
        self.clock.pump([0.005, 19.9, 0.2, 19.9, 0.2])
        self.assertEqual([round(time - 1000) for time in self.probe.times], [0, 20, 40])

    def test_anInstanceThatHasBeenHealthyMayBeBusyForLonger(self):
        self.create()
        self.clock.pump([0.005, 10])
        self.assertEqual(self.probe.patience, [5, 20])

    def test_changesAreToldOncePerTurn(self):
        self.create("a")
        self.create("b")
        self.assertEqual(self.changes, [])
        self.clock.advance(0)
        self.assertEqual(len(self.changes), 1)

    def test_becomingHealthyIsToldAtOnce(self):
        self.create()
        self.clock.pump([0, 0])
        told = len(self.changes)
        self.clock.pump([0.005, 0])
        self.assertEqual(len(self.changes), told + 1)

    def test_aServiceThatExistsIsNotCreatedAgain(self):
        described = self.create()
        self.assertFalse(self.successResultOf(self.scheduler.create(described)))
        self.assertEqual(len(self.runner.started), 1)

    def test_aServiceThatMayNotRunHereIsNotKnown(self):
        self.failureResultOf(self.scheduler.create(service(run_as_user="alice")), ServiceForbidden)
        self.assertEqual(self.successResultOf(self.scheduler.services()), {})

    def test_oneInstanceIsStartedInATurnOfTheReactor(self):
        described = self.create()
        self.scheduler.scale(described.id, 4)
        self.assertEqual(len(self.runner.started), 2)
        self.settle()
        self.assertEqual(len(self.runner.started), 4)

    def test_loweringTheNumberStopsNothing(self):
        described = self.create()
        self.scale(described, 3)
        self.scale(described, 1)
        record, instances = self.look(described)
        self.assertEqual((record.instances, record.task_count, len(instances.active)), (1, 3, 3))
        self.assertEqual([each.graces for each in self.runner.started], [[], [], []])

    def test_scalingAnUnknownServiceFails(self):
        self.failureResultOf(self.scheduler.scale("nothing", 1), ServiceNotFound)


class FailingTests(SchedulerCase):
    def setUp(self):
        super().setUp()
        self.start()

    def test_anInstanceThatExitsIsReplacedAfterAPauseAndExplained(self):
        self.probe.result = REFUSED
        described = self.create()
        self.settle()
        self.runner.started[0].exit(3)
        record, instances = self.look(described)
        self.assertEqual((record.instances, record.task_count), (1, 0))
        (failed,) = instances.failed
        self.assertEqual((failed.exit_code, failed.healthy, failed.status), (3, False, "Failed"))
        self.assertIn("exit code 3", failed.message)
        self.assertEqual(failed.last_output, ("the last line",))
        self.clock.advance(0.19)
        self.assertEqual(len(self.runner.started), 1)
        self.clock.advance(0.011)
        self.assertEqual(len(self.runner.started), 2)

    def test_whatAFailedInstanceLeftBehindIsEndedAtOnce(self):
        self.create(termination_grace_period_secs=30)
        self.runner.started[0].exit(1)
        self.assertEqual(self.runner.started[0].graces, [0])

    def test_pausesGrowUntilAnInstanceHasBeenHealthyForAWhile(self):
        self.probe.result = REFUSED
        self.create(restart_backoff_factor=3)
        pauses = []
        for _ in range(4):
            failed_at = self.clock.seconds()
            number = len(self.runner.started)
            self.runner.started[-1].exit(1)
            while len(self.runner.started) == number:
                self.clock.advance(0.01)
            pauses.append(round(self.clock.seconds() - failed_at, 1))
        self.assertEqual(pauses, [0.2, 0.6, 1.8, 5.4])
        self.probe.result = HEALTHY
        self.settle()
        self.clock.advance(10)
        self.runner.started[-1].exit(1)
        self.clock.advance(0.21)
        self.assertEqual(len(self.runner.started), 6)

    def test_pausesGrowWhenInstancesFailSoonAfterTheirFirstCheck(self):
        self.create(restart_backoff_factor=3)
        for pause in (0.2, 0.6, 1.8):
            number = len(self.runner.started)
            self.settle()
            self.runner.started[-1].exit(1)
            self.clock.advance(pause - 0.01)
            self.assertEqual(len(self.runner.started), number)
            self.clock.advance(0.02)
            self.assertEqual(len(self.runner.started), number + 1)

    def test_anInstanceThatFinishesIsReplacedButHasNotFailed(self):
        described = self.create()
        self.settle()
        self.runner.started[0].exit(0)
        self.assertEqual(self.look(described)[1].failed, ())
        self.clock.advance(0.21)
        self.assertEqual(len(self.runner.started), 2)

    def test_anInstanceThatFinishesBeforeItWasEverHealthyHasFailed(self):
        self.probe.result = REFUSED
        described = self.create()
        self.runner.started[0].exit(0)
        (failed,) = self.look(described)[1].failed
        self.assertEqual(failed.exit_code, 0)
        self.assertIn("foreground", failed.advice)

    def test_anInstanceThatGoesToTheBackgroundHasFailedEvenIfItWasHealthy(self):
        described = self.create()
        self.settle()
        self.runner.started[0].remains = True
        self.runner.started[0].exit(0)
        (failed,) = self.look(described)[1].failed
        self.assertIn("foreground", failed.advice)

    def test_theLatestTenFailuresAreKept(self):
        self.probe.result = REFUSED
        described = self.create(restart_backoff_factor=1)
        for code in range(1, 13):
            self.runner.started[-1].exit(code)
            self.clock.advance(0.21)
        self.assertEqual([each.exit_code for each in self.look(described)[1].failed], list(range(3, 13)))

    def test_anInstanceThatNeverPassesIsKilledAfterItsGracePeriod(self):
        self.probe.result = NOT_FOUND
        described = self.create(grace_period_secs=30, termination_grace_period_secs=7)
        self.clock.pump([0.01] * 10)
        self.clock.advance(29.8)
        self.assertEqual(self.runner.started[0].graces, [])
        self.clock.advance(0.2)
        self.assertEqual(self.runner.started[0].graces, [7])
        (failed,) = self.look(described)[1].failed
        self.assertIn(Flag.NEVER_PASSED_HEALTH_CHECKS, failed.flags)
        self.assertIn(Flag.HAS_RESPONDED, failed.flags)
        self.assertIn("answered with 404", failed.message)
        self.assertEqual(failed.health_check_status, 404)

    def test_aCheckThatHangsDoesNotLengthenTheGracePeriod(self):
        self.probe.result = None
        described = self.create(grace_period_secs=2)
        cancelled = []
        self.clock.advance(0.005)
        self.probe.open[0].addErrback(cancelled.append)
        self.clock.advance(2)
        self.assertEqual(len(self.look(described)[1].failed), 1)
        self.assertTrue(self.probe.open[0].called)

    def test_anInstanceThatIsNotReachedIsToldWhereItListens(self):
        self.probe.result = REFUSED
        described = self.create(grace_period_secs=2)
        self.runner.started[0].listens = (ListeningSocket(address="0.0.0.0", port=8000),)
        self.clock.pump([0.1] * 21)
        (failed,) = self.look(described)[1].failed
        self.assertIn("It listens on port 8000 instead of $PORT0 (10000)", failed.message)
        self.assertNotIn(Flag.HAS_CONNECTED, failed.flags)

    def test_anInstanceThatTakesTheFirstCheckAndNeverAnswersIsSaidToBeSilent(self):
        self.probe.result = None
        described = self.create(grace_period_secs=2)
        self.runner.started[0].listens = (ListeningSocket(address="127.0.0.1", port=10000),)
        self.clock.pump([0.1] * 21)
        (failed,) = self.look(described)[1].failed
        self.assertIn("was not answered within 1.9 s", failed.message)
        self.assertLessEqual({Flag.HAS_CONNECTED, Flag.TIMEOUT_EXCEPTION}, failed.flags)

    def test_anInstanceThatPassesWhileItsSocketsAreLookedForLives(self):
        self.probe.result = REFUSED
        described = self.create(grace_period_secs=2)
        running = self.runner.started[0]
        running.listens = None
        self.clock.pump([0.1] * 21)
        self.assertEqual(self.look(described)[1].failed, ())
        self.probe.result = HEALTHY
        self.clock.pump([0.1] * 100)
        self.assertEqual(self.healthy(described), [True])
        self.assertTrue(running.looks[0].called)

    def test_aKillEndsTheLookForSockets(self):
        self.probe.result = REFUSED
        described = self.create(grace_period_secs=2)
        self.runner.started[0].listens = None
        self.clock.pump([0.1] * 21)
        (instance,) = self.look(described)[1].active
        self.scheduler.kill(instance)
        self.assertTrue(self.runner.started[0].looks[0].called)
        self.assertEqual(self.look(described)[1].failed, ())

    def test_aLookForSocketsThatHangsIsGivenUp(self):
        self.probe.result = REFUSED
        described = self.create(grace_period_secs=2)
        self.runner.started[0].listens = None
        self.clock.pump([0.1] * 80)
        (failed,) = self.look(described)[1].failed
        self.assertIn("Nothing listened", failed.message)
        self.assertEqual(len(self.flushLoggedErrors(WaitedTooLong)), 1)

    def test_whatAStartingInstanceAnswersIsToldWhenItIsAnotherAnswer(self):
        self.probe.result = REFUSED
        self.create()
        self.clock.pump([0.01] * 50)
        self.changes.clear()
        self.clock.pump([0.01] * 50)
        self.assertEqual(self.changes, [])
        self.probe.result = NOT_FOUND
        self.clock.pump([0.01] * 50)
        self.assertEqual(len(self.changes), 1)

    def test_whatTheChecksOfAStartingInstanceShowIsShown(self):
        self.probe.result = NOT_FOUND
        described = self.create()
        self.clock.advance(0.1)
        (instance,) = self.look(described)[1].active
        self.assertIn("answered with 404", instance.message)
        self.probe.result = HEALTHY
        self.clock.advance(1)
        (instance,) = self.look(described)[1].active
        self.assertIsNone(instance.message)

    def test_aFullDiskIsNamedWithTheFailure(self):
        self.probe.result = REFUSED
        described = self.create()
        self.runner.started[0].lack = "The disk is full: 3 KiB are free"
        self.runner.started[0].exit(1)
        (failed,) = self.look(described)[1].failed
        self.assertIn("The disk is full: 3 KiB are free.", failed.message)
        self.assertIn("Make room", failed.advice)

    def test_anInstanceThatExceedsItsMemoryIsEndedByForceAndReplaced(self):
        described = self.create(mem=100, termination_grace_period_secs=300)
        self.settle()
        first = self.runner.started[0]
        self.assertEqual(first.mem, 100)
        first.lack = "The disk is full"
        first.exceed(Excess(mem_mib=120, processes=2, most_mem_mib=100))
        self.assertEqual(first.graces, [0])
        (failed,) = self.look(described)[1].failed
        self.assertEqual((failed.status, failed.flags), ("Failed", {Flag.MEMORY_LIMIT_EXCEEDED}))
        self.assertIn("used 120 MiB", failed.message)
        # The reason is known for certain.
        self.assertNotIn("disk", failed.message)
        self.assertTrue(first.noted["failed"])
        self.settle(1)
        self.assertEqual(self.healthy(described), [True])

    def test_anInstanceThatIsEndingAlreadyExceedsNothing(self):
        described = self.create()
        self.settle()
        self.runner.lingers = self.runner.started[0].lingers = True
        (instance,) = self.look(described)[1].active
        self.scheduler.kill(instance)
        self.runner.started[0].exceed(Excess(mem_mib=120, processes=2, most_processes=1))
        self.assertEqual(self.look(described)[1].failed, ())

    def test_whatInstancesUseIsTold(self):
        described = self.create()
        self.assertEqual(self.scheduler.measured(described.id), {})
        self.assertEqual(self.scheduler.measured("waiter-service-unknown"), {})
        (running,) = self.runner.started
        running.measurement = Measurement(memory_mib=12.34, processes=2, measured_at=1000.0)
        self.assertEqual(self.scheduler.measured(described.id), {running.id: running.measurement})
        state = self.scheduler.state()["services"][described.id]
        self.assertEqual(state["measured"], {running.id: {"memory-mib": 12.3, "processes": 2}})

    def test_aGracePeriodOfZeroNeverEnds(self):
        self.probe.result = REFUSED
        described = self.create(grace_period_secs=0)
        self.clock.pump([10] * 100)
        self.assertEqual(self.look(described)[1].failed, ())

    def test_anInstanceThatStopsBeingHealthyIsShownSoAndGivenUpInTheEnd(self):
        described = self.create(health_check_interval_secs=10, health_check_max_consecutive_failures=3)
        self.settle()
        self.probe.result = NOT_FOUND
        self.clock.advance(10)
        _, instances = self.look(described)
        self.assertEqual([each.healthy for each in instances.active], [False])
        self.assertEqual(instances.active[0].flags, {Flag.HAS_CONNECTED, Flag.HAS_RESPONDED})
        self.clock.pump([1] * 19)
        self.assertEqual(self.look(described)[1].failed, ())
        self.clock.advance(1)
        (failed,) = self.look(described)[1].failed
        self.assertIn("health checks in a row over 20 s", failed.message)
        self.assertNotIn(Flag.NEVER_PASSED_HEALTH_CHECKS, failed.flags)

    def test_anInstanceThatRecoversIsUsedAgainWithinASecond(self):
        described = self.create(health_check_interval_secs=60)
        self.settle()
        self.probe.result = REFUSED
        self.clock.advance(60)
        self.assertEqual(self.healthy(described), [False])
        self.probe.result = HEALTHY
        self.clock.advance(1)
        self.assertEqual(self.healthy(described), [True])
        self.assertEqual(self.look(described)[1].active[0].flags, frozenset())

    def test_anInstanceWhosePortIsTakenIsStartedAgainAtOnceAndHasNotFailed(self):
        self.probe.result = REFUSED
        described = self.create()
        self.runner.started[0].taken = 10000
        self.runner.started[0].exit(1)
        self.clock.advance(0)
        self.assertEqual(len(self.runner.started), 2)
        self.assertEqual(self.look(described)[1].failed, ())

    def test_aPortHeldByWhatTheInstanceItselfLeftBehindIsNotTaken(self):
        self.probe.result = REFUSED
        self.runner.lingers = True
        described = self.create()
        running = self.runner.started[0]
        running.taken = 10000
        running.exit(4)
        self.assertEqual(self.look(described)[1].failed, ())
        self.assertEqual(self.look(described)[0].task_count, 0)
        running.taken = None
        running.vanish()
        self.assertEqual([each.exit_code for each in self.look(described)[1].failed], [4])

    def test_portsThatAreAlwaysTakenAreAFailureInTheEnd(self):
        self.probe.result = REFUSED
        described = self.create()
        for _ in range(6):
            self.runner.started[-1].taken = 10000
            self.runner.started[-1].exit(1)
            self.clock.advance(0)
        self.assertEqual(len(self.runner.started), 6)
        (failed,) = self.look(described)[1].failed
        self.assertIn("in use by another program", failed.message)

    def test_anInstanceThatTheSystemRefusesToStartHasFailed(self):
        self.runner.refusal = CannotStart("It could not be started: No space left on device.", temporary=False)
        described = self.create()
        record, instances = self.look(described)
        self.assertEqual((record.instances, record.task_count), (1, 0))
        self.assertIn("No space left", instances.failed[0].message)
        self.runner.refusal = None
        self.clock.advance(0.2)
        self.assertEqual(len(self.runner.started), 1)


class HoldingBackTests(SchedulerCase):
    """The machine has 4 CPUs, which may be promised four times, and 1000 MiB, of which 800 may be promised."""

    def setUp(self):
        super().setUp()
        self.start()

    def test_whatDoesNotFitWaitsWithAReasonUntilThereIsRoom(self):
        described = self.create(mem=300)
        self.scale(described, 3)
        record, instances = self.look(described)
        self.assertEqual((record.instances, record.task_count), (3, 2))
        self.assertIn("Waits for memory", record.queued_reason)
        self.successResultOf(self.scheduler.kill(instances.active[0]))
        record, _ = self.look(described)
        self.assertEqual((record.instances, record.task_count, record.queued_reason), (2, 2, None))

    def test_memoryIsPromisedUntilNothingIsLeft(self):
        self.runner.lingers = True
        first = self.create("first", mem=500)
        second = self.create("second", mem=500)
        self.successResultOf(self.scheduler.services())
        killing = self.scheduler.kill(self.look(first)[1].active[0])
        self.settle()
        self.assertNoResult(killing)
        self.assertIsNotNone(self.look(second)[0].queued_reason)
        self.runner.started[0].vanish()
        self.assertTrue(self.successResultOf(killing).killed)
        self.settle()
        self.assertEqual(self.look(second)[0].task_count, 1)
        self.assertIsNone(self.look(second)[0].queued_reason)

    def test_aServiceWithoutInstancesComesBeforeOneThatGrows(self):
        big = self.create("big", mem=400)
        self.scale(big, 3)
        new = self.create("new", mem=400)
        self.assertEqual(self.look(new)[0].task_count, 0)
        self.successResultOf(self.scheduler.kill(self.look(big)[1].active[0]))
        self.successResultOf(self.scheduler.scale(big.id, 3))
        self.settle()
        self.assertEqual(self.look(new)[0].task_count, 1)
        self.assertEqual(self.look(big)[0].task_count, 1)

    def test_aSmallServiceIsNotHeldUpByABigOne(self):
        self.create("first", mem=500)
        self.create("big", mem=700)
        small = self.create("small", mem=100)
        self.assertEqual(self.look(small)[0].task_count, 1)

    def test_itIsSaidWhatIsMissing(self):
        first = self.create("first", mem=500)
        second = self.create("second", mem=400, cpus=1)
        self.assertEqual(self.look(first)[0].shortage, None)
        self.assertEqual(self.look(second)[0].shortage, Shortage(place=0, room=Resources(cpus=15.5, mem=300)))

    def test_whatIsEndingIsNotMissing(self):
        self.runner.lingers = True
        first = self.create("first", mem=500)
        second = self.create("second", mem=500)
        self.settle()
        self.scheduler.kill(self.look(first)[1].active[0])
        self.settle()
        self.assertEqual(self.look(second)[0].task_count, 0)
        self.assertEqual(self.look(second)[0].shortage.room.mem, 800)
        self.runner.started[0].vanish()
        self.settle()
        self.assertIsNone(self.look(second)[0].shortage)

    def test_cpusMayBeMissing(self):
        self.create("first", cpus=12)
        second = self.create("second", cpus=5)
        record, _ = self.look(second)
        self.assertIn("Waits for CPUs: an instance needs 5 CPUs and 4 are free", record.queued_reason)

    def test_moreCpusThanAllAreADeploymentError(self):
        described = self.create(cpus=17)
        self.assertIn("raise cpu-overcommit", self.look(described)[0].deployment_error)

    def test_serviceThatRequestsWaitForComesFirst(self):
        filling = self.create("filling", mem=800)
        ignored = self.create("ignored", mem=400)
        wanted = self.create("wanted", mem=400)
        wanting = self.create("wanting", mem=300)
        self.scheduler.waited_for(frozenset({wanted.id, wanting.id}))
        self.settle()
        self.assertEqual(self.look(wanted)[0].shortage.place, 0)
        self.successResultOf(self.scheduler.kill(self.look(filling)[1].active[0]))
        self.settle()
        self.assertEqual([self.look(each)[0].task_count for each in (ignored, wanted, wanting)], [0, 1, 1])

    def test_aBigServiceIsPassedForAWhileOnly(self):
        first = self.create("first", mem=500)
        big = self.create("big", mem=700)
        self.scheduler.waited_for(frozenset({big.id}))
        self.settle(9)
        early = self.create("early", mem=100)
        self.settle()
        self.assertEqual(self.look(early)[0].task_count, 1)
        self.settle(2)
        late = self.create("late", mem=100)
        self.settle()
        record, _ = self.look(late)
        self.assertEqual((record.task_count, record.shortage), (0, None))
        self.assertIn(f"Waits for its turn: {big.id}", record.queued_reason)
        self.successResultOf(self.scheduler.kill(self.look(first)[1].active[0]))
        self.settle()
        self.assertEqual([self.look(each)[0].task_count for each in (big, late)], [1, 0])

    def test_whenTheServiceThatRoomIsKeptForIsDeletedTheOthersComeForward(self):
        self.create("first", mem=500)
        big = self.create("big", mem=700)
        self.scheduler.waited_for(frozenset({big.id}))
        self.settle(11)
        late = self.create("late", mem=100)
        self.settle()
        self.assertEqual(self.look(late)[0].task_count, 0)
        self.successResultOf(self.scheduler.delete(big.id))
        self.settle()
        self.assertEqual(self.look(late)[0].task_count, 1)

    def test_aBigServiceThatNobodyWaitsForKeepsNoRoom(self):
        self.create("first", mem=500)
        self.create("big", mem=700)
        self.settle(20)
        late = self.create("late", mem=100)
        self.settle()
        self.assertEqual(self.look(late)[0].task_count, 1)

    def test_whoGotAnInstanceGoesToTheEndOfTheLine(self):
        one = self.create("one", mem=200)
        other = self.create("other", mem=200)
        self.scale(one, 9)
        self.settle(1)
        self.scale(other, 9)
        for _ in range(6):
            self.settle(1)
            self.successResultOf(self.scheduler.kill(self.look(one)[1].active[0]))
            self.successResultOf(self.scheduler.scale(one.id, 9))
        self.settle()
        counts = [self.look(each)[0].task_count for each in (one, other)]
        self.assertEqual(sum(counts), 4)
        self.assertGreaterEqual(counts[1], 2)

    def test_roomThatAnotherServerGivesBackIsNoticed(self):
        self.elsewhere = Resources(mem=500)
        described = self.create(mem=400)
        self.assertIn("instances of other servers hold 500 MiB", self.look(described)[0].queued_reason)
        self.elsewhere = Resources()
        self.settle(1.1)
        self.assertEqual(self.look(described)[0].task_count, 1)

    def test_whatCanNeverFitIsADeploymentError(self):
        described = self.create(mem=900)
        self.settle()
        record, _ = self.look(described)
        self.assertIn("An instance needs 900 MiB", record.deployment_error)
        self.assertEqual(self.runner.started, [])

    def test_aMachineWithoutPortsIsAskedAgain(self):
        self.runner.refusal = CannotStart("Waits for ports: none", temporary=True)
        described = self.create()
        self.assertEqual(self.look(described)[0].queued_reason, "Waits for ports: none")
        self.assertEqual(self.look(described)[1].failed, ())
        self.runner.refusal = None
        self.clock.advance(1)
        self.assertEqual(self.look(described)[0].task_count, 1)
        self.assertIsNone(self.look(described)[0].queued_reason)


class KillingTests(SchedulerCase):
    def setUp(self):
        super().setUp()
        self.start()
        self.runner.lingers = True
        self.described = self.create(termination_grace_period_secs=5)
        self.settle()
        self.instance = self.look(self.described)[1].active[0]

    def test_aKilledInstanceIsNoLongerListedButTheAnswerWaitsForItsEnd(self):
        killing = self.scheduler.kill(self.instance)
        record, instances = self.look(self.described)
        self.assertEqual((record.instances, record.task_count, instances.active), (0, 0, ()))
        self.assertEqual(set(self.runner.started[0].graces), {5})
        self.assertNoResult(killing)
        self.runner.started[0].vanish()
        result = self.successResultOf(killing)
        self.assertEqual((result.killed, result.status), (True, 200))
        self.assertEqual(self.look(self.described)[1].failed, ())

    def test_aKilledInstanceIsNotReplaced(self):
        self.scheduler.kill(self.instance)
        self.runner.started[0].vanish()
        self.clock.pump([1] * 10)
        self.assertEqual(len(self.runner.started), 1)

    def test_anInstanceThatExitsWhileItIsKilledHasNotFailed(self):
        self.scheduler.kill(self.instance)
        self.runner.started[0].exit(143)
        self.assertEqual(self.look(self.described)[1].failed, ())

    def test_aKillIsRecordedBeforeItIsDone(self):
        self.scheduler.kill(self.instance)
        self.assertTrue(self.runner.started[0].noted["killed"])

    def test_aSecondKillIsTold(self):
        self.scheduler.kill(self.instance)
        result = self.successResultOf(self.scheduler.kill(self.instance))
        self.assertEqual((result.killed, result.status), (False, 400))
        self.assertEqual(self.look(self.described)[0].instances, 0)

    def test_anInstanceThatHasEndedIsToldFromOneThatNeverWas(self):
        self.scheduler.kill(self.instance)
        self.runner.started[0].vanish()
        self.assertEqual(self.successResultOf(self.scheduler.kill(self.instance)).status, 400)
        never = Instance(id="waiter-service-a.x", service_id=self.described.id)
        self.assertEqual(self.successResultOf(self.scheduler.kill(never)).status, 404)
        nowhere = Instance(id="b.x", service_id="b")
        self.assertEqual(self.successResultOf(self.scheduler.kill(nowhere)).status, 404)

    def test_aForcedKillCutsAGracefulOneShort(self):
        soft = self.scheduler.signal(self.described.id, self.instance.id, Signal.SOFT_KILL)
        hard = self.scheduler.signal(self.described.id, self.instance.id, Signal.FORCE_KILL)
        self.assertEqual(self.runner.started[0].graces[-1], 0)
        self.assertEqual(self.look(self.described)[0].instances, 0)
        self.runner.started[0].vanish()
        self.assertTrue(self.successResultOf(soft).killed)
        self.assertTrue(self.successResultOf(hard).killed)

    def test_anExpiredInstanceIsMarkedAndRunsOn(self):
        result = self.successResultOf(self.scheduler.signal(self.described.id, self.instance.id, Signal.EXPIRE))
        self.assertEqual(result.status, 200)
        (instance,) = self.look(self.described)[1].active
        self.assertIn(Flag.EXPIRED, instance.flags)
        self.assertTrue(instance.healthy)
        self.assertTrue(self.runner.started[0].noted["expired"])

    def test_givingUpTheWaitDoesNotGiveUpTheKill(self):
        killing = self.scheduler.kill(self.instance)
        killing.addErrback(lambda _: None)
        killing.cancel()
        self.runner.started[0].vanish()
        self.assertEqual(self.look(self.described)[0].task_count, 0)

    def test_aDeletedServiceIsForgottenAtOnceAndAnsweredWhenItIsGone(self):
        deleting = self.scheduler.delete(self.described.id)
        self.assertIsNone(self.look(self.described))
        self.assertNoResult(deleting)
        self.assertEqual(set(self.runner.started[0].graces), {5})
        self.runner.started[0].vanish()
        self.assertEqual(self.successResultOf(deleting).result, "deleted")
        self.assertEqual(
            self.successResultOf(self.scheduler.delete(self.described.id)).result, "no-such-service-exists"
        )

    def test_aServiceThatIsCreatedWhileItIsDeletedLives(self):
        self.scheduler.delete(self.described.id)
        self.create()
        self.runner.started[0].vanish()
        self.assertEqual(self.look(self.described)[0].task_count, 1)
        self.assertEqual(self.look(self.described)[0].instances, 1)


class RedescribingTests(SchedulerCase):
    def test_whatRunsAndWhatIsStartedGoesByTheNewDescription(self):
        self.start()
        described = self.create(termination_grace_period_secs=5)
        self.settle()
        self.changes.clear()
        description = described.description.model_copy(update={"termination_grace_period_secs": 9})
        self.scheduler.redescribe(attrs.evolve(described, description=description))
        self.scale(described, 2)
        self.assertTrue(self.changes)
        self.scheduler.delete(described.id)
        self.assertEqual([set(each.graces) for each in self.runner.started], [{9}, {9}])

    def test_aServiceThatIsNotKnownIsPassedOver(self):
        self.start()
        self.scheduler.redescribe(service())
        self.assertEqual(self.successResultOf(self.scheduler.services()), {})


class AdoptingTests(SchedulerCase):
    def setUp(self):
        super().setUp()
        self.described = service()
        self.known[self.described.id] = self.described
        self.running = FakeRunning(f"{self.described.id}.old", self.described.id, (10007,), 900.0)
        self.runner.earlier = [self.running]

    def test_theInstancesOfAnEarlierServerAreListedWhenTheSchedulerIsReady(self):
        self.start()
        record, instances = self.look(self.described)
        self.assertEqual((record.instances, record.task_count), (1, 1))
        self.assertEqual([(each.port, each.started_at) for each in instances.active], [(10007, 900.0)])
        self.settle()
        self.assertEqual(self.healthy(self.described), [True])
        self.assertEqual(self.runner.started, [])

    def test_anInstanceThatWasExpiredStaysSo(self):
        self.running.expired = True
        self.start()
        self.assertIn(Flag.EXPIRED, self.look(self.described)[1].active[0].flags)

    def test_anInstanceThatHadBeenHealthyIsNotKilledByItsGracePeriod(self):
        self.running.was_healthy = True
        self.probe.result = REFUSED
        self.start()
        self.clock.pump([1] * 35)
        self.assertEqual(self.look(self.described)[1].failed, ())
        self.clock.pump([1] * 10)
        self.assertIn("in a row", self.look(self.described)[1].failed[0].message)

    def test_aServiceThatIsNotKnownIsRevivedFromWhatTheInstanceSays(self):
        self.known.clear()
        self.running.core = self.described.core
        asked = []
        self.scheduler._revive = lambda service_id, core: (asked.append((service_id, core)), self.described)[1]
        self.start()
        self.assertEqual(asked, [(self.described.id, self.described.core)])
        self.assertEqual(self.look(self.described)[0].task_count, 1)

    def test_anInstanceOfAServiceThatNothingDescribesIsEnded(self):
        self.known.clear()
        self.scheduler._revive = lambda service_id, core: None
        self.start()
        self.assertEqual((self.running.noted, self.running.graces), ({"killed": True}, [0]))
        self.assertEqual(self.successResultOf(self.scheduler.services()), {})


class StoppingTests(SchedulerCase):
    def begin(self):
        self.start()
        self.runner.lingers = True
        self.described = self.create(termination_grace_period_secs=60)
        self.settle()

    def test_stoppingEndsEveryInstanceWithinABoundedTime(self):
        self.begin()
        stopping = self.scheduler.stopService()
        self.assertNoResult(stopping)
        self.assertEqual(set(self.runner.started[0].graces), {10})
        self.runner.started[0].vanish()
        self.successResultOf(stopping)
        self.assertTrue(self.runner.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_anInstanceThatExitsDuringTheStopIsNotReplaced(self):
        self.begin()
        self.scheduler.stopService()
        self.runner.started[0].exit(0)
        self.clock.pump([1] * 5)
        self.assertEqual(len(self.runner.started), 1)

    def test_cancellingTheStopKillsAtOnce(self):
        self.begin()
        stopping = self.scheduler.stopService()
        stopping.addErrback(lambda _: None)
        stopping.cancel()
        self.assertTrue(self.runner.started[0].forced)

    def test_hurriedTheStopGivesNoTime(self):
        """Neither to those that are ending already nor to those that are told after it."""
        self.begin()
        stopping = self.scheduler.stopService()
        self.scheduler.hurry()
        self.assertEqual(self.runner.started[0].graces[-1], 0)
        self.runner.started[0].vanish()
        self.successResultOf(stopping)

    def test_hurriedBeforeItsTurnTheStopGivesNoTime(self):
        self.begin()
        self.scheduler.hurry()
        self.assertEqual(self.runner.started[0].graces, [])
        self.scheduler.stopService()
        self.assertEqual(set(self.runner.started[0].graces), {0})

    def test_fromThenOnNothingIsStartedInPlaceOfWhatEnds(self):
        self.begin()
        self.scheduler.start_no_more()
        self.runner.started[0].exit(1)
        self.runner.started[0].vanish()
        self.clock.pump([1] * 5)
        self.assertEqual(len(self.runner.started), 1)

    def test_nothingIsCreatedAfterTheStop(self):
        self.begin()
        self.scheduler.stopService()
        self.failureResultOf(self.scheduler.create(service("b")), ShuttingDown)

    def test_instancesAreLeftWhereThatIsAskedFor(self):
        self.scheduler._on_stop = "leave"
        self.begin()
        self.successResultOf(self.scheduler.stopService())
        self.assertTrue(self.runner.started[0].left)
        self.assertEqual(self.runner.started[0].graces, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
