"""Reading logs while they are rotated, and looking after those of all instances."""

import os
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from waiter.errors import NotFound
from waiter.scheduler.interface import LogExtent
from waiter.scheduler.local import log_keeper
from waiter.scheduler.local.log_keeper import LogKeeper
from waiter.scheduler.local.log_place import LogPlace, LogState
from waiter.scheduler.local.log_reader import LogReader
from waiter.scheduler.local.records import InstanceDirectory
from waiter.scheduler.local.rotation import LogRotation


class ReaderTests(SynchronousTestCase):
    def setUp(self):
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        self.place = LogPlace(directory / "stdout")
        self.place.live.write_bytes(b"live")
        self.place.old(1).write_bytes(b"one.")
        self.place.old(2).write_bytes(b"two.")
        self.place.old(4).write_bytes(b"before a gap")
        self.place.note(LogState(base=108))
        self.reader = LogReader(str(self.place.live), rotated=True, complete=lambda: False)
        self.addCleanup(self.reader.close)

    def test_itReachesFromTheOldestThatJoins(self):
        self.assertEqual(self.reader.extent(), LogExtent(oldest=100, first=108, end=112))

    def test_eachPlaceIsReadWhereItIs(self):
        for offset, most, expected in [
            (100, 9, (100, b"two.")),
            (103, 9, (103, b".")),
            (104, 2, (104, b"on")),
            (107, 9, (107, b".")),
            (108, 9, (108, b"live")),
            (111, 9, (111, b"e")),
            (112, 9, (112, b"")),
        ]:
            self.assertEqual(self.reader.read(offset, most), expected)

    def test_whatIsNotKeptIsSkipped(self):
        self.assertEqual(self.reader.read(3, 9), (100, b"two."))

    def test_whenTheLiveFileWasEmptied_itIsReadFromItsBeginning(self):
        self.assertEqual(self.reader.read(113, 9), (108, b"live"))

    def test_whileItIsBeingRotated_nothingCanBeSaid(self):
        self.place.note(LogState(base=108, removing=4, size=4))
        self.assertEqual((self.reader.extent(), self.reader.read(108, 9)), (None, None))

    def test_whatWasMovedDuringAReadDoesNotCount(self):
        pread = os.pread

        def moved(*arguments):
            self.place.note(LogState(base=110))
            return pread(*arguments)

        for offset in (101, 109):
            self.place.note(LogState(base=108))
            reader = LogReader(str(self.place.live), rotated=True, complete=lambda: False)
            self.addCleanup(reader.close)
            patched = self.patch(os, "pread", moved)
            self.assertIsNone(reader.read(offset, 9))
            patched.restore()

    def test_whenWhatIsNotedIsDeleted_nothingIsReadAgain(self):
        self.reader.extent()
        self.place.offset.unlink()
        self.assertRaises(NotFound, self.reader.read, 112, 9)

    def test_anotherFileIsNotRotated(self):
        reader = LogReader(str(self.place.live), rotated=False, complete=lambda: False)
        self.addCleanup(reader.close)
        self.assertEqual(reader.extent(), LogExtent(oldest=0, first=0, end=4))

    def test_aDeletedFileIsComplete(self):
        self.assertIs(self.reader.complete(), False)
        self.reader.extent()
        self.place.live.unlink()
        self.assertIs(self.reader.complete(), True)

    def test_whatCannotBeUnderstoodIsNotGuessed(self):
        self.place.offset.write_text("{")
        self.assertRaises(NotFound, self.reader.extent)

    def test_aLogThatCannotBeReadHoldsNoDescriptor(self):
        self.place.offset.write_text("{")
        before = len(list(Path("/proc/self/fd").iterdir()))
        self.assertRaises(NotFound, self.reader.extent)
        self.assertEqual(len(list(Path("/proc/self/fd").iterdir())), before)


class KeeperTests(TestCase):
    def setUp(self):
        self.patch(log_keeper, "LOOK_SECS", 0.01)
        self.rotated, self.recovered, self.waiting = [], [], []
        self.failure = None
        self.keeper = LogKeeper(reactor, self)
        self.keeper.start()
        self.addCleanup(self.keeper.stop)
        self.directory = InstanceDirectory(Path(self.mktemp()).absolute())

    def rotate(self, place):
        self.rotated.append(place.live)
        reactor.callFromThread(self.looked)
        if self.failure is not None:
            raise self.failure

    def recover(self, place):
        self.recovered.append(place.live.name)

    def looked(self):
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each.callback(None)

    async def next_look(self, times=2):
        for _ in range(times):
            self.waiting.append(Deferred())
            await self.waiting[-1]

    async def test_bothLogsOfAnInstanceAreLookedAtAgainAndAgain(self):
        self.keeper.add(self.directory)
        await self.next_look(4)
        self.assertEqual({path.name for path in self.rotated}, {"stdout", "stderr"})
        self.assertEqual(self.recovered, [])

    async def test_whatCouldNotBeRotatedIsPutInOrderAndTriedAgain(self):
        self.failure = OSError("No space left on device")
        self.keeper.add(self.directory)
        await self.next_look(6)
        self.assertIn("stdout", self.recovered)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_anEndedInstanceIsLookedAtOnceMore(self):
        other = InstanceDirectory(Path(self.mktemp()).absolute())
        self.keeper.add(self.directory)
        self.keeper.add(other)
        await self.next_look(4)
        self.keeper.remove(self.directory)
        await self.next_look(12)
        self.rotated.clear()
        await self.next_look(4)
        self.assertEqual({path.parent for path in self.rotated}, {other.path.resolve()})

    def test_logsAreNamedByTheirRealPaths(self):
        real = Path(self.mktemp()).resolve()
        real.mkdir()
        link = Path(self.mktemp()).absolute()
        link.symlink_to(real)
        (stdout, _) = log_keeper.places(InstanceDirectory(link))
        self.assertEqual(stdout.live, real / "stdout")
        stdout.live.write_bytes(bytes(100_000))
        self.assertIs(LogRotation(max_bytes=50_000).rotate(stdout), True)
