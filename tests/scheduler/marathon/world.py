"""A Marathon double in the same process, and schedulers on it."""

import getpass
import os
import signal
import time
from pathlib import Path

from twisted.internet import reactor

from tests.doubles.marathon.service import MarathonDouble
from tests.doubles.marathon.tasks import processes_below
from tests.scheduler.servers import SERVER
from waiter.model.description import ServiceDescription
from waiter.model.service import Service
from waiter.scheduler.marathon.client import MarathonClient
from waiter.scheduler.marathon.rules import MarathonRules
from waiter.scheduler.marathon.scheduler import MarathonScheduler

#: How many times faster than the real one the double is.
SPEED = 20.0


class World:
    """For a C{TestCase} that runs real tasks through the double."""

    def start_double(self, **options):
        """Start a Marathon. It ends with the test, and leaves nothing."""
        self.directory = Path(self.mktemp()).absolute()
        self.double = MarathonDouble(reactor, self.directory, **{"speed": SPEED, **options})
        self.double.startService()
        self.addCleanup(self.assert_nothing_left)
        # Cleanups run in reverse: first it stops.
        self.addCleanup(self.double.stopService)

    def service(self, name="a", cmd=SERVER, **parameters):
        """A service of 0.25 CPUs and 64 MiB."""
        core = {
            "cmd": cmd,
            "cpus": 0.25,
            "mem": 64,
            "run-as-user": getpass.getuser(),
            "version": "1",
            "health-check-interval-secs": 5,
        } | {key.replace("_", "-"): value for key, value in parameters.items()}
        description = ServiceDescription.model_validate(core)
        return Service(id=f"waiter-service-{name}", core=core, description=description)

    def make_scheduler(self, addresses=None, *, client=None, **rules):
        """A scheduler on the double that is not started."""
        given = {"agent_port": self.double.agent_port, "event_spacing_secs": 0.02, **rules}
        return MarathonScheduler(
            reactor,
            MarathonClient(reactor, addresses or [self.double.url], **(client or {})),
            cluster="tests",
            prefix="waiter-service-",
            wall=time.time,
            password=lambda _: "secret",
            user=getpass.getuser(),
            rules=MarathonRules(**given),
        )

    def assert_nothing_left(self):
        """No task runs; those that do are killed."""
        left = [process.pid for process in processes_below(self.directory)]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        self.assertEqual(left, [])
