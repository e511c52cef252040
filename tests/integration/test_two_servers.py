"""Two servers on one machine do not disturb each other."""

from twisted.trial.unittest import TestCase

from tests.integration.harness import RunningWaiter, service_headers, until


class TwoServersTests(TestCase):
    timeout = 180

    async def setUp(self):
        home = self.mktemp()
        # As somebody starts them who gives them but a name and a port: both find their place below the same directory.
        self.servers = []
        for name in ("waiter1", "waiter2"):
            server = RunningWaiter(self, state=f"{home}/waiter/{name}", environment={"WAITER_CLUSTER_NAME": name})
            self.servers.append(await server.start())

    async def test_theSameServiceRunsOnBoth_andTheEndOfOneIsNotTheEndOfTheOther(self):
        first, second = self.servers
        headers = service_headers()
        for server in self.servers:
            self.assertEqual((await server.request("/", headers=headers)).code, 200)
        service_id = await first.service_id(headers)
        self.assertEqual(service_id, await second.service_id(headers))
        instances = [(await server.active_instances(service_id))[0] for server in self.servers]
        ids, ports = ([each[key] for each in instances] for key in ("id", "port"))
        self.assertEqual((len(set(ids)), len(set(ports))), (2, 2))
        ours, theirs = ({process.pid for process in server.instance_processes()} for server in self.servers)
        self.assertTrue(ours)
        self.assertTrue(theirs)
        self.assertEqual(ours & theirs, set())

        deleted = await first.request(f"/apps/{service_id}?timeout=10000", method="DELETE")
        self.assertTrue(deleted.json()["routers-agree"])
        self.assertEqual([each["id"] for each in await second.active_instances(service_id)], [ids[1]])

        self.assertEqual((await first.request("/", headers=headers)).code, 200)
        await first.stop()
        await until(first.processes_now, lambda processes: not processes)
        self.assertEqual((await second.request("/", headers=headers)).code, 200)
        self.assertEqual([each["id"] for each in await second.active_instances(service_id)], [ids[1]])

    async def test_eachHasItsTokens(self):
        first, second = self.servers
        made = await first.request(
            "/token?token=demo", method="POST", data=b'{"version": "1"}', headers={"content-type": ["application/json"]}
        )
        self.assertEqual(made.code, 200, made.body)
        self.assertEqual((await first.request("/token?token=demo")).code, 200)
        self.assertEqual((await second.request("/token?token=demo")).code, 404)
        names = [(await server.api("/settings"))["cluster-config"]["name"] for server in self.servers]
        self.assertEqual(names, ["waiter1", "waiter2"])
