"""What instances may and may not, through a whole Waiter."""

import os
import re
from pathlib import Path
from unittest import SkipTest
from urllib.parse import urlsplit

from twisted.trial.unittest import TestCase

from tests.integration.harness import RunningWaiter, service_headers, until
from tests.passable import passable_directory
from waiter.support.users import find_user

USERS = ("nobody", "www-data", "daemon")


def reporting(command):
    """A command that answers with what C{command} says, in an interpreter that everybody may run."""
    return f"({command}) > report 2>&1; exec /usr/bin/env python3 -m http.server --bind 127.0.0.1 $PORT0"


class ReportCase(TestCase):
    timeout = 180

    async def report(self, waiter, command, **parameters):
        headers = service_headers(reporting(command), **parameters)
        answer = await waiter.request("/report", headers=headers)
        self.assertEqual(answer.code, 200, answer.body)
        return answer.body.decode().splitlines(), await waiter.service_id(headers)


class ConfinementTests(ReportCase):
    async def test_anInstanceHasItsOwnLimitsAndNotTheRouters(self):
        settings = Path(self.mktemp())
        settings.write_text("[scheduler]\nmax-open-files = 1500\nmax-file-size-mib = 2\n")
        waiter = await RunningWaiter(self, arguments=["--settings", str(settings.absolute())]).start()
        router = Path(f"/proc/{waiter.pid}/limits").read_text()
        self.assertNotEqual(re.search(r"Max open files +(\d+)", router)[1], "1500")
        lines, _ = await self.report(
            waiter,
            "ulimit -n; ulimit -Hn; ulimit -c; ulimit -f; readlink /proc/self/fd/0; head -c 3000000 /dev/zero > big; wc -c < big",
        )
        kib_or_blocks = lines.pop(3)
        self.assertIn(kib_or_blocks, {"2048", "4096"})
        self.assertEqual(lines[:4], ["1500", "1500", "0", "/dev/null"])
        self.assertEqual(lines[-1], "2097152")

    async def test_itIsSaidHowProcessorsAreShared(self):
        waiter = await RunningWaiter(self).start()
        lines, service_id = await self.report(waiter, "nice; cat /proc/self/oom_score_adj", cpus=0.1)
        share = (await waiter.service(service_id))["cpu-share"]
        state = (await waiter.api("/state/scheduler"))["state"]["cpu-share"]
        self.assertEqual(share["kind"], state["kind"])
        if share["kind"] == "nice":
            self.assertEqual(lines[0], str(share["nice"]))
            self.assertGreater(share["nice"], os.getpriority(os.PRIO_PROCESS, waiter.pid))
            self.assertTrue(state["reason"])
        self.assertGreater(int(lines[1]), int(Path(f"/proc/{waiter.pid}/oom_score_adj").read_text()))

    async def test_nobodyRunsAsAUserThatIsNotThere(self):
        waiter = await RunningWaiter(self).start()
        answer = await waiter.request("/", headers=service_headers(run_as_user="no-such-user"))
        self.assertEqual(answer.code, 403)
        self.assertIn(b"cannot run as user 'no-such-user'", answer.body)
        self.assertEqual(await waiter.api("/apps"), [])

    async def test_reservedVariablesAreRefused(self):
        waiter = await RunningWaiter(self).start()
        for name in ("HOME", "PORT0", "WAITER_PASSWORD", "MESOS_X", "MARATHON_X", "USER", "LOGNAME"):
            headers = service_headers()
            headers[f"x-waiter-env-{name}"] = ["x"]
            answer = await waiter.request("/", headers=headers)
            self.assertEqual(answer.code, 400)
            self.assertIn(f"The following env keys are reserved: {name}".encode(), answer.body)


class OtherUserTests(ReportCase):
    def setUp(self):
        if os.geteuid() != 0:
            raise SkipTest("only root may run instances as other users")
        self.user = next(filter(None, map(find_user, USERS)), None)
        if self.user is None:
            raise SkipTest(f"there is none of the users {', '.join(USERS)}")

    async def test_rootRunsInstancesAsTheUserThatIsNamed(self):
        waiter = await RunningWaiter(self, state=passable_directory(self)).start()
        lines, service_id = await self.report(
            waiter, "id -un; id -u; umask; ls ..; cat ../instance.json", run_as_user=self.user.name
        )
        self.assertEqual(lines[:3], [self.user.name, str(self.user.uid), "0022"])
        self.assertEqual([line.rpartition(":")[2].strip() for line in lines[3:]], ["Permission denied"] * 2)
        self.assertEqual(waiter.state.stat().st_mode & 0o777, 0o711)
        for path in waiter.state.iterdir():
            if path.is_file():
                self.assertEqual(path.stat().st_mode & 0o077, 0, path)
        (instance,) = await waiter.active_instances(service_id)
        listed = await waiter.api(f"/apps/{service_id}/logs?{urlsplit(instance['log-url']).query}")
        self.assertIn("stdout", [entry["name"] for entry in listed])
        self.assertTrue(waiter.instance_processes())
        await waiter.request(f"/apps/{service_id}", method="DELETE")
        await until(waiter.processes_now, lambda processes: processes == [])

    async def test_theNextServerTakesItOver(self):
        waiter = await RunningWaiter(self, state=passable_directory(self)).start()
        _, service_id = await self.report(waiter, "id", run_as_user=self.user.name)
        (before,) = await waiter.active_instances(service_id)
        pids = {process.pid for process in waiter.instance_processes()}
        await waiter.stop(9)
        again = await RunningWaiter(self, state=waiter.state).start()
        (after,) = await until(lambda: again.active_instances(service_id), lambda active: len(active) == 1)
        self.assertEqual(after["id"], before["id"])
        self.assertEqual({process.pid for process in again.instance_processes()}, pids)
