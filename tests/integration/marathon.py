"""A Marathon in a process of its own, and Waiters that use it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil

from tests.doubles.marathon.tasks import processes_below
from tests.integration.harness import RunningWaiter, python_path, until
from tests.ports import free_port

# Answers with its own process id, after as many seconds as the path says.
SLOW_ECHO = (Path(__file__).parent / "slow_echo.py").absolute()
#: How many times faster than a real one it is.
SPEED = 10


class RunningMarathon:
    """
    One double in a process of its own. Its tasks outlive it if it is killed.

    @ivar url: where it listens.
    """

    def __init__(self, case, *, hosts="127.0.0.1,127.0.0.2", speed=SPEED):
        self.case = case
        self.directory = Path(case.mktemp()).absolute()
        self.port = free_port()
        self.agent_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._arguments = ["--hosts", hosts, "--speed", str(speed)]
        self._log = Path(case.mktemp()).absolute()
        self._process = None
        case.addCleanup(self._clean_up)

    async def start(self):
        """Start it; returns when it can be asked."""
        command = [sys.executable, "-m", "tests.doubles.marathon", "--port", str(self.port)]
        command += ["--agent-port", str(self.agent_port), "--directory", str(self.directory), *self._arguments]
        environment = {
            **os.environ,
            "PATH": python_path(),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        await until(self._started, lambda started: started)
        return self

    async def _started(self):
        output = self._log.read_text(errors="replace")
        if self._process.poll() is not None:
            raise AssertionError(f"the double did not start:\n{output}")
        return "ready " in output

    def pause(self):
        """Let it hang."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self):
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self):
        """End it; its tasks go on."""
        self._process.kill()
        self._process.wait()

    def fault(self, **faults):
        """Let something go wrong with it from now on; nothing if nothing is said."""
        data = json.dumps(faults).encode()
        self._ask(urllib.request.Request(f"{self.url}/-/faults", data, method="PUT"))  # noqa: S310 - it is our own

    def get(self, path):
        """Ask it something."""
        return self._ask(self.url + path)

    def _ask(self, request):
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - it is our own
            return json.load(answer)

    def changes(self):
        """What it was asked to change, as method and path."""
        return [(each["method"], each["uri"]) for each in self.get("/-/requests") if each["method"] != "GET"]

    def app(self, service_id):
        """One app, with its tasks."""
        return self.get(f"/v2/apps/{service_id}")["app"]

    def processes(self):
        """The live processes of its tasks."""
        return processes_below(self.directory)

    async def processes_now(self):
        """The same, to be waited on."""
        return self.processes()

    def _clean_up(self):
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def waiter_on(case, marathon, *, environment=None, **options):
    """A Waiter, not started yet, whose services run as apps of a Marathon."""
    return RunningWaiter(
        case,
        environment={
            "WAITER_SCHEDULER_KIND": "marathon",
            "WAITER_MARATHON_URLS": json.dumps([marathon.url]),
            "WAITER_MARATHON_AGENT_PORT": str(marathon.agent_port),
            **(environment or {}),
        },
        **options,
    )


def echo_command():
    """The command of a service that answers as the path says."""
    return f"exec {sys.executable} {SLOW_ECHO} $PORT0"
