"""Opening what may have been replaced."""

import os
from pathlib import Path
from unittest import skipIf

from twisted.trial.unittest import SynchronousTestCase

from waiter.support.regular_file import open_regular


class OpenTests(SynchronousTestCase):
    def setUp(self):
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()
        self.path = self.directory / "file"
        self.path.write_bytes(b"012")

    def read(self, path):
        descriptor = open_regular(str(path))
        try:
            return os.read(descriptor, 100)
        finally:
            os.close(descriptor)

    def test_aRegularFileIsOpened(self):
        self.assertEqual(self.read(self.path), b"012")

    def test_whatIsNoRegularFileIsNotThere(self):
        (self.directory / "sub").mkdir()
        (self.directory / "link").symlink_to(self.path)
        (self.directory / "linked").symlink_to(self.directory)
        os.mkfifo(self.directory / "pipe")
        before = len(list(Path("/proc/self/fd").iterdir()))
        for name in ("sub", "link", "linked/file", "pipe", "nothing", "file\0"):
            self.assertRaises(OSError, open_regular, f"{self.directory}/{name}")
        self.assertEqual(len(list(Path("/proc/self/fd").iterdir())), before)

    def test_anotherNameOfAnOwnFileIsAFile(self):
        os.link(self.path, self.directory / "other")
        self.assertEqual(self.read(self.directory / "other"), b"012")

    @skipIf(os.geteuid() != 0, "only root can have files of others")
    def test_aFileOfSomebodyElseThatNobodyElseCanHavePutThereMayHaveOtherNames(self):
        elsewhere = Path(self.mktemp())
        os.link(self.path, elsewhere)
        os.chown(self.path, 12345, 12345)
        self.directory.chmod(0o755)
        self.assertEqual(self.read(self.path), b"012")
        self.directory.chmod(0o1777)
        self.assertRaises(OSError, open_regular, str(self.path))

    @skipIf(os.geteuid() != 0, "only root can have files of others")
    def test_anotherNameOfAFileOfSomebodyElseIsNotThere(self):
        os.link(self.path, self.directory / "other")
        os.chown(self.path, 12345, 12345)
        os.chown(self.directory, 12346, 12346)
        self.assertRaises(OSError, open_regular, str(self.directory / "other"))
        # With that name alone it is what the owner of the directory let be there.
        self.path.unlink()
        self.assertEqual(self.read(self.directory / "other"), b"012")
