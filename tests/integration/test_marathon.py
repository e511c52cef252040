"""Services as apps of a Marathon whose tasks are real processes."""

import os
import signal

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from tests.integration.harness import service_headers, until
from tests.integration.marathon import RunningMarathon, echo_command, waiter_on


class MarathonServiceTests(TestCase):
    timeout = 240

    async def test_aRequestStartsAnAppAndTheNextOneIsAnsweredByTheSameTask(self):
        marathon = await RunningMarathon(self).start()
        waiter = await waiter_on(self, marathon).start()
        headers = service_headers(echo_command())
        first = await waiter.request("/0", headers=headers)
        self.assertEqual(first.code, 200)
        self.assertIn(int(first.body), [process.pid for process in marathon.processes()])
        self.assertEqual((await waiter.request("/0", headers=headers)).body, first.body)
        service_id = await waiter.service_id(headers)
        app = marathon.app(service_id)
        self.assertEqual(app["labels"]["source"], "waiter")
        (instance,) = await waiter.active_instances(service_id)
        self.assertEqual(instance["id"], app["tasks"][0]["id"])

    async def test_loadScalesOutItsEndScalesInAndIdlenessEndsTheService(self):
        marathon = await RunningMarathon(self).start()
        waiter = await waiter_on(self, marathon).start()
        headers = service_headers(
            echo_command(),
            scale_up_factor=0.9,
            scale_down_factor=0.9,
            idle_timeout_mins=0.1,
            health_check_interval_secs=5,
            health_check_url="/0",
        )
        service_id = await waiter.service_id(headers)
        load = [Deferred.fromCoroutine(waiter.request("/3", headers=headers)) for _ in range(8)]
        answers = await gatherResults(load, consumeErrors=True)
        self.assertEqual({answer.code for answer in answers}, {200})
        self.assertGreater(len({answer.body for answer in answers}), 2, "the load did not spread over instances")
        await until(lambda: waiter.active_instances(service_id), lambda active: len(active) <= 1, within_secs=60)
        await until(lambda: waiter.service(service_id), lambda service: service["status"] == "Inactive", within_secs=60)
        await until(marathon.processes_now, lambda processes: processes == [])
        self.assertEqual(marathon.get("/v2/apps")["apps"], [])
        self.assertEqual((await waiter.request("/0", headers=headers)).code, 200)

    async def test_aServiceThatIsDeletedIsGoneAtMarathonToo(self):
        marathon = await RunningMarathon(self).start()
        waiter = await waiter_on(self, marathon).start()
        headers = service_headers(echo_command())
        service_id = await waiter.service_id(headers)
        await waiter.request("/0", headers=headers)
        self.assertEqual((await waiter.request(f"/apps/{service_id}", method="DELETE")).code, 200)
        await until(marathon.processes_now, lambda processes: processes == [])
        self.assertEqual(marathon.get("/v2/apps")["apps"], [])

    async def test_aTaskThatDiesIsReplacedAndShownAsFailed(self):
        marathon = await RunningMarathon(self).start()
        waiter = await waiter_on(self, marathon).start()
        headers = service_headers(echo_command())
        service_id = await waiter.service_id(headers)
        first = int((await waiter.request("/0", headers=headers)).body)
        os.kill(first, signal.SIGKILL)
        second = await waiter.request("/0", headers=headers)
        self.assertEqual(second.code, 200)
        self.assertNotEqual(int(second.body), first)
        service = await until(
            lambda: waiter.service(service_id), lambda service: service["instances"].get("failed-instances")
        )
        (failed,) = service["instances"]["failed-instances"]
        self.assertIn("signal Killed", failed["message"])

    async def test_aCommandThatIsNotFoundIsExplained(self):
        marathon = await RunningMarathon(self).start()
        waiter = await waiter_on(self, marathon).start()
        headers = service_headers("no-such-command-here")
        headers["accept"] = ["application/json"]
        answer = await waiter.request("/", headers=headers)
        self.assertEqual(answer.code, 503)
        message = answer.json()["waiter-error"]["message"]
        self.assertIn("Deployment error: Invalid startup command", message)
        self.assertIn("exit code 127", message)
        self.assertIn("no-such-command-here", message)

    async def test_whatATaskWroteCanBeRead(self):
        marathon = await RunningMarathon(self).start()
        waiter = await waiter_on(self, marathon).start()
        headers = service_headers(f"echo begins; {echo_command()}")
        service_id = await waiter.service_id(headers)
        await waiter.request("/0", headers=headers)
        (logged,) = await waiter.api(f"/apps/{service_id}/logs")
        listed = await waiter.api(f"/apps/{service_id}/logs?instance-id={logged['id']}")
        self.assertEqual({entry["name"] for entry in listed}, {"stdout", "stderr"})
        answer = await waiter.request(f"/apps/{service_id}/logs/{logged['id']}/stdout")
        self.assertEqual((answer.code, answer.body), (200, b"begins\n"))
        tail = await waiter.request(f"/apps/{service_id}/logs/{logged['id']}/stdout?tail=1")
        self.assertEqual((tail.code, tail.body), (200, b"begins\n"))

    async def test_aWaiterThatStopsLeavesTheTasksAndTheNextOneUsesThem(self):
        marathon = await RunningMarathon(self).start()
        waiter = await waiter_on(self, marathon).start()
        headers = service_headers(echo_command())
        first = await waiter.request("/0", headers=headers)
        self.assertEqual(await waiter.stop(), -signal.SIGINT)
        self.assertNotIn("Traceback", waiter.output)
        again = await waiter_on(self, marathon, state=waiter.state).start()
        self.assertEqual((await again.request("/0", headers=headers)).body, first.body)

    async def test_theStateAndTheSettingsShowWhereTheServicesRun(self):
        marathon = await RunningMarathon(self).start()
        waiter = await waiter_on(self, marathon, environment={"WAITER_MARATHON_PASSWORD": "very-secret"}).start()
        state = (await waiter.api("/state/scheduler"))["state"]
        self.assertEqual((state["type"], state["addresses"]), ("MarathonScheduler", [marathon.url]))
        answer = await waiter.request("/settings")
        self.assertEqual(answer.json()["scheduler-config"]["kind"], "marathon")
        self.assertEqual(answer.json()["scheduler-config"]["marathon"]["url"], [marathon.url])
        self.assertNotIn(b"very-secret", answer.body)
        metrics = (await waiter.request("/metrics")).body.decode()
        self.assertIn("waiter_scheduler_in_doubt 0.0", metrics)
