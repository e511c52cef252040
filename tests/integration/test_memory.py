"""Services that use more memory than they asked for, and what their users are told."""

import signal
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.integration.harness import RunningWaiter, service_headers, until

HUNGRY = (Path(__file__).parent / "hungry.py").absolute()


def hungry(mib, **parameters):
    """A service that takes so much memory at its start; it may have 100 MiB."""
    return service_headers(f"python3 {HUNGRY} $PORT0 {mib}", mem=100, **parameters)


class MemoryTests(TestCase):
    timeout = 180

    async def test_whoNeverServesForLackOfMemoryTellsItsUserSo(self):
        waiter = await RunningWaiter(self).start()
        # It listens, if it comes to that, where nobody looks.
        cmd = f"python3 {HUNGRY} $PORT1 200 & sleep 600"
        headers = service_headers(cmd, mem=100, ports=2, restart_backoff_factor=1, grace_period_secs=300)
        refused = await waiter.request("/", headers=headers)
        self.assertEqual(refused.code, 503)
        text = refused.body.decode()
        self.assertIn("Deployment error: Not enough memory allocated", text)
        # It may be seen before it has all that it takes.
        self.assertRegex(text, r"used [12]\d\d MiB of memory, and mem allows 100 MiB, so it was killed\.")
        self.assertIn("Ask for more with mem (the header x-waiter-mem), or let it use less.", text)

    async def failed_instance(self, waiter, service_id):
        service = await until(
            lambda: waiter.service(service_id), lambda service: service["instances"]["failed-instances"]
        )
        return service["instances"]["failed-instances"][0]

    async def assert_limited(self, waiter, headers, service_id, first):
        """The service eats too much, is told so, and another instance takes over."""
        eating = Deferred.fromCoroutine(waiter.request("/eat", headers=headers))
        failed = await self.failed_instance(waiter, service_id)
        await eating
        self.assertEqual(failed["flags"], ["memory-limit-exceeded"])
        self.assertRegex(failed["message"], r"used 1\d\d MiB of memory, and mem allows 100 MiB, so it was killed\.")
        self.assertIn("x-waiter-mem", failed["message"])
        again = await waiter.request("/", headers=headers)
        self.assertEqual(again.code, 200)
        self.assertNotEqual(again.body, first.body)

    async def test_whoServedAndThenTakesTooMuchIsReplacedAndItsRecordSaysWhy(self):
        waiter = await RunningWaiter(self).start()
        headers = hungry(1)
        first = await waiter.request("/", headers=headers)
        service_id = await waiter.service_id(headers)
        (active,) = await until(
            lambda: waiter.active_instances(service_id),
            lambda active: len(active) == 1 and active[0]["memory-mib"] is not None,
        )
        self.assertGreater(active["memory-mib"], 1)
        self.assertLess(active["memory-mib"], 100)
        self.assertGreaterEqual(active["processes"], 1)
        state = await waiter.api("/state/scheduler")
        self.assertIn(active["id"], str(state))
        await self.assert_limited(waiter, headers, service_id, first)

    async def test_anInstanceOfAServerThatWasKilledIsLimitedByTheNextOne(self):
        first_waiter = await RunningWaiter(self).start()
        headers = hungry(1)
        first = await first_waiter.request("/", headers=headers)
        await first_waiter.stop(signal.SIGKILL)
        waiter = await RunningWaiter(self, state=first_waiter.state).start()
        adopted = await waiter.request("/", headers=headers)
        self.assertEqual(adopted.body, first.body)
        await self.assert_limited(waiter, headers, await waiter.service_id(headers), first)


class ElsewhereTests(TestCase):
    timeout = 180

    async def elsewhere(self, waiter):
        """What the scheduler counts for other servers: CPUs, and the memory in MiB."""
        state = await waiter.api("/state/scheduler")
        counted = state["state"]["capacity"]["elsewhere"]
        return counted["cpus"], counted["mem"]

    async def test_whatAnotherServersInstanceWasPromisedCountsAsTaken(self):
        # Other tests may run now, so it is more than all of their instances need together.
        many = 5000
        headers = service_headers(cpus=many, mem=64)
        other = await RunningWaiter(
            self, environment={"WAITER_SCHEDULER_CPU_OVERCOMMIT": "10000", "WAITER_CONSTRAINTS_CPUS": "10000"}
        ).start()
        here = await RunningWaiter(self, environment={"WAITER_SCHEDULER_COUNT_OTHER_SERVERS": "true"}).start()

        def counts(taken):
            cpus, mem = taken
            return cpus >= many and mem >= 64

        self.assertFalse(counts(await self.elsewhere(here)))
        self.assertEqual((await other.request("/", headers=headers)).code, 200)
        await until(lambda: self.elsewhere(here), counts)
        await other.stop()
        await until(lambda: self.elsewhere(here), lambda taken: taken[0] < many)
