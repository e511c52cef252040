"""How processors are shared out: control groups on a tree of the tests, priorities for real."""

import errno
import os
import subprocess
from pathlib import Path
from unittest import SkipTest

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.scheduler.local.cgroup_tree import CgroupTree
from waiter.scheduler.local import cgroups
from waiter.scheduler.local.cgroups import CgroupShares, NotDelegated, allowance, find_delegated, weight
from waiter.scheduler.local.limits import InstanceLimits
from waiter.scheduler.local.nice import NiceShares, nice_level
from waiter.scheduler.local.shares import Shares

OWN = "/user.slice/waiter.scope"
CPUS = st.floats(min_value=1e-6, max_value=1e6)


class RulesTests(SynchronousTestCase):
    def test_moreCPUsGiveAHigherPriority(self):
        self.assertEqual([nice_level(cpus) for cpus in (0.01, 0.1, 0.5, 1, 2, 4, 32)], [19, 15, 8, 5, 2, 1, 1])

    def test_theWeightFollowsTheCPUs(self):
        self.assertEqual([weight(cpus) for cpus in (0.001, 0.1, 1, 2.5, 1000)], [1, 10, 100, 250, 10000])

    @given(CPUS, CPUS)
    def test_whoAskedForMoreNeverGetsLess(self, less, more):
        less, more = sorted((less, more))
        self.assertGreaterEqual(nice_level(less), nice_level(more))
        self.assertLessEqual(weight(less), weight(more))
        self.assertTrue(1 <= nice_level(less) <= 19 and 1 <= weight(less) <= 10000)

    @given(st.floats(min_value=1, max_value=1e6))
    def test_theKernelsBoundOnMemoryLiesAboveTheOneThatIsExplained(self, mem):
        self.assertGreater(allowance(cpus=1, mem_mib=mem, max_processes=1).memory_bytes, mem * 1024 * 1024)


class FindTests(SynchronousTestCase):
    def tree(self, own=OWN, **options):
        return CgroupTree(self, own, pid=os.getpid(), **options)

    def find(self, tree, *, systemd=False):
        return find_delegated(proc=tree.proc, systemd=tree.proc if systemd else tree.proc / "no-systemd")

    def refused(self, tree, words, **options):
        self.assertIn(words, str(self.assertRaises(NotDelegated, self.find, tree, **options)))

    def test_theOwnGroupIsFoundWhereItIsDelegated(self):
        tree = self.tree()
        self.assertEqual(self.find(tree), tree.group(OWN))

    def test_whereThisProcessWasPutBelowTheWholeOfItIsFound(self):
        tree = self.tree(f"{OWN}/router")
        self.assertEqual(self.find(tree), tree.group(OWN))

    def test_theRootOfTheMachineIsNeverTouched(self):
        self.refused(self.tree("/"), "root control group")

    def test_withoutTheControllerThereIsNothingToShare(self):
        self.refused(self.tree(controllers=("memory", "pids")), "no cpu controller")

    def test_aGroupWithOtherProcessesIsNotTakenApart(self):
        tree = self.tree()
        tree.add(4242, OWN)
        self.refused(tree, "4242")

    def test_aGroupThatSystemdKeepsToItselfIsLeftToIt(self):
        tree = self.tree()
        self.patch(os, "geteuid", lambda: 0)
        self.refused(tree, "systemd has not delegated", systemd=True)
        self.patch(
            os, "getxattr", lambda path, name: b"1" if path == tree.group(OWN) and name == "user.delegate" else b""
        )
        self.assertEqual(self.find(tree, systemd=True), tree.group(OWN))

    def test_aGroupThatCannotBeWrittenIsNotOurs(self):
        tree = self.tree()
        self.patch(cgroups.os, "access", lambda path, mode: path.name != "cgroup.procs")
        self.refused(tree, "not delegated to Waiter's user")

    def test_aMachineWithoutVersion2HasNone(self):
        tree = self.tree()
        (tree.proc / "self" / "mountinfo").write_text("22 1 0:20 / /proc rw - proc proc rw\n")
        self.refused(tree, "no control groups of version 2")
        (tree.proc / "self" / "cgroup").unlink()
        self.refused(tree, "cannot be used")


class CgroupTests(SynchronousTestCase):
    def setUp(self):
        self.tree = CgroupTree(self, OWN, pid=os.getpid())
        self.shares = CgroupShares(self.tree.group(OWN), max_processes=100, proc=self.tree.proc)

    def place(self, name="a.1", pid=4242, cpus=0.5, mem=64):
        (self.tree.proc / str(pid)).mkdir(exist_ok=True)
        return self.shares.place(name, pid, cpus, mem)

    def test_waiterMakesRoomBeforeItSharesOut(self):
        self.shares.prepare()
        self.assertEqual(self.tree.processes(f"{OWN}/router"), [os.getpid()])
        self.assertEqual(self.tree.processes(OWN), [])
        self.assertEqual(self.shares.state()["controllers"], ["cpu", "memory", "pids"])

    def test_anInstanceGetsAGroupWithItsShare(self):
        self.shares.prepare()
        self.assertTrue(self.place())
        group = f"{OWN}/instances/a.1"
        self.assertEqual(self.tree.processes(group), [4242])
        self.assertEqual(self.tree.read(f"{group}/cpu.weight"), "50")
        self.assertEqual(self.tree.read(f"{group}/memory.max"), str(112 * 1024 * 1024))
        self.assertEqual(self.tree.read(f"{group}/memory.oom.group"), "1")
        self.assertEqual(self.tree.read(f"{group}/pids.max"), "800")
        self.assertEqual(self.shares.granted(0.5), {"kind": "cgroup", "weight": 50})

    def test_whatIsNotOfferedIsNotUsed(self):
        self.tree = CgroupTree(self, OWN, pid=os.getpid(), controllers=("cpu",))
        self.shares = CgroupShares(self.tree.group(OWN), max_processes=100, proc=self.tree.proc)
        self.shares.prepare()
        self.assertTrue(self.place())
        self.assertFalse((self.tree.group(OWN) / "instances" / "a.1" / "memory.max").exists())

    def test_theGroupGoesWithTheInstance(self):
        self.shares.prepare()
        self.place()
        group = self.tree.group(f"{OWN}/instances/a.1")
        (group / "own").mkdir()
        self.shares.remove("a.1")
        self.assertTrue(group.exists(), "something runs in it")
        self.place("a.2", 4243)
        self.tree.end(4243)
        (self.tree.group(f"{OWN}/instances/a.2") / "own").mkdir()
        self.shares.remove("a.2")
        self.assertFalse(self.tree.group(f"{OWN}/instances/a.2").exists())
        self.shares.remove("a.2")

    def test_allOfAnInstanceCanBeKilledAtOnce(self):
        self.shares.prepare()
        self.place()
        self.shares.kill("a.1")
        self.shares.kill("another")
        self.assertEqual(self.tree.killed, [self.tree.group(f"{OWN}/instances/a.1")])

    def test_anInstanceOfAnEarlierServerKeepsItsGroup(self):
        self.shares.prepare()
        self.place()
        later = CgroupShares(Path("/nonexistent"), max_processes=1, proc=self.tree.proc)
        self.assertTrue(later.adopt("a.1", 4242))
        self.assertFalse(later.adopt("a.2", 4242), "a group with another name is somebody else's")
        self.assertFalse(later.adopt("a.3", 4243), "there is no such process")
        self.tree.end(4242)
        later.remove("a.2")
        later.remove("a.1")
        self.assertFalse(self.tree.group(f"{OWN}/instances/a.1").exists())

    def test_groupsOfInstancesThatEndedMeanwhileAreRemovedAtTheNextStart(self):
        self.shares.prepare()
        self.place("a.1", 4242)
        self.place("a.2", 4243)
        living = self.tree.group(f"{OWN}/instances/a.2")
        (living / "own").mkdir()
        self.tree.end(4242)
        CgroupShares(self.tree.group(OWN), max_processes=100, proc=self.tree.proc).prepare()
        self.assertFalse(self.tree.group(f"{OWN}/instances/a.1").exists())
        self.assertTrue((living / "own").exists(), "it is the instance's")

    def test_whereNoGroupCanBeMadeNothingIsLeftOfIt(self):
        self.shares.prepare()
        (self.tree.group(OWN) / "instances" / "a.1").mkdir()
        self.assertFalse(self.place())
        self.assertFalse(self.tree.group(f"{OWN}/instances/a.1").exists())
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    def test_aServerThatIsStartedAgainInItsGroupGoesOn(self):
        self.shares.prepare()
        self.place()
        again = find_delegated(proc=self.tree.proc, systemd=self.tree.proc / "none")
        shares = CgroupShares(again, max_processes=100, proc=self.tree.proc)
        shares.prepare()
        self.assertTrue(shares.place("a.2", 4242, 1, 64))


class NiceTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.proc = Path(self.mktemp())
        self.proc.mkdir()
        self.shares = NiceShares(self.clock, "a reason", proc=self.proc)
        self.child = subprocess.Popen(["/bin/sleep", "3600"], start_new_session=True)
        self.addCleanup(self.child.wait)
        self.addCleanup(self.child.kill)

    def test_theProcessAndItsSessionGetThePriority(self):
        base = os.getpriority(os.PRIO_PROCESS, 0)
        real = NiceShares(self.clock, "")
        real.place("a.1", self.child.pid, 1)
        self.addCleanup(real.stop)
        level = min(19, max(0, base) + 5)
        self.assertEqual(os.getpriority(os.PRIO_PROCESS, self.child.pid), level)
        self.assertEqual(real.granted(1), {"kind": "nice", "nice": level})
        session = Path(f"/proc/{self.child.pid}/autogroup")
        if not session.exists():
            raise SkipTest("the kernel does not group processes by session")
        while self.clock.getDelayedCalls():
            self.clock.advance(0.2)
        self.assertEqual(session.read_text().split()[-1], str(level))

    def test_whenTheKernelWantsMoreTimeItIsTriedAgain(self):
        answers = [BlockingIOError(errno.EAGAIN, "again"), BlockingIOError(errno.EAGAIN, "again"), None]
        asked = []

        def write(path, text, **_):
            asked.append((path.parent.name, text))
            answer = answers[len(asked) - 1]
            if answer is not None:
                raise answer

        self.patch(Path, "write_text", write)
        self.shares.place("a.1", self.child.pid, 1)
        self.clock.pump([0.2] * 5)
        self.assertEqual(asked, [(str(self.child.pid), asked[0][1])] * 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_whenTheInstanceIsGoneItIsNotTriedAgain(self):
        def write(path, text, **_):
            raise BlockingIOError(errno.EAGAIN, "again")

        self.patch(Path, "write_text", write)
        for end in (lambda: self.shares.remove("a.1"), self.shares.stop):
            self.shares.place("a.1", self.child.pid, 1)
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
            end()
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_aProcessThatIsGoneIsNoTrouble(self):
        self.child.kill()
        self.child.wait()
        self.shares.place("a.1", self.child.pid, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class SharesTests(SynchronousTestCase):
    def setUp(self):
        self.child = subprocess.Popen(["/bin/sleep", "3600"], start_new_session=True)
        self.addCleanup(self.child.wait)
        self.addCleanup(self.child.kill)

    def shares(self, proc):
        shares = Shares(Clock(), InstanceLimits(), proc=proc)
        self.addCleanup(shares.stop)
        shares.start()
        return shares

    def test_whereGroupsAreDelegatedTheyAreUsed(self):
        tree = CgroupTree(self, OWN, pid=os.getpid())
        self.patch(cgroups, "_marked", lambda _: True)
        shares = self.shares(tree.proc)
        self.assertEqual(shares.granted(1), {"kind": "cgroup", "weight": 100})
        shares.place("a.1", self.child.pid, cpus=1, mem_mib=64)
        self.assertEqual(tree.processes(f"{OWN}/instances/a.1"), [self.child.pid])
        self.assertEqual(os.getpriority(os.PRIO_PROCESS, self.child.pid), os.getpriority(os.PRIO_PROCESS, 0))
        shares.kill("a.1")
        self.assertEqual(len(tree.killed), 1)

    def test_elsewherePrioritiesAreUsedAndTheReasonIsSaid(self):
        tree = CgroupTree(self, "/", pid=os.getpid())
        shares = self.shares(tree.proc)
        self.assertEqual(shares.granted(1)["kind"], "nice")
        self.assertEqual(shares.state()["reason"], "Waiter runs in the machine's root control group")
        shares.place("a.1", self.child.pid, cpus=1, mem_mib=64)
        self.assertGreater(os.getpriority(os.PRIO_PROCESS, self.child.pid), os.getpriority(os.PRIO_PROCESS, 0))

    def test_aKernelOutOfMemoryEndsInstancesFirst(self):
        own = int(Path("/proc/self/oom_score_adj").read_text())
        shares = Shares(Clock(), InstanceLimits())
        self.addCleanup(shares.stop)
        shares.place("a.1", self.child.pid, cpus=1, mem_mib=64)
        score = int(Path(f"/proc/{self.child.pid}/oom_score_adj").read_text())
        self.assertEqual(score, min(1000, own + 500))

    def test_aRealDelegatedGroupHoldsAnInstance(self):
        try:
            base = find_delegated()
        except NotDelegated as error:
            raise SkipTest(f"no control group is delegated to the tests: {error}") from None
        shares = CgroupShares(base, max_processes=10)
        shares.prepare()
        # Others may run the tests in the same group.
        name = f"waiter-tests.{self.child.pid}"
        self.assertTrue(shares.place(name, self.child.pid, 0.5, 64))
        group = base / "instances" / name
        self.assertEqual((group / "cgroup.procs").read_text().split(), [str(self.child.pid)])
        self.assertEqual((group / "cpu.weight").read_text().strip(), "50")
        shares.kill(name)
        self.child.wait()
        shares.remove(name)
        self.assertFalse(group.exists())
