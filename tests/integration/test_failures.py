"""Whatever goes wrong with an instance, its user is told what and what to do, and it ends by itself when its cause does."""

import json
import os
import resource
import signal
import socket
import subprocess
from http.client import HTTPConnection
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from tests.integration.harness import HTTP_SERVER, RunningWaiter, service_headers, until
from tests.ports import free_pair, free_port

MISBEHAVING = f"exec python3 -SE {Path(__file__).parent.absolute()}/misbehaving.py"
# Long enough for a server to start on a busy machine.
GRACE_SECS = 6


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as attempt:
            attempt.bind(("::1", 0))
    except OSError:
        return False
    return True


class FailureCase(TestCase):
    timeout = 300

    async def start(self, **options):
        self.waiter = await RunningWaiter(self, **options).start()

    def headers(self, cmd, **parameters):
        # Several instances would be in each other's way where the port is the command's own. A whole CPU, and some minutes
        # to start, because the machine may be busy.
        return service_headers(cmd, **{"cpus": 1, "grace_period_secs": 300, "max_instances": 1, **parameters})

    async def fail(self, cmd, **parameters):
        """
        What the user of a service is told that does not start: the message, and the data in JSON. It is the same in text.
        """
        headers = self.headers(cmd, **parameters)
        text, data = await gatherResults(
            [
                Deferred.fromCoroutine(self.waiter.request(headers={**headers, "accept": [accept]}))
                for accept in ("text/plain", "application/json")
            ]
        )
        self.assertEqual((text.code, data.code), (503, 503))
        self.assertEqual(
            (text.header("content-type"), data.header("content-type")),
            ("text/plain; charset=utf-8", "application/json"),
        )
        error = data.json()["waiter-error"]
        self.assertEqual(error["title"], "Service Deployment Error")
        facts = error["details"]["instance"]
        told = text.body.decode()
        for line in (error["message"].split("\n")[0], facts["advice"], *facts["last-output"]):
            self.assertIn(line, told)
        # Nothing is said twice.
        sentences = [line.strip() for line in told.split("\n") if len(line.split()) > 3]
        once = [line for line in sentences if not line.startswith(tuple(facts["last-output"]) or "\0")]
        self.assertEqual(sorted(set(once)), sorted(once), told)
        self.assertNotIn("last-output", told)
        return error["message"], {**facts, "key": error["details"]["deployment-error"], "headers": headers}

    async def failed_instances(self, headers):
        service = await self.waiter.service(await self.waiter.service_id(headers))
        return service["instances"]["failed-instances"]

    def until(self, describe, predicate):
        return until(describe, predicate, within_secs=120)

    def all_at_once(self, coroutines):
        return gatherResults([Deferred.fromCoroutine(each) for each in coroutines], consumeErrors=True)


class StartFailureTests(FailureCase):
    """No instance of the service ever works."""

    async def test_commandsThatEndAreExplainedWithCodeAndOutput(self):
        await self.start()
        missing, plain, noisy, quiet, background, crash = await self.all_at_once(
            self.fail(cmd)
            for cmd in (
                "no-such-program-at-all --port $PORT0",
                "/etc/passwd",
                "echo on the way; echo boom >&2; exit 3",
                "echo only out; exit 4",
                "(sleep 3600 &) ; exit 0",
                "kill -SEGV $$",
            )
        )
        for (message, facts), code, words, advice, output in (
            (missing, 127, "exit code 127 (the command was not found)", "Check the spelling", "no-such-program-at-all"),
            (plain, 126, "exit code 126 (the command is not executable)", "Make the file executable", "/etc/passwd"),
            (noisy, 3, "exit code 3 ", "Its last output may tell why", "boom"),
            (quiet, 4, "exit code 4 ", "Its last output may tell why", "only out"),
            (background, 0, "exit code 0 ", "must stay in the foreground", None),
            (crash, 139, "exit code 139 (ended by SIGSEGV)", "", None),
        ):
            self.assertTrue(message.startswith("Deployment error: Invalid startup command\n"), message)
            self.assertEqual((facts["key"], facts["exit-code"]), ("bad-startup-command", code))
            self.assertIn(f"The command ended with {words}", message)
            self.assertIn(advice, facts["advice"])
            self.assertIn(facts["advice"], message)
            if output is not None:
                self.assertIn(output, facts["last-output"][-1])
                self.assertIn(output, message)
            failed = (await self.failed_instances(facts["headers"]))[0]
            self.assertEqual(failed["exit-code"], code)
            self.assertIn(words, failed["message"])
            self.assertIn(advice, failed["message"])
        self.assertNotIn("on the way", noisy[0])

    async def test_instancesThatAreNotReachedAreToldWhereTheyListen(self):
        await self.start()
        other = free_port()
        cases = [
            ("exec sleep 3600", "Nothing listened on $PORT0 ({port}).", "must listen on port $PORT0"),
            (f"sleep 3600; {HTTP_SERVER}", "Nothing listened on $PORT0 ({port}).", "raise grace-period-secs"),
            (
                f"{MISBEHAVING} listen 127.0.0.1 {other}",
                f"It listens on port {other} instead of $PORT0 ({{port}}).",
                "Give the command $PORT0",
            ),
            (
                f"{MISBEHAVING} listen 127.0.0.2 $PORT0",
                "It listens on 127.0.0.2 port {port} only; Waiter connects to 127.0.0.1.",
                "Let it listen on 127.0.0.1",
            ),
        ]
        if has_ipv6():
            cases.append(
                (
                    f"{MISBEHAVING} listen ::1 $PORT0",
                    "It listens on [::1] port {port} only; Waiter connects to 127.0.0.1.",
                    "Let it listen on 127.0.0.1",
                )
            )
        answers = await self.all_at_once(self.fail(cmd, grace_period_secs=GRACE_SECS) for cmd, _, _ in cases)
        for (message, facts), (_, words, advice) in zip(answers, cases, strict=True):
            self.assertTrue(
                message.startswith("Deployment error: Unable to connect to run health checks\n2 instances failed"),
                message,
            )
            self.assertEqual((facts["key"], facts["exit-code"]), ("cannot-connect", None))
            self.assertIn(f"did not pass a health check within {GRACE_SECS} s (grace-period-secs)", message)
            self.assertIn(words.format(port=facts["port"]), facts["message"])
            self.assertIn(facts["message"], message)
            self.assertIn(advice, facts["advice"])
            failed = (await self.failed_instances(facts["headers"]))[0]
            self.assertIn(words.format(port=failed["port"]), failed["message"])
            self.assertIn("never-passed-health-checks", failed["flags"])

    async def test_wrongAnswersToHealthChecksAreQuoted(self):
        await self.start()
        invalid = "Health check returned an invalid response"
        cases = (
            ("answer 404", invalid, 'was answered with 404: "<h1>This is not it</h1>"', "Give health-check-url a path"),
            ("answer 500", invalid, 'was answered with 500: "<h1>This is not it</h1>"', "Find out why the service"),
            ("answer 302", invalid, 'was answered with 302: "<h1>This is not it</h1>"', "Redirects are not followed"),
            ("smtp", invalid, "220 mail.example ESMTP", "must be a server for plain HTTP/1"),
            ("silent", "Health check timed out", "was not answered within", "must be a server for HTTP"),
            (
                "closing",
                "Backend is closing socket without responding",
                "was cut off",
                "must be a server for plain HTTP",
            ),
        )
        answers = await self.all_at_once(
            self.fail(f"{MISBEHAVING} {mode}", grace_period_secs=GRACE_SECS) for mode, *_ in cases
        )
        for (message, facts), (mode, title, words, advice) in zip(answers, cases, strict=True):
            self.assertTrue(message.startswith(f"Deployment error: {title}"), f"{mode}: {message}")
            self.assertIn(f"The last health check: GET http://127.0.0.1:{facts['port']}/ ", message)
            self.assertIn(words, facts["message"])
            self.assertIn(facts["message"], message)
            self.assertIn(advice, facts["advice"])
            self.assertEqual(facts["health-check-status"], int(mode[7:]) if mode[7:].isdigit() else None)
            failed = (await self.failed_instances(facts["headers"]))[0]
            self.assertIn(words, failed["message"])

    async def test_aHealthCheckThatWantsCredentialsIsExplainedAtOnce(self):
        await self.start()
        message, facts = await self.fail(f"{MISBEHAVING} answer 401")
        self.assertTrue(message.startswith("Deployment error: Health check requires authentication\n"), message)
        self.assertIn('was answered with 401: "<h1>This is not it</h1>"', message)
        self.assertIn("without credentials", facts["advice"])

    async def test_aRequestThatWaitsInVainIsToldWhatIsSeenSoFar(self):
        await self.start()
        headers = self.headers(f"{MISBEHAVING} answer 404")
        service_id = await self.waiter.service_id(headers)
        first = Deferred.fromCoroutine(self.waiter.request(headers=headers))

        async def shown():
            answer = await self.waiter.request(f"/apps/{service_id}")
            return [] if answer.code == 404 else answer.json()["instances"]["active-instances"]

        (instance,) = await self.until(shown, lambda active: active and "with 404" in (active[0]["message"] or ""))
        answer = await self.waiter.request(headers={**headers, "x-waiter-queue-timeout": ["300"]})
        self.assertEqual(answer.code, 503)
        self.assertIn(b"is not healthy yet.\n", answer.body)
        self.assertIn(b'was answered with 404: "<h1>This is not it</h1>"', answer.body)
        self.assertIn('was answered with 404: "<h1>This is not it</h1>"', instance["message"])
        first.addErrback(lambda _: None).cancel()
        await first


class RecoveryTests(FailureCase):
    """The cause goes, and nobody does anything else about it."""

    def setUp(self):
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.directory.chmod(0o755)

    async def running(self, headers):
        """Wait until the service runs, without asking for anything of it."""
        service_id = await self.waiter.service_id(headers)
        await self.until(lambda: self.waiter.service(service_id), lambda service: service["status"] == "Running")
        answer = await self.waiter.request(headers=headers)
        self.assertEqual(answer.code, 200, answer.body)

    async def test_aProgramThatIsInstalledLaterRuns(self):
        await self.start()
        program = self.directory / "program"
        message, facts = await self.fail(f"{program} $PORT0", restart_backoff_factor=1)
        self.assertIn("exit code 127", message)
        program.write_text('#!/bin/sh\nexec python3 -m http.server --bind 127.0.0.1 "$1"\n')
        message = (await self.waiter.request(headers=facts["headers"])).body.decode()
        self.assertIn("Deployment error", message)
        service_id = await self.waiter.service_id(facts["headers"])

        def is_126(service):
            return service["instances"]["failed-instances"][-1]["exit-code"] == 126

        await self.until(lambda: self.waiter.service(service_id), is_126)
        program.chmod(0o755)
        await self.running(facts["headers"])

    async def test_anAnswerThatBecomesRightIsNoticed(self):
        await self.start()
        ready = self.directory / "ready"
        _, facts = await self.fail(f"{MISBEHAVING} answer 401 {ready}")
        ready.touch()
        await self.running(facts["headers"])
        self.assertEqual(await self.failed_instances(facts["headers"]), [])

    async def test_anInstanceThatEndsWhileItServesIsReplaced(self):
        await self.start()
        headers = self.headers(f"{MISBEHAVING} crash", restart_backoff_factor=1)
        first = await self.waiter.request(headers=headers)
        self.assertEqual(first.code, 200)
        for path, words in (("/exit", "exit code 3 "), ("/segv", "exit code 139 (ended by SIGSEGV)")):
            # What may have been done already is not asked for again.
            answer = await self.waiter.request(path, method="POST", headers={**headers, "accept": ["application/json"]})
            self.assertEqual(answer.code, 502)
            error = answer.json()["waiter-error"]
            self.assertTrue(error["message"].startswith("Request to service backend failed\n"))
            service_id = await self.waiter.service_id(headers)
            self.assertIn(f"/apps/{service_id} tells why", error["message"])
            self.assertIn("closed the connection", error["details"]["reason"])
            served = await self.waiter.request(headers=headers)
            self.assertEqual(served.code, 200)
            self.assertNotEqual(served.body, first.body)
            (failed,) = [each for each in await self.failed_instances(headers) if each["id"] == error["instance-id"]]
            self.assertIn(words, failed["message"])
            self.assertNotIn("before it passed", failed["message"])
        self.assertIn("about to end", str(await self.failed_instances(headers)))
        # A signal from outside.
        os.kill(int(served.body), signal.SIGKILL)
        after = await self.waiter.request(headers=headers)
        self.assertEqual(after.code, 200)
        self.assertNotEqual(after.body, served.body)
        messages = [each["message"] for each in await self.failed_instances(headers)]
        self.assertTrue(any("exit code 137 (ended by SIGKILL)" in message for message in messages), messages)

    async def test_whoFindsNoPortWaitsForOneToBeGivenBack(self):
        first = free_pair()
        await self.start(
            environment={
                "WAITER_SCHEDULER_PORT_RANGE": f"[{first}, {first + 1}]",
                "WAITER_SCHEDULER_PORT_REST_SECS": "0",
            }
        )
        one, two, three = (self.headers(f"{MISBEHAVING} abrupt", name=name) for name in ("one", "two", "three"))
        for headers in (one, two):
            self.assertEqual((await self.waiter.request(headers=headers)).code, 200)
        waiting = Deferred.fromCoroutine(self.waiter.request(headers=three))
        service_id = await self.waiter.service_id(three)
        await self.until(
            lambda: self.waiter.service(service_id),
            lambda service: "Waits for ports" in service.get("queued-reason", ""),
        )
        refused = await self.waiter.request(headers={**three, "x-waiter-queue-timeout": ["500"]})
        self.assertEqual(refused.code, 503)
        self.assertIn(b"Waits for ports: an instance needs 1 port and none is free", refused.body)
        deleted = await self.waiter.request(f"/apps/{await self.waiter.service_id(one)}", method="DELETE")
        self.assertEqual(deleted.code, 200, deleted.body)
        self.assertEqual((await waiting).code, 200)

    async def test_whoFindsNoDescriptorWaitsForOne(self):
        await self.start()
        one = self.headers(HTTP_SERVER, name="one")
        headers = self.headers(HTTP_SERVER, name="two")
        connection = HTTPConnection("127.0.0.1", self.waiter.port, timeout=60)
        self.addCleanup(connection.close)

        def ask():
            connection.request("GET", "/", headers={name: values[0] for name, values in asked.items()})
            with connection.getresponse() as response:
                return response.status, response.read()

        asked = one
        self.assertEqual((await deferToThread(ask))[0], 200)
        asked = {**headers, "x-waiter-queue-timeout": ["1000"]}
        limits = resource.prlimit(self.waiter.pid, resource.RLIMIT_NOFILE)
        used = len(os.listdir(f"/proc/{self.waiter.pid}/fd"))  # noqa: PTH208 - numbers only
        # Some for other things that it does meanwhile, not enough for a process.
        resource.prlimit(self.waiter.pid, resource.RLIMIT_NOFILE, (used + 2, limits[1]))
        try:
            # What is lacking is known when a start was tried.
            code, body = await self.until(
                lambda: deferToThread(ask), lambda found: found[0] != 503 or b"Waits for file descriptors: " in found[1]
            )
        finally:
            resource.prlimit(self.waiter.pid, resource.RLIMIT_NOFILE, limits)
        self.assertEqual(code, 503, body)
        self.assertIn(b"(Too many open files)", body)
        self.assertIn(b"ulimit -n", body)
        await self.running(headers)
        self.assertEqual(await self.failed_instances(headers), [])


class FullDiskTests(FailureCase):
    """The state directory is on a disk that fills up."""

    def setUp(self):
        self.disk = Path(self.mktemp()).absolute()
        self.disk.mkdir()
        self.disk.chmod(0o755)
        mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(self.disk)]
        if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
            raise SkipTest("no disk can be mounted here")
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(self.disk)], check=True)
        self.filling = self.disk / "filling"

    def fill(self):
        with self.filling.open("ab", buffering=0) as file, self.assertRaises(OSError):
            for size in (4096, 1):
                while True:
                    file.write(b"x" * size)

    async def test_aFullDiskStopsNothingThatRunsAndIsRecoveredFrom(self):
        await self.start(state=self.disk / "state")
        running, broken, new = (self.headers(f"{MISBEHAVING} crash", name=name) for name in ("one", "two", "three"))
        for headers in (running, broken):
            self.assertEqual((await self.waiter.request(headers=headers)).code, 200)
        # The log of requests is written once a second.
        log = self.disk / "state" / "request.log"
        await self.until(lambda: deferLater(reactor, 0, log.exists), bool)
        self.fill()

        # Small records find room in what is left of the file's last page.
        async def log_fails():
            self.assertEqual((await self.waiter.request(headers=running)).code, 200)
            return "The request log cannot be written" in self.waiter.output

        await self.until(log_fails, bool)
        unknown = await self.waiter.request(headers=new)
        self.assertEqual(unknown.code, 503)
        self.assertIn(b"database or disk is full. Make room on the disk", unknown.body)

        await self.waiter.request("/exit", method="POST", headers=broken)

        async def refused():
            answer = await self.waiter.request(
                headers={**broken, "x-waiter-queue-timeout": ["1000"], "accept": ["application/json"]}
            )
            self.assertEqual(answer.code, 503)
            return answer.json()["waiter-error"]

        # That there is no room is known when a start was tried.
        error = await self.until(
            refused, lambda error: "Waits for disk space" in error["details"].get("queued-reason", "")
        )
        self.assertIn("make room on the disk that holds Waiter's state directory", error["message"])
        self.assertIn(f"The disk of its files, mounted at {self.disk}, is full", error["message"])
        (failed,) = await self.failed_instances(broken)
        self.assertIn("Make room there", failed["message"])
        # What could not be started has left nothing.
        service_id = await self.waiter.service_id(broken)
        self.assertEqual(await self.waiter.active_instances(service_id), [])
        self.assertEqual(len(self.instances(running)), 1)
        await self.until(lambda: deferLater(reactor, 0, self.directories, service_id), lambda found: len(found) <= 1)
        self.assertEqual((await self.waiter.request(headers=running)).code, 200)

        self.filling.unlink()
        await self.until(lambda: self.waiter.service(service_id), lambda service: service["status"] == "Running")
        for headers in (running, broken, new):
            self.assertEqual((await self.waiter.request(headers=headers)).code, 200)

        async def log_is_written():
            self.assertEqual((await self.waiter.request(headers=running)).code, 200)
            return "The request log is written again" in self.waiter.output

        await self.until(log_is_written, bool)

    async def test_anInstanceThatFillsTheDiskIsToldSo(self):
        await self.start(state=self.disk / "state")
        message, facts = await self.fail("cat /dev/zero > filling; exit 1")
        self.assertIn("exit code 1 ", message)
        self.assertIn(f"The disk of its files, mounted at {self.disk}, is full", message)
        self.assertIn("Make room there", facts["advice"])

    def directories(self, service_id):
        return list((self.disk / "state" / "services" / service_id).glob("*"))

    def instances(self, headers):
        return [
            path
            for path in (self.disk / "state" / "services").glob("*/*/instance.json")
            if json.loads(path.read_text())["core"]["name"] == headers["x-waiter-name"][0]
        ]
