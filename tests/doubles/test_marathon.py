"""The Marathon double is like the real one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import SkipTest

import treq
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.doubles.marathon import examples
from tests.doubles.marathon.examples import differences
from tests.integration.harness import until
from tests.integration.marathon import RunningMarathon
from tests.ports import free_port
from tests.scheduler.marathon.world import World
from tests.scheduler.servers import BROKEN_SERVER, SERVER, SLEEPER, program

SLEEPING = {"id": "/tests/sleeper", "cmd": f"exec {SLEEPER}", "cpus": 0.1, "mem": 32, "instances": 1}
SERVING = {**SLEEPING, "id": "/tests/server", "cmd": f"exec {SERVER}", "healthChecks": [{"intervalSeconds": 1}]}


class DoubleCase(World, TestCase):
    timeout = 60

    def setUp(self):
        self.start_double()

    async def ask(self, method, path, content=None, *, expect=200):
        data = None if content is None else json.dumps(content).encode()
        headers = {"accept": ["application/json"], "content-type": ["application/json"]}
        response = await treq.request(
            method, self.double.url + path, data=data, headers=headers, persistent=False, allow_redirects=False
        )
        text = await treq.text_content(response)
        self.assertEqual(response.code, expect, text)
        return json.loads(text) if text.startswith(("{", "[")) else text

    async def settled(self):
        """Wait until nothing is being deployed."""
        while await self.ask("GET", "/v2/deployments"):
            await deferLater(reactor, 0.02)

    async def running(self, app, number):
        """Wait until so many tasks run; return them."""
        while True:
            tasks = (await self.ask("GET", f"/v2/apps{app['id']}/tasks"))["tasks"]
            if [task["state"] for task in tasks] == ["TASK_RUNNING"] * number:
                return tasks
            await deferLater(reactor, 0.02)

    def assert_shape(self, found, shape):
        self.assertEqual(differences(found, shape), [])


class ShapeTests(DoubleCase):
    """Its answers have the shape of the manual's examples."""

    async def test_apps(self):
        created = await self.ask("POST", "/v2/apps", SERVING, expect=201)
        self.assert_shape(created, examples.LISTED_APP)
        await self.running(SERVING, 1)
        query = "?embed=apps.tasks&embed=apps.lastTaskFailure"
        (listed,) = (await self.ask("GET", f"/v2/apps{query}"))["apps"]
        self.assert_shape(listed, {**examples.LISTED_APP, "tasks": [examples.TASK]})
        self.assert_shape((await self.ask("GET", "/v2/apps/tests/server"))["app"], examples.LISTED_APP)

    async def test_tasks(self):
        await self.ask("POST", "/v2/apps", SERVING, expect=201)
        (task,) = await self.running(SERVING, 1)
        self.assert_shape(task, examples.TASK)
        self.assert_shape(await self.ask("GET", "/v2/tasks"), {"tasks": [examples.TASK]})
        killed = await self.ask("DELETE", f"/v2/apps/tests/server/tasks/{task['id']}")
        self.assert_shape(killed, {"task": examples.TASK})

    async def test_deployments(self):
        await self.ask("POST", "/v2/apps", SLEEPING, expect=201)
        (deployment,) = await self.ask("GET", "/v2/deployments")
        self.assert_shape(deployment, examples.DEPLOYMENT)
        await self.settled()
        result = await self.ask("PUT", "/v2/apps/tests/sleeper", {"instances": 0})
        self.assert_shape(result, examples.DEPLOYMENT_RESULT)
        await self.settled()
        self.assert_shape(await self.ask("DELETE", "/v2/apps/tests/sleeper"), examples.DEPLOYMENT_RESULT)

    async def test_theLaunchQueue(self):
        self.double.cluster.launch_secs = 1000
        await self.ask("POST", "/v2/apps", SLEEPING, expect=201)
        while not (queue := (await self.ask("GET", "/v2/queue"))["queue"]):
            await deferLater(reactor, 0.02)
        self.assert_shape(queue, [examples.QUEUED])
        self.double.cluster.launch_secs = 0
        await self.ask("DELETE", "/v2/queue/tests/sleeper/delay", expect=204)
        await self.running(SLEEPING, 1)

    async def test_infoLeaderAndPing(self):
        self.assert_shape(await self.ask("GET", "/v2/info"), examples.INFO)
        self.assert_shape(await self.ask("GET", "/v2/leader"), {"leader": str})
        self.assertEqual(await self.ask("GET", "/ping"), "pong")

    async def test_events(self):
        heard = []
        self.double.cluster.subscribers.append(lambda kind, event: heard.append(event))
        await self.ask("POST", "/v2/apps", SLEEPING, expect=201)
        await self.running(SLEEPING, 1)
        statuses = [event for event in heard if event["eventType"] == "status_update_event"]
        self.assertEqual([event["taskStatus"] for event in statuses], ["TASK_STAGING", "TASK_RUNNING"])
        self.assert_shape(statuses, [examples.STATUS_EVENT])

    def test_theComparisonFindsDifferences(self):
        self.assertEqual(differences({}, {"a": int}), [".a is missing"])
        self.assertEqual(differences({"a": [{"b": True}]}, {"a": [{"b": int}]}), [".a[].b is True"])
        self.assertEqual(differences([], {}), [" is no object"])


class RefusalTests(DoubleCase):
    async def test_whatIsNoAppIsNotTaken(self):
        for wrong, path in (
            ({**SLEEPING, "id": "/Upper"}, "/id"),
            ({**SLEEPING, "cpus": "one"}, "/cpus"),
            ({**SLEEPING, "mem": -1}, "/mem"),
            ({**SLEEPING, "unknown": 1}, ""),
            ({**SLEEPING, "args": ["x"]}, ""),
            ({"id": "/a"}, ""),
            ({**SLEEPING, "env": {"A": 1}}, "/env/A"),
            ({**SLEEPING, "healthChecks": [{"portIndex": 1}], "ports": [0]}, "/healthChecks(0)/portIndex"),
            ({**SLEEPING, "healthChecks": [{"protocol": "GOPHER"}]}, "/healthChecks(0)/protocol"),
        ):
            answer = await self.ask("POST", "/v2/apps", wrong, expect=422)
            self.assertIn(path, [each["path"] for each in answer["details"]])
        await self.ask("POST", "/v2/apps", [], expect=400)

    async def test_whatIsThereIsNotCreatedAgain(self):
        await self.ask("POST", "/v2/apps", SLEEPING, expect=201)
        await self.settled()
        answer = await self.ask("POST", "/v2/apps", SLEEPING, expect=409)
        self.assertIn("already exists", answer["message"])

    async def test_whatIsNotThereIsNotFound(self):
        for method, path in (
            ("GET", "/v2/apps/none"),
            ("DELETE", "/v2/apps/none"),
            ("GET", "/v2/apps/none/tasks"),
            ("DELETE", "/v2/deployments/none"),
        ):
            await self.ask(method, path, expect=404)

    async def test_anAppThatIsBeingDeployedIsLocked(self):
        self.double.cluster.deployment_secs = 1000
        await self.ask("POST", "/v2/apps", SLEEPING, expect=201)
        (deployment,) = await self.ask("GET", "/v2/deployments")
        for method, path, content in (
            ("PUT", "/v2/apps/tests/sleeper", {"instances": 2}),
            ("DELETE", "/v2/apps/tests/sleeper", None),
            ("DELETE", "/v2/apps/tests/sleeper/tasks?scale=true", None),
        ):
            answer = await self.ask(method, path, content, expect=409)
            self.assertEqual(answer["deployments"], [{"id": deployment["id"]}])
        await self.ask("PUT", "/v2/apps/tests/sleeper?force=true", {"instances": 2})
        (other,) = await self.ask("GET", "/v2/deployments")
        self.assertNotEqual(other["id"], deployment["id"])


class TaskTests(DoubleCase):
    async def test_tasksAreProcessesInSandboxesWithTheirPorts(self):
        code = "import json; print(json.dumps(dict(os.environ)), flush=True); time.sleep(3600)"
        app = {**SLEEPING, "cmd": f"exec {program(code)}", "ports": [0, 0], "env": {"A": "b"}}
        await self.ask("POST", "/v2/apps", app, expect=201)
        (task,) = await self.running(app, 1)
        found = self.double.cluster.find_task(task["id"])[1]
        stdout = Path(found.sandbox, "stdout")
        while not stdout.read_text().endswith("\n"):
            await deferLater(reactor, 0.02)
        env = json.loads(stdout.read_text())
        self.assertEqual([int(env["PORT0"]), int(env["PORT1"])], task["ports"])
        self.assertEqual((env["A"], env["MESOS_TASK_ID"], env["MESOS_SANDBOX"]), ("b", task["id"], found.sandbox))
        self.assertEqual((env["PORT"], env["HOST"], env["MARATHON_APP_ID"]), (env["PORT0"], "127.0.0.1", app["id"]))
        self.assertEqual(os.getpgid(found.pid), found.pid)

    async def test_scalingStartsAndStopsThem(self):
        await self.ask("POST", "/v2/apps", SLEEPING, expect=201)
        (first,) = await self.running(SLEEPING, 1)
        await self.settled()
        await self.ask("PUT", "/v2/apps/tests/sleeper", {"instances": 3})
        await self.running(SLEEPING, 3)
        await self.settled()
        await self.ask("PUT", "/v2/apps/tests/sleeper", {"instances": 1})
        (left,) = await self.running(SLEEPING, 1)
        self.assertEqual(left["id"], first["id"])
        versions = (await self.ask("GET", "/v2/apps/tests/sleeper/versions"))["versions"]
        self.assertEqual(len(versions), 3)
        oldest = await self.ask("GET", f"/v2/apps/tests/sleeper/versions/{versions[-1]}")
        self.assertEqual(oldest["instances"], 1)

    async def test_aTaskThatFailsIsReplacedAndToldOf(self):
        app = {**SLEEPING, "cmd": "exit 3"}
        await self.ask("POST", "/v2/apps", app, expect=201)
        path = "/v2/apps/tests/sleeper?embed=app.lastTaskFailure"
        while "lastTaskFailure" not in (found := (await self.ask("GET", path))["app"]):
            await deferLater(reactor, 0.02)
        failure = found["lastTaskFailure"]
        self.assertEqual((failure["message"], failure["state"]), ("Command exited with status 3", "TASK_FAILED"))
        while (await self.ask("GET", path))["app"]["lastTaskFailure"]["taskId"] == failure["taskId"]:
            await deferLater(reactor, 0.02)

    async def test_aTaskThatIsNotHealthyForTooLongIsKilled(self):
        check = {"intervalSeconds": 1, "gracePeriodSeconds": 1, "maxConsecutiveFailures": 2}
        app = {**SLEEPING, "cmd": f"exec {BROKEN_SERVER}", "healthChecks": [check]}
        await self.ask("POST", "/v2/apps", app, expect=201)
        path = "/v2/apps/tests/sleeper"
        while "lastTaskFailure" not in (found := (await self.ask("GET", path))["app"]):
            await deferLater(reactor, 0.02)
        self.assertIn("Task was killed since health check failed", found["lastTaskFailure"]["message"])

    async def test_aTaskThatIsHealthyIsShownAsSuch(self):
        await self.ask("POST", "/v2/apps", SERVING, expect=201)
        while not (found := (await self.ask("GET", "/v2/apps/tests/server"))["app"])["tasksHealthy"]:
            await deferLater(reactor, 0.02)
        (result,) = found["tasks"][0]["healthCheckResults"]
        self.assertEqual((result["alive"], result["consecutiveFailures"]), (True, 0))

    async def test_aTaskThatIsKilledHasItsGracePeriod(self):
        app = {
            **SLEEPING,
            "cmd": f"exec {program('signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); print(1, flush=True); time.sleep(3600)')}",
            "taskKillGracePeriodSeconds": 1000,
        }
        await self.ask("POST", "/v2/apps", app, expect=201)
        (task,) = await self.running(app, 1)
        stdout = Path(self.double.cluster.find_task(task["id"])[1].sandbox, "stdout")
        while not stdout.read_text():
            await deferLater(reactor, 0.02)
        await self.settled()
        await self.ask("DELETE", f"/v2/apps/tests/sleeper/tasks/{task['id']}?scale=true")
        await self.running(app, 0)
        self.assertEqual((await self.ask("GET", "/v2/apps/tests/sleeper"))["app"]["instances"], 0)

    async def test_oneThatDoesNotEndIsForced(self):
        app = {
            **SLEEPING,
            "cmd": f"exec {program('signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(3600)')}",
            "taskKillGracePeriodSeconds": 1,
        }
        await self.ask("POST", "/v2/apps", app, expect=201)
        (task,) = await self.running(app, 1)
        stdout = Path(self.double.cluster.find_task(task["id"])[1].sandbox, "stdout")
        while not stdout.read_text():
            await deferLater(reactor, 0.02)
        await self.ask("POST", "/v2/tasks/delete?scale=true&force=true", {"ids": [task["id"]]})
        await self.running(app, 0)


class AgentTests(DoubleCase):
    async def test_theFilesOfATaskAreListedAndRead(self):
        app = {**SLEEPING, "cmd": f"printf 'h\\303\\251llo'; exec {SLEEPER}"}
        await self.ask("POST", "/v2/apps", app, expect=201)
        (task,) = await self.running(app, 1)
        directory = (
            f"/var/lib/mesos/slaves/{task['slaveId']}/frameworks/{self.double.cluster.framework_id}"
            f"/executors/{task['id']}/runs/latest"
        )
        agent = f"http://127.0.0.1:{self.double.agent_port}/files"
        while True:
            found = await (await treq.get(f"{agent}/browse", params={"path": directory}, persistent=False)).json()
            sizes = {each["path"].rpartition("/")[2]: each["size"] for each in found}
            if sizes["stdout"]:
                break
            await deferLater(reactor, 0.02)
        self.assertEqual(sizes, {"stdout": 6, "stderr": 0})
        path = {"path": f"{directory}/stdout", "offset": "3", "length": "2"}
        part = await treq.json_content(await treq.get(f"{agent}/read", params=path, persistent=False))
        self.assertEqual(part, {"data": "ll", "offset": 3})
        whole = await treq.get(f"{agent}/download", params={"path": f"{directory}/stdout"}, persistent=False)
        self.assertEqual(await whole.content(), b"h\xc3\xa9llo")
        for outside in ("/etc/passwd", f"{directory}/../../../../../../../../../etc/passwd", ""):
            answer = await treq.get(f"{agent}/read", params={"path": outside}, persistent=False)
            await answer.content()
            self.assertEqual(answer.code, 404)


class PublicClientTests(DoubleCase):
    """The client that others use with the real one."""

    async def test_itWorks(self):
        try:
            import marathon
        except ImportError:
            raise SkipTest("the package marathon is not installed") from None

        def settle(client):
            while client.list_deployments():
                time.sleep(0.02)

        def use():
            client = marathon.MarathonClient(self.double.url)
            self.assertEqual(client.ping(), b"pong")
            self.assertEqual(client.get_info().framework_id, self.double.cluster.framework_id)
            created = client.create_app("tests/server", marathon.MarathonApp(cmd=f"exec {SERVER}", mem=32, cpus=0.1))
            self.assertEqual(created.id, "/tests/server")
            settle(client)
            client.scale_app("tests/server", 2)
            settle(client)
            (app,) = client.list_apps(embed_tasks=True)
            self.assertEqual((app.instances, app.tasks_running, len(app.tasks)), (2, 2, 2))
            self.assertEqual(len(client.list_tasks("tests/server")), 2)
            client.kill_task("tests/server", app.tasks[0].id, scale=True)
            settle(client)
            self.assertEqual([task.id for task in client.list_tasks("tests/server")], [app.tasks[1].id])
            versions = client.list_versions("tests/server")
            self.assertEqual(client.get_version("tests/server", versions[-1]).instances, 1)
            client.restart_app("tests/server")
            settle(client)
            self.assertNotEqual([task.id for task in client.list_tasks("tests/server")], [app.tasks[1].id])
            self.assertEqual(client.list_queue(), [])
            with self.assertRaises(marathon.exceptions.NotFoundError):
                client.get_app("none")
            with self.assertRaises(marathon.exceptions.MarathonHttpError):
                client.create_app("tests/other", marathon.MarathonApp(cmd="x", cpus=-1))
            client.delete_app("tests/server")
            settle(client)
            self.assertEqual(client.list_apps(), [])

        await deferToThread(use)

    async def test_itHearsEvents(self):
        try:
            import marathon
        except ImportError:
            raise SkipTest("the package marathon is not installed") from None

        def listen():
            client = marathon.MarathonClient(self.double.url)
            for event in client.event_stream():
                if event.event_type == "status_update_event":
                    return event.task_status
            return None

        listening = deferToThread(listen)
        while len(self.double.cluster.subscribers) < 2:
            await deferLater(reactor, 0.02)
        await self.ask("POST", "/v2/apps", SLEEPING, expect=201)
        self.assertEqual(await listening, "TASK_STAGING")


class ProcessTests(TestCase):
    """It alone, in a process of its own."""

    timeout = 60

    async def with_a_task(self):
        marathon = await RunningMarathon(self).start()
        data = json.dumps(SLEEPING).encode()
        await treq.content(await treq.post(f"{marathon.url}/v2/apps", data=data, persistent=False))
        await until(marathon.processes_now, lambda processes: len(processes) >= 2)
        return marathon

    async def test_anOrderlyStopLeavesNoTask(self):
        marathon = await self.with_a_task()
        marathon._process.send_signal(signal.SIGTERM)
        await until(marathon.processes_now, lambda processes: processes == [])
        marathon._process.wait()

    async def test_tasksOutliveItAndAreFoundAgain(self):
        marathon = await self.with_a_task()
        (before,) = marathon.app("tests/sleeper")["tasks"]
        marathon.kill()
        self.assertTrue(marathon.processes())
        await marathon.start()
        (after,) = marathon.app("tests/sleeper")["tasks"]
        self.assertEqual((after["id"], after["ports"]), (before["id"], before["ports"]))

    async def test_aTaskThatEndedMeanwhileIsReplaced(self):
        marathon = await self.with_a_task()
        (before,) = marathon.app("tests/sleeper")["tasks"]
        marathon.kill()
        for process in marathon.processes():
            process.kill()
        await marathon.start()

        async def tasks():
            return [task["id"] for task in marathon.app("tests/sleeper")["tasks"]]

        await until(tasks, lambda ids: ids and before["id"] not in ids)

    async def test_itEndsWithItsParentAndItsTasksWithIt(self):
        directory = Path(self.mktemp()).absolute()
        port = free_port()
        code = (
            "import subprocess, sys, time; "
            f"subprocess.Popen([sys.executable, '-m', 'tests.doubles.marathon', '--port', '{port}', "
            f"'--directory', {str(directory)!r}], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); "
            "time.sleep(600)"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        parent = subprocess.Popen([sys.executable, "-c", code], env=environment)
        self.addCleanup(parent.wait)
        self.addCleanup(parent.kill)
        marathon = RunningMarathon(self)
        marathon.directory, marathon.url = directory, f"http://127.0.0.1:{port}"

        async def posted():
            try:
                data = json.dumps(SLEEPING).encode()
                await treq.content(await treq.post(f"{marathon.url}/v2/apps", data=data, persistent=False))
            except Exception:  # noqa: BLE001 - it is not there yet
                return False
            return True

        await until(posted, lambda done: done)
        await until(marathon.processes_now, lambda processes: len(processes) >= 2)
        parent.kill()
        await until(marathon.processes_now, lambda processes: processes == [])
