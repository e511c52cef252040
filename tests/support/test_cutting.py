"""Removing the beginning of a file."""

import errno
import os
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from waiter.support.cutting import CannotCut, cut_off_beginning, empty_if_size


class CuttingTests(SynchronousTestCase):
    def opened(self, path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        self.addCleanup(os.close, descriptor)
        return descriptor

    def test_whatFollowsTheBeginningMovesToTheFront(self):
        path = Path(self.mktemp())
        descriptor = self.opened(path)
        block = os.fstatvfs(descriptor).f_bsize
        os.write(descriptor, b"x" * block + b"the rest")
        try:
            cut_off_beginning(descriptor, block)
        except CannotCut:
            raise SkipTest("The file system of the tests cannot do this") from None
        self.assertEqual(path.read_bytes(), b"the rest")

    def test_whatTheFileSystemCannotDoIsSaidAndChangesNothing(self):
        path = Path(self.mktemp())
        descriptor = self.opened(path)
        os.write(descriptor, b"0123456789")
        # No file system cuts within a block.
        self.assertRaises(CannotCut, cut_off_beginning, descriptor, 5)
        self.assertEqual(path.read_bytes(), b"0123456789")

    def test_failuresAreErrors(self):
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        problem = self.assertRaises(OSError, cut_off_beginning, writing, 4096)
        self.assertEqual(problem.errno, errno.ESPIPE)

    def test_aFileIsEmptiedOnlyIfItHasTheSize(self):
        path = Path(self.mktemp())
        descriptor = self.opened(path)
        os.write(descriptor, b"0123456789")
        self.assertIs(empty_if_size(descriptor, 9), False)
        self.assertEqual(path.read_bytes(), b"0123456789")
        self.assertIs(empty_if_size(descriptor, 10), True)
        self.assertEqual(path.read_bytes(), b"")
        with path.open("rb") as reading:
            os.write(descriptor, b"x")
            self.assertRaises(OSError, empty_if_size, reading.fileno(), 11)
