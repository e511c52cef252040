"""L{waiter.scheduler.local.launcher}: nothing runs before the gate is open."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from waiter.scheduler.local.launcher import command_shell, launch, launcher_script
from waiter.scheduler.local.pidfd import PidWatch
from waiter.scheduler.local.records import InstanceDirectory

DYING_SERVER = """
import sys, time
from pathlib import Path
from waiter.scheduler.local.launcher import launch
from waiter.scheduler.local.records import InstanceDirectory
launcher = launch(InstanceDirectory(Path(sys.argv[1])), {}, ())
print(launcher.pid, flush=True)
time.sleep(3600)
"""


class LauncherTests(TestCase):
    timeout = 120

    def launch(self, command):
        self.directory = InstanceDirectory(Path(self.mktemp()).absolute() / "a" / "a.1")
        self.directory.create()
        self.directory.write_script(
            launcher_script(command, service_id="a", exit_path=self.directory.exit, shell=command_shell())
        )
        launcher = launch(self.directory, {"PATH": os.environ["PATH"]}, ())
        ended = Deferred()
        PidWatch(reactor, launcher.pid, lambda: ended.callback(None))
        self.addCleanup(self.end, launcher.pid)
        return launcher, ended

    @staticmethod
    def end(pid):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    async def test_whenTheGateOpensTheCommandRunsAndItsExitCodeIsNoted(self):
        launcher, ended = self.launch("echo ran; exit 7")
        self.assertEqual(self.directory.stdout.read_text(), "")
        self.assertIsNone(self.directory.read_exit())
        launcher.open_gate()
        await ended
        self.assertEqual(self.directory.stdout.read_text(), "ran\n")
        self.assertEqual(self.directory.read_exit(), 7)

    async def test_whenNobodyOpensTheGateTheLauncherEndsAndTheCommandNeverRuns(self):
        launcher, ended = self.launch("echo ran")
        launcher.give_up()
        await ended
        self.assertEqual((self.directory.stdout.read_text(), self.directory.stderr.read_text()), ("", ""))
        self.assertIsNone(self.directory.read_exit())

    async def test_whenWaiterDiesBeforeItOpensTheGateTheCommandNeverRuns(self):
        directory = InstanceDirectory(Path(self.mktemp()).absolute() / "a" / "a.1")
        directory.create()
        directory.write_script(
            launcher_script("echo ran", service_id="a", exit_path=directory.exit, shell=command_shell())
        )
        server = subprocess.Popen(
            [sys.executable, "-c", DYING_SERVER, str(directory.path)],
            cwd=Path(__file__).parents[3],
            stdout=subprocess.PIPE,
        )
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        launcher = int(server.stdout.readline())
        ended = Deferred()
        PidWatch(reactor, launcher, lambda: ended.callback(None))
        server.kill()
        await ended
        self.assertEqual((directory.stdout.read_text(), directory.read_exit()), ("", None))

    async def test_whenTheLauncherWasKilledTheGateOpensForNobody(self):
        launcher, ended = self.launch("echo ran")
        os.kill(launcher.pid, signal.SIGKILL)
        await ended
        launcher.open_gate()
        self.assertEqual(self.directory.stdout.read_text(), "")
        self.assertIsNone(self.directory.read_exit())

    async def test_theCommandReadsNothing(self):
        launcher, ended = self.launch("readlink /proc/self/fd/0; cat; echo done")
        launcher.open_gate()
        await ended
        self.assertEqual(self.directory.stdout.read_text(), "/dev/null\ndone\n")

    async def test_whatWaiterKeepsOfAnInstanceOthersCannotRead(self):
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        launcher, ended = self.launch("umask; touch file; stat -c %a file")
        launcher.open_gate()
        await ended
        self.assertEqual(self.directory.stdout.read_text(), "0022\n644\n")
        modes = {path.name: path.stat().st_mode & 0o077 for path in self.directory.path.iterdir()}
        self.assertEqual(modes, {"exit": 0, "run.sh": 0, "stdout": 0, "stderr": 0, "work": 0})
        self.assertEqual(self.directory.path.stat().st_mode & 0o777, 0o700)
        self.assertEqual(self.directory.path.parent.stat().st_mode & 0o777, 0o711)
