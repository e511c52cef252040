"""Two hundred clients in no hurry: each gets what it should, and takes nothing from the others."""

import contextlib
import hashlib
import socket
import sys
from pathlib import Path

import psutil
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.conditions import Conditions
from tests.integration.harness import RunningWaiter, service_headers, until
from tests.integration.unhurried import LARGE

PROGRAM = (Path(__file__).parent / "unhurried.py").absolute()
MIB = 1 << 20
EACH = 30


def described(name, **parameters):
    return service_headers(f"exec {sys.executable} {PROGRAM} $PORT0", name=name, max_instances=1, mem=256, **parameters)


def head(line, headers, *more):
    lines = [line, b"Host: localhost", *(f"{name}: {values[0]}".encode() for name, values in headers.items()), *more]
    return b"\r\n".join([*lines, b"", b""])


class Client(Conditions, Protocol):
    """
    @ivar received: all of it or, where that is much, the beginning.
    @ivar count: how much it is.
    """

    def __init__(self):
        super().__init__()
        self.received = b""
        self.count = 0
        self.lost = None
        self._digest = hashlib.sha256()

    def connectionMade(self):
        self.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)

    def dataReceived(self, data):
        before, self.count = self.count, self.count + len(data)
        if before < 65536:
            self.received += data
        self._digest.update(data)
        self.look()

    def connectionLost(self, reason):
        self.lost = reason
        self.look()

    async def drip(self, data, every_secs=0.1):
        """Send it a byte at a time, as long as there is somebody."""
        for at in range(len(data)):
            if self.lost is not None:
                return
            self.transport.write(data[at : at + 1])
            await deferLater(reactor, every_secs)

    @property
    def digest(self):
        return self._digest.digest()

    @property
    def body(self):
        return self.received.partition(b"\r\n\r\n")[2]

    @property
    def status(self):
        return self.received[9:12]


class SlowClientTests(TestCase):
    timeout = 300

    async def start(self, **environment):
        self.waiter = await RunningWaiter(self, environment=environment).start()

    async def client(self):
        client = await TCP4ClientEndpoint(reactor, "127.0.0.1", self.waiter.port).connect(Factory.forProtocol(Client))
        self.addCleanup(client.transport.abortConnection)
        return client

    async def numbers(self):
        return (await self.waiter.api("/metrics"))["waiter"]["counters"]

    async def outstanding(self, service_id):
        return (await self.waiter.service(service_id))["request-metrics"]["outstanding"]

    async def slow_head(self):
        client = await self.client()
        request = head(b"GET / HTTP/1.1", self.headers)
        client.transport.write(request[:-10])
        await client.drip(request[-10:])
        await client.when(lambda: client.body == b"word")
        client.transport.loseConnection()

    async def endless_head(self):
        client = await self.client()
        client.transport.write(head(b"GET / HTTP/1.1", self.headers)[:-2])
        await client.drip(b"X-Filler: " + b"x" * 290)
        await client.when(lambda: client.lost is not None)
        self.assertEqual(client.status, b"408")

    async def slow_body(self):
        client = await self.client()
        client.transport.write(head(b"POST / HTTP/1.1", self.headers, b"Content-Length: 20"))
        await client.drip(b"0123456789" * 2)
        await client.when(lambda: client.body == b"0123456789" * 2)
        client.transport.loseConnection()

    async def endless_body(self):
        self.stalls = not self.stalls
        stalls = self.stalls
        client = await self.client()
        client.transport.write(head(b"POST / HTTP/1.1", self.headers, b"Content-Length: 200"))
        if stalls:
            # Some send nothing more, the others too little.
            client.transport.write(b"x")
        else:
            await client.drip(b"x" * 100, every_secs=0.5)
        await client.when(lambda: client.status == b"408")

    async def slow_reader(self):
        client = await self.client()
        client.transport.write(head(b"GET /large HTTP/1.1", self.headers, b"Connection: close"))
        while client.lost is None:
            client.transport.pauseProducing()
            await deferLater(reactor, 0.05)
            client.transport.resumeProducing()
            before = client.count
            await client.when(lambda before=before: client.count > before or client.lost is not None)
        self.assertEqual(client.status, b"200", client.received[:2000])
        start = client.received.index(b"\r\n\r\n") + 4
        self.assertEqual(client.count - start, len(LARGE))
        self.assertEqual(client.digest, hashlib.sha256(client.received[:start] + LARGE).digest())

    async def endless_reader(self):
        # A plain socket: not every reactor tells of the end of what was not read for a while.
        client = socket.create_connection(("127.0.0.1", self.waiter.port), timeout=60)
        self.addCleanup(client.close)
        client.sendall(head(b"GET /large HTTP/1.1", self.headers, b"Connection: close"))
        client.setblocking(False)
        self.deaf.append(client)

    def rest_of(self, client):
        """What was there to be read, until the connection breaks."""
        client.settimeout(60)
        count = 0
        with contextlib.suppress(ConnectionError):
            while more := client.recv(65536):
                count += len(more)
        return count

    async def deserter(self):
        """Leaves while its body is not read, as there is no slot for it."""
        client = await self.client()
        client.transport.write(head(b"POST / HTTP/1.1", self.crowded, b"Content-Length: 4000000") + b"x" * 1_000_000)
        await deferLater(reactor, 2)
        client.transport.abortConnection()

    async def test_eachGetsWhatItShouldAndNothingIsLeft(self):
        await self.start(
            WAITER_LISTEN_HEAD_TIMEOUT_SECS="20",
            WAITER_LISTEN_BODY_TIMEOUT_SECS="20",
            WAITER_REQUEST_STREAMING_TIMEOUT_MS="20000",
        )
        self.headers = described("slow", concurrency_level=1000)
        self.crowded = described("crowded", concurrency_level=1, max_queue_length=1000)
        self.deaf = []
        self.stalls = False
        service_id = await self.waiter.service_id(self.headers)
        crowded_id = await self.waiter.service_id(self.crowded)
        for headers in (self.headers, self.crowded):
            self.assertEqual((await self.waiter.request("/", headers=headers)).body, b"word")
        process = psutil.Process(self.waiter.pid)
        memory, descriptors = process.memory_info().rss, process.num_fds()
        # Who has the one slot there is.
        holder = await self.client()
        holder.transport.write(head(b"POST / HTTP/1.1", self.crowded, b"Content-Length: 20") + b"x")
        await until(lambda: self.outstanding(crowded_id), lambda number: number == 1)

        kinds = (
            self.slow_head,
            self.endless_head,
            self.slow_body,
            self.endless_body,
            self.slow_reader,
            self.endless_reader,
            self.deserter,
        )
        slow = gatherResults(
            [Deferred.fromCoroutine(kind()) for _ in range(EACH) for kind in kinds], consumeErrors=True
        )
        done = []
        slow.addBoth(done.append)
        most = 0
        others = 0
        while not done:
            answer = await self.waiter.request("/", headers=self.headers)
            self.assertEqual((answer.code, answer.body), (200, b"word"))
            others += 1
            most = max(most, process.memory_info().rss)
        self.assertIsInstance(done[0], list, str(done[0]))
        self.assertGreater(others, 10)

        await until(lambda: self.outstanding(crowded_id), lambda number: number <= 1)
        holder.transport.abortConnection()
        for each in (service_id, crowded_id):
            await until(lambda each=each: self.outstanding(each), lambda number: number == 0)
        # The one that asks is one itself.
        await until(self.numbers, lambda numbers: numbers["connections"]["open"] <= 1)
        for client in self.deaf:
            self.assertIn(self.rest_of(client), range(1, len(LARGE)))
        # Connections to instances are kept for ten seconds.
        await until(self.descriptors_of(process), lambda number: number <= descriptors + 4, within_secs=60)
        # The answers to readers alone were 480 MiB.
        self.assertLess(most - memory, 7 * EACH * MIB // 2)

    def descriptors_of(self, process):
        async def descriptors():
            return process.num_fds()

        return descriptors

    async def test_whenThereAreTooManyConnectionsIdleOnesMakeRoom(self):
        await self.start(WAITER_LISTEN_MAX_CONNECTIONS="10")
        self.headers = described("slow", concurrency_level=1000)
        await self.waiter.request("/", headers=self.headers)
        clients = []
        for _ in range(40):
            client = await self.client()
            client.transport.write(head(b"GET / HTTP/1.1", self.headers))
            clients.append(client)
        await gatherResults([client.when(lambda client=client: client.body == b"word") for client in clients])
        self.assertIn("as many as there may be (listen.max-connections)", self.waiter.output)
        for client in clients:
            client.transport.loseConnection()
        await until(self.numbers, lambda numbers: numbers["connections"]["open"] <= 1)

    async def test_aClientWithTooManyConnectionsIsToldSo(self):
        await self.start(WAITER_LISTEN_MAX_CONNECTIONS_PER_ADDRESS="5")
        self.headers = described("slow")
        clients = [await self.client() for _ in range(6)]
        await clients[5].when(lambda: clients[5].lost is not None)
        self.assertEqual(clients[5].status, b"429")
        for client in clients[1:]:
            client.transport.abortConnection()
        clients[0].transport.write(head(b"GET / HTTP/1.1", self.headers))
        await clients[0].when(lambda: clients[0].body == b"word")
        # Until the others are seen to have gone, one more may still be one too many.
        await until(self.newcomer, lambda status: status == b"200")

    async def newcomer(self):
        client = await self.client()
        client.transport.write(head(b"GET / HTTP/1.1", self.headers))
        await client.when(lambda: client.status or client.lost is not None)
        client.transport.abortConnection()
        return client.status
