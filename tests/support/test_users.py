"""L{waiter.support.users}."""

import grp
import os
import pwd

from twisted.trial.unittest import SynchronousTestCase

from tests.passable import passable_directory
from waiter.support.users import User, barrier, find_user, own_user


class UsersTests(SynchronousTestCase):
    def test_theOwnUserIsTheEffectiveOne(self):
        self.patch(os, "environ", {**os.environ, "USER": "mallory", "LOGNAME": "mallory"})
        self.assertEqual(own_user(), pwd.getpwuid(os.geteuid()).pw_name)

    def test_aUserWithoutANameIsCalledByTheNumber(self):
        self.patch(os, "geteuid", lambda: 3999999999)
        self.assertEqual(own_user(), "3999999999")

    def test_aUserIsFoundWithAllGroups(self):
        groups = {each.gr_gid for each in grp.getgrall() if "root" in each.gr_mem}
        root = find_user("root")
        self.assertEqual((root.uid, root.home), (0, pwd.getpwuid(0).pw_dir))
        self.assertEqual(set(root.groups), {root.gid, *groups})

    def test_whoIsNotThereIsNotFound(self):
        for name in ("no-such-user", "", "0", "a\0b", "\udc80"):
            self.assertIsNone(find_user(name))


class BarrierTests(SynchronousTestCase):
    def setUp(self):
        self.top = passable_directory(self)
        self.path = self.top / "a" / "b"
        self.path.mkdir(parents=True)
        found = self.top.stat()
        self.owner = User(name="o", uid=found.st_uid, gid=found.st_gid, groups=(found.st_gid,), home="/")
        self.member = User(name="m", uid=found.st_uid + 1, gid=9, groups=(9, found.st_gid), home="/")
        self.stranger = User(name="s", uid=found.st_uid + 1, gid=9, groups=(9,), home="/")

    def stopped(self, mode):
        self.top.chmod(mode)
        self.addCleanup(self.top.chmod, 0o700)
        return [barrier(user, self.path) for user in (self.owner, self.member, self.stranger)]

    def test_whoMayPassAllDirectoriesMeetsNoBarrier(self):
        self.assertEqual(self.stopped(0o711), [None, None, None])

    def test_theFirstDirectoryThatCannotBePassedIsTheBarrier(self):
        self.assertEqual(self.stopped(0o700), [None, self.top, self.top])
        self.assertEqual(self.stopped(0o710), [None, None, self.top])

    def test_theMostFittingRightsCount(self):
        self.assertEqual(self.stopped(0o601), [self.top, self.top, None])
