"""What happens when Waiter is asked to stop."""

import signal
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import TestCase

from tests.integration.harness import RunningWaiter, service_headers, until

SLOW_ECHO = (Path(__file__).parent / "slow_echo.py").absolute()
FINISHING = "Connections with requests to finish: 1"
# Longer than a slow machine takes to stop a Waiter.
GRACE_SECS = 45


class Gathering(Protocol):
    def __init__(self):
        self.received = b""
        self.closed = Deferred()

    def dataReceived(self, data):
        self.received += data

    def connectionLost(self, reason):
        self.closed.callback(self.received)


class StoppingTests(TestCase):
    timeout = 180

    async def waiter(self, **settings):
        """One whose drain lasts longer than any test, unless something ends it."""
        environment = {"WAITER_LISTEN_DRAIN_TIMEOUT_SECS": "600", "WAITER_LISTEN_DRAIN_WAITING_SECS": "600", **settings}
        return await RunningWaiter(self, environment=environment).start()

    async def draining(self, waiter, sent=signal.SIGTERM):
        """Ask it to stop; returns the end when the drain has begun."""
        stopped = Deferred.fromCoroutine(waiter.stop(sent))
        await self.says(waiter, FINISHING)
        return stopped

    async def says(self, waiter, words):
        async def output():
            return waiter.output

        await until(output, lambda said: words in said)

    async def waiting(self, waiter, command):
        """A request that waits for the first instance of a service; its end, and the service's id."""
        headers = service_headers(command)
        service_id = await waiter.service_id(headers)
        waiting = Deferred.fromCoroutine(waiter.request("/0", headers=headers))

        async def directories():
            return self.instances(waiter, service_id)

        await until(directories, bool)
        await until(waiter.processes_now, bool)
        return waiting, service_id

    def instances(self, waiter, service_id):
        """All instances that the service ever had."""
        return list((waiter.state / "services" / service_id).glob("*/instance.json"))

    async def test_aRequestWhoseInstanceIsStartingIsServed(self):
        waiter = await self.waiter()
        go = Path(self.mktemp()).absolute()
        command = f"until [ -e {go} ]; do sleep 0.05; done; exec python3 {SLOW_ECHO} $PORT0"
        waiting, _ = await self.waiting(waiter, command)
        stopped = await self.draining(waiter)
        go.touch()
        answer = await waiting
        self.assertEqual(answer.code, 200)
        self.assertEqual(await stopped, -signal.SIGTERM)
        self.assertEqual(waiter.instance_processes(), [])

    async def test_whenTheStartFailsTheRequestIsRefusedAndNothingIsStartedAgain(self):
        waiter = await self.waiter()
        go = Path(self.mktemp()).absolute()
        waiting, service_id = await self.waiting(waiter, f"until [ -e {go} ]; do sleep 0.05; done; exit 1")
        stopped = await self.draining(waiter)
        go.touch()
        answer = await waiting
        self.assertEqual(answer.code, 503)
        self.assertIn(b"Waiter is shutting down", answer.body)
        self.assertEqual(answer.header("retry-after"), "5")
        await stopped
        self.assertEqual(len(self.instances(waiter, service_id)), 1)

    async def test_aRequestWhoseInstanceTakesTooLongIsRefused(self):
        waiter = await self.waiter(WAITER_LISTEN_DRAIN_WAITING_SECS="0.5")
        waiting, _ = await self.waiting(waiter, "exec sleep 1000")
        stopped = Deferred.fromCoroutine(waiter.stop(signal.SIGTERM))
        answer = await waiting
        self.assertEqual(answer.code, 503)
        self.assertEqual(await stopped, -signal.SIGTERM)
        self.assertEqual(waiter.instance_processes(), [])

    async def busy(self, **settings):
        """A Waiter with a request under way that would take an hour; and the end of that request."""
        waiter = await self.waiter(**settings)
        cmd = f"trap '' TERM; python3 {SLOW_ECHO} $PORT0"
        headers = service_headers(cmd, termination_grace_period_secs=GRACE_SECS)
        await waiter.request("/0", headers=headers)
        under_way = Deferred.fromCoroutine(waiter.request("/3600", headers=headers))
        service_id = await waiter.service_id(headers)
        await until(lambda: waiter.service(service_id), lambda service: service["request-metrics"]["outstanding"] == 1)
        return waiter, under_way

    async def test_askedTwiceItEndsAtOnceWithAllThatRan(self):
        for sent in (signal.SIGINT, signal.SIGTERM):
            waiter, under_way = await self.busy()
            stopped = await self.draining(waiter, sent)
            begun = reactor.seconds()
            await waiter.stop(sent)
            self.assertEqual(await stopped, -sent)
            took = reactor.seconds() - begun
            self.assertLess(took, GRACE_SECS, "the instance, which ignores SIGTERM, had its grace period")
            self.assertEqual((await under_way).code, 503)
            self.assertEqual(waiter.instance_processes(), [])
            self.assertIn("Server Shut Down", waiter.output)
            self.assertNotIn("Traceback", waiter.output)

    async def test_askedTwiceItLeavesTheInstancesThatItIsToLeave(self):
        waiter, under_way = await self.busy(WAITER_SCHEDULER_ON_STOP="leave")
        before = {process.pid for process in waiter.instance_processes()}
        stopped = await self.draining(waiter, signal.SIGINT)
        await waiter.stop(signal.SIGINT)
        await stopped
        self.assertEqual((await under_way).code, 503)
        self.assertEqual({process.pid for process in waiter.instance_processes()}, before)
        self.assertNotIn("Traceback", waiter.output)

    async def test_statusSaysThatNothingMoreIsToBeSentHere(self):
        waiter = await self.waiter()
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", waiter.port)
        idle, begun = Gathering(), Gathering()
        await connectProtocol(endpoint, idle)
        await connectProtocol(endpoint, begun)
        begun.transport.write(b"GET /status HTTP/1.1\r\nhost: localhost\r\n")
        # Answered after those bytes were read, which came before.
        await waiter.request("/status")
        stopped = await self.draining(waiter)
        self.assertEqual(await idle.closed, b"")
        begun.transport.write(b"\r\n")
        answer = await begun.closed
        self.assertTrue(answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n"), answer)
        self.assertIn(b"connection: close\r\n", answer)
        self.assertIn(b"Router is in drain mode.", answer)
        await stopped
