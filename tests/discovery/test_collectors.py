"""The collectors: when they ask, what they pass on, and what they keep to themselves."""

from itertools import count

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.doubles.routers import MemoryRouterDirectory
from tests.doubles.scheduler import MemoryScheduler
from waiter.discovery.collectors import RouterCollector, ServiceCollector
from waiter.model.description import ServiceDescription
from waiter.model.instance import Flag
from waiter.model.service import Service
from waiter.scheduler.health import HealthResult
from waiter.scheduler.interface import SchedulerUnavailable
from waiter.support.turns import SLICE_SECS

DESCRIPTION = ServiceDescription(cmd="c", cpus=1, mem=64, run_as_user="u", version="1")
EPOCH = 1_000_000.0


class Probe:
    """
    A probe that answers what the test wants.

    @ivar results: by instance id: a result, an exception to raise, or a Deferred.
    @ivar asked: instance ids, in order.
    """

    def __init__(self) -> None:
        self.results = {}
        self.asked = []
        self.under_way = 0
        self.most_under_way = 0
        self.otherwise = HealthResult(healthy=True, status=200)

    def check(self, instance, description):
        assert description is DESCRIPTION
        self.asked.append(instance.id)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        result = self.results.get(instance.id, self.otherwise)
        deferred = result if isinstance(result, Deferred) else succeed(result)

        def over(outcome):
            self.under_way -= 1
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        return deferred.addBoth(over)


class ServiceCollectorCase(SynchronousTestCase):
    """A collector with a scheduler that keeps quiet about changes."""

    def setUp(self):
        self.clock = Clock()
        self.scheduler = MemoryScheduler()
        self.scheduler.quiet = True
        self.probe = Probe()
        self.batches = []
        self.killing = set()
        self.waited_for = set()
        self.collector = ServiceCollector(
            self.clock,
            self.scheduler,
            self.publish,
            probe=self.probe,
            describe=lambda name: Service(id=name, core={}, description=DESCRIPTION) if name != "unknown" else None,
            wall=lambda: EPOCH + self.clock.seconds(),
            being_killed=self.killing.__contains__,
            is_waited_for=self.waited_for.__contains__,
        )
        self.addCleanup(self.stop)

    def publish(self, batch):
        self.batches.append(batch)
        return succeed(None)

    def stop(self):
        if self.collector.running:
            self.successResultOf(self.collector.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ServiceCollectorTests(ServiceCollectorCase):
    """When it asks, and what it passes on."""

    def test_when_it_starts_it_collects_at_once_and_then_it_is_ready(self):
        self.scheduler.put("s", requested=2, queued_reason="no memory")
        instance = self.scheduler.start("s")
        self.scheduler.hold()
        ready = self.collector.startService()
        self.assertNoResult(ready)
        self.scheduler.let_go()
        self.successResultOf(ready)
        [batch] = self.batches
        self.assertEqual(batch.collected_at, EPOCH)
        collected = batch.services["s"]
        self.assertEqual(
            (collected.record.instances, collected.record.task_count, collected.record.queued_reason),
            (2, 1, "no memory"),
        )
        self.assertEqual([one.id for one in collected.healthy], [instance.id])

    def test_it_is_not_ready_before_the_first_batch_has_been_taken_in(self):
        being_told = Deferred()
        self.collector._publish = lambda batch: being_told
        ready = self.collector.startService()
        self.collector.prompt()
        self.clock.advance(1)
        self.assertNoResult(ready)
        being_told.callback(None)
        self.successResultOf(ready)
        self.assertEqual(self.collector.took_secs, 1)

    def test_when_it_stops_a_batch_that_is_being_taken_in_is_cancelled(self):
        cancelled = []
        self.collector._publish = lambda batch: Deferred(cancelled.append)
        self.collector.startService()
        self.successResultOf(self.collector.stopService())
        self.assertEqual(len(cancelled), 1)

    def test_when_the_first_round_fails_it_is_ready_all_the_same(self):
        self.scheduler.failure = OSError("out of order")
        self.successResultOf(self.collector.startService())
        self.assertEqual(self.batches, [])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_when_the_wait_for_the_first_round_is_cancelled_the_round_goes_on(self):
        self.scheduler.hold()
        ready = self.collector.startService()
        ready.addErrback(lambda _: None)
        ready.cancel()
        self.scheduler.let_go()
        self.assertEqual(len(self.batches), 1)

    def test_it_collects_every_five_seconds(self):
        self.collector.startService()
        self.clock.advance(4.9)
        self.assertEqual(len(self.batches), 1)
        self.clock.pump([0.1, 5, 5])
        self.assertEqual([batch.collected_at - EPOCH for batch in self.batches], [0, 5, 10, 15])

    def test_when_the_scheduler_has_news_it_collects_at_once(self):
        self.scheduler.quiet = False
        self.collector.startService()
        self.clock.advance(1)
        self.scheduler.put("s")
        self.assertEqual([list(batch.services) for batch in self.batches], [[], ["s"]])

    def test_when_news_come_during_a_round_one_more_round_follows(self):
        self.collector.startService()
        self.scheduler.hold()
        self.collector.prompt()
        self.scheduler.quiet = False
        for name in ("a", "b", "c"):
            self.scheduler.put(name)
        self.scheduler.let_go()
        self.assertEqual(len(self.batches), 2)
        self.clock.advance(0)
        self.assertEqual(len(self.batches), 3)
        self.clock.advance(1)
        self.assertEqual(len(self.batches), 3)

    def test_when_the_scheduler_cannot_be_asked_nothing_is_passed_on_and_it_is_counted(self):
        self.scheduler.put("s")
        self.collector.startService()
        self.scheduler.failure = OSError("out of order")
        self.clock.pump([5, 5])
        self.assertEqual(len(self.batches), 1)
        self.assertEqual(self.collector.errors, 2)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 2)
        self.scheduler.failure = None
        self.clock.advance(5)
        self.assertEqual(self.batches[1].services, self.batches[0].services)

    def test_when_the_scheduler_does_not_answer_the_round_is_given_up(self):
        self.scheduler.hold()
        ready = self.collector.startService()
        self.clock.advance(30)
        self.successResultOf(ready)
        self.assertEqual(self.collector.errors, 1)
        self.flushLoggedErrors()
        self.scheduler.let_go()
        self.assertEqual(self.batches, [])
        self.clock.advance(5)
        self.assertEqual(len(self.batches), 1)

    def test_when_a_round_fails_what_is_known_is_in_doubt(self):
        self.collector.startService()
        self.assertFalse(self.collector.in_doubt)
        self.scheduler.failure = SchedulerUnavailable("out of reach")
        self.clock.advance(5)
        self.assertTrue(self.collector.in_doubt)
        # What the operator is told is a line.
        self.assertEqual((self.collector.errors, self.flushLoggedErrors()), (1, []))
        self.scheduler.failure = None
        self.clock.advance(5)
        self.assertFalse(self.collector.in_doubt)

    def test_when_a_round_takes_longer_than_usual_what_is_known_is_in_doubt(self):
        self.scheduler.hold()
        self.collector.startService()
        self.clock.advance(4)
        self.scheduler.let_go()
        self.assertEqual(self.collector.took_secs, 4)
        self.scheduler.hold()
        self.clock.advance(5)
        self.clock.advance(8)
        self.assertFalse(self.collector.in_doubt)
        self.clock.advance(0.1)
        self.assertTrue(self.collector.in_doubt)
        self.scheduler.let_go()
        self.assertFalse(self.collector.in_doubt)

    def test_when_there_are_many_services_others_have_their_turn_in_between(self):
        for number in range(10):
            self.scheduler.put(f"s{number}")
        seconds = self.clock.seconds
        # As if each look at the clock came a while after the one before.
        steps = count()
        self.clock.seconds = lambda: seconds() + next(steps) * SLICE_SECS
        self.collector.startService()
        self.assertEqual(self.batches, [])
        self.clock.pump([SLICE_SECS] * 100)
        self.clock.seconds = seconds
        self.assertEqual(len(self.batches[0].services), 10)

    def test_when_a_fetch_fails_what_was_seen_before_still_counts(self):
        self.scheduler.put("s")
        instance = self.scheduler.start("s", healthy=False)
        self.collector.startService()
        self.clock.pump([5] * 4)
        self.scheduler.failure = OSError("out of order")
        self.clock.advance(5)
        self.flushLoggedErrors(OSError)
        self.scheduler.failure = None
        self.scheduler.vanish(instance)
        self.clock.advance(5)
        [failed] = self.batches[-1].services["s"].failed
        self.assertEqual(failed.flags, {Flag.NEVER_PASSED_HEALTH_CHECKS})

    def test_when_an_instance_vanishes_because_it_is_killed_it_has_not_failed(self):
        self.scheduler.put("s")
        instance = self.scheduler.start("s", healthy=False)
        self.collector.startService()
        self.clock.pump([5] * 6)
        self.killing.add(instance.id)
        self.scheduler.vanish(instance)
        self.clock.advance(5)
        self.assertEqual(self.batches[-1].services["s"].failed, ())

    def test_when_it_stops_the_round_under_way_ends_and_nothing_follows(self):
        self.scheduler.hold()
        self.collector.startService()
        self.successResultOf(self.collector.stopService())
        self.scheduler.let_go()
        self.collector.prompt()
        self.clock.pump([5] * 3)
        self.assertEqual(self.batches, [])
        self.assertEqual(self.collector.errors, 0)

    def test_when_it_starts_again_it_collects_again(self):
        self.collector.startService()
        self.collector.stopService()
        self.successResultOf(self.collector.startService())
        self.assertEqual(len(self.batches), 2)

    def test_when_a_subscriber_fails_it_goes_on(self):
        self.scheduler.put("s")
        failing = ServiceCollector(
            self.clock, self.scheduler, lambda batch: 1 / 0, probe=self.probe, describe=lambda _: None, wall=lambda: 0.0
        )
        self.successResultOf(failing.startService())
        self.clock.advance(5)
        self.assertEqual(failing.errors, 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        failing.stopService()


class HealthTests(ServiceCollectorCase):
    """Who is checked, and what comes of it."""

    def setUp(self):
        super().setUp()
        self.scheduler.put("s")

    def test_when_the_scheduler_knows_the_health_nobody_is_checked(self):
        self.scheduler.start("s", healthy=True)
        self.scheduler.start("s", healthy=False)
        self.collector.startService()
        self.assertEqual(self.probe.asked, [])
        self.assertEqual(len(self.batches[0].services["s"].healthy), 1)
        self.assertEqual(len(self.batches[0].services["s"].unhealthy), 1)

    def test_when_the_scheduler_does_not_know_the_check_decides(self):
        good, bad = self.scheduler.start("s", healthy=None), self.scheduler.start("s", healthy=None)
        flags = frozenset({Flag.HAS_CONNECTED, Flag.HAS_RESPONDED})
        self.probe.results[bad.id] = HealthResult(healthy=False, status=404, flags=flags, message="GET / was 404")
        self.collector.startService()
        collected = self.batches[0].services["s"]
        self.assertEqual(
            collected.healthy, (attrs.evolve(good, healthy=True, health_check_status=200, status="Healthy"),)
        )
        self.assertEqual(
            collected.unhealthy,
            (
                attrs.evolve(
                    bad,
                    healthy=False,
                    health_check_status=404,
                    flags=flags,
                    status="Unhealthy",
                    message="GET / was 404",
                ),
            ),
        )

    def test_when_the_service_is_unknown_its_instances_are_not_checked(self):
        self.scheduler.put("unknown")
        self.scheduler.start("unknown", healthy=None)
        self.collector.startService()
        self.assertEqual(self.probe.asked, [])
        self.assertEqual(len(self.batches[0].services["unknown"].unhealthy), 1)

    def test_the_batch_waits_for_all_checks(self):
        slow = self.scheduler.start("s", healthy=None)
        self.scheduler.start("s", healthy=None)
        self.probe.results[slow.id] = Deferred()
        self.collector.startService()
        self.assertEqual(self.batches, [])
        self.probe.results[slow.id].callback(HealthResult(healthy=True, status=200))
        self.assertEqual(len(self.batches[0].services["s"].healthy), 2)

    def test_when_there_are_many_only_fifty_are_checked_at_once(self):
        instances = [self.scheduler.start("s", healthy=None) for _ in range(120)]
        waiting = {instance.id: Deferred() for instance in instances}
        self.probe.results.update(waiting)
        self.collector.startService()
        self.assertEqual(len(self.probe.asked), 50)
        while self.probe.asked:
            waiting[self.probe.asked.pop(0)].callback(HealthResult(healthy=True, status=200))
        self.assertEqual(self.probe.most_under_way, 50)
        self.assertEqual(len(self.batches[0].services["s"].healthy), 120)

    def test_when_thousands_are_checked_at_once_the_stack_does_not_grow(self):
        for _ in range(3000):
            self.scheduler.start("s", healthy=None)
        self.successResultOf(self.collector.startService())
        self.assertEqual(len(self.batches[0].services["s"].healthy), 3000)

    def test_when_a_check_is_broken_its_instance_is_unhealthy_and_the_others_are_not_hidden(self):
        broken = self.scheduler.start("s", healthy=None)
        self.scheduler.start("s", healthy=None)
        self.probe.results[broken.id] = ValueError("a bug")
        self.collector.startService()
        collected = self.batches[0].services["s"]
        self.assertEqual([one.id for one in collected.unhealthy], [broken.id])
        self.assertEqual(len(collected.healthy), 1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_when_it_stops_the_checks_are_cancelled(self):
        cancelled = []
        instance = self.scheduler.start("s", healthy=None)
        self.probe.results[instance.id] = Deferred(lambda _: cancelled.append(True))
        self.collector.startService()
        self.successResultOf(self.collector.stopService())
        self.assertEqual(cancelled, [True])
        self.assertEqual(self.batches, [])

    def test_when_a_check_takes_its_cancellation_for_an_answer_nothing_is_passed_on(self):
        instance = self.scheduler.start("s", healthy=None)
        self.probe.results[instance.id] = Deferred(lambda d: d.callback(HealthResult(healthy=False)))
        self.collector.startService()
        self.successResultOf(self.collector.stopService())
        self.assertEqual(self.batches, [])


class BetweenTheRoundsTests(ServiceCollectorCase):
    """Instances that are starting, or waited for, are checked between the rounds."""

    refused = HealthResult(healthy=False, error="connect-exception", message="refused")

    def setUp(self):
        super().setUp()
        self.scheduler.put("s")
        self.probe.otherwise = self.refused
        self.collector.startService()
        self.begun = EPOCH + self.clock.seconds()

    def begin(self, **fields):
        """An instance that has just been started, as the next round finds it."""
        fields = {"started_at": EPOCH + self.clock.seconds(), **fields}
        instance = self.scheduler.start("s", healthy=None, **fields)
        self.collector.prompt()
        return instance

    def pass_from_now_on(self, *instances):
        for instance in instances:
            self.probe.results[instance.id] = HealthResult(healthy=True, status=200)

    def healthy(self):
        return [instance.id for instance in self.batches[-1].services["s"].healthy]

    def run_for(self, secs, step=0.001):
        for _ in range(round(secs / step)):
            self.clock.advance(step)

    def test_whenAStartingOneListensOneCheckMakesItUsableInTheSameTurn(self):
        instance = self.begin()
        self.run_for(0.5)
        self.assertEqual(self.healthy(), [])
        self.pass_from_now_on(instance)
        before, rounds = len(self.probe.asked), len(self.batches)
        self.run_for(0.05)
        self.assertEqual(self.healthy(), [instance.id])
        self.assertEqual((len(self.probe.asked) - before, len(self.batches) - rounds), (1, 1))
        [shown] = self.batches[-1].services["s"].healthy
        self.assertEqual((shown.health_check_status, shown.status), (200, "Healthy"))

    def test_whenItIsHealthyOnlyTheRoundsCheckIt(self):
        instance = self.begin()
        self.pass_from_now_on(instance)
        self.run_for(0.01)
        self.probe.asked.clear()
        self.run_for(20.1, step=0.01)
        self.assertEqual(self.probe.asked, [instance.id] * 4)

    def test_whatTheSchedulerCallsHealthyIsNotCheckedAnyMore(self):
        instance = self.begin()
        self.run_for(0.1)
        self.scheduler.change(instance, healthy=True)
        self.collector.prompt()
        self.probe.asked.clear()
        self.run_for(20, step=0.01)
        self.assertEqual(self.probe.asked, [])

    def test_whenItIsGoneItIsNotCheckedAnyMore(self):
        instance = self.begin()
        self.run_for(0.1)
        self.scheduler.vanish(instance)
        self.collector.prompt()
        self.probe.asked.clear()
        self.run_for(20, step=0.01)
        self.assertEqual(self.probe.asked, [])

    def test_whenItIsBeingKilledOnlyTheRoundsCheckIt(self):
        instance = self.begin()
        self.run_for(0.1)
        self.killing.add(instance.id)
        self.probe.asked.clear()
        self.run_for(20, step=0.01)
        self.assertLess(len(self.probe.asked), 6)

    def test_whenItsTimeToStartIsOverOnlyTheRoundsCheckIt(self):
        self.begin()
        self.run_for(DESCRIPTION.grace_period_secs + 5, step=0.05)
        self.probe.asked.clear()
        self.run_for(50, step=0.05)
        self.assertEqual(len(self.probe.asked), 10)

    def test_whenSomebodyWaitsItIsCheckedHoweverOldItIs(self):
        instance = self.begin(started_at=EPOCH - 10_000)
        self.run_for(0.1)
        self.assertEqual(len(self.probe.asked), 1)
        self.waited_for.add("s")
        self.collector.demand("s")
        self.pass_from_now_on(instance)
        self.run_for(0.01)
        self.assertEqual(self.healthy(), [instance.id])

    def test_whenItsAddressIsNotKnownOnlyTheRoundsCheckIt(self):
        self.begin(host="0.0.0.0")
        self.run_for(1)
        self.assertEqual(len(self.probe.asked), 1)

    def test_aCheckThatHangsHoldsUpNobodyElse(self):
        hangs = self.scheduler.start("s", healthy=None, started_at=self.begun)
        self.probe.results[hangs.id] = Deferred()
        self.collector.prompt()
        other = self.begin()
        self.pass_from_now_on(other)
        self.run_for(0.01)
        self.assertEqual(self.healthy(), [other.id])

    def test_whenItPassesDuringARoundItIsUsableAtOnceAndTheRoundKnows(self):
        instance = self.begin()
        self.run_for(0.5)
        self.scheduler.hold()
        self.collector.prompt()
        self.pass_from_now_on(instance)
        self.run_for(0.05)
        self.assertEqual(self.healthy(), [instance.id])
        self.probe.results[instance.id] = self.refused
        self.probe.asked.clear()
        self.scheduler.let_go()
        self.assertEqual((self.healthy(), self.probe.asked), ([instance.id], []))
        self.run_for(5.1, step=0.01)
        self.assertEqual(self.healthy(), [])

    def test_whatPassedBeforeARoundThatFailedIsNotHeldAgainstALaterOne(self):
        instance = self.begin()
        self.scheduler.hold()
        self.collector.prompt()
        self.pass_from_now_on(instance)
        self.run_for(0.05)
        self.probe.results[instance.id] = self.refused
        self.scheduler.failure = SchedulerUnavailable("out of reach")
        self.scheduler.let_go()
        self.assertEqual(self.healthy(), [instance.id])
        self.scheduler.failure = None
        self.clock.advance(5)
        self.assertEqual(self.healthy(), [])

    def test_whenItPassedItsDisappearanceIsNoFailure(self):
        instance = self.begin(started_at=None)
        self.run_for(28, step=0.01)
        self.pass_from_now_on(instance)
        self.run_for(1.5, step=0.01)
        self.assertEqual(self.healthy(), [instance.id])
        self.scheduler.vanish(instance)
        self.collector.prompt()
        self.assertEqual(self.batches[-1].services["s"].failed, ())

    def test_aWorkingOneThatFailsACheckIsWatchedUntilItWorksAgain(self):
        instance = self.begin(started_at=EPOCH - 10_000)
        self.waited_for.add("s")
        self.pass_from_now_on(instance)
        self.clock.advance(5)
        del self.probe.results[instance.id]
        self.clock.advance(5)
        self.assertEqual(self.healthy(), [])
        self.pass_from_now_on(instance)
        self.run_for(0.01)
        self.assertEqual(self.healthy(), [instance.id])

    def test_whileTheSchedulerIsAwayAStartingOneIsFoundAllTheSame(self):
        instance = self.begin()
        self.run_for(0.1)
        self.scheduler.failure = SchedulerUnavailable("out of reach")
        self.run_for(10, step=0.01)
        self.pass_from_now_on(instance)
        self.run_for(1, step=0.01)
        self.assertEqual(self.healthy(), [instance.id])

    def test_whenItStopsNothingIsChecked(self):
        self.begin()
        self.successResultOf(self.collector.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_whenPassingOnTakesLongOthersHaveTheirTurnInBetween(self):
        first, *others = (self.scheduler.start("s", healthy=None, started_at=self.begun) for _ in range(10))
        self.collector.prompt()
        self.run_for(0.5)

        def slowly(batch):
            self.clock.rightNow += 0.1
            return self.publish(batch)

        self.collector._publish = slowly
        self.pass_from_now_on(first, *others)
        before = len(self.batches)
        self.run_for(0.1)
        self.assertEqual(len(self.batches) - before, 1)
        self.run_for(0.5)
        self.assertEqual(len(self.batches) - before, 2)
        self.assertEqual(len(self.healthy()), 10)

    def notice_another(self):
        """One is noticed and being passed on when another is; both, and what ends the telling of the first."""
        first, second = (self.scheduler.start("s", healthy=None, started_at=self.begun) for _ in range(2))
        self.collector.prompt()
        self.run_for(0.5)
        being_told = Deferred()
        publish, self.collector._publish = self.collector._publish, lambda batch: being_told
        self.pass_from_now_on(first)
        self.run_for(0.1)
        self.collector._publish = publish
        self.pass_from_now_on(second)
        return first, second, being_told

    def test_whatIsNoticedWhileSomethingIsBeingPassedOnIsPassedOnAfterwards(self):
        first, second, being_told = self.notice_another()
        before = len(self.batches)
        self.run_for(0.5)
        self.assertEqual(len(self.batches), before)
        being_told.callback(None)
        # Others have their turn first.
        self.run_for(3)
        self.assertEqual(len(self.batches), before + 1)
        self.assertEqual(set(self.healthy()), {first.id, second.id})

    def test_aRoundInBetweenForgetsNothingThatWasNoticed(self):
        first, second, being_told = self.notice_another()
        self.run_for(0.5)
        self.collector.prompt()
        self.assertEqual(set(self.healthy()), {first.id, second.id})
        being_told.callback(None)

    def test_whenItStopsWhatIsBeingPassedOnIsCancelled(self):
        instance = self.begin()
        cancelled = []
        self.collector._publish = lambda batch: Deferred(cancelled.append)
        self.pass_from_now_on(instance)
        self.run_for(0.1)
        self.successResultOf(self.collector.stopService())
        self.assertEqual(len(cancelled), 1)

    def test_whatCannotBePassedOnIsLogged_andTheNextIsPassedOn(self):
        first, second = (self.scheduler.start("s", healthy=None, started_at=self.begun) for _ in range(2))
        self.collector.prompt()
        self.run_for(0.5)
        publish, self.collector._publish = self.collector._publish, lambda batch: fail(ZeroDivisionError())
        self.pass_from_now_on(first)
        self.run_for(0.1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.collector._publish = publish
        self.pass_from_now_on(second)
        self.run_for(0.5)
        self.assertEqual(set(self.healthy()), {first.id, second.id})


class RouterCollectorTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.directory = MemoryRouterDirectory("r", "http://r:1/")
        self.news = []
        self.collector = RouterCollector(self.clock, self.directory, self.news.append)
        self.addCleanup(self.collector.stopService)

    def test_when_it_starts_it_passes_on_the_routers_and_is_ready(self):
        self.successResultOf(self.collector.startService())
        self.assertEqual(self.news, [{"r": "http://r:1/"}])

    def test_it_asks_every_one_and_a_half_seconds(self):
        self.collector.startService()
        self.clock.pump([1.4, 0.1, 1.5])
        self.assertEqual(len(self.news), 3)

    def test_when_a_router_joins_it_asks_at_once(self):
        self.collector.startService()
        self.directory.join("q", "http://q:1/")
        self.assertEqual(self.news[-1], {"r": "http://r:1/", "q": "http://q:1/"})

    def test_when_the_directory_cannot_be_asked_nothing_is_passed_on(self):
        self.directory.failure = OSError("out of order")
        self.successResultOf(self.collector.startService())
        self.clock.advance(1.5)
        self.assertEqual(self.news, [])
        self.assertEqual(self.collector.errors, 2)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 2)
        self.directory.failure = None
        self.clock.advance(1.5)
        self.assertEqual(len(self.news), 1)
