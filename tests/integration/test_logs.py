"""What instances write, as clients see it while they write it."""

import signal
import socket
import sys
from pathlib import Path

import psutil
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.integration.harness import RunningWaiter, service_headers, until
from waiter.support.threads import in_thread

COUNTING = f"exec {sys.executable} {Path(__file__).with_name('counting.py').absolute()}"


class Follower:
    """A client that follows a log on a connection of its own, with a thread's patience."""

    def __init__(self, case, waiter, path, *, headers="", version="1.1"):
        self._socket = socket.create_connection(("127.0.0.1", waiter.port), timeout=30)
        case.addCleanup(self._socket.close)
        self._socket.sendall(f"GET {path} HTTP/{version}\r\nHost: localhost\r\n{headers}\r\n".encode())
        self.received = b""

    def close(self):
        """Go away."""
        self._socket.close()

    async def until(self, text):
        """Read until that has come, or the end for C{None}; what has come in all is returned."""
        return await in_thread(reactor, self._until, text)

    def _until(self, text):
        while text is None or text not in self.received:
            data = self._socket.recv(65536)
            if not data:
                break
            self.received += data
        return self.received


class LogsTests(TestCase):
    timeout = 180

    async def start(self, **environment):
        waiter = await RunningWaiter(self, environment=environment).start()
        headers = service_headers(COUNTING)
        answer = await waiter.request("/10", headers=headers)
        self.assertEqual(answer.code, 200, answer.body)
        service_id = await waiter.service_id(headers)
        (instance,) = await waiter.api(f"/apps/{service_id}/logs")
        self.assertEqual(instance["state"], "running")
        return waiter, headers, f"/apps/{service_id}", f"/apps/{service_id}/logs/{instance['id']}"

    async def test_aLogIsFollowedAcrossRotationUntilTheInstanceEnds(self):
        waiter, headers, service, files = await self.start(WAITER_SCHEDULER_MAX_LOG_BYTES="65536")
        plain = Follower(self, waiter, f"{files}/stdout?follow=true", version="1.0")
        events = Follower(self, waiter, f"{files}/stdout", headers="Accept: text/event-stream\r\n")
        count = 10

        async def is_rotated():
            nonlocal count
            count += 300
            await waiter.request("/300", headers=headers)
            await plain.until(b"line %d " % (count - 1))
            listed = await waiter.api(f"{service}/logs?instance-id={files.rpartition('/')[2]}")
            return {entry["name"] for entry in listed}

        await until(is_rotated, lambda names: "stdout.2" in names)
        await waiter.request(service, method="DELETE")
        _, _, body = (await plain.until(None)).partition(b"\r\n\r\n")
        self.assertEqual([int(line.split()[1]) for line in body.splitlines()], list(range(count)))
        stream = await events.until(b"event: end")
        data = [line for line in stream.splitlines() if line.startswith(b"data: line ")]
        self.assertEqual([int(line.split()[2]) for line in data], list(range(count)))
        (ended,) = await waiter.api(f"{service}/logs")
        self.assertEqual(ended["state"], "killed")
        last = await waiter.request(f"{files}/stdout?tail=1&follow=true")
        self.assertEqual(last.body.split()[1], b"%d" % (count - 1))

    async def test_aFollowerDoesNotHoldUpTheEndOfWaiter(self):
        waiter, _, _, files = await self.start()
        follower = Follower(self, waiter, f"{files}/stdout?follow=true")
        await follower.until(b"line 9 ")
        started = reactor.seconds()
        await waiter.stop(signal.SIGTERM)
        self.assertTrue((await follower.until(None)).endswith(b"0\r\n\r\n"))
        # Requests that are under way get half a minute.
        self.assertLess(reactor.seconds() - started, 20)

    async def test_whoGoesAwayLeavesNothingOpen(self):
        waiter, _, _, files = await self.start()
        followers = [Follower(self, waiter, f"{files}/stdout?follow=true") for _ in range(5)]
        for follower in followers:
            await follower.until(b"line 9 ")

        async def opened():
            return [file.path for file in psutil.Process(waiter.pid).open_files() if file.path.endswith("/stdout")]

        await until(opened, lambda found: len(found) == 5)
        for follower in followers:
            follower.close()
        await until(opened, lambda found: found == [])
