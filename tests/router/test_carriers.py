import asyncio
import os

from twisted.internet import asyncioreactor, reactor
from twisted.internet.interfaces import ITransport
from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from tests.contracts.transports import Building, Connecting, ConnectorContract, End, TransportContract
from waiter.router.carrier import Carrier
from waiter.router.carriers import connector, fast_loop
from waiter.router.listening import ListeningService

NOT_FAST = None if fast_loop(reactor) is not None else "carriers need uvloop: run trial with --reactor uvloop"


class OnSockets(TestCase):
    """Real connections of this trial's reactor."""

    reactor = reactor
    timeout = 20
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
