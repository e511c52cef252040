"""C{waiter-instances} beside a real server and after its death."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.integration.harness import RunningWaiter, service_headers

SLOW_ECHO = (Path(__file__).parent / "slow_echo.py").absolute()


class InstancesTests(TestCase):
    timeout = 180

    async def instances(self, waiter, *arguments):
        """Run the command; answers how it ended."""
        environment = {name: text for name, text in os.environ.items() if not name.startswith("WAITER_")}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        command = [sys.executable, "-m", "waiter.instances", *arguments, "--state-dir", str(waiter.state)]
        return await deferToThread(
            subprocess.run, command, env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    async def test_whatRunsIsListedAlwaysAndStoppedWhereNoServerRuns(self):
        waiter = await RunningWaiter(self).start()
        self.assertEqual((await self.instances(waiter, "--json")).stdout, "[]\n")
        headers = service_headers(f"exec python3 {SLOW_ECHO} $PORT0")
        self.assertEqual((await waiter.request("/0", headers=headers)).code, 200)
        service_id = await waiter.service_id(headers)

        (listed,) = json.loads((await self.instances(waiter, "list", "--json")).stdout)
        self.assertEqual((listed["service-id"], listed["state"]), (service_id, "running"))
        self.assertEqual(listed["server-pid"], waiter.pid)
        self.assertEqual(len(waiter.instance_processes()), listed["processes"])
        refused = await self.instances(waiter, "stop", "--all")
        self.assertEqual((refused.returncode, refused.stdout), (1, ""))
        self.assertIn(f"process {waiter.pid}", refused.stderr)

        await waiter.stop(signal.SIGKILL)
        table = (await self.instances(waiter)).stdout
        self.assertIn(listed["instance-id"], table)
        self.assertNotIn(str(waiter.pid), table.split())
        stopped = await self.instances(waiter, "stop", service_id)
        self.assertEqual((stopped.returncode, stopped.stderr), (0, ""))
        self.assertEqual(stopped.stdout, f"Stopped {listed['instance-id']}\n")
        self.assertEqual(waiter.instance_processes(), [])

        again = await RunningWaiter(self, state=waiter.state).start()
        self.assertNotIn("taken over", again.output)
        service = await again.service(service_id)
        self.assertEqual(service["instances"]["failed-instances"], [])
        self.assertEqual((await again.request("/0", headers=headers)).code, 200)
