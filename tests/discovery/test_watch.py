"""Whom the watch asks, when, and how often at most."""

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.discovery.examples import description, instance
from waiter.discovery.watch import Awaited, HealthWatch
from waiter.model.instance import Flag
from waiter.scheduler.health import HealthResult

DESCRIPTION = description()
HEALTHY = HealthResult(healthy=True, status=200)
REFUSED = HealthResult(healthy=False, error="connect-exception", message="refused")
NOT_YET = HealthResult(healthy=False, status=503, flags=frozenset({Flag.HAS_RESPONDED}), message="was 503")


def awaited(number=1, **fields):
    return Awaited(instance=instance(number, healthy=None), description=DESCRIPTION, **fields)


class WatchCase(SynchronousTestCase):
    most = 500

    def setUp(self):
        self.clock = Clock()
        self.asked = []
        self.answers = {}
        self.noticed = []
        self.unwanted = set()
        self.watch = HealthWatch(
            self.clock,
            self,
            self.noticed.append,
            is_awaited=lambda instance, _: instance.id not in self.unwanted,
            most=self.most,
        )
        self.watch.startService()
        self.addCleanup(self.assert_stops)

    def assert_stops(self):
        self.watch.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def check(self, instance, description):
        self.asked.append(instance.id)
        answer = self.answers.get(instance.id, REFUSED)
        return answer if isinstance(answer, Deferred) else succeed(answer)

    def run_for(self, secs, step=0.001):
        for _ in range(round(secs / step)):
            self.clock.advance(step)


class WatchTests(WatchCase):
    def test_anInstanceIsAskedAtOnceAndThenEverLessOften(self):
        self.watch.follow([awaited()])
        self.clock.advance(0)
        self.assertEqual(len(self.asked), 1)
        self.run_for(0.1)
        first = len(self.asked)
        self.assertGreater(first, 12)
        self.run_for(0.9)
        self.assertLess(len(self.asked) - first, 40)
        self.run_for(60, step=0.01)
        self.assertLess(len(self.asked), 150)

    def test_whenItPassesItIsNoticedInTheSameTurnAndAskedNoMore(self):
        self.watch.follow([awaited()])
        self.clock.advance(0)
        self.answers["s.1"] = checking = Deferred()
        self.clock.advance(0.005)
        self.noticed.clear()
        checking.callback(HEALTHY)
        [seen] = self.noticed
        self.assertEqual((seen.id, seen.healthy, seen.health_check_status, seen.flags), ("s.1", True, 200, frozenset()))
        self.assertNotIn("s.1", self.watch)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_anotherAnswerIsNoticedOnceAndWhatWasSeenIsKept(self):
        self.watch.follow([awaited()])
        self.run_for(0.05)
        self.assertEqual([seen.message for seen in self.noticed], ["refused"])
        self.answers["s.1"] = NOT_YET
        self.run_for(0.05)
        self.answers["s.1"] = REFUSED
        self.run_for(0.05)
        self.assertEqual([seen.message for seen in self.noticed], ["refused", "was 503", "refused"])
        self.assertEqual(self.watch.seen(instance(1)).flags, {Flag.HAS_RESPONDED})

    def test_whenItIsGoneItsCheckIsCancelledAndItIsAskedNoMore(self):
        cancelled = []
        self.answers["s.1"] = Deferred(lambda _: cancelled.append(True))
        self.watch.follow([awaited(1), awaited(2)])
        self.clock.advance(0)
        self.watch.follow([awaited(2)])
        self.assertEqual(cancelled, [True])
        self.run_for(2, step=0.01)
        self.assertEqual(self.asked.count("s.1"), 1)

    def test_whenItIsAwaitedNoMoreItIsAskedNoMore(self):
        self.watch.follow([awaited()])
        self.clock.advance(0)
        self.unwanted.add("s.1")
        self.run_for(1)
        self.assertEqual((len(self.asked), len(self.watch)), (1, 0))

    def test_whenItIsFollowedAgainItsPausesGoOn(self):
        for _ in range(50):
            self.watch.follow([awaited()])
            self.run_for(0.1, step=0.01)
        self.assertLess(len(self.asked), 100)

    def test_whenItStartsOnlyNowItIsAskedOftenAgain(self):
        staged = Awaited(instance=instance(1, healthy=None, started_at=None), description=DESCRIPTION)
        self.watch.follow([staged])
        self.run_for(20, step=0.01)
        self.asked.clear()
        self.watch.follow([awaited()])
        self.run_for(0.1)
        self.assertGreater(len(self.asked), 12)

    def test_aCheckThatHangsHoldsUpNobodyAndIsNotRepeated(self):
        self.answers["s.1"] = Deferred()
        self.watch.follow([awaited(1), awaited(2)])
        self.run_for(0.2)
        self.assertEqual(self.asked.count("s.1"), 1)
        self.assertGreater(self.asked.count("s.2"), 12)

    def test_aCheckThatFailsIsRepeatedAfterAWhile(self):
        self.answers["s.1"] = fail(OSError("no descriptors"))
        self.watch.follow([awaited()])
        self.clock.advance(0)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.answers["s.1"] = HEALTHY
        self.run_for(0.9, step=0.1)
        self.assertEqual(self.noticed, [])
        self.clock.advance(0.2)
        self.assertEqual(len(self.noticed), 1)

    def test_whenNobodyCanBeToldTheOthersAreAskedAllTheSame(self):
        self.watch._noticed = lambda _: 1 / 0
        self.watch.follow([awaited(1), awaited(2)])
        self.clock.advance(0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.run_for(0.1)
        self.assertGreater(self.asked.count("s.2"), 10)


class ManyTests(WatchCase):
    def test_twentyThousandAreNoMoreThanFiveHundredChecksPerSecond(self):
        self.watch.follow([awaited(number) for number in range(20_000)])
        self.assertEqual(len(self.watch), 500)
        for _ in range(5):
            before = len(self.asked)
            for _ in range(200):
                turn = len(self.asked)
                self.clock.advance(0.005)
                self.assertLessEqual(len(self.asked) - turn, 20)
            self.assertLessEqual(len(self.asked) - before, 520)
        self.assertGreater(len(self.asked), 2000)

    def test_whenThereAreTooManyThoseThatAreWaitedForAndNewOnesComeFirst(self):
        old = [awaited(number) for number in range(500)]
        self.watch.follow(old)
        self.clock.advance(1)
        waited_for, new = awaited(1001, waited_for=True), awaited(1002)
        self.watch.follow([*old, waited_for, new])
        self.assertIn(waited_for.instance.id, self.watch)
        self.assertIn(new.instance.id, self.watch)
        self.assertEqual(len(self.watch), 500)

    def test_whenThereAreManyANewOneIsAskedInTheNextTurn(self):
        old = [awaited(number) for number in range(499)]
        self.watch.follow(old)
        self.run_for(20, step=0.01)
        new = awaited(1001)
        self.answers[new.instance.id] = HEALTHY
        self.watch.add(new)
        self.clock.advance(0.05)
        self.assertIn(new.instance.id, [seen.id for seen in self.noticed])

    def test_whenItIsFullNothingIsAdded(self):
        self.watch.follow([awaited(number) for number in range(500)])
        self.watch.add(awaited(1001))
        self.assertNotIn(awaited(1001).instance.id, self.watch)
