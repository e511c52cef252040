"""What fits on the machine, and who gets the room."""

from heapq import heappop, heappush
from pathlib import Path

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.model.resources import NOTHING, Resources
from waiter.scheduler.local.capacity import Capacity
from waiter.scheduler.local.line import PATIENCE_SECS, Place, in_line
from waiter.scheduler.local.machine import machine_resources


def needs(mem=1.0, cpus=0.1):
    return Resources(cpus=cpus, mem=mem)


class CapacityTests(SynchronousTestCase):
    def setUp(self):
        self.others = NOTHING
        self.capacity = Capacity(
            Resources(cpus=2, mem=1000), cpu_overcommit=2, memory_share=0.8, elsewhere=lambda: self.others
        )

    def refusal(self, **need):
        return self.capacity.refusal(needs(**need), self.capacity.free)

    def test_whatIsPromisedStaysWithinTheShares(self):
        self.capacity.promise("a", needs(mem=500, cpus=3))
        self.assertIsNone(self.refusal(mem=300, cpus=1))
        self.assertIn("Waits for memory: an instance needs 301 MiB and 300 MiB are free", self.refusal(mem=301))
        self.assertIn("80%", self.refusal(mem=301))
        self.assertIn(
            "Waits for CPUs: an instance needs 1.5 CPUs and 1 are free, of the 4 (2 times the machine's 2)",
            self.refusal(cpus=1.5),
        )
        self.assertIn("Waits for CPUs and memory: ", self.refusal(mem=301, cpus=1.5))

    def test_whatIsGivenBackIsFree(self):
        self.capacity.promise("a", needs(mem=800))
        self.capacity.give_back("a")
        self.capacity.give_back("a")
        self.assertIsNone(self.refusal(mem=800))

    def test_whatIsEndingIsRoomButNotFreeYet(self):
        self.capacity.promise("a", needs(mem=800))
        self.capacity.ending("a")
        self.capacity.ending("unheard-of")
        self.assertEqual((self.capacity.free.mem, self.capacity.room.mem), (0, 800))
        self.capacity.give_back("a")
        self.assertEqual((self.capacity.free.mem, self.capacity.room.mem), (800, 800))

    def test_moreThanTheSharesIsNeverPossible(self):
        self.assertIsNone(self.capacity.impossibility(needs(mem=800, cpus=4)))
        self.assertIn("An instance needs 801 MiB", self.capacity.impossibility(needs(mem=801)))
        self.assertIn("An instance needs 4.1 CPUs", self.capacity.impossibility(needs(cpus=4.1)))
        self.assertIn("cpu-overcommit", self.capacity.impossibility(needs(cpus=4.1)))

    def test_whatOtherServersHoldCounts(self):
        self.others = Resources(cpus=1, mem=700)
        self.assertIsNone(self.refusal(mem=100, cpus=3))
        self.assertIn("instances of other servers hold 700 MiB", self.refusal(mem=101))
        self.assertIsNone(self.capacity.impossibility(needs(mem=800)))

    def test_otherServersMayHoldMoreThanThereIs(self):
        self.others = Resources(cpus=100, mem=5000)
        self.assertIn("0 MiB are free", self.refusal(mem=1))

    @given(st.integers(1, 100))
    def test_tenthsAddUp(self, number):
        capacity = Capacity(Resources(cpus=number / 10, mem=number / 10), cpu_overcommit=1, memory_share=1)
        for each in range(number):
            self.assertIsNone(capacity.refusal(needs(mem=0.1, cpus=0.1), capacity.free))
            capacity.promise(str(each), needs(mem=0.1, cpus=0.1))
        self.assertIsNotNone(capacity.refusal(needs(mem=0.1, cpus=0.1), capacity.free))


class MachineTests(SynchronousTestCase):
    def setUp(self):
        self.root = Path(self.mktemp())

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def found(self):
        return machine_resources(self.root / "self", self.root / "groups")

    def test_theMachineHasMemoryAndCpus(self):
        found = machine_resources()
        self.assertGreater(found.mem, 16)
        self.assertGreater(found.cpus, 0)

    def test_withoutGroupsItIsAllTheMachineHas(self):
        found = self.found()
        self.assertGreater(found.mem, 16)
        self.assertEqual(found.cpus, int(found.cpus))

    def test_theTightestGroupAroundUsCounts(self):
        self.write("self/cgroup", "0::/user.slice/waiter.service\n")
        self.write("groups/user.slice/memory.max", f"{8 * 1024 * 1024}\n")
        self.write("groups/user.slice/cpu.max", "max 100000\n")
        self.write("groups/user.slice/waiter.service/memory.max", "max\n")
        self.write("groups/user.slice/waiter.service/cpu.max", "25000 100000\n")
        self.write("groups/other.slice/cpu.max", "1000 100000\n")
        self.assertEqual(self.found(), Resources(cpus=0.25, mem=8))

    def test_inAContainerOnlyTheRootMayBeThere(self):
        self.write("self/cgroup", "0::/../../docker/abc\n")
        self.write("groups/memory.max", f"{16 * 1024 * 1024}\n")
        self.write("groups/cpu.max", "50000 100000\n")
        self.assertEqual(self.found(), Resources(cpus=0.5, mem=16))

    def test_theOlderHierarchiesCount(self):
        self.write("self/cgroup", "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker\n\n")
        self.write("groups/memory/docker/abc/memory.limit_in_bytes", f"{8 * 1024 * 1024}\n")
        self.write("groups/cpu/docker/abc/cpu.cfs_quota_us", "20000\n")
        self.write("groups/cpu/docker/abc/cpu.cfs_period_us", "100000\n")
        self.write("groups/cpu/cpu.cfs_quota_us", "-1\n")
        self.write("groups/cpu/cpu.cfs_period_us", "100000\n")
        self.assertEqual(self.found(), Resources(cpus=0.2, mem=8))


@attrs.define(kw_only=True)
class Wish:
    """A service of the simulation: how many instances it has, how many it wants, since when it waits."""

    name: str
    mem: int
    grows: bool
    running: int = 0
    since: float | None = None
    longest: float = 0.0
    started: int = 0

    @property
    def wants(self):
        return self.grows or self.running == 0


class Simulation:
    """A machine of 100 MiB on which instances live for up to C{life_secs}, each otherwise, started by the rule."""

    life_secs = 3.0

    def __init__(self, wishes):
        self.wishes = {wish.name: wish for wish in wishes}
        self.free = 100
        self.now = 0.0
        self.count = 0
        self.ends = []

    def run(self, secs):
        while self.now < secs:
            self.start()
            self.now += 0.25
            while self.ends and self.ends[0][0] <= self.now:
                _, name = heappop(self.ends)
                self.wishes[name].running -= 1
                self.free += self.wishes[name].mem

    def start(self):
        while self.start_one():
            pass

    def start_one(self):
        line = in_line(
            Place(
                service_id=wish.name,
                need=needs(mem=wish.mem),
                waited_for=True,
                has_instances=wish.running > 0,
                since=wish.since,
            )
            for wish in self.wishes.values()
            if wish.wants
        )
        for place in line:
            wish = self.wishes[place.service_id]
            if wish.mem <= self.free:
                if wish.running == 0 and wish.since is not None:
                    wish.longest = max(wish.longest, self.now - wish.since)
                wish.since = None
                wish.running += 1
                wish.started += 1
                self.free -= wish.mem
                self.count += 1
                heappush(self.ends, (self.now + self.life_secs - self.count % 7 * 0.25, wish.name))
                return True
            if wish.since is None:
                wish.since = self.now
            if place.keeps_room(self.now):
                return False
        return False


class LineTests(SynchronousTestCase):
    def order(self, *places):
        return [place.service_id for place in in_line(places)]

    def test_whoIsWaitedForThenWhoHasNothingThenWhoHasWaitedLongest(self):
        def place(name, waited_for, has_instances, since):
            return Place(service_id=name, need=needs(), waited_for=waited_for, has_instances=has_instances, since=since)

        places = [
            place("idle grower", False, True, 1),
            place("idle newcomer", False, False, 1),
            place("grower", True, True, 2),
            place("patient grower", True, True, 1),
            place("just come", True, False, None),
            place("newcomer", True, False, 5),
        ]
        self.assertEqual(
            self.order(*places),
            ["newcomer", "just come", "patient grower", "grower", "idle newcomer", "idle grower"],
        )

    def test_roomIsKeptForWhoHasWaitedLongAndIsWaitedFor(self):
        place = Place(service_id="a", need=needs(), waited_for=True, since=100.0)
        self.assertFalse(place.keeps_room(100 + PATIENCE_SECS - 0.1))
        self.assertTrue(place.keeps_room(100 + PATIENCE_SECS))
        self.assertFalse(attrs.evolve(place, waited_for=False).keeps_room(1000))
        self.assertFalse(attrs.evolve(place, since=None).keeps_room(1000))

    def test_smallOnesDoNotStarveABigOne(self):
        big = Wish(name="big", mem=90, grows=False)
        small = [Wish(name=f"small{number}", mem=20, grows=True) for number in range(5)]
        Simulation([*small, big]).run(200)
        self.assertGreater(big.started, 5)

    def test_anEverGrowingOneDoesNotStarveANewcomer(self):
        grower = Wish(name="grower", mem=10, grows=True)
        simulation = Simulation([grower])
        simulation.run(5)
        newcomer = simulation.wishes["newcomer"] = Wish(name="newcomer", mem=10, grows=False)
        simulation.run(20)
        self.assertGreater(newcomer.started, 1)
        self.assertLessEqual(newcomer.longest, Simulation.life_secs)

    @given(st.lists(st.tuples(st.integers(1, 100), st.booleans()), min_size=2, max_size=8))
    def test_nobodyWaitsForEverForAFirstInstance(self, kinds):
        wishes = [Wish(name=str(number), mem=mem, grows=grows) for number, (mem, grows) in enumerate(kinds)]
        bound = len(wishes) * (PATIENCE_SECS + 2 * Simulation.life_secs)
        Simulation(wishes).run(3 * bound)
        for wish in wishes:
            self.assertGreater(wish.started, 0, wishes)
            self.assertLessEqual(wish.longest, bound, wishes)
