"""The file that grows and is begun anew."""

import errno
import os
import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from waiter.telemetry import log_file
from waiter.telemetry.log_file import LogFile


class LogFileTests(SynchronousTestCase):
    def setUp(self):
        self.directory = Path(self.mktemp())
        self.path = self.directory / "deep" / "request.log"

    def file(self, *, max_bytes=100, keep=3):
        made = LogFile(self.path, max_bytes=max_bytes, keep=keep)
        self.addCleanup(made.close)
        return made

    def contents(self):
        return {path.name: path.read_bytes() for path in self.path.parent.iterdir()}

    def test_nothingIsMadeBeforeTheFirstWrite(self):
        self.file()
        self.assertFalse(self.directory.exists())

    def test_batchesAreAppended(self):
        file = self.file()
        file.append(b"a\n")
        file.append(b"b\n")
        self.assertEqual(self.contents(), {"request.log": b"a\nb\n"})

    def test_anEarlierFileIsContinued(self):
        first = self.file()
        first.append(b"a\n")
        first.close()
        self.file().append(b"b\n")
        self.assertEqual(self.contents(), {"request.log": b"a\nb\n"})

    def test_onlyTheOwnerReadsIt(self):
        self.file().append(b"a\n")
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_fullFileIsPutAsideAndSoManyAreKept(self):
        file = self.file(max_bytes=2, keep=2)
        for letter in b"abcdef":
            file.append(bytes([letter, 10]))
        self.assertEqual(self.contents(), {"request.log": b"f\n", "request.log.1": b"e\n", "request.log.2": b"d\n"})

    def test_whenNoneIsKept_theFileBeginsAnew(self):
        file = self.file(max_bytes=2, keep=0)
        for letter in b"abc":
            file.append(bytes([letter, 10]))
        self.assertEqual(self.contents(), {"request.log": b"c\n"})

    def test_whenSomebodyMovesTheFile_anotherIsBegun(self):
        file = self.file()
        file.append(b"a\n")
        self.path.rename(self.path.with_name("moved"))
        file.append(b"b\n")
        self.assertEqual(self.contents(), {"moved": b"a\n", "request.log": b"b\n"})
        self.path.unlink()
        file.append(b"c\n")
        self.assertEqual(self.contents(), {"moved": b"a\n", "request.log": b"c\n"})

    def test_whatIsWrittenInPiecesIsWhole(self):
        write = os.write
        self.patch(log_file.os, "write", lambda descriptor, data: write(descriptor, data[:3]))
        self.file().append(b"0123456789\n")
        self.assertEqual(self.contents(), {"request.log": b"0123456789\n"})

    def test_whenTheDiskIsFull_noHalfOfABatchRemains(self):
        file = self.file()
        file.append(b"whole\n")
        write = os.write
        written = []

        def full(descriptor, data):
            if written:
                raise OSError(errno.ENOSPC, "No space left on device")
            written.append(data)
            return write(descriptor, data[:3])

        self.patch(log_file.os, "write", full)
        self.assertRaises(OSError, file.append, b"0123456789\n")
        self.patch(log_file.os, "write", write)
        file.append(b"again\n")
        self.assertEqual(self.contents(), {"request.log": b"whole\nagain\n"})
