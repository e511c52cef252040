"""How the machine's processes are looked at: what is read again and what is not, and what shows whose they are."""

import math
import os
import signal
import subprocess
import sys

import attrs
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.model.resources import NOTHING, Resources
from waiter.scheduler.local import usage
from waiter.scheduler.local.census import ProcessTable
from waiter.scheduler.local.marks import Mark, mark_of, read_mark
from waiter.scheduler.local.processes import Process, all_members, members, read_process, snapshot
from waiter.scheduler.local.usage import exact_bytes, out_of_memory_kills, resident_bytes

MIB = 1024 * 1024


def process(pid, instance_id=None, **values):
    # Below a parent that is there, in a session that is there: whose files are not looked at.
    return Process(
        **{"pid": pid, "parent": 2, "group": 2, "session": 2, "start_ticks": 1} | values, instance_id=instance_id
    )


class MarkTests(SynchronousTestCase):
    def test_anEnvironmentSaysWhoseItIsAndWhatThatWasPromised(self):
        environment = b"\0A=b\0WAITER_CPUS=0.5\0WAITER_INSTANCE_ID=a.1\0WAITER_MEM_MB=64\0"
        self.assertEqual(mark_of(environment), Mark(instance_id="a.1", declared=Resources(cpus=0.5, mem=64)))

    def test_anEnvironmentWithoutAnIdSaysNothing(self):
        self.assertIsNone(mark_of(b"\0WAITER_CPUS=0.5\0WAITER_MEM_MB=64\0"))
        self.assertIsNone(mark_of(b"\0NOT_WAITER_INSTANCE_ID=a.1\0"))
        self.assertIsNone(mark_of(b"\0"))

    @given(
        st.text(st.characters(min_codepoint=1, codec="utf-8")), st.text(st.characters(min_codepoint=1, codec="utf-8"))
    )
    @example("nan", "inf")
    @example("-1", "-inf")
    @example("1e999", "1_0")
    @example("1e300", "9" * 400)
    def test_whateverOthersWriteIsANumberThatCanBe(self, cpus, mem):
        mark = mark_of(f"\0WAITER_INSTANCE_ID=x\0WAITER_CPUS={cpus}\0WAITER_MEM_MB={mem}\0".encode())
        for number, most in ((mark.declared.cpus, 1e4), (mark.declared.mem, 1e9)):
            self.assertTrue(math.isfinite(number))
            self.assertGreaterEqual(number, 0)
            self.assertLessEqual(number, most)

    def test_aRealProcessIsAskedForItsEnvironment(self):
        child = subprocess.Popen(
            [sys.executable, "-S", "-c", "import sys; print(flush=True); sys.stdin.read()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={
                "WAITER_INSTANCE_ID": "waiter-service-test-of-marks.1",
                "WAITER_MEM_MB": "0.25",
                "WAITER_CPUS": "0.001",
            },
        )
        self.addCleanup(child.wait)
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.stdin.close)
        child.stdout.readline()
        mark = read_mark(child.pid)
        self.assertEqual(mark.instance_id, "waiter-service-test-of-marks.1")
        self.assertEqual(mark.declared, Resources(cpus=0.001, mem=0.25))
        self.assertEqual(snapshot()[child.pid].declared, mark.declared)
        self.assertEqual(read_process(child.pid, with_environment=False).declared, NOTHING)


class ProcessTableTests(SynchronousTestCase):
    def setUp(self):
        self.machine = {pid: process(pid) for pid in (2, 3, 4)}
        self.read = []
        self.table = ProcessTable(lambda: dict(self.machine), listing=lambda: list(self.machine), read=self.read_one)

    def read_one(self, pid):
        self.read.append(pid)
        return self.machine[pid]

    def glance(self):
        self.read.clear()
        return self.table.glance()

    def settle(self):
        self.table.look()
        self.glance()

    def test_aProcessThatIsKnownIsNotReadAgain(self):
        self.settle()
        self.assertEqual(self.glance(), self.machine)
        self.assertEqual(self.read, [])

    def test_aNewProcessIsReadTwice(self):
        self.settle()
        # At first it has the environment of whoever started it, perhaps.
        self.machine[5] = process(5)
        self.assertEqual(self.glance()[5].instance_id, None)
        self.machine[5] = process(5, "a.1")
        self.assertEqual(self.glance()[5].instance_id, "a.1")
        self.assertEqual(self.read, [5])
        self.glance()
        self.assertEqual(self.read, [])

    def test_aProcessThatLostItsParentIsReadAgain(self):
        self.machine[4] = process(4, parent=3)
        self.settle()
        del self.machine[3]
        self.machine[4] = process(4, parent=2)
        self.assertEqual(self.glance()[4].parent, 2)
        self.assertEqual(self.read, [4])

    def test_aProcessThatIsGoneIsForgotten(self):
        self.settle()
        gone = self.machine.pop(4)
        self.assertNotIn(4, self.glance())
        self.machine[4] = attrs.evolve(gone, start_ticks=9)
        self.assertEqual(self.glance()[4].start_ticks, 9)

    def test_aProcessThatEndsWhileItIsReadIsLeftOut(self):
        self.settle()
        self.machine[5] = None
        self.assertNotIn(5, self.glance())

    def test_aLookReadsEverything(self):
        self.settle()
        self.machine[4] = process(4, "b.1", session=4)
        self.assertEqual(self.glance()[4].session, 2)
        self.assertEqual(self.table.look()[4], self.machine[4])
        self.assertEqual(self.glance()[4], self.machine[4])

    def test_whoseMarkIsOverwrittenKeepsIt(self):
        declared = Resources(cpus=1, mem=2)
        self.machine[4] = process(4, "a.1", declared=declared)
        self.settle()
        self.machine[4] = process(4)
        self.assertEqual(self.table.look()[4], process(4, "a.1", declared=declared))
        self.machine[4] = process(4, start_ticks=2)
        self.assertEqual(self.table.look()[4], process(4, start_ticks=2))

    def test_theRealMachineLooksTheSameAtAGlance(self):
        table = ProcessTable()
        table.look()
        child = subprocess.Popen(
            ["/bin/sh", "-c", "echo; read wait"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"WAITER_INSTANCE_ID": "test-of-glances.1"},
        )
        self.addCleanup(child.stdin.close)
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        table.glance()
        # Before that it may have no environment.
        child.stdout.readline()
        self.assertEqual(table.glance()[child.pid], snapshot()[child.pid])


class MembershipTests(SynchronousTestCase):
    processes = st.builds(
        process,
        st.integers(2, 12),
        st.sampled_from([None, "a.1", "b.1"]),
        parent=st.integers(1, 12),
        group=st.integers(2, 12),
        session=st.integers(2, 12),
        owner=st.sampled_from([None, 0, 1000, 1001]),
    )

    def found(self, *others):
        launcher = process(10, "a.1", group=10, session=10, owner=1000)
        everything = {each.pid: each for each in (launcher, *others)}
        return sorted(each.pid for each in members(everything, "a.1", 10))

    def test_whatAnotherUserClaimsIsNotCounted(self):
        self.assertEqual(self.found(process(20, "a.1", owner=1001), process(21, parent=20)), [10])

    def test_whatLeftTheSessionAndChangedItsUserIsCounted(self):
        same, root, unknown = (process(20 + at, "a.1", owner=owner) for at, owner in enumerate((1000, 0, None)))
        descendant = process(30, "a.1", parent=10, owner=1001)
        self.assertEqual(self.found(same, root, unknown, descendant), [10, 20, 21, 22, 30])

    def test_withoutALauncherToCompareWithAClaimCounts(self):
        claim = process(20, "a.1", owner=1001)
        self.assertEqual(members({20: claim}, "a.1", None), [claim])

    @given(st.lists(processes, max_size=12), st.sampled_from([None, 2, 3]), st.sampled_from([None, 4, 5]))
    def test_manyInstancesAreToldApartLikeOneAtATime(self, processes, first, second):
        everything = {each.pid: each for each in processes}
        found = all_members(everything, {"a.1": first, "b.1": second})
        for name, leader in (("a.1", first), ("b.1", second)):
            alone = members(everything, name, leader)
            self.assertEqual({each.pid for each in found[name]}, {each.pid for each in alone})


class UsageTests(SynchronousTestCase):
    def child(self, code):
        child = subprocess.Popen(
            [sys.executable, "-S", "-c", f"import mmap, os, sys\n{code}\nprint(flush=True); sys.stdin.read()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.addCleanup(child.wait)
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.stdin.close)
        self.said = child.stdout.readline()
        return read_process(child.pid)

    def test_whatAProcessTakesIsSeen(self):
        small = self.child("")
        large = self.child("taken = b'x' * (50 << 20)")
        self.assertGreater(sum(resident_bytes([large])) - sum(resident_bytes([small])), 45 * MIB)
        self.assertGreater(exact_bytes([large]) - exact_bytes([small]), 45 * MIB)
        self.assertLessEqual(exact_bytes([large]), sum(resident_bytes([large])) + MIB)

    def test_whatTwoProcessesShareCountsOnce(self):
        parent = self.child(
            "shared = mmap.mmap(-1, 50 << 20); shared.write(b'x' * len(shared))\n"
            "ready, tell = os.pipe(); fork = os.fork()\n"
            "if fork == 0:\n"
            " sum(shared[at] for at in range(0, len(shared), mmap.PAGESIZE)); os.write(tell, b'x')\n"
            " sys.stdin.read(); os._exit(0)\n"
            "os.read(ready, 1); print(fork, end='')"
        )
        both = [parent, read_process(int(self.said))]
        self.assertGreater(sum(resident_bytes(both)), 100 * MIB)
        self.assertGreater(exact_bytes(both), 50 * MIB)
        self.assertLess(exact_bytes(both), 75 * MIB)

    def test_aProcessThatHasNoMemoryOfItsOwnYetDoesNotCount(self):
        # What vfork makes of a process until it runs another program; here it waits for a signal for ever.
        parent = self.child(
            "import ctypes, signal; taken = b'x' * (50 << 20); stack = mmap.mmap(-1, 1 << 20)\n"
            "top = ctypes.addressof(ctypes.c_char.from_buffer(stack)) + len(stack); libc = ctypes.CDLL(None)\n"
            "libc.clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]\n"
            "CLONE_VM = 0x100; pause = ctypes.cast(libc.pause, ctypes.c_void_p)\n"
            "print(libc.clone(pause, top, CLONE_VM | signal.SIGCHLD, None), end='')"
        )
        child = read_process(int(self.said))
        self.addCleanup(os.kill, child.pid, signal.SIGKILL)
        self.assertTrue(usage.same_memory(child.pid, parent.pid))
        self.assertGreater(sum(resident_bytes([parent, child])), 100 * MIB)
        self.assertLess(exact_bytes([parent, child]), 75 * MIB)

    def test_aProcessOfAnUnknownKindOfMachineHasItsOwnMemory(self):
        self.patch(usage, "_KCMP", {})
        self.assertFalse(usage.same_memory(os.getpid(), os.getpid()))

    def test_aProcessThatMayNotBeAskedCountsWithoutWhatItShares(self):
        large = self.child("taken = b'x' * (50 << 20)")
        read_file = usage.read_file

        def refused(path):
            if path.endswith("smaps_rollup"):
                raise PermissionError
            return read_file(path)

        self.patch(usage, "read_file", refused)
        self.assertGreater(exact_bytes([large]), 45 * MIB)
        self.assertLess(exact_bytes([large]), sum(resident_bytes([large])))

    def test_theDeadUseNothing(self):
        child = subprocess.Popen(["/bin/true"])
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        zombie = process(child.pid)
        self.assertEqual((resident_bytes([zombie]), exact_bytes([zombie])), ([], 0))
        child.wait()
        self.assertEqual((resident_bytes([zombie]), exact_bytes([zombie])), ([], 0))

    def test_theKernelSaysHowOftenItKilled(self):
        self.assertGreaterEqual(out_of_memory_kills(), 0)
        self.patch(usage, "_VM_COUNTERS", "/proc/self/statm")
        self.assertIsNone(out_of_memory_kills())
        self.patch(usage, "_VM_COUNTERS", "/nowhere")
        self.assertIsNone(out_of_memory_kills())
