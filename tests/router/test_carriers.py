import asyncio
import os

from twisted.internet import asyncioreactor, reactor
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ITransport
from twisted.internet.ssl import CertificateOptions, DistinguishedName, KeyPair
from twisted.internet.task import Clock, deferLater
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from tests.contracts.transports import (
    MUCH,
    Building,
    Connecting,
    ConnectorContract,
    End,
    Flood,
    HalfCloseableEnd,
    Slices,
    TransportContract,
)
from waiter.router.carrier import Carrier
from waiter.router.carriers import connector, fast_loop
from waiter.router.listening import ListeningService

NOT_FAST = None if fast_loop(reactor) is not None else "carriers need uvloop: run trial with --reactor uvloop"


class OnSockets(TestCase):
    """Real connections of this trial's reactor."""

    reactor = reactor
    timeout = 120
    fast = False
    isTCP = True

    def skipped(self, reason):
        return SkipTest(reason)

    async def accept(self, near, far, endpoint):
        """The near end accepts."""
        service = ListeningService(reactor, [endpoint], Building(near), fast=self.fast)
        service.privilegedStartService()
        (address,) = service.addresses
        service.startService()
        self.addCleanup(service.stopService)
        if endpoint.startswith("tcp"):
            reactor.connectTCP(address.host, address.port, Connecting(far))
        else:
            reactor.connectUNIX(address.name, Connecting(far))
        await near.when(lambda: "made" in near.events)
        await far.when(lambda: "made" in far.events)


class AcceptedTCP(OnSockets):
    async def connect(self, near, far):
        await self.accept(near, far, "tcp:0:interface=127.0.0.1")


class AcceptedUNIX(OnSockets):
    isTCP = False

    async def connect(self, near, far):
        # A socket's path is short.
        path = os.path.relpath(self.mktemp())
        await self.accept(near, far, f"unix:{path}")


class ConnectedTCP(OnSockets):
    """The near end connects."""

    def makeConnector(self):
        if self.fast:
            return connector(reactor)
        return connector(Unlike(reactor))

    async def connect(self, near, far):
        port = reactor.listenTCP(0, Building(far), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        await self.makeConnector()("127.0.0.1", port.getHost().port, lambda: near, 5)
        await far.when(lambda: "made" in far.events)


class Unlike:
    """A reactor that does not show what loop it runs on."""

    def __init__(self, real):
        self._real = real

    def __getattr__(self, name):
        if name == "_asyncioEventloop":
            raise AttributeError(name)
        return getattr(self._real, name)


class Impatient(Unlike):
    """A reactor whose one timer is due when somebody says so."""

    def __getattr__(self, name):
        return getattr(self._real, name)

    def callLater(self, secs, call):
        self._call = call
        return self._real.callLater(secs, call)

    def time_is_up(self, result):
        self._call()
        return result


class ReactorAcceptedTCPTests(TransportContract, AcceptedTCP):
    pass


class ReactorAcceptedUNIXTests(TransportContract, AcceptedUNIX):
    pass


class ReactorConnectedTCPTests(TransportContract, ConnectedTCP):
    pass


class ReactorConnectorTests(ConnectorContract, ConnectedTCP):
    pass


class CarrierAcceptedTCPTests(TransportContract, AcceptedTCP):
    skip = NOT_FAST
    fast = True


class CarrierAcceptedUNIXTests(TransportContract, AcceptedUNIX):
    skip = NOT_FAST
    fast = True


class CarrierConnectedTCPTests(TransportContract, ConnectedTCP):
    skip = NOT_FAST
    fast = True


class CarrierConnectorTests(ConnectorContract, ConnectedTCP):
    skip = NOT_FAST
    fast = True

    async def test_whenTheTimeIsUpJustAsItIsConnectedTheConnectionStays(self):
        """On a busy machine both are noticed in one turn, before uvloop has ended what it did to connect."""
        far, host = self.listen()
        impatient = Impatient(reactor)
        connecting = connector(impatient)(host.host, host.port, End, 5)
        connecting.addCallback(impatient.time_is_up)
        near = await connecting
        near.transport.write(b"hello")
        await far.whenReceived(5)
        await self.closed(near, far)


class CarriersOwnTests(AcceptedTCP):
    """Where carriers are more careful than Twisted's transports, which do not pass these."""

    skip = NOT_FAST
    fast = True

    async def pair(self, near):
        far = HalfCloseableEnd()
        await self.connect(near, far)
        self.addCleanup(far.whenLost)
        self.addCleanup(far.transport.abortConnection)
        return far

    async def turns(self):
        for _ in range(10):
            await deferLater(reactor, 0)

    async def test_thePeersEndIsToldOnce(self):
        near = HalfCloseableEnd()
        far = await self.pair(near)
        far.transport.loseWriteConnection()
        await near.when(lambda: "read side lost" in near.events)
        near.transport.pauseProducing()
        near.transport.resumeProducing()
        await self.turns()
        self.assertEqual(near.events, ["made", "read side lost"])

    async def test_closingWaitsForAProducerThatIsNotPausedToo(self):
        near = End()
        far = await self.pair(near)
        flood = Flood(near.transport, MUCH)
        near.transport.registerProducer(flood, True)
        near.transport.loseConnection()
        await self.turns()
        self.assertEqual(near.events, ["made"])
        flood.produce()
        await far.when(lambda: "read side lost" in far.events)
        self.assertEqual(len(far.received), MUCH)

    async def test_theWriteSideOfALostConnectionCanBeClosed(self):
        near = End()
        await self.pair(near)
        near.transport.abortConnection()
        near.transport.loseWriteConnection()
        await near.whenLost()
        near.transport.loseWriteConnection()

    async def test_whenTheProtocolFailsAsItIsConnectedItsConnectionIsClosed(self):
        class Stillborn(End):
            def connectionMade(self):
                super().connectionMade()
                raise ZeroDivisionError

        near = Stillborn()
        await self.pair(near)
        await near.whenLost()
        self.assertTrue(near.reasons[0].check(ZeroDivisionError))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_whenTheProtocolFailsAtThePeersEndItsConnectionIsClosed(self):
        class Confused(HalfCloseableEnd):
            def readConnectionLost(self):
                raise ZeroDivisionError

            writeConnectionLost = readConnectionLost

        for side in ("far", "near"):
            near = Confused()
            far = await self.pair(near)
            {"far": far, "near": near}[side].transport.loseWriteConnection()
            await near.whenLost()
            self.assertTrue(near.reasons[0].check(ZeroDivisionError))
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_whenTheProtocolFailsAtTheEndThatIsLogged(self):
        class Clumsy(End):
            def connectionLost(self, reason):
                super().connectionLost(reason)
                raise ZeroDivisionError

        near = Clumsy()
        await self.pair(near)
        near.transport.abortConnection()
        await near.whenLost()
        await self.turns()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_whenItsProducerFailsTheConnectionIsClosed(self):
        class Failing(Flood):
            fails = ()

            def pauseProducing(self):
                super().pauseProducing()
                if "pause" in self.fails:
                    raise ZeroDivisionError

            def resumeProducing(self):
                if "resume" in self.fails:
                    raise ZeroDivisionError

            def stopProducing(self):
                super().stopProducing()
                if "stop" in self.fails:
                    raise ZeroDivisionError

        for fails in ("pause", "resume", "stop"):
            near = End()
            far = await self.pair(near)
            far.transport.pauseProducing()
            producer = Failing(near.transport, 8 * MUCH)
            producer.fails = (fails,)
            near.transport.registerProducer(producer, True)
            producer.produce()
            if fails == "resume":
                far.transport.resumeProducing()
            elif fails == "stop":
                near.transport.abortConnection()
            await near.whenLost()
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1, fails)
            self.assertEqual(len(near.reasons), 1)

    async def test_whenItsPullProducerFailsTheConnectionIsClosed(self):
        near = End()
        await self.pair(near)
        # Fails when it is asked for a second piece.
        slices = Slices(near.transport, b"x", 1)
        slices.consumer = DullConsumer(near.transport)
        near.transport.registerProducer(slices, False)
        await near.whenLost()
        self.assertTrue(near.reasons[0].check(IndexError))
        self.assertEqual(len(self.flushLoggedErrors(IndexError)), 1)

    async def test_aProducerForACongestedConnectionIsPausedAtOnce(self):
        near = End()
        far = await self.pair(near)
        far.transport.pauseProducing()
        near.transport.write(b"x" * 8 * MUCH)
        flood = Flood(near.transport, MUCH)
        near.transport.registerProducer(flood, True)
        self.assertEqual(flood.calls, ["pause"])
        far.transport.resumeProducing()
        await far.whenReceived(9 * MUCH)

    async def test_tlsRunsOnThem(self):
        """As Twisted does TLS: the memory-BIO protocol between transport and protocol."""
        near, far = End(), End()
        server, client = tls_options()
        accepting = TLSMemoryBIOFactory(server, False, Building(near), reactor)
        service = ListeningService(reactor, ["tcp:0:interface=127.0.0.1"], accepting, fast=True)
        service.startService()
        self.addCleanup(service.stopService)
        await connector(reactor)(
            "127.0.0.1",
            service.addresses[0].port,
            lambda: TLSMemoryBIOFactory(client, True, Connecting(far), reactor).buildProtocol(None),
            5,
        )
        far.transport.write(b"q" * MUCH)
        await near.whenReceived(MUCH)
        near.transport.write(b"a" * MUCH)
        near.transport.loseConnection()
        await far.whenLost()
        await near.whenLost()
        self.assertEqual(len(far.received), MUCH)
        self.assertTrue(far.reasons[0].check(ConnectionDone))
        self.assertTrue(near.reasons[0].check(ConnectionDone))


class DullConsumer:
    """Does not unregister its producer when that has no more."""

    def __init__(self, transport):
        self.write = transport.write

    def unregisterProducer(self):
        pass

    def loseConnection(self):
        pass


def tls_options():
    """Options for a server with a certificate of its own, and for a client that does not ask whose it is."""
    pair = KeyPair.generate(size=2048)
    request = pair.certificateRequest(DistinguishedName(commonName=b"localhost"))
    signed = pair.signCertificateRequest(DistinguishedName(commonName=b"localhost"), request, lambda _: True, 1)
    return pair.newCertificate(signed).options(), CertificateOptions()


class FastLoopTests(SynchronousTestCase):
    def test_aReactorWithoutALoopIsNotFast(self):
        self.assertIsNone(fast_loop(Clock()))

    def test_asyncioWithoutUvloopIsNotFast(self):
        loop = asyncio.SelectorEventLoop()
        self.addCleanup(loop.close)
        self.assertIsNone(fast_loop(asyncioreactor.AsyncioSelectorReactor(loop)))

    def test_asyncioOnUvloopIsFast(self):
        try:
            import uvloop
        except ImportError:
            raise SkipTest("uvloop is not there") from None
        loop = uvloop.new_event_loop()
        self.addCleanup(loop.close)
        self.assertIs(fast_loop(asyncioreactor.AsyncioSelectorReactor(loop)), loop)


class CarrierTests(SynchronousTestCase):
    def test_isATransport(self):
        carrier = Carrier(asyncio.SelectorEventLoop(), End())
        self.addCleanup(carrier._loop.close)
        self.assertTrue(verifyObject(ITransport, carrier))

    def test_hasNoDictionary(self):
        """There may be ten thousand of them."""
        self.assertFalse(hasattr(Carrier, "__dict__") and "__dict__" in Carrier.__slots__)
        carrier = Carrier(asyncio.SelectorEventLoop(), End())
        self.addCleanup(carrier._loop.close)
        self.assertRaises(AttributeError, setattr, carrier, "another", 1)
