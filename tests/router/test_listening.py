import os
import resource
import socket
import stat
from pathlib import Path

from twisted.internet import defer, reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.endpoints import _SystemdParser
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock, deferLater
from twisted.logger import globalLogPublisher
from twisted.python.systemd import ListenFDs
from twisted.trial.unittest import SkipTest, TestCase

from tests.contracts.transports import Connecting, End
from waiter.router.binding import bind
from waiter.router.carriers import fast_loop
from waiter.router.door import Door, share_of
from waiter.router.endpoint import parse_endpoint
from waiter.router.listening import CannotListen, ListeningService

LOOPBACK = "tcp:0:interface=127.0.0.1"


class Port:
    """A listening port of Twisted's."""

    reading = False

    def startReading(self):
        self.reading = True

    def stopReading(self):
        self.reading = False

    def stopListening(self):
        self.reading = False


class Ends(Factory):
    """Remembers who came."""

    noisy = False
    kind = End

    def __init__(self):
        self.ends = []
        self.starts = 0
        self.stops = 0
        self.refuses = False
        self.door = None

    def doStart(self):
        self.starts += 1

    def doStop(self):
        self.stops += 1

    def buildProtocol(self, address):
        if self.refuses:
            return None
        if self.door is not None:
            self.door.came(None)
        end = self.kind()
        end.address = address
        self.ends.append(end)
        return end


class ListeningBase(TestCase):
    timeout = 120

    def setUp(self):
        self.factory = Ends()

    def listening(self, *endpoints, **kwargs):
        service = ListeningService(reactor, endpoints, self.factory, **kwargs)
        self.addCleanup(self.endAll)
        self.addCleanup(service.stopService)
        return service

    async def endAll(self):
        for end in self.factory.ends:
            if end.transport is not None and not end.reasons:
                end.transport.abortConnection()
            await end.whenLost()

    async def client(self, address):
        end = End()
        if isinstance(address, UNIXAddress):
            reactor.connectUNIX(address.name, Connecting(end))
        else:
            reactor.connectTCP(address.host, address.port, Connecting(end))
        await end.when(lambda: "made" in end.events)
        self.addCleanup(end.whenLost)
        self.addCleanup(end.transport.abortConnection)
        return end

    async def turns(self, count=10):
        for _ in range(count):
            await deferLater(reactor, 0)

    async def arrived(self, number):
        """So many have been accepted."""
        while len(self.factory.ends) < number:
            await self.turns(1)
        await self.factory.ends[-1].when(lambda: "made" in self.factory.ends[-1].events)

    def path(self):
        """A path for a socket; those are short."""
        return os.path.relpath(self.mktemp())


class ListeningServiceTests(ListeningBase):
    async def test_itIsBoundEarlyAndAcceptsLate(self):
        service = self.listening(LOOPBACK)
        self.assertEqual(service.addresses, [])
        service.privilegedStartService()
        [address] = service.addresses
        self.assertIsInstance(address, IPv4Address)
        self.assertNotEqual(address.port, 0)
        client = await self.client(address)
        client.transport.write(b"early")
        await self.turns()
        self.assertEqual(self.factory.ends, [])
        service.startService()
        await self.arrived(1)
        [end] = self.factory.ends
        await end.whenReceived(5)
        self.assertEqual(end.address, client.transport.getHost())

    async def test_whenThereAreEnoughTheOthersWait(self):
        """They wait in the kernel, and are served when one is gone."""
        door = Door(most=2)
        self.factory.door = door
        service = self.listening(LOOPBACK, door=door)
        service.startService()
        clients = [await self.client(service.addresses[0]) for _ in range(4)]
        await self.arrived(2)
        await self.turns(20)
        self.assertEqual((len(self.factory.ends), door.open), (2, 2))
        clients[0].transport.loseConnection()
        await self.factory.ends[0].whenLost()
        door.went(None)
        await self.arrived(3)
        await self.turns(20)
        self.assertEqual((len(self.factory.ends), door.open), (3, 2))

    async def test_withoutABoundThereIsOneThatFitsTheOpenFiles(self):
        door = Door()
        service = self.listening(LOOPBACK, door=door)
        self.assertIsNone(door.most)
        service.startService()
        self.assertEqual(door.most, share_of(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))

    async def test_twistedsOwnPortsWaitToo(self):
        door = Door(most=1)
        service = self.listening(LOOPBACK, door=door)
        service._ports.append(port := Port())
        self.addCleanup(service._ports.clear)
        service.startService()
        door.came(None)
        self.assertFalse(port.reading)
        door.went(None)
        self.assertTrue(port.reading)

    async def test_whereNothingBindsEarlyItBindsWhenItStarts(self):
        service = self.listening(LOOPBACK)
        service.startService()
        await self.client(service.addresses[0])

    async def test_itListensOnSeveralEndpoints(self):
        service = self.listening(LOOPBACK, f"unix:{self.path()}", LOOPBACK)
        service.privilegedStartService()
        service.startService()
        self.assertEqual([type(each) for each in service.addresses], [IPv4Address, UNIXAddress, IPv4Address])
        self.assertEqual((self.factory.starts, self.factory.stops), (3, 0))
        for number, address in enumerate(service.addresses, 1):
            await self.client(address)
            await self.arrived(number)
        await service.stopService()
        self.assertEqual((self.factory.starts, self.factory.stops), (3, 3))

    def test_itSaysWhereItListens(self):
        path = self.path()
        events = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        service = self.listening(LOOPBACK, f"unix:{path}", f"unix:\0waiter-said-{os.getpid()}")
        service.startService()
        said = [event["where"] for event in events if "where" in event]
        port = service.addresses[0].port
        self.assertEqual(said, [f"127.0.0.1:{port}", path, f"@waiter-said-{os.getpid()}"])

    async def test_itListensOnIPv6(self):
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            raise SkipTest("there is no IPv6 here") from None
        for endpoint in ("tcp6:0:interface=\\:\\:1", "tcp:0:interface=\\:\\:1"):
            service = self.listening(endpoint)
            service.startService()
            [address] = service.addresses
            self.assertIsInstance(address, IPv6Address)
            before = len(self.factory.ends)
            client = await self.client(address)
            await self.arrived(before + 1)
            self.assertEqual(self.factory.ends[-1].address, client.transport.getHost())

    async def test_whenItStopsNobodyCanConnectAndConnectionsGoOn(self):
        service = self.listening(LOOPBACK)
        service.startService()
        [address] = service.addresses
        client = await self.client(address)
        await self.arrived(1)
        await service.stopService()
        self.assertEqual(service.addresses, [])
        with socket.socket() as late:
            self.assertRaises(ConnectionRefusedError, late.connect, (address.host, address.port))
        client.transport.write(b"still here")
        await self.factory.ends[0].whenReceived(10)

    async def test_itCanBeStartedAgain(self):
        service = self.listening(LOOPBACK)
        for _ in range(2):
            service.privilegedStartService()
            service.startService()
            await self.client(service.addresses[0])
            await service.stopService()

    async def test_stoppedBeforeItStartedItClosesItsSockets(self):
        service = self.listening(LOOPBACK)
        service.privilegedStartService()
        [address] = service.addresses
        await service.stopService()
        with socket.socket() as late:
            self.assertRaises(ConnectionRefusedError, late.connect, (address.host, address.port))
        self.assertEqual(self.factory.stops, 0)

    async def test_aClientTheFactoryRefusesIsClosed(self):
        service = self.listening(LOOPBACK)
        service.startService()
        self.factory.refuses = True
        client = await self.client(service.addresses[0])
        await client.whenLost()
        self.assertEqual(client.received, b"")

    async def test_whenTheFactoryFailsOnlyThatClientIsClosed(self):
        service = self.listening(LOOPBACK)
        service.startService()
        build, self.factory.buildProtocol = self.factory.buildProtocol, lambda _: 1 // 0
        client = await self.client(service.addresses[0])
        await client.whenLost()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.factory.buildProtocol = build
        await self.client(service.addresses[0])
        await self.arrived(1)

    async def test_smallWritesAreSentAtOnce(self):
        service = self.listening(LOOPBACK)
        service.startService()
        await self.client(service.addresses[0])
        await self.arrived(1)
        self.assertTrue(self.factory.ends[0].transport.getTcpNoDelay())

    async def test_theReactorsOwnTransportsCanBeAskedFor(self):
        service = self.listening(LOOPBACK, fast=False)
        service.startService()
        await self.client(service.addresses[0])
        await self.arrived(1)
        self.assertTrue(type(self.factory.ends[0].transport).__module__.startswith("twisted."))

    async def test_ifNothingIsAskedForTheReactorDecides(self):
        service = self.listening(LOOPBACK)
        service.startService()
        await self.client(service.addresses[0])
        await self.arrived(1)
        room = type(self.factory.ends[0].transport).__module__.split(".")[0]
        self.assertEqual(room, "waiter" if fast_loop(reactor) is not None else "twisted")

    def test_carriersCannotBeHadFromAnyReactor(self):
        self.assertRaises(ValueError, ListeningService, Clock(), [LOOPBACK], self.factory, fast=True)

    def test_whatIsNoEndpointIsRefusedAtOnce(self):
        self.assertRaises(ValueError, ListeningService, reactor, ["9091"], self.factory)


class CannotListenTests(ListeningBase):
    def assertCannot(self, endpoint, *words):
        service = self.listening(LOOPBACK, endpoint)
        problem = self.assertRaises(CannotListen, service.privilegedStartService)
        self.assertEqual(service.addresses, [])
        self.assertEqual(problem.endpoint, endpoint)
        for each in (f"cannot listen on {endpoint}: ", *words):
            self.assertIn(each, str(problem))

    def test_aPortThatIsTaken(self):
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            endpoint = f"tcp:{port}:interface=127.0.0.1"
            self.assertCannot(
                endpoint,
                "Address already in use",
                f"sport = :{port}",
                "choose another port: --http tcp:PORT:interface=127.0.0.1",
            )

    def test_theOthersAreClosedAgain(self):
        with socket.create_server(("127.0.0.1", 0)) as other, socket.create_server(("127.0.0.1", 0)) as probe:
            free = probe.getsockname()[1]
            probe.close()
            taken = other.getsockname()[1]
            service = self.listening(f"tcp:{free}:interface=127.0.0.1", f"tcp:{taken}:interface=127.0.0.1")
            self.assertRaises(CannotListen, service.privilegedStartService)
            bind(parse_endpoint(f"tcp:{free}:interface=127.0.0.1")).socket.close()

    def test_anAddressThatIsNotOurs(self):
        self.assertCannot("tcp:0:interface=192.0.2.77", "Cannot assign requested address", "192.0.2.77 is no address")

    def test_aNameThatIsNoAddress(self):
        self.assertCannot("tcp:0:interface=nowhere.invalid", "Is 'nowhere.invalid' an address of this machine?")

    def test_aPathInNoDirectory(self):
        self.assertCannot("unix:/nowhere/to/be.sock", "No such file or directory", "mkdir -p /nowhere/to")

    def test_aPathThatIsTooLong(self):
        self.assertCannot(f"unix:/tmp/{'x' * 120}", "at most 107 bytes")

    def test_aFileThatIsNoSocket(self):
        path = self.path()
        Path(path).write_text("precious")
        self.assertCannot(f"unix:{path}", "a file that is no socket is in the way")
        self.assertEqual(Path(path).read_text(), "precious")

    def test_aSocketThatIsServed(self):
        path = self.path()
        other = bind(parse_endpoint(f"unix:{path}"))
        self.addCleanup(other.socket.close)
        self.assertCannot(f"unix:{path}", "Address already in use", "Another server listens there")
        self.assertTrue(stat.S_ISSOCK(Path(path).stat().st_mode))

    def test_aSocketWhoseQueueIsFull(self):
        path = self.path()
        other = bind(parse_endpoint(f"unix:{path}:backlog=1"))
        self.addCleanup(other.socket.close)
        for _ in range(3):
            client = socket.socket(socket.AF_UNIX)
            self.addCleanup(client.close)
            client.setblocking(False)
            client.connect_ex(path)
        self.assertCannot(f"unix:{path}", "Address already in use")

    def test_aKindNobodyKnows(self):
        self.assertCannot("carrier-pigeon:80", "Unknown endpoint type")

    def test_tlsWithoutACertificate(self):
        self.assertCannot("ssl:0:privateKey=/nowhere.pem:interface=127.0.0.1", "No such file")


class UNIXTests(ListeningBase):
    async def test_itsFileIsThereWhileItListens(self):
        path = self.path()
        service = self.listening(f"unix:{path}:mode=600")
        service.privilegedStartService()
        self.assertEqual(stat.S_IMODE(Path(path).stat().st_mode), 0o600)
        service.startService()
        client = await self.client(service.addresses[0])
        client.transport.write(b"hello")
        await self.arrived(1)
        await self.factory.ends[0].whenReceived(5)
        await service.stopService()
        self.assertFalse(Path(path).exists())

    async def test_whatADeadServerLeftIsReplaced(self):
        path = self.path()
        bind(parse_endpoint(f"unix:{path}")).socket.close()
        self.assertTrue(Path(path).exists())
        service = self.listening(f"unix:{path}")
        service.startService()
        await self.client(service.addresses[0])

    async def test_anotherServersFileIsLeftAlone(self):
        path = self.path()
        service = self.listening(f"unix:{path}")
        service.startService()
        Path(path).rename(f"{path}.old")
        successor = bind(parse_endpoint(f"unix:{path}"))
        self.addCleanup(successor.socket.close)
        await service.stopService()
        self.assertTrue(Path(path).exists())

    async def test_aNameWithoutAFile(self):
        service = self.listening(f"unix:\0waiter-test-{os.getpid()}")
        service.startService()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"\0waiter-test-{os.getpid()}")
            await self.arrived(1)


class SystemdTests(ListeningBase):
    def passed(self, name="main"):
        """A listening socket as systemd passes it."""
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        self.addCleanup(sock.close)
        self.patch(_SystemdParser, "_sddaemon", ListenFDs([sock.fileno()], (name,)))
        return sock

    async def test_aSocketCanBeInherited(self):
        sock = self.passed()
        service = self.listening("systemd:domain=INET:index=0")
        service.privilegedStartService()
        service.startService()
        self.assertEqual(service.addresses[0].port, sock.getsockname()[1])
        await self.client(service.addresses[0])
        await self.arrived(1)
        await service.stopService()
        with socket.socket() as next_client:
            next_client.connect(sock.getsockname())

    def test_itCanBeKnownByName(self):
        sock = self.passed("main")
        service = self.listening("systemd:domain=INET:name=main")
        service.privilegedStartService()
        self.assertEqual(service.addresses[0].port, sock.getsockname()[1])

    def test_instancesDoNotInheritIt(self):
        sock = self.passed()
        os.set_inheritable(sock.fileno(), True)
        service = self.listening("systemd:domain=INET:index=0")
        service.privilegedStartService()
        self.assertFalse(os.get_inheritable(sock.fileno()))

    def test_whereThereIsNoneThatIsSaid(self):
        self.patch(_SystemdParser, "_sddaemon", ListenFDs([], ()))
        for endpoint in ("systemd:domain=INET:index=0", "systemd:domain=INET:name=main"):
            service = self.listening(endpoint)
            problem = self.assertRaises(CannotListen, service.privilegedStartService)
            self.assertIn("systemd has passed no such socket", str(problem))

    def test_itMustBeOfTheDomainThatIsSaid(self):
        self.passed()
        service = self.listening("systemd:domain=UNIX:index=0")
        problem = self.assertRaises(CannotListen, service.privilegedStartService)
        self.assertIn("the socket is of domain INET", str(problem))


class OtherEndpointsTests(ListeningBase):
    async def test_whatPluginsBringIsServedOnTheReactorsTransportsAndAcceptsLateToo(self):
        service = self.listening("haproxy:tcp:0:interface=127.0.0.1")
        events = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        service.privilegedStartService()
        said = [event for event in events if "own transports" in (event["log_format"] or "")]
        self.assertEqual(len(said), 1 if fast_loop(reactor) is not None else 0)
        [address] = service.addresses
        client = await self.client(address)
        client.transport.write(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\nhello")
        await self.turns()
        self.assertEqual(self.factory.ends, [])
        service.startService()
        await self.arrived(1)
        await self.factory.ends[0].whenReceived(5)
        self.assertEqual(self.factory.ends[0].received, b"hello")
        await service.stopService()
        with socket.socket() as late:
            self.assertRaises(ConnectionRefusedError, late.connect, (address.host, address.port))

    def test_anEndpointThatTakesItsTimeIsRefused(self):
        from waiter.router import listening

        class Slow:
            def listen(self, factory):
                return defer.Deferred()

        self.patch(listening, "serverFromString", lambda *_: Slow())
        service = self.listening("slow:1")
        problem = self.assertRaises(CannotListen, service.privilegedStartService)
        self.assertIn("take their time to open", str(problem))
