"""Deleting what others have filled."""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import skipIf

from twisted.trial.unittest import SynchronousTestCase

from waiter.support.removal import remove_tree

# As somebody who is not root: root may enter everything.
_AS_NOBODY = """
import os, sys
from pathlib import Path
from waiter.support.removal import remove_tree
os.setgid(12345); os.setuid(12345)
top = Path(sys.argv[1])
(top / "a" / "b" / "c").mkdir(parents=True)
(top / "a" / "b" / "file").write_text("")
(top / "a" / "b").chmod(0)
(top / "a").chmod(0)
print(remove_tree(top / "a"), os.listdir(top))
"""


class RemovalTests(SynchronousTestCase):
    def setUp(self):
        self.top = Path(self.mktemp())
        (self.top / "a" / "b").mkdir(parents=True)
        (self.top / "kept").mkdir()
        (self.top / "kept" / "file").write_text("")

    def test_everythingBelowIsDeletedAndLinksAreNotFollowed(self):
        (self.top / "a" / "link").symlink_to(self.top.absolute() / "kept")
        (self.top / "a" / "b" / "file").write_text("")
        self.assertIs(remove_tree(self.top / "a"), True)
        self.assertEqual([path.name for path in self.top.rglob("*")], ["kept", "file"])

    def test_aLinkIsDeletedNotWhatItLeadsTo(self):
        (self.top / "link").symlink_to(self.top.absolute() / "kept")
        self.assertIs(remove_tree(self.top / "link"), True)
        self.assertEqual((self.top / "link").is_symlink(), False)
        self.assertEqual((self.top / "kept" / "file").exists(), True)

    def test_whatIsNotThereIsGone(self):
        self.assertIs(remove_tree(self.top / "nothing"), True)

    def test_whatCannotBeDeletedIsToldAbout(self):
        self.patch(os, "rmdir", lambda *_, **__: self.fail_to_delete())
        self.assertIs(remove_tree(self.top / "a"), False)

    def fail_to_delete(self):
        raise PermissionError

    def test_aTreeDeeperThanTheStackIsDeleted(self):
        self.dig(sys.getrecursionlimit() + 100)
        self.assertIs(remove_tree(self.top / "a"), True)
        self.assertEqual((self.top / "kept" / "file").exists(), True)

    def test_aTreeDeeperThanThereAreDescriptorsIsDeleted(self):
        self.dig(200)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 50, hard))
        self.assertIs(remove_tree(self.top / "a"), True)

    def dig(self, depth):
        """Make directories in each other, below C{a}, with a file and a link in each."""
        directory = os.open(self.top / "a", os.O_RDONLY)
        for _ in range(depth):
            os.mkdir("deep", dir_fd=directory)
            os.symlink(self.top.absolute() / "kept", "link", dir_fd=directory)
            inner = os.open("deep", os.O_RDONLY, dir_fd=directory)
            os.close(directory)
            directory = inner
        os.close(directory)

    @skipIf(os.geteuid() != 0, "needs another user than root")
    def test_directoriesThatNobodyMayEnterAreDeleted(self):
        self.assert_deleted(Path(self.enterable()), _AS_NOBODY)

    @skipIf(os.geteuid() == 0, "root may enter everything")
    def test_directoriesThatTheirOwnerMayNotEnterAreDeleted(self):
        (self.top / "a" / "b").chmod(0)
        (self.top / "a").chmod(0)
        self.assertIs(remove_tree(self.top / "a"), True)

    def enterable(self):
        """A directory that another user can reach."""
        top = Path(tempfile.mkdtemp())
        self.addCleanup(remove_tree, top)
        os.chown(top, 12345, 12345)
        return top

    def assert_deleted(self, top, program):
        ended = subprocess.run(
            [sys.executable, "-c", program, str(top)],
            env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual((ended.stdout, ended.stderr), ("True []\n", ""))
