"""What instances use, compared with what they may: the rules, and the meter on a clock."""

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from waiter.model.instance import Flag
from waiter.model.resources import NOTHING, Resources
from waiter.scheduler.interface import Measurement
from waiter.scheduler.local.footprint import MIB, Footprint, growth, may_exceed
from waiter.scheduler.local.interface import Excess
from waiter.scheduler.local.meter import CLOSE_INTERVAL_SECS, INTERVAL_SECS, Meter
from waiter.scheduler.local.processes import Process


def footprint(**values):
    given = {"processes": 1, "resident": 100 * MIB, "at": 0.0, "exact": 60 * MIB, "exact_resident": 100 * MIB}
    return Footprint(**given | {"exact_at": 0.0, "exact_secs": 0.0} | values)


class FootprintTests(SynchronousTestCase):
    @given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**12))
    def test_theGuessIsNeverNegativeAndExactWhenNothingChanged(self, resident, exact, exact_resident):
        guess = footprint(resident=resident, exact=exact, exact_resident=exact_resident).memory
        self.assertGreaterEqual(guess, 0)
        self.assertEqual(footprint(resident=resident, exact=exact, exact_resident=resident).memory, exact)

    def test_theGuessGrowsWithWhatIsResident(self):
        self.assertEqual(footprint().memory, 60 * MIB)
        self.assertEqual(footprint(resident=130 * MIB).memory, 90 * MIB)
        self.assertEqual(footprint(resident=70 * MIB).memory, 30 * MIB)

    def test_anIdleInstanceIsAskedOnceAMinute(self):
        self.assertFalse(footprint().outdated(59, 200 * MIB))
        self.assertTrue(footprint().outdated(60, 200 * MIB))
        self.assertFalse(footprint(resident=104 * MIB).outdated(1, 200 * MIB))

    def test_anInstanceThatChangesVisiblyIsAskedAgain(self):
        self.assertTrue(footprint(resident=106 * MIB).outdated(1, 200 * MIB))
        self.assertTrue(footprint(resident=94 * MIB).outdated(1, None))

    def test_anInstanceThatMayHaveExceededItsLimitIsAskedAgain(self):
        self.assertTrue(footprint(resident=104 * MIB).outdated(1, 63 * MIB))
        self.assertFalse(footprint(resident=104 * MIB).outdated(1, 64 * MIB))

    def test_askingTakesNoMoreThanItsShareOfTheTime(self):
        grown = footprint(resident=150 * MIB, exact_secs=0.1)
        self.assertFalse(grown.outdated(1.9, 200 * MIB))
        self.assertTrue(grown.outdated(2.1, 200 * MIB))
        self.assertFalse(grown.outdated(0.3, 64 * MIB))
        self.assertTrue(grown.outdated(0.5, 64 * MIB))

    def test_growthIsSeenBetweenTwoLooks(self):
        first, second = footprint(), footprint(resident=120 * MIB, at=2.0)
        self.assertEqual(growth(first, second), 10 * MIB)
        self.assertEqual((growth(second, first), growth(None, first), growth(first, first)), (0, 0, 0))

    def test_whoCouldExceedItsLimitBeforeTheNextLookIsKnown(self):
        self.assertTrue(may_exceed(footprint(), 21 * MIB, limit=100 * MIB, secs=1))
        self.assertFalse(may_exceed(footprint(), 19 * MIB, limit=100 * MIB, secs=1))
        self.assertFalse(may_exceed(footprint(), 0, limit=10 * MIB, secs=1))


class Threadless(Clock):
    """A clock whose threads are no threads."""

    def getThreadPool(self):
        return self

    def callInThreadWithCallback(self, done, work, *arguments):
        try:
            result = work(*arguments)
        except Exception:  # noqa: BLE001 - what a thread pool does
            done(False, Failure())
        else:
            done(True, result)

    def callFromThread(self, call, *arguments):
        call(*arguments)


class FakeCensus:
    """Shows the test's processes; C{renewed} are those that only a thorough look shows, C{None} for the same."""

    def __init__(self):
        self.processes = {}
        self.renewed = None
        self.asked = []
        self.held = None

    def glance(self):
        self.asked.append("glance")
        return succeed(self.processes)

    def take(self):
        self.asked.append("take")
        if self.held is not None:
            return self.held
        if self.renewed is not None:
            self.processes, self.renewed = self.renewed, None
        return succeed(self.processes)


def process(pid, instance_id=None, **values):
    return Process(
        **{"pid": pid, "parent": 1, "group": pid, "session": pid, "start_ticks": 1} | values, instance_id=instance_id
    )


class MeterTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Threadless()
        self.census = FakeCensus()
        self.sizes = {}
        self.shared = {}
        self.exact_asked = []
        self.resident_asked = []
        self.kills = 5
        self.excesses = []
        self.meter = Meter(
            self.clock,
            self.census,
            wall=lambda: 1000 + self.clock.seconds(),
            max_processes=3,
            resident=self.resident,
            exact=self.exact,
            kernel_kills=lambda: self.kills,
        )
        self.addCleanup(self.meter.stop)

    def resident(self, processes):
        self.resident_asked.append(sorted(each.pid for each in processes))
        return [self.sizes[each.pid] * MIB for each in processes if each.pid in self.sizes]

    def exact(self, processes):
        self.exact_asked.append(sorted(each.pid for each in processes))
        return sum((self.sizes.get(each.pid, 0) - self.shared.get(each.pid, 0)) * MIB for each in processes)

    def follow(self, name="a.1", pid=10, mem=100, size=30):
        """Follow an instance with a process C{pid}; its launcher, which is left out here, has that number and 1000."""
        self.census.processes = {**self.census.processes, pid: process(pid, name)}
        self.sizes[pid] = size
        self.meter.follow(name, lambda: pid + 1000)
        self.meter.limit(name, mem, self.excesses.append)

    def test_whatIsNotMeasuredYetIsUnknown(self):
        self.follow()
        self.assertIsNone(self.meter.measured("a.1"))
        self.assertIsNone(self.meter.measured("b.1"))

    def test_whatAnInstanceUsesIsTheSumOverItsProcesses(self):
        self.follow()
        self.census.processes[11] = process(11, parent=10, group=10)
        self.census.processes[12] = process(12, parent=11)
        self.census.processes[13] = process(13)
        self.sizes |= {11: 20, 12: 7, 13: 500}
        self.shared[11] = 15
        self.meter.start()
        self.assertEqual(self.meter.measured("a.1"), Measurement(memory_mib=42.0, processes=3, measured_at=1000.0))
        self.clock.advance(INTERVAL_SECS)
        self.assertEqual(self.meter.measured("a.1").measured_at, 1001.0)
        self.assertEqual(self.exact_asked, [[10, 11, 12]])

    def test_theLauncherCountsButIsNotLookedAtEachTime(self):
        self.follow()
        self.census.processes[1010] = process(1010, "a.1")
        self.sizes[1010] = 1
        self.meter.start()
        self.clock.advance(INTERVAL_SECS)
        measured = self.meter.measured("a.1")
        self.assertEqual((measured.memory_mib, measured.processes), (31.0, 2))
        self.assertEqual(self.resident_asked, [[10], [10]])
        self.assertEqual(self.exact_asked, [[10, 1010]])

    def test_anInstanceWithoutProcessesKeepsItsLastNumbers(self):
        self.follow()
        self.meter.start()
        self.sizes.clear()
        self.clock.advance(INTERVAL_SECS)
        self.assertEqual(self.meter.measured("a.1").measured_at, 1000.0)

    def test_whoExceedsItsMemoryIsToldOnce(self):
        self.follow()
        self.follow("b.1", 20)
        self.meter.start()
        self.sizes[10] = 101
        self.clock.advance(INTERVAL_SECS)
        self.assertEqual(self.excesses, [Excess(mem_mib=101.0, processes=1, most_mem_mib=100.0)])
        self.assertEqual(self.excesses[0].flag, Flag.MEMORY_LIMIT_EXCEEDED)
        self.assertEqual(self.census.asked, ["glance", "glance", "take"])
        self.assertEqual(self.exact_asked, [[10], [20], [10]])
        self.clock.pump([INTERVAL_SECS] * 3)
        self.assertEqual(len(self.excesses), 1)

    def test_memoryThatIsOnlyResidentTwiceExceedsNothing(self):
        self.follow(size=60)
        self.census.processes[11] = process(11, parent=10)
        self.sizes[11], self.shared[11] = 60, 55
        self.meter.start()
        self.clock.pump([INTERVAL_SECS] * 5)
        self.assertEqual(self.excesses, [])
        self.assertEqual(self.meter.measured("a.1").memory_mib, 65)

    def test_whatALookMistookIsNotBlamed(self):
        # The daemon's number has been used again, for something large of somebody else.
        self.follow()
        self.census.processes[11] = process(11, "a.1")
        self.sizes[11] = 500
        self.census.renewed = {10: process(10, "a.1"), 11: process(11)}
        self.meter.start()
        self.assertEqual(self.census.asked, ["glance", "take"])
        self.assertEqual(self.excesses, [])
        self.assertEqual(self.meter.measured("a.1").processes, 1)

    def test_whoHasTooManyProcessesIsTold(self):
        self.follow()
        for pid in range(11, 14):
            self.census.processes[pid] = process(pid, parent=10)
            self.sizes[pid] = 1
        self.meter.start()
        (excess,) = self.excesses
        self.assertEqual((excess.processes, excess.most_processes, excess.most_mem_mib), (4, 3, None))
        self.assertEqual(excess.flag, Flag.PROCESS_LIMIT_EXCEEDED)

    def test_whoGrowsFastIsLookedAtMoreOften(self):
        self.follow(mem=1000)
        self.meter.start()
        self.sizes[10] = 430
        self.clock.advance(INTERVAL_SECS)
        self.assertEqual(self.excesses, [])
        self.sizes[10] = 1001
        self.clock.advance(CLOSE_INTERVAL_SECS)
        self.assertEqual([each.mem_mib for each in self.excesses], [1001])
        self.assertEqual(self.census.asked, ["glance", "glance", "take"])

    def test_whoStopsGrowingIsNotLookedAtMoreOften(self):
        self.follow(mem=1000)
        self.meter.start()
        self.sizes[10] = 430
        self.clock.advance(INTERVAL_SECS)
        self.clock.advance(CLOSE_INTERVAL_SECS)
        self.clock.advance(CLOSE_INTERVAL_SECS)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_whoIsForgottenIsNotMeasuredAndNotToldOf(self):
        self.follow(size=500)
        self.census.held = Deferred()
        self.meter.start()
        self.meter.forget("a.1")
        self.census.held.callback(self.census.processes)
        self.assertEqual(self.excesses, [])
        self.assertIsNone(self.meter.measured("a.1"))
        self.meter.limit("a.1", 1, self.excesses.append)

    def test_oneLookInManyReadsEverythingAnew(self):
        self.meter.start()
        self.clock.pump([INTERVAL_SECS] * 59)
        self.assertEqual(self.census.asked.count("take"), 2)

    def test_aLookThatFailsIsFollowedByOthers(self):
        self.follow()
        self.sizes = None
        self.meter.start()
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.sizes = {10: 30}
        self.clock.advance(INTERVAL_SECS)
        self.assertEqual(self.meter.measured("a.1").memory_mib, 30)

    def test_aMeterThatIsStoppedDoesNothingMore(self):
        self.follow()
        self.meter.start()
        self.sizes[10] = 60
        self.clock.advance(INTERVAL_SECS)
        self.assertIsNotNone(self.meter.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.meter.stop()

    def declare(self, pid, name, **declared):
        self.census.processes[pid] = process(pid, name, declared=Resources(**declared))

    def test_whatOtherServersPromisedCountsOnceForEachInstance(self):
        self.follow()
        self.census.processes[10] = attrs.evolve(self.census.processes[10], declared=Resources(cpus=9, mem=9))
        self.declare(20, "b.1", cpus=1, mem=100)
        self.declare(21, "b.1", cpus=1, mem=100)
        self.declare(22, "b.2", cpus=0.5, mem=50)
        # A server inside an instance of ours shares what that one was promised.
        self.declare(23, "c.1", cpus=4, mem=4)
        self.census.processes[23] = attrs.evolve(self.census.processes[23], parent=10)
        self.assertEqual(self.meter.elsewhere, NOTHING)
        self.meter.start()
        self.assertEqual(self.meter.elsewhere, Resources(cpus=1.5, mem=150))
        for pid in (20, 21, 22):
            del self.census.processes[pid]
        self.clock.advance(INTERVAL_SECS)
        self.assertEqual(self.meter.elsewhere, NOTHING)

    def test_anInstanceThatEndedDuringTheLookIsNotAnothersServers(self):
        self.follow()
        self.declare(10, "a.1", cpus=1, mem=100)
        looking = Deferred()
        self.census.glance = lambda: looking
        self.meter.start()
        self.meter.forget("a.1")
        looking.callback(self.census.processes)
        self.assertEqual(self.meter.elsewhere, NOTHING)

    def test_aKillByTheKernelIsKnownForAWhile(self):
        self.assertFalse(self.meter.kernel_has_killed())
        self.meter.start()
        self.clock.advance(INTERVAL_SECS)
        self.assertFalse(self.meter.kernel_has_killed())
        self.kills += 1
        self.assertTrue(self.meter.kernel_has_killed())
        self.clock.advance(INTERVAL_SECS)
        self.assertTrue(self.meter.kernel_has_killed())
        self.clock.advance(INTERVAL_SECS)
        self.assertFalse(self.meter.kernel_has_killed())

    def test_whereTheKernelDoesNotSayNothingIsClaimed(self):
        self.kills = None
        self.meter.start()
        self.clock.pump([INTERVAL_SECS] * 2)
        self.kills = 7
        self.assertFalse(self.meter.kernel_has_killed())
