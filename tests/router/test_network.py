"""The data path over real sockets: Twisted's transports or carriers, whichever the reactor has."""

import socket

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from zope.interface import implementer

from tests.conditions import Conditions
from tests.reservation.making import make_service
from tests.router.world import WALL, Catalogue, Log, get, head, ok, parse, post, values
from waiter.catalog.descriptor import Descriptor
from waiter.model.identity import Identity
from waiter.model.instance import Instance
from waiter.model.outcome import Outcome
from waiter.model.routing import RoutingState, ServiceState
from waiter.reservation.manager import ReserverManager
from waiter.router.backend import BackendPool
from waiter.router.carriers import connector
from waiter.router.frontend import FrontendFactory
from waiter.router.limits import Limits
from waiter.router.listening import ListeningService
from waiter.router.sockets import unsent_bytes
from waiter.telemetry.metrics import Metrics

MANY = bytes(range(256)) * 4096 * 16


@implementer(IHalfCloseableProtocol)
class Peer(Conditions, Protocol):
    """
    A client or an instance that does what the test says.

    @cvar read_bytes: how much it reads at once.
    """

    read_bytes = 65536

    def connectionMade(self):
        self.transport.bufferSize = self.read_bytes

    def __init__(self):
        super().__init__()
        self.received = b""
        self.ended = False
        self.lost = None

    def dataReceived(self, data):
        self.received += data
        self.look()

    def readConnectionLost(self):
        self.ended = True
        self.look()

    def writeConnectionLost(self):
        pass

    def connectionLost(self, reason):
        self.lost = reason
        self.look()


class NetworkTests(TestCase):
    timeout = 120

    async def setUp(self):
        self.instances = []
        self.instance_waits = []
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(
            Factory.forProtocol(self.make_instance)
        )
        self.addCleanup(port.stopListening)
        service = make_service(concurrency_level=4)
        self.reservers = ReserverManager(reactor)
        self.service = service
        self.instance_port = port.getHost().port
        self.run_instance("s.1")
        self.metrics = Metrics()
        self.backends = BackendPool(reactor, connector(reactor))
        self.factory = FrontendFactory(
            reactor,
            resolver=Catalogue(
                Descriptor(
                    service=service,
                    queue_timeout_secs=10,
                    socket_timeout_secs=10,
                    streaming_timeout_secs=10,
                    principal="alice",
                )
            ),
            reservers=self.reservers,
            backends=self.backends,
            api=Resource(),
            metrics=self.metrics,
            request_log=Log(),
            identity=Identity(router_id="r", cluster="c", version="1", hostnames=("h",), port=1, started_at=WALL),
            own_hosts=frozenset({"localhost"}),
        )
        self.listening = ListeningService(reactor, ["tcp:0:interface=127.0.0.1"], self.factory)
        self.listening.privilegedStartService()
        self.listening.startService()
        self.addCleanup(self.stop)

    async def stop(self):
        await self.listening.stopService()
        await self.factory.drain(0.5)
        self.backends.close()
        self.reservers.stopService()
        for instance in self.instances:
            if instance.lost is None:
                instance.transport.abortConnection()
                await instance.when(lambda gone=instance: gone.lost is not None)

    def run_instance(self, instance_id):
        """From now on it is this instance that has the port."""
        instance = Instance(id=instance_id, service_id="s", healthy=True, host="127.0.0.1", port=self.instance_port)
        state = ServiceState(service=self.service, healthy=(instance,), slots={instance_id: 4})
        self.reservers.update(RoutingState(services={"s": state}))

    def make_instance(self):
        instance = Peer()
        self.instances.append(instance)
        waits, self.instance_waits = self.instance_waits, []
        for waiting in waits:
            waiting.callback(None)
        return instance

    async def client(self):
        host = self.listening.addresses[0]
        client = await TCP4ClientEndpoint(reactor, "127.0.0.1", host.port).connect(Factory.forProtocol(Peer))
        self.addCleanup(client.transport.abortConnection)
        return client

    async def instance(self, number=0):
        """The connection to the instance with this number, when it is there."""
        while len(self.instances) <= number:
            waiting = Deferred()
            self.instance_waits.append(waiting)
            await waiting
        return self.instances[number]

    async def unread_upload(self):
        """A client with a long body, held back, and the instance that does not read it."""
        client = await self.client()
        client.transport.write(post(MANY)[:1000])
        instance = await self.instance()
        await instance.when(lambda: b"\r\n\r\n" in instance.received)
        instance.transport.pauseProducing()
        client.transport.write(post(MANY)[1000:])
        connection = next(iter(self.factory._connections))
        await self.until(lambda: connection.paused)
        return client, instance

    async def until(self, condition):
        while not condition():
            await deferLater(reactor, 0.01)

    def body_of(self, peer):
        return parse(peer.received)[2]

    async def test_keepAlive(self):
        """Many requests and answers over one connection on either side."""
        client = await self.client()
        for n in range(20):
            client.received = b""
            client.transport.write(get(b"/%d" % n))
            instance = await self.instance()
            await instance.when(lambda instance=instance: b"\r\n\r\n" in instance.received)
            self.assertEqual(parse(instance.received)[0], b"GET /%d HTTP/1.1" % n)
            instance.received = b""
            instance.transport.write(ok(b"answer %d" % n))
            await client.when(lambda n=n: client.received.endswith(b"answer %d" % n))
        self.assertEqual(len(self.instances), 1)
        self.assertEqual(self.metrics.service("s").successful, 20)

    async def test_download(self):
        """A client that does not read holds back the instance; when it reads again it gets everything."""
        client = await self.client()
        client.transport.write(get())
        instance = await self.instance()
        await instance.when(lambda: b"\r\n\r\n" in instance.received)
        await self.until(lambda: self.reservers.find("s").slots_in_use == 1)
        client.transport.pauseProducing()
        connection = next(iter(self.factory._connections))
        instance.transport.write(ok(MANY))
        await self.until(lambda: connection.full)
        await deferLater(reactor, 0.1)
        self.assertLess(len(client.received), len(MANY) // 2)
        client.transport.resumeProducing()
        await client.when(lambda: client.received.endswith(MANY[-1000:]) and len(client.received) > len(MANY))
        self.assertTrue(self.body_of(client) == MANY)
        await self.until(lambda: self.reservers.find("s").slots_in_use == 0)

    async def end_of_an_answer(self, **limits):
        """
        A client that reads the last answer of its connection in drops: some of it is still here, though the instance is
        done with it. Answers what it got, and whether it was all.
        """
        self.factory._parts.limits = Limits(sweep_secs=0.05, pace_secs=0.5, **limits)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", self.listening.addresses[0].port))
            client.setblocking(False)
            client.sendall(get(b"/", b"Connection: close"))
            instance = await self.instance()
            await instance.when(lambda: b"\r\n\r\n" in instance.received)
            (connection,) = self.factory._connections
            connection.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            instance.transport.write(ok(b"x" * 50_000))
            await self.until(lambda: self.metrics.service("s").successful == 1)
            self.assertEqual(self.reservers.find("s").slots_in_use, 0)
            self.assertGreater(unsent_bytes(connection.transport), 10_000)
            got = b""
            while True:
                await deferLater(reactor, 0.02)
                try:
                    piece = client.recv(500)
                except BlockingIOError:
                    continue
                except ConnectionResetError:
                    return got, False
                if not piece:
                    return got, True
                got += piece

    async def test_whoReadsItsLastAnswerTooSlowlyIsCutOff(self):
        """So it cannot hold its connection, and what it has still to read, for as long as it likes."""
        got, whole = await self.end_of_an_answer(client_bytes_per_sec=1_000_000)
        self.assertFalse(whole)
        self.assertLess(len(got), 50_000)
        self.assertEqual(self.factory._connections, set())

    async def test_whoReadsItFastEnoughGetsAllOfIt(self):
        got, whole = await self.end_of_an_answer(client_bytes_per_sec=10)
        self.assertTrue(whole)
        self.assertEqual(parse(got)[2], b"x" * 50_000)

    async def test_upload(self):
        """An instance that does not read holds back the client; when it reads again it gets everything."""
        client, instance = await self.unread_upload()
        await deferLater(reactor, 0.1)
        self.assertLess(len(instance.received), len(MANY) // 2)
        instance.transport.resumeProducing()
        await instance.when(lambda: len(instance.received) > len(MANY))
        self.assertTrue(self.body_of(instance) == MANY)
        instance.transport.write(ok())
        await client.when(lambda: client.received.endswith(b"hello"))

    async def test_instanceBreaks(self):
        """The client of an instance that dies in the middle of its answer sees a broken connection."""
        for end in ("abortConnection", "loseConnection"):
            client = await self.client()
            client.transport.write(get())
            instance = await self.instance(len(self.instances))
            await instance.when(lambda instance=instance: b"\r\n\r\n" in instance.received)
            instance.transport.write(ok(b"hello")[:-1])
            await client.when(lambda client=client: client.received.endswith(b"hell"))
            getattr(instance.transport, end)()
            await client.when(lambda client=client: client.lost is not None)
            self.assertIsNone(client.lost.check(ConnectionDone))
            self.reservers.find("s")._table.end_ejections(reactor.seconds() + 1000)
            for row in self.reservers.find("s")._table.rows.values():
                self.reservers.find("s")._table.changed(row)

    async def test_instanceBreaksWhileItIsAsked(self):
        """
        It closes or breaks the connection after so many bytes of a request, with the rest unread: the client is told, the
        slot is free, and the request is not sent again.
        """
        request = post(MANY[:300000], b"Accept: application/json")
        sizes = (1, 17, 100, 200, 300, 400, 1000, 65536, 200000, 300000)
        for number, (end, size) in enumerate(
            (end, size) for end in ("abortConnection", "loseConnection") for size in sizes
        ):
            self.patch(Peer, "read_bytes", size)
            # Another one, as this one is set aside; it has the same port.
            self.run_instance(f"s.{number}")
            client = await self.client()
            client.transport.write(request)
            instance = await self.instance(number)
            await instance.when(lambda instance=instance, size=size: len(instance.received) >= size)
            instance.transport.pauseProducing()
            getattr(instance.transport, end)()
            await client.when(lambda client=client: client.received.endswith(b"}\n"))
            first, headers, _ = parse(client.received)
            self.assertEqual(first, b"HTTP/1.1 502 Bad Gateway")
            self.assertEqual(values(headers, b"content-type"), [b"application/json"])
            await self.until(lambda: self.reservers.find("s").slots_in_use == 0)
            client.transport.abortConnection()
            self.backends.retain([f"s.{number + 1}"])
            self.assertEqual(len(self.instances), number + 1)
        await self.until(lambda: not self.backends._welcome)

    async def test_untilTheConnectionEnds(self):
        """A body that ends with the instance's connection ends for the client."""
        client = await self.client()
        client.transport.write(get())
        instance = await self.instance()
        await instance.when(lambda: b"\r\n\r\n" in instance.received)
        instance.transport.write(head(b"HTTP/1.0 200 OK") + b"until the end")
        instance.transport.loseConnection()
        await client.when(lambda: client.received.endswith(b"0\r\n\r\n"))
        self.assertIn(b"until the end", client.received)

    async def test_clientGoes(self):
        """An instance sees that the client is gone, and the slot is free."""
        for end in ("abortConnection", "loseConnection"):
            client = await self.client()
            client.transport.write(get())
            instance = await self.instance(len(self.instances))
            await instance.when(lambda instance=instance: b"\r\n\r\n" in instance.received)
            getattr(client.transport, end)()
            await instance.when(lambda instance=instance: instance.lost is not None)
            self.assertEqual(self.reservers.find("s").slots_in_use, 0)

    async def test_aClientThatGoesWhileItIsNotReadIsNoticed(self):
        """Also if what it has sent before is still to be read: nobody needs that any more."""
        client, _instance = await self.unread_upload()
        client.transport.abortConnection()
        await self.until(lambda: not self.factory._connections)
        self.assertEqual(self.reservers.find("s").slots_in_use, 0)
        await self.until(lambda: not self.backends._welcome)

    async def test_aClientThatGoesWhileItWaitsWithALongBodyIsNoticed(self):
        """It is not read on, as there is no instance yet."""
        reserver = self.reservers.find("s")
        leases = [reserver.try_reserve(frozenset()) for _ in range(4)]
        client = await self.client()
        client.transport.write(post(MANY)[:2000000])
        await self.until(lambda: reserver.load.waiting == 1)
        connection = next(iter(self.factory._connections))
        await self.until(lambda: connection.paused)
        client.transport.abortConnection()
        await self.until(lambda: reserver.load.waiting == 0)
        for lease in leases:
            lease.release(Outcome.SUCCESS)

    async def test_tunnel(self):
        """Bytes, ends of one direction, and the end of both."""
        client = await self.client()
        client.transport.write(get(b"/", b"Connection: upgrade", b"Upgrade: websocket"))
        instance = await self.instance()
        await instance.when(lambda: b"\r\n\r\n" in instance.received)
        instance.received = b""
        instance.transport.write(head(b"HTTP/1.1 101 Yes", b"Connection: upgrade", b"Upgrade: websocket") + b"hello")
        await client.when(lambda: client.received.endswith(b"\r\n\r\nhello"))
        client.received = b""
        client.transport.write(MANY)
        instance.transport.write(MANY)
        await client.when(lambda: len(client.received) == len(MANY))
        await instance.when(lambda: len(instance.received) == len(MANY))
        self.assertTrue(client.received == instance.received == MANY)
        client.transport.loseWriteConnection()
        await instance.when(lambda: instance.ended)
        self.assertEqual(self.metrics.router.upgrades_open, 1)
        instance.transport.write(b"bye")
        await client.when(lambda: client.received.endswith(b"bye"))
        instance.transport.loseConnection()
        await client.when(lambda: client.ended or client.lost is not None)
        await self.until(lambda: self.metrics.router.upgrades_open == 0)
        self.assertEqual(self.reservers.find("s").slots_in_use, 0)

    async def test_refusalReachesTheClient(self):
        """A client that still sends gets the whole answer and no reset before it."""
        client = await self.client()
        client.transport.write(b"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n" + b"x" * 1000000)
        await client.when(lambda: client.ended)
        self.assertIn(b"HTTP/1.1 400 Bad Request", client.received)
        self.assertIn(b"cannot be understood", client.received)
        self.assertIsNone(client.lost)
