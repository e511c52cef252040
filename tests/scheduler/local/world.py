"""Real local schedulers for tests: in a directory of their own, and with nothing left behind."""

import getpass
import os
import signal
import time
from pathlib import Path

from twisted.internet import reactor

from tests.contracts.schedulers import SchedulerTools
from tests.port_ranges import own_ports
from tests.scheduler.servers import SERVER
from waiter.model.description import ServiceDescription
from waiter.model.resources import NOTHING
from waiter.model.service import Service
from waiter.scheduler.health import HealthProbe
from waiter.scheduler.local.processes import snapshot
from waiter.scheduler.local.scheduler import LocalScheduler


class World(SchedulerTools):
    """For a C{TestCase} that runs real processes."""

    def prepare(self):
        """Make the directories."""
        self.directory = Path(self.mktemp()).absolute()
        self.known = {}

    def service(self, name="a", cmd=SERVER, **parameters):
        """A service of 0.25 CPUs and 64 MiB that a later server will know."""
        core = {"cmd": cmd, "cpus": 0.25, "mem": 64, "run-as-user": getpass.getuser(), "version": "1"} | {
            key.replace("_", "-"): value for key, value in parameters.items()
        }
        service = Service(id=f"waiter-service-{name}", core=core, description=ServiceDescription.model_validate(core))
        self.known[service.id] = service
        return service

    def make_scheduler(self, **options):
        """A scheduler on the test's directory, which does not mind what other tests run at the same time."""
        return LocalScheduler(
            reactor,
            directory=self.directory / "services",
            cluster="tests",
            wall=time.time,
            probe=HealthProbe(reactor),
            describe=self.known.get,
            secret=lambda: b"secret",
            **{
                "port_range": own_ports(),
                "port_locks": self.directory / "locks",
                "port_rest_secs": 0.0,
                "elsewhere": lambda: NOTHING,
            }
            | options,
        )

    def carriers(self, instance_id=None):
        """The processes that belong to an instance, or to any of this test."""
        return [
            process.pid
            for process in snapshot().values()
            if process.instance_id is not None
            and (process.instance_id == instance_id or (instance_id is None and self.is_mine(process.pid)))
        ]

    def assert_nothing_left(self):
        """No process of this test runs; those that do are killed."""
        left = self.carriers()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        self.assertEqual(left, [])

    def is_mine(self, pid):
        """Whether a process was given a directory of this test."""
        try:
            return str(self.directory).encode() in Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False


class SchedulerWorld(World):
    """The same, with a scheduler that runs from the beginning."""

    async def setUp(self):
        self.prepare()
        self.scheduler = self.make_scheduler()
        await self.scheduler.startService()
        self.addCleanup(self.assert_nothing_left)
        self.addCleanup(self.stop)

    def stop(self):
        # The last one: tests may have replaced the first.
        return self.scheduler.stopService()

    async def run_one(self, cmd, **parameters):
        """A service with these parameters, and its instance when that is healthy."""
        service = self.service(cmd=cmd, **parameters)
        await self.scheduler.create(service)
        (instance,) = await self.healthy(service)
        return service, instance
