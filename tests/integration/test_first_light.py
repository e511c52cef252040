"""A request starts a service, gets its answer, and the service goes away again."""

import json
import os
import signal
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from tests.integration.harness import RunningWaiter, processes_under, service_headers, until

# Answers with its own process id, after as many seconds as the path says.
SLOW_ECHO = (Path(__file__).parent / "slow_echo.py").absolute()
PATIENT = (Path(__file__).parent / "patient.py").absolute()


class FirstLightTests(TestCase):
    timeout = 180

    async def test_aRequestStartsAServiceAndTheNextOneIsAnsweredByTheSameProcess(self):
        waiter = await RunningWaiter(self).start()
        self.assertEqual(waiter.instance_processes(), [])
        headers = service_headers(f"exec python3 {SLOW_ECHO} $PORT0")
        first = await waiter.request("/0", headers=headers)
        self.assertEqual(first.code, 200)
        self.assertIn(int(first.body), [process.pid for process in waiter.instance_processes()])
        second = await waiter.request("/0", headers=headers)
        self.assertEqual(second.body, first.body)

    async def test_theReadmesCommandAnswersWithADirectoryListing(self):
        waiter = await RunningWaiter(self).start()
        headers = service_headers("python3 -m http.server $PORT0", mem=128)
        answer = await waiter.request("/", headers=headers)
        self.assertEqual(answer.code, 200)
        self.assertIn(b"Directory listing for /", answer.body)

    async def test_loadScalesOutItsEndScalesInAndIdlenessEndsTheService(self):
        waiter = await RunningWaiter(self).start()
        headers = service_headers(
            f"exec python3 {SLOW_ECHO} $PORT0",
            scale_up_factor=0.9,
            scale_down_factor=0.9,
            idle_timeout_mins=0.1,
        )
        service_id = await waiter.service_id(headers)
        load = [Deferred.fromCoroutine(waiter.request("/3", headers=headers)) for _ in range(20)]
        answers = await gatherResults(load, consumeErrors=True)
        self.assertEqual({answer.code for answer in answers}, {200})
        self.assertGreater(len({answer.body for answer in answers}), 5, "the load did not spread over instances")

        await until(lambda: waiter.active_instances(service_id), lambda active: len(active) <= 1)
        await until(lambda: waiter.service(service_id), lambda service: service["status"] == "Inactive")
        await until(waiter.processes_now, lambda processes: processes == [])

        again = await waiter.request("/0", headers=headers)
        self.assertEqual(again.code, 200)

    async def test_interruptLeavesNoProcessBehind(self):
        waiter = await RunningWaiter(self).start()
        await waiter.request("/0", headers=service_headers(f"exec python3 {SLOW_ECHO} $PORT0", min_instances=2))
        self.assertTrue(waiter.instance_processes())
        self.assertEqual(await waiter.stop(signal.SIGINT), -signal.SIGINT)
        self.assertEqual(waiter.instance_processes(), [])
        self.assertIn("Server Shut Down", waiter.output)
        self.assertNotIn("Traceback", waiter.output)

    async def test_requestsUnderWayAreFinishedBeforeItStops(self):
        waiter = await RunningWaiter(self).start()
        go_on = Path(self.mktemp()).absolute()
        headers = service_headers(f"exec python3 {PATIENT} $PORT0 {go_on}")
        await waiter.request("/", headers=headers)
        under_way = Deferred.fromCoroutine(waiter.request("/hold", headers=headers))
        service_id = await waiter.service_id(headers)
        await until(lambda: waiter.service(service_id), lambda service: service["request-metrics"]["outstanding"] == 1)
        stopped = Deferred.fromCoroutine(waiter.stop(signal.SIGTERM))

        async def output():
            return waiter.output

        await until(output, lambda said: "Connections with requests to finish: 1" in said)
        go_on.touch()
        answer = await under_way
        self.assertEqual((answer.code, len(answer.body)), (200, answer.length))
        self.assertTrue(answer.body.endswith(b"end"))
        await stopped
        self.assertIn("Server Shut Down", waiter.output)

    async def test_killedServerLeavesInstancesRunningAndTheirRecordsComplete(self):
        waiter = await RunningWaiter(self).start()
        await waiter.request("/0", headers=service_headers(f"exec python3 {SLOW_ECHO} $PORT0"))
        await waiter.stop(signal.SIGKILL)
        survivors = processes_under(waiter.state)
        self.assertTrue(survivors)
        (record,) = [json.loads(path.read_text()) for path in waiter.state.glob("services/*/*/instance.json")]
        leader = record["pid"]
        self.assertEqual({os.getsid(process.pid) for process in survivors}, {leader})
        self.assertEqual(record["boot-id"], Path("/proc/sys/kernel/random/boot_id").read_text().strip())

    async def test_secondServerOnTheSameStateDirectoryIsRefused(self):
        waiter = await RunningWaiter(self).start()
        second = RunningWaiter(self, state=waiter.state)
        error = await self.assertFailure(Deferred.fromCoroutine(second.start()), AssertionError)
        self.assertIn(f"in use by another Waiter (process {waiter.pid})", str(error))

    async def test_portThatIsTakenEndsTheStartWithTheReason(self):
        waiter = await RunningWaiter(self).start()
        second = RunningWaiter(self, port=waiter.port)
        error = await self.assertFailure(Deferred.fromCoroutine(second.start()), AssertionError)
        self.assertIn(str(waiter.port), str(error))
        self.assertIn("in use", str(error))

    async def test_listeningBeyondLoopbackIsRefused(self):
        waiter = RunningWaiter(self, arguments=["--http", "tcp:0"])
        error = await self.assertFailure(Deferred.fromCoroutine(waiter.start()), AssertionError)
        self.assertIn("one-user", str(error))

    async def test_commandThatIsNotFoundIsExplained(self):
        waiter = await RunningWaiter(self).start()
        headers = service_headers("no-such-command-here")
        headers["accept"] = ["application/json"]
        answer = await waiter.request("/", headers=headers)
        self.assertEqual(answer.code, 503)
        message = answer.json()["waiter-error"]["message"]
        self.assertIn("Deployment error: Invalid startup command", message)
        self.assertIn("no-such-command-here", message)
        self.assertIn("127", message)
