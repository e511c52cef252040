"""What runs goes on running and serving while Marathon does not answer, and nothing is done that nobody knows the effect of."""

import json

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.integration.harness import service_headers, until
from tests.integration.load import Load
from tests.integration.marathon import RunningMarathon, echo_command, waiter_on
from tests.ports import free_port

# Would be scaled within a second or two, if anything was.
QUICK = {"scale_up_factor": 0.9, "scale_down_factor": 0.9}


class OutageTests(TestCase):
    timeout = 300

    async def running(self, **options):
        """A Marathon, a Waiter, and a service with one healthy instance whose app nothing changes any more."""
        self.marathon = await RunningMarathon(self).start()
        self.waiter = await waiter_on(self, self.marathon, **options).start()
        self.headers = service_headers(echo_command(), health_check_url="/0", health_check_interval_secs=5, **QUICK)
        self.service_id = await self.waiter.service_id(self.headers)
        self.first = (await self.waiter.request("/0", headers=self.headers)).body
        await until(self.deployments, lambda deployments: deployments == [])

    async def deployments(self):
        return self.marathon.get("/v2/deployments")

    async def in_doubt(self):
        metrics = (await self.waiter.request("/metrics")).body.decode()
        return "waiter_scheduler_in_doubt 1.0" in metrics

    async def orders(self):
        """How often what was ordered for the service, whether Marathon heard of it or not."""
        desks = (await self.waiter.api("/state/autoscaling-multiplexer"))["state"]
        counters = desks.get(self.service_id, {}).get("counters", {})
        return {name: number for name, number in counters.items() if name.endswith(".total")}

    async def assert_goes_on(self):
        """It follows the load again, and starts what is new."""
        await until(self.in_doubt, lambda in_doubt: not in_doubt, within_secs=60)
        load = Load(self.waiter, self.headers, clients=4, path="/1")
        await until(
            lambda: self.waiter.active_instances(self.service_id), lambda active: len(active) > 1, within_secs=60
        )
        self.assertEqual(set(await load.stop()), {200})
        other = service_headers(echo_command(), version="another")
        self.assertEqual((await self.waiter.request("/0", headers=other)).code, 200)

    async def outage(self, *, secs, begin, end):
        """
        Have Marathon away for so long: all that time one client is served, and at first more than the instance is for.

        @param begin: what is done to Marathon, and then C{end}.
        """
        began = reactor.seconds()
        steady = Load(self.waiter, self.headers, clients=1)
        begin()
        # What is ordered before the router can know is not to be done when nobody wants it any more.
        surge = Load(self.waiter, self.headers, clients=4, path="/0.2")
        await until(self.in_doubt, lambda in_doubt: in_doubt, within_secs=60)
        before = await self.orders()
        # Some turns of the autoscaler, and some more to forget them.
        await deferLater(reactor, 5)
        surge_codes = await surge.stop()
        await deferLater(reactor, 5)
        await deferLater(reactor, max(0, began + secs - reactor.seconds()))

        async def served():
            return steady.codes.get(200, 0)

        await until(served, lambda count: count > 20)
        after = await self.orders()
        await end()
        await until(self.in_doubt, lambda in_doubt: not in_doubt, within_secs=60)
        codes = await steady.stop()
        self.assertEqual((set(codes), set(surge_codes)), ({200}, {200}))
        self.assertEqual(after, before)
        self.assertEqual((await self.waiter.request("/0", headers=self.headers)).body, self.first)

    async def test_marathonHangsForAMinute(self):
        await self.running()
        before = self.marathon.changes()

        async def resume():
            self.marathon.resume()

        await self.outage(secs=60, begin=self.marathon.pause, end=resume)
        self.assertEqual(self.marathon.changes(), before)
        await self.assert_goes_on()

    async def test_marathonIsKilledAndStartedAgain(self):
        await self.running()
        await self.outage(secs=0, begin=self.marathon.kill, end=self.marathon.start)
        # Of the one that was started.
        self.assertEqual(self.marathon.changes(), [])
        await self.assert_goes_on()

    async def test_marathonFailsInEveryWay(self):
        await self.running()
        steady = Load(self.waiter, self.headers, clients=1)
        for fault in (
            {"status": 500},
            {"leaderless": True},
            {"drop": True},
            {"cut": True, "path": "/v2/apps"},
            {"status": 401},
        ):
            self.marathon.fault(**fault)
            await until(self.in_doubt, lambda in_doubt: in_doubt, within_secs=60)
            self.marathon.fault()
            await until(self.in_doubt, lambda in_doubt: not in_doubt, within_secs=60)
        self.assertEqual(set(await steady.stop()), {200})
        await self.assert_goes_on()

    async def test_marathonThatTellsOldNewsHarmsNobody(self):
        await self.running()
        self.marathon.fault(stale=True)
        load = Load(self.waiter, self.headers, clients=3, path="/0.5")
        await until(self.scaled, lambda scaled: scaled)
        self.marathon.fault()
        await until(lambda: self.waiter.active_instances(self.service_id), lambda active: len(active) > 1)
        self.assertEqual(set(await load.stop()), {200})

    async def scaled(self):
        return [uri for method, uri in self.marathon.changes() if method == "PUT"]

    async def test_withoutEventsItLooksFromTimeToTime(self):
        await self.running(
            environment={"WAITER_MARATHON_EVENTS": "false", "WAITER_DISCOVERY_SCHEDULER_INTERVAL_SECS": "0.5"}
        )
        self.assertFalse((await self.waiter.api("/state/scheduler"))["state"]["events"]["connected"])
        await self.assert_goes_on()

    async def test_whereOneAddressIsDeadTheOtherIsAsked(self):
        marathon = await RunningMarathon(self).start()
        addresses = [f"http://127.0.0.1:{free_port()}", marathon.url]
        waiter = await waiter_on(self, marathon, environment={"WAITER_MARATHON_URLS": json.dumps(addresses)}).start()
        self.assertEqual((await waiter.request("/0", headers=service_headers(echo_command()))).code, 200)
        self.assertEqual((await waiter.api("/state/scheduler"))["state"]["asked-first"], marathon.url)

    async def test_aWaiterThatFindsNoMarathonServesAsSoonAsThereIsOne(self):
        marathon = RunningMarathon(self)
        waiter = await waiter_on(self, marathon).start()
        await marathon.start()
        self.assertEqual((await waiter.request("/0", headers=service_headers(echo_command()))).code, 200)
