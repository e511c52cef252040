"""The command line C{waiter-instances}, as far as it needs no processes."""

import fcntl
import io
import json
import os
import socket
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from waiter import instances
from waiter.scheduler.local.inventory import Entry, State
from waiter.state_directory import lock_state_directory

RUNNING = Entry(
    id="waiter-service-a.1",
    service_id="waiter-service-a",
    state=State.RUNNING,
    finding=None,
    pid=4711,
    ports=(10007, 10008),
    started_at=0.0,
    processes=2,
    memory_mib=12.34,
    command="serve",
)
STRAY = Entry(
    id="waiter-service-b.2",
    service_id="waiter-service-b",
    state=State.NO_RECORD,
    finding=None,
    pid=None,
    processes=1,
    memory_mib=0.5,
)


class CommandLineTests(SynchronousTestCase):
    def setUp(self):
        self.state = Path(self.mktemp()).absolute()
        (self.state / "services").mkdir(parents=True)
        self.found = []
        self.ended = []
        self.failing = {}
        self.patch(instances, "inventory", lambda services: self.found if services.parent == self.state else [])
        self.patch(instances, "_end", self.end)
        self.patch(instances.time, "time", lambda: 7200.0)
        self.patch(os, "environ", {})

    def end(self, entries, settings, *, force):
        # Whoever asks for the lock now is refused.
        with (self.state / "lock").open("rb") as lock:
            self.assertRaises(BlockingIOError, fcntl.flock, lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.ended += [(entry.id, force) for entry in entries]
        return self.failing

    def main(self, *arguments, state=True):
        """The exit status, what was written, and what was complained of."""
        self.patch(sys, "stdout", io.StringIO())
        self.patch(sys, "stderr", io.StringIO())
        place = ("--state-dir", str(self.state)) if state else ()
        try:
            status = instances.main([*arguments, *place])
        except SystemExit as ended:
            status = ended.code
        return status, sys.stdout.getvalue(), sys.stderr.getvalue()

    def test_instancesAreListedInATable(self):
        self.found = [RUNNING, STRAY]
        status, output, _ = self.main()
        self.assertEqual(status, 0)
        self.assertEqual(
            [line.split() for line in output.splitlines()],
            [
                ["STATE", "SERVER", "PID", "PORTS", "AGE", "MEMORY", "INSTANCE"],
                ["running", "-", "4711", "10007,10008", "2", "h", "12.3", "MiB", "waiter-service-a.1"],
                ["no-record", "-", "-", "-", "-", "0.5", "MiB", "waiter-service-b.2"],
            ],
        )

    def test_instancesAreListedAsJSON(self):
        self.found = [RUNNING]
        status, output, _ = self.main("list", "--json")
        self.assertEqual(status, 0)
        self.assertEqual(
            json.loads(output),
            [
                {
                    "age-secs": 7200.0,
                    "cmd": "serve",
                    "instance-id": "waiter-service-a.1",
                    "memory-mib": 12.3,
                    "pid": 4711,
                    "ports": [10007, 10008],
                    "processes": 2,
                    "server-pid": None,
                    "service-id": "waiter-service-a",
                    "state": "running",
                    "state-directory": str(self.state),
                }
            ],
        )

    def test_theServerIsNamedAndItsLockNotDisturbed(self):
        lock = lock_state_directory(self.state)
        self.addCleanup(os.close, lock)
        self.found = [RUNNING]
        _, output, _ = self.main("--json")
        self.assertEqual(json.loads(output)[0]["server-pid"], os.getpid())
        self.found = []
        self.assertIn(f"process {os.getpid()} is the server", self.main()[1])

    def test_someCanBeAskedFor(self):
        self.found = [RUNNING, STRAY]
        for name in ("waiter-service-b", "waiter-service-b.2"):
            _, output, _ = self.main("list", name)
            self.assertIn("waiter-service-b.2", output)
            self.assertNotIn("waiter-service-a", output)

    def test_whereNothingRunsThatIsSaid(self):
        self.assertEqual(self.main(), (0, f"No instance runs in {self.state}\n", ""))
        self.assertEqual(self.main("--json")[1], "[]\n")
        self.assertEqual(self.main("stop", "--all"), (0, "There was nothing to stop\n", ""))

    def test_whereNoServerEverRanAnotherPlaceIsAskedFor(self):
        os.environ.update(WAITER_STATE_DIR=str(self.state))
        self.assertNotIn("--state-dir", self.main(state=False)[1])
        (self.state / "services").rmdir()
        self.patch(instances.Settings, "state_path", property(lambda settings: self.state))
        os.environ.clear()
        status, output, _ = self.main(state=False)
        self.assertEqual(status, 0)
        self.assertIn("--state-dir", output)

    def test_thoseThatAreNamedAreStopped(self):
        self.found = [RUNNING, STRAY]
        self.assertEqual(self.main("stop", "waiter-service-a"), (0, "Stopped waiter-service-a.1\n", ""))
        self.assertEqual(self.ended, [("waiter-service-a.1", False)])
        self.assertEqual(self.main("stop", "--all", "--force", "--json")[0], 0)
        self.assertEqual(self.ended[1:], [("waiter-service-a.1", True), ("waiter-service-b.2", True)])

    def test_whatCannotBeStoppedIsToldWithTheReason(self):
        self.found = [RUNNING, STRAY]
        self.failing = {"waiter-service-b.2": "it hangs"}
        status, output, complaint = self.main("stop", "--all")
        self.assertEqual((status, output), (1, "Stopped waiter-service-a.1\n"))
        self.assertIn("waiter-service-b.2 could not be stopped: it hangs", complaint)
        self.assertEqual(
            json.loads(self.main("stop", "--all", "--json")[1]),
            {"stopped": ["waiter-service-a.1"], "failed": {"waiter-service-b.2": "it hangs"}},
        )

    def test_whereAServerRunsNothingIsStopped(self):
        lock = lock_state_directory(self.state)
        self.addCleanup(os.close, lock)
        self.found = [RUNNING]
        status, _, complaint = self.main("stop", "--all")
        self.assertEqual((status, self.ended), (1, []))
        self.assertIn(f"process {os.getpid()}", complaint)
        self.assertIn("DELETE", complaint)

    def test_whereTheServerListensIsSaidIfItCanBeSeen(self):
        lock = lock_state_directory(self.state)
        self.addCleanup(os.close, lock)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            _, _, complaint = self.main("stop", "--all")
            self.assertIn(f"127.0.0.1 port {listening.getsockname()[1]}", complaint)
        (self.state / "lock").write_text("what an unknown server wrote")
        _, _, complaint = self.main("stop", "--all")
        self.assertIn("(process what an unknown server wrote)", complaint)

    def test_whatDoesNotRunIsNotStopped(self):
        self.found = [RUNNING]
        status, _, complaint = self.main("stop", "waiter-service-a.1", "nobody")
        self.assertEqual((status, self.ended), (1, []))
        self.assertIn("called nobody", complaint)

    def test_aCommandLineThatSaysNothingOrTooMuchIsRefused(self):
        for arguments in (("stop",), ("stop", "--all", "a"), ("frobnicate",), ("--every-cluster",), ("--no-such",)):
            status, _, complaint = self.main(*arguments)
            self.assertEqual(status, 2, arguments)
            self.assertIn("usage: waiter-instances", complaint)

    def test_settingsThatDoNotHoldAreRefused(self):
        path = Path(self.mktemp())
        for text in ("[cluster]\nnam = 'a'", "not TOML"):
            path.write_text(text)
            status, _, complaint = self.main("--settings", str(path))
            self.assertEqual(status, 2)
            self.assertIn("nam", complaint + str(path).replace(str(path), "nam"))
        self.assertEqual(self.main("--settings", "/no/such/file")[0], 2)

    def test_theStateDirectoryIsTheServersOwnUnlessItIsSaid(self):
        os.environ.update(WAITER_STATE_DIR=str(self.state))
        self.found = [RUNNING]
        self.assertIn("4711", self.main(state=False)[1])
        settings = Path(self.mktemp())
        settings.write_text(f"state-dir = '{self.state}'")
        os.environ.clear()
        os.environ.update(WAITER_SETTINGS=str(settings))
        self.assertIn("4711", self.main(state=False)[1])

    def test_whatIsNoStateDirectoryIsSaidAndLeftAsItIs(self):
        (self.state / "services").rmdir()
        for action in (("list",), ("stop", "--all")):
            status, _, complaint = self.main(*action)
            self.assertEqual(status, 1)
            self.assertIn("is no state directory", complaint)
        self.assertEqual(list(self.state.iterdir()), [])

    def test_everyClusterIsLookedAt(self):
        other = self.state.parent / f"{self.state.name}-other"
        (other / "services").mkdir(parents=True)
        os.environ.update(XDG_STATE_HOME=str(self.state.parent.parent))
        self.patch(os, "geteuid", lambda: 1000)
        self.patch(instances.Settings, "state_path", property(lambda settings: self.state))
        self.found = [RUNNING]
        _, output, _ = self.main("--every-cluster", state=False)
        self.assertIn("4711", output)
        self.assertIn(f"No instance runs in {other}", output)

    def test_anothersDirectoryIsExplainedWithoutATraceback(self):
        def refuse(path):
            raise PermissionError(13, "Permission denied", str(path / "lock"))

        self.patch(instances, "state_directory_holder", refuse)
        status, output, complaint = self.main()
        self.assertEqual((status, output), (1, ""))
        self.assertIn(f"{self.state / 'lock'}: Permission denied. Run this as ", complaint)
