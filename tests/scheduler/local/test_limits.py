"""L{waiter.scheduler.local.limits}."""

import os
import resource
import subprocess
from unittest import SkipTest

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.scheduler.local.limits import InstanceLimits, own_limits, shell_lines

UNLIMITED = resource.RLIM_INFINITY
FREE = dict.fromkeys((resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC), (UNLIMITED, UNLIMITED))
LIMIT = st.one_of(st.just(UNLIMITED), st.integers(min_value=1, max_value=1 << 40))


class InstanceLimitsTests(SynchronousTestCase):
    def resources(self, limits=None, *, shares_user=False, **own):
        given = {getattr(resource, f"RLIMIT_{name}"): limit for name, limit in own.items()}
        return (limits or InstanceLimits()).resources({**FREE, **given}, shares_user=shares_user)

    def test_withoutSettingsFilesAreLimitedInNumberAndNotInSize(self):
        self.assertEqual(self.resources(), {resource.RLIMIT_CORE: (0, 0), resource.RLIMIT_NOFILE: (16384, 16384)})

    def test_theSizeOfFilesIsLimitedIfThatIsSet(self):
        limits = self.resources(InstanceLimits(max_file_bytes=5000))
        self.assertEqual(limits[resource.RLIMIT_FSIZE], (5000, 5000))

    def test_whatThisProcessMayNotExceedItsInstancesMayNot(self):
        limits = self.resources(
            InstanceLimits(max_open_files=5000, max_file_bytes=5000), NOFILE=(100, 4000), FSIZE=(100, 3000)
        )
        self.assertEqual(limits[resource.RLIMIT_NOFILE], (4000, 4000))
        self.assertEqual(limits[resource.RLIMIT_FSIZE], (3000, 3000))

    def test_instancesOfWaitersOwnUserLeaveItSomeProcesses(self):
        limits = self.resources(shares_user=True, NPROC=(10000, 20000))
        self.assertEqual(limits[resource.RLIMIT_NPROC], (9500, 9500))
        limits = self.resources(shares_user=True, NPROC=(200, 200))
        self.assertEqual(limits[resource.RLIMIT_NPROC], (136, 136))

    def test_theNumberOfProcessesOfOtherUsersStaysWhatItIs(self):
        self.assertNotIn(resource.RLIMIT_NPROC, self.resources(NPROC=(10000, 20000)))
        self.assertNotIn(resource.RLIMIT_NPROC, self.resources(shares_user=True))

    @given(st.builds(InstanceLimits, max_open_files=st.integers(1, 1 << 30)), LIMIT, LIMIT, st.booleans())
    def test_noLimitIsAboveThisProcessesHardOne(self, limits, files, processes, shares_user):
        own = {**FREE, resource.RLIMIT_NOFILE: (1, files), resource.RLIMIT_NPROC: (processes, processes)}
        for which, (soft, hard) in limits.resources(own, shares_user=shares_user).items():
            self.assertEqual(soft, hard)
            self.assertGreaterEqual(soft, 0)
            most = own.get(which, (0, UNLIMITED))[1]
            self.assertTrue(most == UNLIMITED or soft <= most)

    def test_aShellScriptSetsThemForItselfAndWhatItRuns(self):
        soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
        lines = shell_lines(
            {
                resource.RLIMIT_CORE: (0, 0),
                resource.RLIMIT_NOFILE: (99, 99),
                resource.RLIMIT_FSIZE: (4096, 4096),
                resource.RLIMIT_NPROC: (soft, soft),
            }
        )
        for shell in filter(os.path.exists, ("/bin/sh", "/bin/dash")):
            shown = subprocess.run(
                [shell, "-c", f"{lines}exec cat /proc/self/limits"], capture_output=True, text=True, check=True
            )
            limits = {line[:26].strip(): line[26:].split()[:2] for line in shown.stdout.splitlines()}
            self.assertEqual(limits["Max core file size"], ["0", "0"])
            self.assertEqual(limits["Max open files"], ["99", "99"])
            self.assertEqual(limits["Max file size"], ["4096", "4096"])
            self.assertEqual(limits["Max processes"], [str(soft)] * 2)
            self.assertEqual(shown.stderr, "")

    def test_aScriptThatCannotSetThemRunsNothing(self):
        script = f"ulimit -n 50\n{shell_lines({resource.RLIMIT_NOFILE: (100, 100)})}echo ran"
        ended = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=False)
        if os.geteuid() == 0 and ended.returncode == 0:
            raise SkipTest("root may raise limits here")
        self.assertEqual((ended.returncode, ended.stdout), (126, ""))

    def test_theLimitsOfThisProcessAreThoseThatMatter(self):
        self.assertEqual(own_limits()[resource.RLIMIT_NOFILE], resource.getrlimit(resource.RLIMIT_NOFILE))
        InstanceLimits(max_file_bytes=1).resources(own_limits(), shares_user=True)
