"""What is known of the machine's processes, and of the files of instances."""

import json
import os
import resource
import signal
import subprocess
from pathlib import Path

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from waiter.errors import NotFound
from waiter.model.frozen import FrozenDict
from waiter.scheduler.local import retention
from waiter.scheduler.local.census import Census, ProcessTable
from waiter.scheduler.local.output import entries, file_path, last_lines, last_output
from waiter.scheduler.local.pidfd import PidWatch
from waiter.scheduler.local.processes import Process, boot_id, members, read_process, snapshot
from waiter.scheduler.local.records import (
    FORMAT,
    InstanceDirectory,
    InstanceRecord,
    NewerRecord,
    UnreadableRecord,
    instance_directories,
)
from waiter.scheduler.local.retention import Retention

RECORD = InstanceRecord(
    id="a.1",
    service_id="a",
    cluster="c",
    run_as_user="u",
    core={"cmd": "x", "env": FrozenDict({"A": "ü"})},
    environment={"A": "ü"},
    ports=(1, 2),
    created_at=5.5,
)


def process(pid, parent=1, *, group=None, session=None, instance_id=None):
    return Process(
        pid=pid,
        parent=parent,
        group=group or pid,
        session=session or group or pid,
        start_ticks=pid,
        instance_id=instance_id,
    )


class MembersTests(SynchronousTestCase):
    def members(self, *processes, leader=10):
        return {each.pid for each in members({each.pid: each for each in processes}, "a.1", leader)}

    def test_theGroupAndTheSessionBelongToTheInstance(self):
        self.assertEqual(
            self.members(process(10), process(11, group=10), process(12, group=12, session=10), process(13)),
            {10, 11, 12},
        )

    def test_whoCarriesTheIdBelongsToTheInstance(self):
        self.assertEqual(self.members(process(20, instance_id="a.1"), process(21, instance_id="a.12")), {20})

    def test_descendantsBelongToTheInstanceWhateverTheyHide(self):
        self.assertEqual(
            self.members(process(10), process(30, parent=10), process(31, parent=30), process(32, parent=31)),
            {10, 30, 31, 32},
        )

    def test_childrenOfADeadLauncherThatWasNotReapedBelongToTheInstance(self):
        self.assertEqual(self.members(process(30, parent=10), process(31, parent=9)), {30})

    def test_aNumberThatMayBeAnothersMeansNothing(self):
        self.assertEqual(self.members(process(10), process(11, group=10), leader=None), set())

    def test_waiterItselfNeverBelongsToAnInstance(self):
        self.assertEqual(self.members(process(os.getpid(), instance_id="a.1"), leader=None), set())


class MachineTests(SynchronousTestCase):
    def test_aProcessIsReadAsItIs(self):
        child = subprocess.Popen(
            ["/bin/sh", "-c", "echo; read wait"],
            start_new_session=True,
            env={"A": "b", "WAITER_INSTANCE_ID": "svc.7"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.addCleanup(child.stdin.close)
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        # A process that is becoming another program has no environment yet.
        child.stdout.readline()
        found = snapshot()[child.pid]
        self.assertEqual(
            (found.parent, found.group, found.session, found.instance_id),
            (os.getpid(), child.pid, child.pid, "svc.7"),
        )
        self.assertTrue(found.still_there())
        self.assertFalse(attrs.evolve(found, start_ticks=found.start_ticks + 1).still_there())

    def test_aZombieIsDead(self):
        child = subprocess.Popen(["/bin/true"])
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        self.assertIsNone(read_process(child.pid))
        child.wait()

    def test_aBootHasOneName(self):
        self.assertEqual(boot_id(), boot_id())
        self.assertEqual(len(boot_id()), 36)


class WatchingTests(TestCase):
    timeout = 120

    async def test_theEndOfAProcessIsNoticed(self):
        child = subprocess.Popen(["/bin/sleep", "3600"])
        ended = Deferred()
        watch = PidWatch(reactor, child.pid, lambda: ended.callback(None))
        watch.signal(signal.SIGKILL)
        await ended
        self.assertEqual(watch.fileno(), -1)
        watch.signal(signal.SIGKILL)
        watch.close()
        self.assertEqual(child.wait(), -signal.SIGKILL)

    def test_aWatchThatIsClosedSaysNothing(self):
        watch = PidWatch(reactor, os.getpid(), self.fail)
        watch.close()
        self.assertNotIn(watch, reactor.getReaders())

    def test_whatIsNotThereCannotBeWatched(self):
        child = subprocess.Popen(["/bin/true"])
        child.wait()
        self.assertRaises(ProcessLookupError, PidWatch, reactor, child.pid, self.fail)

    async def test_snapshotsAreSharedButNeverOlderThanTheQuestion(self):
        scans = []

        def scan():
            scans.append(len(scans))
            return {}

        census = Census(reactor, ProcessTable(scan))
        first = census.take()
        later = [census.take(), census.take()]
        snapshots = await gatherResults([first, *later])
        self.assertEqual(len(scans), 2)
        self.assertIsNot(snapshots[0], snapshots[1])
        self.assertIs(snapshots[1], snapshots[2])
        await census.take()
        self.assertEqual(len(scans), 3)

    async def test_aGlanceThatWaitsWithAQuestionForEverythingGetsEverything(self):
        looks = []

        def scan():
            looks.append("all")
            return {}

        def listing():
            looks.append("glance")
            return []

        census = Census(reactor, ProcessTable(scan, listing=listing))
        await gatherResults([census.glance(), census.glance(), census.take(), census.glance()])
        await census.glance()
        self.assertEqual(looks, ["glance", "all", "glance"])

    async def test_aScanThatFailsIsTold(self):
        census = Census(reactor, ProcessTable(lambda: 1 / 0))
        with self.assertRaises(ZeroDivisionError):
            await census.take()


class RecordTests(SynchronousTestCase):
    def test_aRecordIsReadAsItWasWritten(self):
        for record in (RECORD, attrs.evolve(RECORD, pid=3, start_ticks=4, boot_id="b", exit_code=0, ended_at=6.0)):
            self.assertEqual(InstanceRecord.from_json(record.to_json()), record)

    def test_whatNothingWasStartedInIsDeletedWithoutADescriptor(self):
        directory = InstanceDirectory(Path(self.mktemp()) / "a" / "a.1")
        directory.create()
        directory.write(RECORD)
        directory.write_script("")
        with directory.open_output():
            pass
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        self.assertRaises(OSError, os.open, "/", os.O_RDONLY)
        directory.discard()
        self.assertFalse(directory.path.parent.exists())

    def test_whatIsNotARecordIsUnreadable(self):
        for text in (b"", b"{", b"[]", b"3", b"{}", b"\xff", RECORD.to_json().replace(b'"format": 1', b'"format": 2')):
            self.assertRaises(UnreadableRecord, InstanceRecord.from_json, text)
        self.assertEqual(FORMAT, 1)

    def test_valuesOfAnotherKindAreNoRecord(self):
        written = json.loads(RECORD.to_json())
        for name, value in (("pid", "7"), ("created-at", None), ("ports", "12"), ("core", []), ("killed", 1)):
            self.assertRaises(UnreadableRecord, InstanceRecord.from_json, json.dumps({**written, name: value}).encode())

    def test_whatALaterWaiterAddedIsLeftOutAndItsOwnFormatRefused(self):
        written = json.loads(RECORD.to_json())
        self.assertEqual(InstanceRecord.from_json(json.dumps({**written, "colour": "red"}).encode()), RECORD)
        newer = {"format": FORMAT + 1, "everything": "else"}
        self.assertRaises(NewerRecord, InstanceRecord.from_json, json.dumps(newer).encode())

    def test_aDirectoryThatIsNotCalledLikeAnInstanceIsNone(self):
        services = Path(self.mktemp())
        for name in ("a/a.1", "a/other", "a/ab.1", "[a]/[a].1", "lost+found/x"):
            (services / name).mkdir(parents=True)
        (services / "a" / "a.2").write_text("a file")
        (services / "file").write_text("a file")
        found = [each.path.relative_to(services).as_posix() for each in instance_directories(services)]
        self.assertEqual(found, ["[a]/[a].1", "a/a.1"])

    def test_theFilesOfAnInstance(self):
        services = Path(self.mktemp())
        self.assertEqual(list(instance_directories(services)), [])
        directory = InstanceDirectory(services / "a" / "a.1")
        directory.create()
        self.assertRaises(UnreadableRecord, directory.read)
        directory.write(RECORD)
        directory.sync()
        self.assertEqual(directory.read(), RECORD)
        self.assertEqual(list(instance_directories(services)), [directory])
        self.assertEqual(directory.path.stat().st_mode & 0o777, 0o700)
        self.assertIsNone(directory.read_exit())
        directory.exit.write_text("7\n")
        self.assertEqual(directory.read_exit(), 7)

    def test_syncingWhatWasDeletedDoesNothing(self):
        InstanceDirectory(Path(self.mktemp())).sync()


class OutputTests(SynchronousTestCase):
    def setUp(self):
        self.root = Path(self.mktemp()).absolute()
        (self.root / "work" / "deep").mkdir(parents=True)
        (self.root / "stdout").write_text("out 1\n\n  \nout 2\n")
        (self.root / "stderr").write_text("")
        self.outside = Path(f"{self.mktemp()}-outside")
        self.outside.write_text("secret")

    def test_theLastLinesAreOfTheStandardErrorIfItHasAny(self):
        directory = InstanceDirectory(self.root)
        self.assertEqual(last_output(directory), ("out 1", "out 2"))
        directory.stderr.write_bytes(b"\xff bad\nworse\n")
        self.assertEqual(last_output(directory), ("\ufffd bad", "worse"))

    def test_onlyTheLastLinesOfLongOutputAreRead(self):
        path = self.root / "long"
        path.write_text("\n".join(str(number) for number in range(100000)))
        self.assertEqual(last_lines(path), tuple(str(number) for number in range(99990, 100000)))
        path.write_text("x" * 100000)
        self.assertEqual([len(line) for line in last_lines(path)], [4096])
        self.assertEqual(last_lines(self.root / "nothing"), ())

    def test_theLastLinesGoOnInWhatWasRotated(self):
        path = self.root / "log"
        path.with_name("log.1").write_text("".join(f"{number}\n" for number in range(2000)) + "begins ")
        path.write_text("here\nlast\n")
        self.assertEqual(last_lines(path, lines=3), ("1999", "begins here", "last"))
        # Between the cut and the new name of what was cut off.
        path.with_name("log.1").rename(path.with_name("log.new"))
        path.with_name("log.1").write_text("older\n")
        self.assertEqual(last_lines(path, lines=3), ("1999", "begins here", "last"))

    def test_aDirectoryIsListedByName(self):
        listed = entries(self.root, "")
        self.assertEqual(
            [(each.name, each.type, each.size, each.path) for each in listed],
            [("stderr", "file", 0, "stderr"), ("stdout", "file", 16, "stdout"), ("work", "directory", None, "work")],
        )
        self.assertEqual([each.path for each in entries(self.root, "/work/")], ["work/deep"])

    def test_linksAreNeitherListedNorFollowedToTheOutside(self):
        (self.root / "link").symlink_to(self.outside.absolute())
        (self.root / "up").symlink_to(self.root.parent)
        self.assertEqual([each.name for each in entries(self.root, "")], ["stderr", "stdout", "work"])
        for path in ("link", "up", "../" + self.outside.name, str(self.outside.absolute()), "work/../..", "a\0b"):
            self.assertRaises(NotFound, file_path, self.root, path)
            self.assertRaises(NotFound, entries, self.root, path)

    def test_linksWithinTheDirectoryAreFollowed(self):
        (self.root / "latest").symlink_to("stdout")
        self.assertEqual(file_path(self.root, "latest"), str(self.root / "stdout"))

    def test_aFileIsNotADirectoryAndADirectoryNotAFile(self):
        self.assertRaises(NotFound, entries, self.root, "stdout")
        self.assertRaises(NotFound, file_path, self.root, "work")
        self.assertRaises(NotFound, entries, None, "")


class Inline(Clock):
    """A clock whose threads are no threads."""

    def callInThread(self, f, *args):
        f(*args)


class RetentionTests(SynchronousTestCase):
    def setUp(self):
        self.services = Path(self.mktemp())
        self.now = 0.0
        self.retention = Retention(Inline(), wall=lambda: self.now, keep=2, keep_secs=100)

    def end(self, name, *, failed=False):
        service, _ = name.split(".")
        directory = InstanceDirectory(self.services / service / name)
        directory.create()
        directory.record.write_text("")
        self.retention.ended(
            attrs.evolve(RECORD, id=name, service_id=service, failed=failed, ended_at=self.now), directory
        )

    def kept(self):
        return sorted(each.path.name for each in instance_directories(self.services))

    def test_theLatestOfEachServiceAreKeptFailedOnesApart(self):
        for number in range(4):
            self.end(f"a.{number}")
            self.end(f"a.f{number}", failed=True)
        self.end("b.0")
        self.assertEqual(self.kept(), ["a.2", "a.3", "a.f2", "a.f3", "b.0"])

    def test_workingDirectoriesGoEarlierThanTheRest(self):
        self.retention = Retention(Inline(), wall=lambda: self.now, keep=2, keep_secs=1e9)
        self.end("a.0")
        self.end("a.1", failed=True)
        (self.services / "a" / "a.0" / "work" / "deep").mkdir()
        for now, left in ((3600, ["a.0", "a.1"]), (3601, ["a.1"]), (24 * 3600, ["a.1"]), (24 * 3600 + 1, [])):
            self.now = now
            self.retention.sweep()
            self.assertEqual(sorted(path.parent.name for path in self.services.glob("*/*/work")), left, now)
        self.assertEqual(self.kept(), ["a.0", "a.1"])

    def test_whenTheDiskIsFullWorkingDirectoriesGoAtOnceAndTheRestStays(self):
        self.end("a.0")
        self.end("a.1", failed=True)
        self.retention.make_room()
        self.assertEqual(list(self.services.glob("*/*/work")), [])
        self.assertEqual(self.kept(), ["a.0", "a.1"])

    def test_whatEndedBeforeTheClockWasSetBackIsNotKeptForLonger(self):
        self.now = 1e9
        self.end("a.0")
        self.now = 0.0
        self.end("a.1")
        self.retention.sweep()
        self.now = 101.0
        self.retention.sweep()
        self.assertEqual(self.kept(), [])

    def test_directoriesAreDeletedOneAfterTheOther(self):
        waiting = []
        reactor = Clock()
        reactor.callInThread = lambda f, *args: waiting.append(lambda: f(*args))
        self.retention = Retention(reactor, wall=lambda: self.now, keep=1, keep_secs=100)
        for number in range(4):
            self.end(f"a.{number}")
        self.assertEqual((len(waiting), len(self.kept())), (1, 4))
        waiting.pop()()
        self.assertEqual(self.kept(), ["a.3"])
        self.end("a.4")
        self.assertEqual(len(waiting), 1)

    def test_whatIsNotDeletedBeforeTheEndIsNoInstanceAnyMore(self):
        directories = []

        def stop_at_once(path):
            directories.append(path)
            self.retention.stop()
            return False

        self.patch(retention, "remove_tree", stop_at_once)
        for number in range(4):
            self.end(f"a.{number}")
        self.assertEqual([path.name for path in directories], ["a.0"])
        self.assertEqual((self.services / "a" / "a.0" / "instance.json").exists(), False)

    def test_nothingIsKeptForever(self):
        self.end("a.0")
        self.now = 60
        self.end("a.1")
        self.end("b.0")
        self.now = 101
        self.retention.sweep()
        self.assertEqual(self.kept(), ["a.1", "b.0"])
        self.now = 200
        self.retention.sweep()
        self.assertEqual(self.kept(), [])
        self.assertEqual(list(self.services.iterdir()), [])
