"""What the next server makes of the instances of the one before."""

import signal
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.integration.harness import RunningWaiter, service_headers, until

GATEKEEPER = (Path(__file__).parent / "gatekeeper.py").absolute()
# Longer than a slow machine takes to start a Waiter and to answer it.
IDLE_SECS = 15


class RestartTests(TestCase):
    timeout = 180

    def headers(self, **parameters):
        return service_headers(f"exec python3 {GATEKEEPER} $PORT0", health_check_url="/status", **parameters)

    async def serving(self, waiter, headers):
        """The process that answers; it lets in only whoever knows its password."""
        answer = await waiter.request("/", headers=headers)
        self.assertEqual(answer.code, 200)
        return int(answer.body)

    async def again(self, before, **options):
        return await RunningWaiter(self, state=before.state, port=before.port, **options).start()

    async def test_anInstanceThatWasLeftKnowsTheNextServer(self):
        leaving = {"environment": {"WAITER_SCHEDULER_ON_STOP": "leave"}}
        headers = self.headers()
        waiter = await RunningWaiter(self, **leaving).start()
        pid = await self.serving(waiter, headers)
        for sent in (signal.SIGTERM, signal.SIGKILL):
            await waiter.stop(sent)
            waiter = await self.again(waiter, **leaving)
            self.assertEqual(await self.serving(waiter, headers), pid)
        service = await waiter.service(await waiter.service_id(headers))
        self.assertEqual(len(service["instances"]["active-instances"]), 1)
        self.assertEqual(service["instances"]["failed-instances"], [])

    async def test_theIdleTimeOfAnAdoptedServiceBeginsAnew(self):
        headers = self.headers(idle_timeout_mins=IDLE_SECS / 60)
        waiter = await RunningWaiter(self).start()
        await self.serving(waiter, headers)
        service_id = await waiter.service_id(headers)
        await waiter.stop(signal.SIGKILL)
        await deferLater(reactor, IDLE_SECS)
        started = reactor.seconds()
        waiter = await self.again(waiter)
        self.assertEqual(len(await waiter.active_instances(service_id)), 1)
        await until(waiter.processes_now, lambda processes: processes == [])
        self.assertGreater(reactor.seconds() - started, IDLE_SECS)

    async def test_aServiceThatAsksForMoreThanIsAllowedByNowServesUntilItIsIdle(self):
        headers = self.headers(idle_timeout_mins=IDLE_SECS / 60, mem=64)
        waiter = await RunningWaiter(self).start()
        await self.serving(waiter, headers)
        service_id = await waiter.service_id(headers)
        await waiter.stop(signal.SIGKILL)
        waiter = await self.again(waiter, environment={"WAITER_CONSTRAINTS_MEM": "32"})
        self.assertEqual(len(await waiter.active_instances(service_id)), 1)
        self.assertEqual((await waiter.request("/", headers=headers)).code, 400)
        await until(waiter.processes_now, lambda processes: processes == [])

    async def test_aServiceThatIsInNoStoreIsKnownFromItsInstance(self):
        headers = self.headers()
        waiter = await RunningWaiter(self).start()
        pid = await self.serving(waiter, headers)
        service_id = await waiter.service_id(headers)
        await waiter.stop(signal.SIGKILL)
        for path in waiter.state.glob("waiter.db*"):
            path.unlink()
        waiter = await self.again(waiter)
        self.assertEqual(await self.serving(waiter, headers), pid)
        self.assertEqual(await waiter.service_id(headers), service_id)
        await waiter.stop(signal.SIGINT)
        waiter = await self.again(waiter)
        self.assertEqual((await waiter.service(service_id))["status"], "Inactive")
