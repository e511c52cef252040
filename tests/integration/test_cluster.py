"""A router with everything of a cluster: ZooKeeper and Marathon, each a real process, and what happens when both hang."""

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.integration.harness import service_headers, until
from tests.integration.load import Load
from tests.integration.marathon import RunningMarathon, echo_command, waiter_on
from tests.integration.zookeeper_server import MISSING, own_server

# Ten sessions' worth. That a minute is no other matter is for tests.integration.test_fleet.
_HANGING_SECS = 20


class ClusterTests(TestCase):
    skip = MISSING
    timeout = 300

    async def setUp(self):
        self.zookeeper = await own_server(self)
        self.marathon = await RunningMarathon(self).start()
        self.waiter = await waiter_on(
            self,
            self.marathon,
            environment={
                "WAITER_ZOOKEEPER_CONNECT_STRING": self.zookeeper.hosts,
                "WAITER_ZOOKEEPER_SESSION_TIMEOUT_MS": "2000",
                "WAITER_STORE_KIND": "zookeeper",
                # How long a router that meets others waits until it knows that it is alone.
                "WAITER_LISTEN_DRAIN_TIMEOUT_SECS": "1",
            },
        ).start()
        self.headers = service_headers(
            echo_command(),
            health_check_url="/0",
            health_check_interval_secs=5,
            scale_up_factor=0.9,
            scale_down_factor=0.9,
            idle_timeout_mins=0.3,
        )
        self.service_id = await self.waiter.service_id(self.headers)

    async def leads(self):
        return (await self.waiter.api("/state/leader"))["state"]["leader?"]

    async def in_doubt(self):
        return "waiter_scheduler_in_doubt 1.0" in (await self.waiter.request("/metrics")).body.decode()

    async def number(self):
        return len(await self.waiter.active_instances(self.service_id))

    async def grows(self):
        load = Load(self.waiter, self.headers, clients=4, path="/1")
        await until(self.number, lambda number: number > 1, within_secs=60)
        self.assertEqual(set(await load.stop()), {200})

    async def test_aServiceStartsGrowsShrinksAndGoes(self):
        first = [Deferred.fromCoroutine(self.waiter.request("/0", headers=self.headers)) for _ in range(2)]
        self.assertEqual({answer.code for answer in await gatherResults(first)}, {200})
        await self.grows()
        await until(self.number, lambda number: number <= 1, within_secs=60)
        await until(self.marathon.processes_now, lambda processes: processes == [], within_secs=60)

    async def test_whileBothHangNothingIsLost(self):
        first = (await self.waiter.request("/0", headers=self.headers)).body
        await until(self.leads, lambda leads: leads)

        async def deployments():
            return self.marathon.get("/v2/deployments")

        await until(deployments, lambda found: found == [])
        before = self.marathon.changes()
        began = reactor.seconds()
        # One is no reason to scale.
        steady = Load(self.waiter, self.headers, clients=1)
        self.marathon.pause()
        self.zookeeper.freeze()
        # What is ordered before the router can know is not to be done when nobody wants it any more.
        surge = Load(self.waiter, self.headers, clients=4, path="/0.2")
        await until(self.in_doubt, lambda in_doubt: in_doubt)
        await until(self.leads, lambda leads: not leads)
        await deferLater(reactor, 5)
        surge_codes = await surge.stop()
        # For long enough to have forgotten it.
        await deferLater(reactor, 5)
        await deferLater(reactor, max(0, began + _HANGING_SECS - reactor.seconds()))
        self.zookeeper.thaw()
        self.marathon.resume()
        await until(self.in_doubt, lambda in_doubt: not in_doubt, within_secs=60)
        codes = await steady.stop()
        self.assertEqual((set(codes), set(surge_codes)), ({200}, {200}))
        self.assertEqual(self.marathon.changes(), before)
        self.assertEqual((await self.waiter.request("/0", headers=self.headers)).body, first)
        await until(self.leads, lambda leads: leads, within_secs=60)
        await self.grows()
        other = service_headers(echo_command(), version="another")
        self.assertEqual((await self.waiter.request("/0", headers=other)).code, 200)
