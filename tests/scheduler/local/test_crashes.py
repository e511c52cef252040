"""A server is killed before each of the steps by which it starts, ends or takes over an instance."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import attrs
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.integration.facts import look
from tests.integration.harness import until
from tests.port_ranges import own_ports
from tests.scheduler.local.world import World
from waiter.scheduler.local.ports import PortPool
from waiter.scheduler.local.records import InstanceDirectory

# Runs servers, one for each line that says what it does and before which step it is killed, and says how it ended. A step
# is what changes something on the disk or starts or signals a process; Python's audit hooks are told before.
PROGRAM = """
import os, signal, sys
from pathlib import Path
from twisted.internet.defer import Deferred
import waiter.scheduler.health, waiter.scheduler.local.scheduler

place, ports = sys.argv[1], (int(sys.argv[2]), int(sys.argv[3]))
STEPS = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.chown", "os.truncate"}
ALWAYS = {"subprocess.Popen", "os.kill", "os.killpg", "signal.pidfd_send_signal"}
step = 0

def count(event, arguments):
    global step
    changes = event in STEPS or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    if event in ALWAYS or (changes and place in str(arguments[0])):
        step += 1
        if step == last:
            signal.raise_signal(signal.SIGKILL)

def serve(flow):
    # Not earlier: a reactor does not live through a fork.
    from twisted.internet import reactor
    from tests.scheduler.local.world import World
    world = World()
    world.directory, world.known = Path(place), {}
    service = world.service()
    world.scheduler = scheduler = world.make_scheduler(port_range=ports)

    async def live():
        await scheduler.startService()
        await scheduler.create(service)
        (instance,) = await world.healthy(service)
        await scheduler.kill(instance)

    async def take_over():
        await scheduler.startService()
        await world.healthy(service)

    sys.addaudithook(count)
    serving = Deferred.fromCoroutine({"live": live, "take_over": take_over}[flow]())
    serving.addErrback(lambda failure: (failure.printTraceback(), os._exit(1)))
    serving.addCallback(lambda _: os._exit(0))
    reactor.run()

for line in sys.stdin:
    flow, number = line.split()
    last = int(number)
    pid = os.fork()
    if pid == 0:
        serve(flow)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
#: More than there are steps.
MOST = 200


class CrashTests(World, TestCase):
    timeout = 1200

    def setUp(self):
        self.prepare()
        self.addCleanup(self.assert_nothing_left)
        self.servers = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(self.directory), *map(str, own_ports())],
            cwd=Path(__file__).parents[3],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(self.servers.__exit__, None, None, None)

    async def run_until(self, flow, step):
        """Run a server until it is killed before the step; whether it was."""
        self.servers.stdin.write(f"{flow} {step}\n")
        self.servers.stdin.flush()
        status = int(await deferToThread(self.servers.stdout.readline))
        self.assertIn(status, {0, -signal.SIGKILL})
        return status != 0

    async def wait(self, holds):
        """Look again and again until the facts are as they should be; answers them."""

        async def looked():
            return look(self.directory)

        return await until(looked, holds)

    async def check(self, step):
        """Whenever the server died: what runs has a record, and no port is two instances'."""
        # At its gate, and on its way out.
        facts = await self.wait(lambda facts: not facts.nameless().keys() & facts.bare)
        self.assertEqual(facts.nameless().keys() - facts.spoilt, set(), step)
        self.assertEqual(facts.shared_ports(), [], step)

    async def settle(self, step):
        """The next server serves and leaves nothing open."""
        self.scheduler = self.make_scheduler()
        await self.scheduler.startService()
        service = self.service()
        await self.scheduler.create(service)
        await self.healthy(service)
        await self.wait(lambda facts: not (facts.lost() or facts.nameless() or facts.spoilt))
        await self.scheduler.stopService()
        await self.wait(lambda facts: not (facts.carriers or facts.open))
        pool = PortPool(self.directory / "locks", (1, 1), wall=time.time)
        for path in (self.directory / "locks").iterdir():
            lock = pool._lock(int(path.name))
            self.assertIsNotNone(lock, f"port {path.name} is leaked after step {step}")
            os.close(lock)

    async def die_everywhere(self, flow, *, least, before=None):
        """Let a server die at each step of a flow that has more than so many."""
        for step in range(1, MOST):
            if before is not None:
                await before()
            killed = await self.run_until(flow, step)
            await self.check(step)
            await self.settle(step)
            if not killed:
                break
        self.assertGreater(step, least)
        self.assertLess(step, MOST - 1)

    async def test_whereverAServerDiesInTheLifeOfAnInstanceTheNextOneFindsItsWay(self):
        await self.die_everywhere("live", least=15)

    async def test_whereverAServerDiesInATakeoverTheNextOneFindsItsWay(self):
        await self.die_everywhere("take_over", least=10, before=self.leave_some)

    async def leave_some(self):
        """One that runs, one whose kill was under way, one that is half-written, and one whose record is spoilt."""
        scheduler = self.make_scheduler(on_stop="leave")
        await scheduler.startService()
        service = self.service()
        await scheduler.create(service)
        await scheduler.scale(service.id, 4)
        instances = await self.healthy(service, 4, scheduler=scheduler)
        await scheduler.stopService()
        _, killed, half, spoilt = (InstanceDirectory(Path(instance.log_directory)) for instance in instances)
        killed.write(attrs.evolve(killed.read(), killed=True))
        half.write(attrs.evolve(half.read(), pid=None, start_ticks=None, boot_id=None))
        spoilt.record.write_bytes(b"")
