"""Routers that meet in a real ZooKeeper."""

from twisted.trial.unittest import TestCase

from tests.integration.harness import HTTP_SERVER, RunningWaiter, service_headers, until
from tests.integration.zookeeper_server import MISSING, own_server


def with_zookeeper(server, **more):
    """The environment of a router that uses it."""
    return {
        "WAITER_ZOOKEEPER_CONNECT_STRING": server.hosts,
        "WAITER_ZOOKEEPER_SESSION_TIMEOUT_MS": "2000",
        "WAITER_STORE_KIND": "zookeeper",
        **more,
    }


class OneRouterTests(TestCase):
    skip = MISSING
    timeout = 240

    async def setUp(self):
        self.server = await own_server(self)

    async def fleet(self, waiter):
        return (await waiter.api("/state/fleet"))["state"]

    async def test_aRouterIsListedLeadsAndKeepsItsServicesInZooKeeper(self):
        waiter = await RunningWaiter(self, environment=with_zookeeper(self.server)).start()
        state = await until(lambda: self.fleet(waiter), lambda state: state["leader?"])
        self.assertEqual(list(state["routers"].values()), [f"http://127.0.0.1:{waiter.port}/"])
        self.assertEqual(state["zookeeper"]["connection"], "connected")
        headers = service_headers()
        self.assertEqual((await waiter.request("/", headers=headers)).code, 200)
        service_id = await waiter.service_id(headers)
        await waiter.stop()

        again = await RunningWaiter(self, state=waiter.state, environment=with_zookeeper(self.server)).start()
        self.assertEqual((await again.service(service_id))["service-description"]["cmd"], HTTP_SERVER)
        metrics = (await again.request("/metrics")).body.decode()
        self.assertIn("waiter_zookeeper_connected 1.0", metrics)
