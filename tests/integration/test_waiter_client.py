"""The existing command line works with Waiter, unchanged, as a new user would use it."""

import json
import os
import shutil
import sys
from pathlib import Path
from unittest import SkipTest

from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from tests.certificates import Authority
from tests.integration.existing_client import ExistingClient, install
from tests.integration.harness import RunningWaiter, python_path, until
from tests.ports import free_port

SERVER = "exec python3 -m http.server --bind 127.0.0.1 $PORT0"
PATH = f"--env.PATH={python_path()}"


def described(cmd=SERVER, **more):
    """The options that describe a small service."""
    values = {
        "cmd": cmd,
        "cpus": "0.1",
        "mem": "64",
        "version": "v1",
        "cmd-type": "shell",
        "health-check-url": "/",
        **more,
    }
    return [word for name, value in values.items() for word in (f"--{name}", value)]


def find(shown, name):
    """A value in nested maps."""
    if name in shown:
        return shown[name]
    return next((found for each in shown.values() if isinstance(each, dict) and (found := find(each, name))), None)


class ClientTestCase(TestCase):
    timeout = 600

    async def setUp(self):
        await deferToThread(install)

    async def waiter(self, name="waiter1", **more):
        waiter = RunningWaiter(self, environment={"WAITER_CLUSTER_NAME": name}, **more)
        return await waiter.start()

    async def services(self, waiter, token):
        return await waiter.api(f"/apps?token={token}")


class OneServerTests(ClientTestCase):
    async def setUp(self):
        await super().setUp()
        self.server = await self.waiter()
        self.client = ExistingClient(self, ("waiter1", self.server.url))
        self.run_client = self.client.run

    async def test_aTokenFromItsMakingToItsEnd(self):
        run = self.run_client
        await run("create", "demo", *described(), said="Successfully created demo")
        await run("ping", "demo", said=("Ping successful.", "Service is currently Running."))
        await run("show", "demo", said=("# Services    1", "Running", "Current", "64 MiB", SERVER))
        await run("tokens", said=("waiter1", "demo", "False"))
        await run("update", "demo", "--version", "v2", said="Successfully updated demo")
        await run("ping", "demo", said="Ping successful.")
        await run("show", "demo", said=("# Services    2", "Not Current"))
        shown = json.loads((await run("show", "demo", "--json", "--no-services")).said)
        self.assertEqual(find(shown, "version"), "v2")
        await run("maintenance", "start", "demo", "back at noon", "--no-kill", said="Maintenance mode activated")
        await run("maintenance", "check", "demo", said="demo is in maintenance mode")
        await run("tokens", said="True")
        answer = await self.server.request("/", headers={"x-waiter-token": ["demo"]})
        self.assertEqual(answer.code, 503)
        self.assertIn(b"back at noon", answer.body)
        await run("ping", "demo", said="back at noon", status=1)
        await run("maintenance", "stop", "demo", said="Ping successful.")
        await run("maintenance", "check", "demo", said="demo is not in maintenance mode", status=1)
        await run("delete", "demo", said="There are 2 services using token demo", status=1)
        await run("kill", "demo", "--force", said="Successfully killed")
        self.assertEqual(await self.services(self.server, "demo"), [])
        await run("kill", "demo", "--force", said="There are no services using token demo", status=1)
        await run("delete", "demo", "--force", said="Successfully deleted demo")
        await run("show", "demo", said="No matching data found", status=1)
        await run("tokens", said="No matching data found", status=1)

    async def test_stopAndStart(self):
        run = self.run_client
        await run("create", "demo", *described())
        await run("start", "demo", said=("does not have maintenance mode activated", "Ping successful."))
        await run("stop", "demo", "out", "--force-kill", said=("Maintenance mode activated", "Successfully killed"))
        self.assertEqual(await self.services(self.server, "demo"), [])
        await run("start", "demo", said=("Successfully updated demo", "Ping successful."))
        await run("start", "other", status=1)

    async def test_instances(self):
        run = self.run_client
        await run("create", "demo", *described())
        await run("ping", "demo")
        ((service),) = await self.services(self.server, "demo")
        service_id = service["service-id"]
        (first,) = await self.server.active_instances(service_id)
        for place in (("demo",), ("-s", service_id), ("-i", first["id"])):
            echoed = (await run("ssh", *place, "ls")).said
            self.assertIn(f"-t 127.0.0.1 cd {first['log-directory']} ; ls", echoed.replace("'", ""))
        await run("ping", "--service-id", service_id, said="Ping successful.")
        await run("instance", "expire", "demo", said="Successfully sent expire", given="1\n")

        async def ids():
            return [each["id"] for each in await self.server.active_instances(service_id)]

        (second,) = await until(ids, lambda found: len(found) == 1 and found != [first["id"]], within_secs=60)
        await run("instance", "kill", "-i", second, "--force", said="Successfully sent kill")
        await until(ids, lambda found: len(found) == 1 and found != [second], within_secs=60)
        killed = (await self.server.service(service_id))["instances"]["killed-instances"]
        self.assertIn(second, [each["id"] for each in killed])
        await run("ssh", "-i", second, said=("-t 127.0.0.1 cd", second))
        await run("kill", "--service-id", service_id, "--force", said="Successfully killed")
        await run("kill", "-s", service_id, said="cannot be killed because it is already Inactive", status=None)

    async def test_whatIsWrongIsSaid(self):
        run = self.run_client
        await run(
            "create",
            "demo",
            "--cpus",
            "-1",
            said=("Service description", "improper", "cpus must be a positive number"),
            status=1,
        )
        await run("create", "demo", *described(), "--shape", "round", said="Unsupported key(s)", status=1)
        await run("create", "demo", *described(), "--run-as-user", "nobody-at-all", said="cannot run as user", status=1)
        await run("create", "demo", *described(cmd="this_is_an_invalid_command"))
        await run("ping", "demo", said="Deployment error: Invalid startup command", status=1)
        await run("create", "slow", *described(cmd=f"sleep 30 && {SERVER}"))
        await run("ping", "slow", "--timeout", "2", "--no-wait", said="Starting", status=None)
        await run("ping", "other", said="No matching data found", status=1)
        await run("kill", "slow", "--force", said="Successfully killed")

    async def test_filesAndTemplates(self):
        run = self.run_client
        await run("init", said="token.json")
        written = json.loads((self.client.home / "token.json").read_text())
        self.assertIn("cmd", written)
        (self.client.home / "demo.json").write_text(
            json.dumps(
                {
                    "cmd": SERVER,
                    "cpus": 0.1,
                    "mem": 64,
                    "version": "v1",
                    "health-check-url": "/",
                    "metadata": {"a": "b"},
                }
            )
        )
        await run("create", "demo", "--json", "demo.json", said="Successfully created demo")
        await run("create", "demo", "--json", "demo.json", said="No changes detected for demo", status=None)
        await run("update", "demo", "--metadata.c", "d", said="Successfully updated demo")
        token = await self.server.api("/token?token=demo")
        self.assertEqual(token["metadata"], {"a": "b", "c": "d"})
        await run("create", "demo", "--json", "demo.json", "--admin", said="Successfully updated demo")


class TwoServersTests(ClientTestCase):
    async def setUp(self):
        await super().setUp()
        self.first, self.second = await self.waiter("waiter1"), await self.waiter("waiter2")
        self.client = ExistingClient(self, ("waiter1", self.first.url), ("waiter2", self.second.url))

    async def test_oneCommandForBoth(self):
        run = self.client.run
        await run("create", "demo", *described(), said=("waiter1", "Successfully created demo"))
        await run("ping", "demo", said=("Pinging token demo in waiter1", "Ping successful."))
        await run("--cluster", "waiter2", "create", "demo", *described(version="v2"), said="Successfully created demo")
        await run("--cluster", "waiter2", "ping", "demo", said="Ping successful.")
        await run("show", "demo", said=("waiter1", "waiter2", "# Services    2"))
        await run("tokens", said=("waiter1", "waiter2"))
        await run("update", "demo", "--version", "v3", said="Successfully updated demo")
        versions = [(await each.api("/token?token=demo"))["version"] for each in (self.first, self.second)]
        self.assertEqual(sorted(versions), ["v2", "v3"] if versions[1] == "v2" else ["v1", "v3"])
        ((ours),) = await self.services(self.second, "demo")
        await run("instance", "expire", ours["service-id"], "-s", said="Successfully sent expire")
        await run("kill", "demo", "--force", said=("in waiter1", "in waiter2", "Successfully killed"))
        for each in (self.first, self.second):
            self.assertEqual(await self.services(each, "demo"), [])
        await run("maintenance", "start", "demo", "later", "--no-kill", said="Maintenance mode activated")
        await run("--cluster", "waiter2", "delete", "demo", "--force", said="Successfully deleted demo in waiter2")
        await run("delete", "demo", "--force", said="Successfully deleted demo in waiter1")
        await run("show", "demo", said="No matching data found", status=1)


class SecureTests(ClientTestCase):
    """What connects to C{<token>:443}, in a network of its own where that is Waiter."""

    async def test_readyAndEnsureSsl(self):
        unshare, nsenter, ip = (shutil.which(name) for name in ("unshare", "nsenter", "ip"))
        if os.geteuid() or None in {unshare, nsenter, ip}:
            raise SkipTest("only root with unshare, nsenter and ip can make a network")
        _, _, refused = await getProcessOutputAndValue(unshare, ["-n", "-m", "true"])
        if refused:
            raise SkipTest("no network can be made here")
        folder = Path(self.mktemp()).absolute()
        (folder / "certificates").mkdir(parents=True)
        authority = Authority()
        issued = authority.issue("demo")
        (folder / "authority.pem").write_bytes(authority.pem)
        (folder / "certificates" / "server.pem").write_bytes(issued.pem + issued.key_pem)
        (folder / "hosts").write_text("127.0.0.1 localhost demo undemo\n")
        make = f'{ip} link set lo up && mount --bind {folder}/hosts /etc/hosts && exec "$0" "$@"'
        waiter = RunningWaiter(
            self,
            port=free_port(),
            program=(
                unshare,
                "-n",
                "-m",
                "sh",
                "-c",
                make,
                f"{Path(sys.executable).parent}/twistd",
                "-n",
                "--pidfile=",
            ),
            arguments=["--http", f"tls:{folder}/certificates:443:interface=127.0.0.1"],
            environment={"WAITER_CLUSTER_NAME": "waiter1"},
        )
        await waiter.start()
        run = ExistingClient(
            self,
            ("waiter1", waiter.url),
            before=(nsenter, "-t", str(waiter.pid), "-n", "-m"),
            environment={"SSL_CERT_FILE": str(folder / "authority.pem")},
        ).run
        await run("create", "demo", *described())
        await run("ready", "demo", said=("Ping successful.", "Successfully connected to demo:443"))
        await run("ready", "demo", "--version", "v1", said="Successfully connected to demo:443")
        await run("ensure-ssl", "demo", said="Successfully connected to demo:443")
        await run("ensure-ssl", "undemo", said="Connection to undemo:443 failed", status=1)
        await run("kill", "demo", "--force", said="Successfully killed")
