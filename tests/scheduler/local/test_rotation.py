"""Logs that are rotated while they are written to."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from waiter.scheduler.local import log_place, rotation
from waiter.scheduler.local.log_place import LogPlace, LogState
from waiter.scheduler.local.log_reader import LogReader
from waiter.scheduler.local.rotation import LogRotation
from waiter.support.cutting import CannotCut, cut_off_beginning

# Writes numbered lines, so many or until its input ends, with pauses or as fast as it can.
WRITER = """
import os, select, sys, time
log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
count, pause_secs = float(sys.argv[2]), float(sys.argv[3])
first = 0
while first < count and not (pause_secs and select.select([0], [], [], pause_secs)[0]):
    os.write(log, b"".join(b"line %d %s\\n" % (number, b"x" * (number % 97)) for number in range(first, first + 20)))
    first += 20
print(first)
"""

# Rotates until it is killed.
ROTATOR = """
import sys
from pathlib import Path
from waiter.scheduler.local.log_place import LogPlace
from waiter.scheduler.local.rotation import LogRotation
place, rotation = LogPlace(Path(sys.argv[1])), LogRotation(max_bytes=65536, keep=100000)
rotation.recover(place)
print("ready", flush=True)
while True:
    rotation.rotate(place)
"""


def cannot_cut(_descriptor, _length):
    raise CannotCut("Operation not supported")


class WithLog:
    def prepare(self, content=b""):
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        self.place = LogPlace(directory / "stdout")
        self.place.live.write_bytes(content)
        self.block = os.statvfs(directory).f_bsize
        return directory

    def need_cuts(self):
        """Skip the test where the file system has no cuts."""
        probe = self.place.live.with_name("probe")
        probe.write_bytes(bytes(2 * self.block))
        with probe.open("r+b") as file:
            try:
                cut_off_beginning(file.fileno(), self.block)
            except CannotCut:
                raise SkipTest("The file system of the tests cannot cut") from None
        probe.unlink()

    def append(self, data):
        with self.place.live.open("ab") as live:
            live.write(data)

    def everything(self):
        """What C{cat} of all files, oldest first, gives."""
        older = [path for _, path in self.place.pieces(0)]
        return b"".join(path.read_bytes() for path in (*reversed(older), self.place.live))

    def names(self):
        return sorted(path.name for path in self.place.live.parent.iterdir())


def lines(first, end):
    return b"".join(b"line %d\n" % number for number in range(first, end))


class RotationTests(WithLog, SynchronousTestCase):
    def setUp(self):
        self.prepare()
        self.need_cuts()

    def rotate(self, *, max_blocks=4, keep=3, **given):
        self.rotation = LogRotation(max_bytes=max_blocks * self.block, keep=keep, **given)
        return self.rotation.rotate(self.place)

    def test_aLogThatIsNotTooLargeIsLeftAlone(self):
        self.append(bytes(4 * self.block))
        self.assertIs(self.rotate(), False)
        self.assertEqual(self.names(), ["stdout"])

    def test_aLogThatGrowsFasterThanItIsMovedDoesNotKeepTheOthersWaiting(self):
        cuts = []

        def cut(descriptor, length):
            cut_off_beginning(descriptor, length)
            cuts.append(length)
            self.assertLess(len(cuts), 20)
            self.append(bytes(length + self.block))

        self.append(bytes(10 * self.block))
        self.assertIs(self.rotate(cut=cut), True)
        self.assertEqual(cuts, [4 * self.block] * 3)

    def test_aLogThatDoesNotExistIsLeftAlone(self):
        self.place.live.unlink()
        self.assertIs(self.rotate(), False)

    def test_theBeginningIsMovedAndNothingIsLost(self):
        content = lines(0, 5000)
        self.append(content)
        inode = self.place.live.stat().st_ino
        self.assertIs(self.rotate(keep=100), True)
        self.assertEqual(self.everything(), content)
        self.assertEqual(self.place.live.stat().st_ino, inode)
        sizes = [path.stat().st_size for _, path in self.place.pieces(0)]
        self.assertLessEqual(max([*sizes, self.place.live.stat().st_size]), 4 * self.block)
        self.assertEqual(self.place.state(), LogState(base=sum(sizes)))
        self.assertNotIn("stdout.new", self.names())

    def test_cutsAreAtTheEndsOfLinesIfPossible(self):
        line = b"x" * (self.block // 2 - 1) + b"\n"
        self.append(b"0" * (self.block // 2) + line * 8 + b"y" * (self.block - 1) + b"\n" + line)
        self.rotate()
        self.assertEqual(self.place.old(1).stat().st_size, 4 * self.block)
        self.assertEqual(self.place.old(1).read_bytes()[-1:], b"\n")

    def test_aCutWithinALineIsAtTheLastBlock(self):
        self.append(b"x" * (5 * self.block))
        self.rotate()
        self.assertEqual(self.place.old(1).stat().st_size, 4 * self.block)

    def test_onlySoManyOlderFilesAreKept(self):
        for start in range(8):
            self.append(lines(start * 3000, start * 3000 + 3000))
            self.rotate(keep=2)
        self.assertEqual(self.names(), ["stdout", "stdout.1", "stdout.2", "stdout.offset"])
        self.assertTrue(lines(0, 24000).endswith(self.everything()))
        self.assertGreater(len(self.everything()), 2 * 3 * self.block)
        self.append(lines(0, 3000))
        self.rotate(keep=1)
        self.assertEqual(self.names(), ["stdout", "stdout.1", "stdout.offset"])

    def test_withNoneToKeepTheBeginningIsDropped(self):
        content = os.urandom(5 * self.block)
        self.append(content)
        self.rotate(keep=0)
        self.assertEqual(self.names(), ["stdout", "stdout.offset"])
        self.assertEqual(self.place.live.read_bytes(), content[self.place.state().base :])
        self.assertLessEqual(self.place.live.stat().st_size, 4 * self.block)

    def test_whatWouldNotBeKeptIsNotCopied(self):
        old = lines(0, 4000)
        self.append(old)
        self.rotate(keep=1)
        new = os.urandom(50 * self.block)
        self.append(new)
        copied = []
        write = rotation._write
        self.patch(rotation, "_write", lambda copy, data: copied.append(len(data)) or write(copy, data))
        self.rotate(keep=1)
        self.assertLessEqual(sum(copied), 8 * self.block)
        self.assertTrue(new.endswith(self.everything()))
        self.assertEqual(self.place.state().base, len(old) + len(new) - self.place.live.stat().st_size)

    def test_whereTheFileSystemCannotCut_allIsMoved(self):
        content = lines(0, 5000)
        self.append(content)
        self.assertIs(self.rotate(cut=cannot_cut), True)
        self.assertEqual(self.names(), ["stdout", "stdout.1", "stdout.offset"])
        self.assertEqual((self.place.live.stat().st_size, self.everything()), (0, content))
        self.assertEqual(self.place.state(), LogState(base=len(content)))

    def test_whereItCannotCut_whatIsWrittenMeanwhileIsCopiedBeforeItIsEmptied(self):
        content = lines(0, 5000)
        self.append(content)
        late = [b"late 1\n", b"late 2\n"]

        def empty(descriptor, size):
            if late:
                self.append(late.pop(0))
            return rotation.empty_if_size(descriptor, size)

        self.rotate(cut=cannot_cut, empty=empty)
        self.assertEqual(self.everything(), content + b"late 1\nlate 2\n")

    def test_whereItCannotCutAndNoneIsKept_allIsDropped(self):
        self.append(lines(0, 5000))
        self.rotate(cut=cannot_cut, keep=0)
        self.assertEqual((self.everything(), self.place.state().base), (b"", len(lines(0, 5000))))

    def test_whenTheDiskIsFull_nothingIsLostAndItIsTriedAgain(self):
        content = lines(0, 5000)
        self.append(content)

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        for cut in (cut_off_beginning, cannot_cut):
            with self.subTest(cut=cut):
                written = self.patch(rotation, "_write", full)
                self.assertRaises(OSError, self.rotate, cut=cut)
                self.assertEqual((self.names()[0], self.everything()), ("stdout", content))
                self.assertNotIn("stdout.new", self.names())
                self.assertIsNone(self.place.state().removing)
                written.restore()
        self.assertIs(self.rotate(keep=100), True)
        self.assertEqual(self.everything(), content)

    def test_whenTheCutFails_nothingHappened(self):
        content = lines(0, 5000)
        self.append(content)

        def fails(*_):
            raise OSError(errno.EIO, "Input/output error")

        self.assertRaises(OSError, self.rotate, cut=fails)
        self.assertEqual((self.everything(), self.names()), (content, ["stdout", "stdout.offset"]))
        self.assertEqual(self.place.state(), LogState())

    def test_linksAreNotFollowed(self):
        other = self.place.live.with_name("other")
        self.place.live.rename(other)
        other.write_bytes(bytes(9 * self.block))
        self.place.live.symlink_to(other)
        self.assertIs(self.rotate(), False)
        self.place.live.unlink()
        self.append(lines(0, 5000))
        for name in ("stdout.new", "stdout.offset.new", "stdout.1"):
            self.place.live.with_name(name).symlink_to(other)
        self.rotate()
        self.assertEqual(other.read_bytes(), bytes(9 * self.block))


class Killed(BaseException):
    """The process ends here, as far as the code under test can tell."""


class KilledAtLine:
    """Ends what it runs when so many lines of some modules have begun, and then goes on as if nothing had happened."""

    def __init__(self, count):
        self._left = count

    def run(self, what, *arguments):
        """Whether C{what} came to its end before."""
        files = {rotation.__file__, log_place.__file__}

        def trace(frame, event, _argument):
            if frame.f_code.co_filename not in files:
                return None
            if event == "line":
                self._left -= 1
                if self._left < 0:
                    sys.settrace(None)
                    raise Killed
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            what(*arguments)
        except Killed:
            return False
        finally:
            sys.settrace(before)
        return True


class InterruptionTests(WithLog, SynchronousTestCase):
    def interrupted_everywhere(self, **given):
        """Interrupt a rotation, and the recovery from that, at every line; what was written must be there once."""
        self.prepare()
        self.need_cuts()
        options = LogRotation(max_bytes=4 * self.block, keep=3, **given)
        for count in range(10000):
            directory = self.prepare()
            for start in range(4):
                self.append(lines(start * 2500, start * 2500 + 2500))
                if start < 3:
                    options.rotate(self.place)
            before = self.everything()
            base = self.place.state().base
            complete = KilledAtLine(count).run(options.rotate, self.place)
            self.append(b"after the end\n")
            KilledAtLine(count // 3).run(options.recover, self.place)
            options.recover(self.place)
            after = self.everything()
            self.assertTrue((before + b"after the end\n").endswith(after), f"interrupted after {count} lines")
            self.assertGreaterEqual(len(after), 3 * 3 * self.block, f"interrupted after {count} lines")
            state = self.place.state()
            self.assertIsNone(state.removing)
            self.assertGreaterEqual(state.base, base)
            self.assertEqual(state.base + self.place.live.stat().st_size, len(lines(0, 10000)) + 14)
            self.assertNotIn("stdout.new", self.names(), f"interrupted after {count} lines")
            for path in directory.iterdir():
                path.unlink()
            if complete:
                return count
        raise AssertionError("it never came to its end")

    def test_interruptedAnywhere_nothingIsLostOrThereTwice(self):
        self.assertGreater(self.interrupted_everywhere(), 50)

    def test_interruptedAnywhereWhereTheFileSystemCannotCut_nothingIsLostOrThereTwice(self):
        self.assertGreater(self.interrupted_everywhere(cut=cannot_cut), 50)


class RealWriterTests(WithLog, TestCase):
    timeout = 600

    def setUp(self):
        self.prepare()
        self.need_cuts()

    def start(self, program, *arguments, **given):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(self.place.live), *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            **given,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def assert_every_line_once(self, count):
        found = [int(line.split()[1]) for line in self.everything().splitlines()]
        self.assertEqual(found, list(range(count)))

    def test_whileAWriterWritesAsFastAsItCan_everyLineIsThereOnceAndInOrder(self):
        writer = self.start(WRITER, 200000, 0, stdout=subprocess.DEVNULL)
        options = LogRotation(max_bytes=65536, keep=100000)
        reader = LogReader(str(self.place.live), rotated=True, complete=lambda: False)
        self.addCleanup(reader.close)
        offset, read = 0, []

        def read_on():
            nonlocal offset
            found = reader.read(offset, 50000)
            if found is not None:
                self.assertEqual(found[0], offset)
                read.append(found[1])
                offset += len(found[1])
            return found is None or found[1]

        while writer.poll() is None:
            options.rotate(self.place)
            read_on()
        options.rotate(self.place)
        while read_on():
            pass
        self.assertGreater(len(self.place.pieces(0)), 50)
        self.assert_every_line_once(200000)
        self.assertEqual(b"".join(read), self.everything())

    async def test_whenTheRotatingProcessIsKilledAgainAndAgain_everyLineIsThereOnceAndInOrder(self):
        writer = self.start(WRITER, "inf", 0.0002, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        kill = 0
        while kill < 25 or len(self.place.pieces(0)) <= 10:
            kill += 1
            rotator = self.start(ROTATOR, stdout=subprocess.PIPE)
            self.assertEqual(rotator.stdout.readline(), b"ready\n")
            # A wait without an aim: this is where the different moments of the kills come from.
            await deferLater(reactor, kill % 12 / 400)
            rotator.send_signal(signal.SIGKILL)
            rotator.communicate()
        count, _ = writer.communicate()
        LogRotation(max_bytes=65536, keep=100000).recover(self.place)
        self.assert_every_line_once(int(count))
