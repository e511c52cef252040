"""Real instances that use more than they may: what is seen of them, and that nothing of them is left."""

from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.scheduler.local.world import SchedulerWorld
from tests.scheduler.servers import program
from waiter.model.instance import Flag
from waiter.scheduler.local.limits import InstanceLimits

MIB = 1024 * 1024
# Serves, and takes 150 MiB in a part of itself as soon as it is asked for /more.
_TAKE = """
def take(mib=150):
    taken.append(os.urandom(1024) * 1024 * mib)
taken = []
def serve_until_asked(s):
    asked = []
    def more():
        return asked
    while True:
        c, _ = s.accept()
        wanted = c.recv(65536)
        c.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok")
        c.close()
        if b"/more" in wanted:
            open("more", "w").close()
def wait_for_more():
    while not os.path.exists("more"):
        time.sleep(0.01)
"""

#: In one of two worker processes.
FORKS = program(
    _TAKE
    + "s = listen()\nfor number in range(2):\n if os.fork() == 0:\n  if number: wait_for_more(); take()\n"
    + "  time.sleep(3600)\nserve_until_asked(s)"
)
#: In a daemon: in a session of its own, its parents gone.
DAEMONISES = program(
    _TAKE
    + "s = listen()\nif os.fork() == 0:\n os.setsid()\n if os.fork() == 0:\n  wait_for_more(); take(); time.sleep(3600)\n"
    + " os._exit(0)\nos.wait()\nserve_until_asked(s)"
)
#: In a child, both deaf to SIGTERM.
IGNORES = program(
    _TAKE
    + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ns = listen()\n"
    + "if os.fork() == 0: wait_for_more(); take(); time.sleep(3600)\nserve_until_asked(s)"
)


class MeteringCase(SchedulerWorld, TestCase):
    timeout = 60

    async def run_one(self, cmd, **parameters):
        return await super().run_one(cmd, restart_backoff_factor=1000, **parameters)

    def ask_for_more(self, instance):
        (Path(instance.log_directory) / "work" / "more").touch()

    async def measured(self, service, instance, holds=lambda _: True):
        """What the instance uses, as soon as that is known and C{holds}."""
        while True:
            measured = self.scheduler.measured(service.id).get(instance.id)
            if measured is not None and holds(measured):
                return measured
            await deferLater(reactor, 0.02)


class LimitTests(MeteringCase):
    async def assert_limited(self, cmd, *, processes):
        """The instance serves, exceeds its memory, and is killed with all its processes."""
        service, instance = await self.run_one(cmd, mem=100, termination_grace_period_secs=300)
        before = self.carriers(instance.id)
        measured = await self.measured(service, instance, lambda each: each.processes == processes)
        self.assertLess(measured.memory_mib, 100)
        self.assertGreater(measured.memory_mib, 1)
        self.assertEqual(len(before), processes)
        self.ask_for_more(instance)
        (failed,) = await self.failed(service)
        await self.until_gone(instance)
        self.assertEqual(failed.id, instance.id)
        self.assertEqual(failed.flags, {Flag.MEMORY_LIMIT_EXCEEDED})
        self.assertRegex(failed.message, r"used 1\d\d MiB of memory, and mem allows 100 MiB")
        self.assertIn("x-waiter-mem", failed.advice)
        self.assertEqual([pid for pid in before if Path(f"/proc/{pid}").exists() and not self.is_zombie(pid)], [])

    async def until_gone(self, instance):
        while self.carriers(instance.id):
            await deferLater(reactor, 0.02)

    @staticmethod
    def is_zombie(pid):
        try:
            return ") Z" in Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return True

    async def test_aServiceThatForksWorkersIsLimited(self):
        await self.assert_limited(FORKS, processes=4)

    async def test_aServiceThatBecomesADaemonIsLimited(self):
        await self.assert_limited(DAEMONISES, processes=3)

    async def test_aServiceThatIgnoresSIGTERMIsLimitedWithoutItsGracePeriod(self):
        await self.assert_limited(IGNORES, processes=3)

    async def assert_killed(self, cmd, *, grace_secs):
        service, instance = await self.run_one(cmd, termination_grace_period_secs=grace_secs)
        self.assertTrue((await self.scheduler.kill(instance)).killed)
        self.assertEqual(self.carriers(instance.id), [])
        self.assertEqual(self.scheduler.measured(service.id), {})

    async def test_aServiceThatForksWorkersIsKilledCompletely(self):
        await self.assert_killed(FORKS, grace_secs=300)

    async def test_aServiceThatBecomesADaemonIsKilledCompletely(self):
        await self.assert_killed(DAEMONISES, grace_secs=300)

    async def test_aServiceThatIgnoresSIGTERMIsKilledCompletely(self):
        await self.assert_killed(IGNORES, grace_secs=1)

    async def test_memoryThatWorkersShareCountsOnce(self):
        shared = program(
            _TAKE + "take(60)\ns = listen()\nfor _ in range(3): os.fork() or time.sleep(3600)\nserve_until_asked(s)"
        )
        service, instance = await self.run_one(shared, mem=120)
        measured = await self.measured(service, instance, lambda each: each.processes == 5)
        self.assertLess(measured.memory_mib, 120)
        self.assertGreater(measured.memory_mib, 60)
        self.assertTrue((await self.healthy(service))[0].healthy)

    async def test_tooManyProcessesEndTheInstance(self):
        await self.scheduler.stopService()
        self.scheduler = self.make_scheduler(limits=InstanceLimits(max_processes=20))
        await self.scheduler.startService()
        many = program(
            _TAKE
            + "s = listen()\nif os.fork() == 0:\n wait_for_more()\n for _ in range(30): os.fork() or time.sleep(3600)\n"
            + " time.sleep(3600)\nserve_until_asked(s)"
        )
        service, instance = await self.run_one(many)
        await self.measured(service, instance)
        self.ask_for_more(instance)
        (failed,) = await self.failed(service)
        await self.until_gone(instance)
        self.assertEqual(failed.flags, {Flag.PROCESS_LIMIT_EXCEEDED})
        self.assertRegex(failed.message, r"had \d\d processes, and an instance may have 20")
        self.assertIn("max-processes", failed.advice)


class AdoptedTests(MeteringCase):
    async def test_anAdoptedInstanceIsMeasuredAndLimitedLikeAnOwnOne(self):
        service, instance = await self.run_one(DAEMONISES, mem=100, termination_grace_period_secs=300)
        # What a server that dies does: nothing.
        self.scheduler._on_stop = "leave"
        await self.scheduler.stopService()
        self.scheduler = self.make_scheduler()
        await self.scheduler.startService()
        (adopted,) = await self.healthy(service)
        self.assertEqual(adopted.id, instance.id)
        await self.measured(service, adopted, lambda each: each.processes == 3)
        self.ask_for_more(adopted)
        (failed,) = await self.failed(service)
        while self.carriers(instance.id):
            await deferLater(reactor, 0.02)
        self.assertEqual((failed.id, failed.flags), (instance.id, {Flag.MEMORY_LIMIT_EXCEEDED}))
