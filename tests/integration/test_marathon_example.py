"""The example starts everything with one command, and ends it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import SkipTest

import psutil
import treq
from twisted.trial.unittest import TestCase

from tests.integration.harness import python_path, service_headers, until
from tests.ports import free_port

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "marathon" / "run.sh"
COMMAND = "exec python3 -m http.server --bind $HOST $PORT0"


def is_alive(process):
    """Whether it runs; what waits for its parent to look does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class ExampleTests(TestCase):
    timeout = 180

    def setUp(self):
        if not EXAMPLE.exists():
            raise SkipTest("the examples are not beside the tests")
        self.log = Path(self.mktemp()).absolute()
        self.port = free_port()
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("WAITER_")},
            "PATH": python_path(),
            "PYTHON": sys.executable,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "TMPDIR": str(self.log.parent),
            **{f"{name}_PORT": str(free_port()) for name in ("MARATHON", "AGENT", "ZOOKEEPER")},
            "WAITER_PORT": str(self.port),
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [EXAMPLE], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.addCleanup(self.end)

    def end(self):
        for process in self.children():
            process.kill()
        self.process.kill()
        self.process.wait()

    def children(self):
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    async def ready(self):
        output = self.log.read_text(errors="replace")
        self.assertIsNone(self.process.poll(), output)
        return "Waiter is ready" in output

    async def ended(self):
        return self.process.poll()

    async def test_itServesAndLeavesNothing(self):
        await until(self.ready, lambda ready: ready, within_secs=90)
        response = await treq.get(f"http://127.0.0.1:{self.port}/", headers=service_headers(COMMAND), persistent=False)
        self.assertEqual(response.code, 200, await treq.text_content(response))
        family = self.children()
        self.assertTrue(any("http.server" in process.cmdline() for process in family))
        self.process.send_signal(signal.SIGINT)
        await until(self.ended, lambda status: status is not None, within_secs=60)
        self.assertEqual([process for process in family if is_alive(process)], [])
