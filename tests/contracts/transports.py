"""
What the router's protocols rely on in a transport, whoever made it: Twisted or a carrier.

All connections are real ones on the loopback interface. The near end is the one under test; the far end is always
Twisted's own TCP or UNIX transport.
"""

import contextlib
import socket

from twisted.internet import defer, error
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ITransport
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.task import deferLater
from zope.interface import implementer

from tests.conditions import Conditions

MUCH = 4 * 1024 * 1024
"""More than all the buffers between two ends hold."""


class End(Conditions, Protocol):
    """One end of a connection: remembers what happens to it, and can be waited for."""

    def __init__(self):
        super().__init__()
        self.received = bytearray()
        self.events = []
        self.reasons = []

    def connectionMade(self):
        self.happened("made")

    def dataReceived(self, data):
        self.received += data
        self.happened("data")

    def connectionLost(self, reason):
        self.reasons.append(reason)
        self.happened("lost")

    def happened(self, event):
        if event != "data" or self.events[-1:] != ["data"]:
            self.events.append(event)
        self.look()

    def whenReceived(self, count):
        return self.when(lambda: len(self.received) >= count)

    def whenLost(self):
        return self.when(lambda: bool(self.reasons))


@implementer(IHalfCloseableProtocol)
class HalfCloseableEnd(End):
    """One that can go on with half a connection."""

    def readConnectionLost(self):
        self.happened("read side lost")

    def writeConnectionLost(self):
        self.happened("write side lost")


@implementer(IPushProducer)
class Flood:
    """Writes pieces until it is paused or has written all."""

    def __init__(self, transport, total, piece=b"x" * 16384):
        self.transport = transport
        self.left = total
        self.piece = piece
        self.paused = False
        self.calls = []
        self.pausedOnce = defer.Deferred()

    def produce(self):
        self.paused = False
        while self.left and not self.paused:
            self.left -= len(self.piece)
            self.transport.write(self.piece)
        if not self.left:
            self.transport.unregisterProducer()

    def pauseProducing(self):
        self.calls.append("pause")
        self.paused = True
        if not self.pausedOnce.called:
            self.pausedOnce.callback(None)

    def resumeProducing(self):
        self.calls.append("resume")
        self.produce()

    def stopProducing(self):
        self.calls.append("stop")
        self.paused = True


class Slices:
    """A pull producer: gives one piece each time it is asked."""

    def __init__(self, consumer, data, size):
        self.consumer = consumer
        self.pieces = [data[start : start + size] for start in range(0, len(data), size)]
        self.asked = 0
        self.stopped = False

    def resumeProducing(self):
        self.asked += 1
        self.consumer.write(self.pieces.pop(0))
        if not self.pieces:
            self.consumer.unregisterProducer()
            self.consumer.loseConnection()

    def stopProducing(self):
        self.stopped = True


class Building(Factory):
    """Gives the same protocol to the one connection there will be."""

    noisy = False

    def __init__(self, end):
        self.end = end

    def buildProtocol(self, address):
        self.end.factory = self
        return self.end


class TransportContract:
    """
    Mix with a C{TestCase} that has C{connect(near, far)}: it makes a connection with the near end on the transport under
    test, returns a Deferred that fires when both ends are connected, and cleans up what it opened. It also has C{reactor},
    C{isTCP}, and C{skipped(reason)}, which makes the exception that skips a test.
    """

    async def pair(self, near=None, far=None):
        near = near or End()
        far = far or End()
        await self.connect(near, far)
        self.addCleanup(self._closeBoth, near, far)
        return near, far

    async def _closeBoth(self, *ends):
        for end in ends:
            if not end.reasons and end.transport is not None:
                end.transport.unregisterProducer()
                end.transport.abortConnection()
        await defer.gatherResults([end.whenLost() for end in ends])

    async def turns(self, count=10):
        """Let the reactor go round a few times: on loopback, what was sent has come then, if it may."""
        for _ in range(count):
            await deferLater(self.reactor, 0)

    async def settled(self, value):
        """Let the reactor go round until C{value()} changes no more: until the kernel's buffers are full."""
        before = None
        while before != value():
            before = value()
            await self.turns(50)
        return before

    def unread(self, end):
        """
        How much the kernel has for a paused end whose connection is lost. Read past its transport, for Twisted's on a
        uvloop loop does not notice a reset that comes behind unread data.
        """
        count = 0
        with contextlib.suppress(ConnectionError):
            while read := end.transport.getHandle().recv(65536):
                count += len(read)
        return count

    def assertLost(self, end, *kinds):
        self.assertEqual(len(end.reasons), 1, end.events)
        self.assertTrue(end.reasons[0].check(*kinds), end.reasons)

    # Writing and reading.

    async def test_offersWhatProtocolsNeed(self):
        near, _ = await self.pair()
        self.assertTrue(ITransport.providedBy(near.transport))
        self.assertTrue(IConsumer.providedBy(near.transport))
        self.assertTrue(IPushProducer.providedBy(near.transport))
        self.assertFalse(near.transport.disconnecting)

    async def test_whatIsWrittenArrivesInOrder(self):
        near, far = await self.pair()
        near.transport.write(b"one ")
        near.transport.writeSequence([b"two ", b"three ", b"", b"four "])
        near.transport.write(b"")
        near.transport.write(b"five")
        await far.whenReceived(23)
        self.assertEqual(far.received, b"one two three four five")

    async def test_whatIsSentIsReceived(self):
        near, far = await self.pair()
        far.transport.write(b"hello")
        await near.whenReceived(5)
        self.assertEqual(near.received, b"hello")

    async def test_whatIsReceivedIsBytes(self):
        kinds = []

        class Curious(End):
            def dataReceived(self, data):
                kinds.append(type(data))
                super().dataReceived(data)

        near, far = await self.pair(near=Curious())
        far.transport.write(b"hello")
        await near.whenReceived(5)
        self.assertEqual(set(kinds), {bytes})

    async def test_aLotArrivesWholeAndInOrder(self):
        near, far = await self.pair()
        sent = b"".join(number.to_bytes(4, "big") for number in range(MUCH // 4))
        near.transport.write(sent[: MUCH // 2])
        near.transport.writeSequence([sent[MUCH // 2 : MUCH - 100], sent[MUCH - 100 :]])
        await far.whenReceived(MUCH)
        self.assertTrue(far.received == sent)

    async def test_whatIsWrittenAsSoonAsItIsConnectedArrives(self):
        class Greeter(End):
            def connectionMade(self):
                self.transport.write(b"hello")
                super().connectionMade()

        _, far = await self.pair(near=Greeter())
        await far.whenReceived(5)
        self.assertEqual(far.received, b"hello")

    async def test_onlyBytesCanBeWritten(self):
        near, far = await self.pair()
        self.assertRaises(TypeError, near.transport.write, "text")
        near.transport.write(b"still there")
        await far.whenReceived(11)

    # The end.

    async def test_whenItIsClosedWhatWasWrittenIsSentFirst(self):
        near, far = await self.pair()
        near.transport.write(b"x" * MUCH)
        near.transport.loseConnection()
        self.assertTrue(near.transport.disconnecting)
        await far.whenLost()
        await near.whenLost()
        self.assertEqual(len(far.received), MUCH)
        self.assertLost(far, error.ConnectionDone)
        self.assertLost(near, error.ConnectionDone)

    async def test_whenThePeerClosesTheConnectionIsDone(self):
        near, far = await self.pair()
        far.transport.write(b"bye")
        far.transport.loseConnection()
        await near.whenLost()
        self.assertEqual(near.events, ["made", "data", "lost"])
        self.assertEqual(near.received, b"bye")
        self.assertLost(near, error.ConnectionDone)

    async def test_whenThePeerIsNotHalfCloseableItsEndIsTheEnd(self):
        near, far = await self.pair(far=HalfCloseableEnd())
        far.transport.loseWriteConnection()
        await near.whenLost()
        await far.when(lambda: "read side lost" in far.events)
        self.assertLost(near, error.ConnectionDone)

    async def test_whenItIsAbortedThePeerSeesAReset(self):
        near, far = await self.pair()
        near.transport.abortConnection()
        await far.whenLost()
        await near.whenLost()
        self.assertLost(near, error.ConnectionAborted)
        if self.isTCP:
            self.assertLost(far, error.ConnectionLost)

    async def test_whenItIsAbortedWhatWasNotSentIsDropped(self):
        near, far = await self.pair()
        far.transport.pauseProducing()
        near.transport.write(b"x" * 2 * MUCH)
        near.transport.abortConnection()
        await near.whenLost()
        self.assertLost(near, error.ConnectionAborted)
        await self.turns(2)
        self.assertLess(self.unread(far), 2 * MUCH)

    async def test_whenThePeerAbortsTheConnectionIsLost(self):
        if not self.isTCP:
            raise self.skipped("a UNIX connection has no reset")
        near, far = await self.pair()
        far.transport.abortConnection()
        await near.whenLost()
        self.assertLost(near, error.ConnectionLost)
        self.assertFalse(near.reasons[0].check(error.ConnectionDone))

    async def test_whenThePeerAbortsDuringAWriteTheConnectionIsLost(self):
        if not self.isTCP:
            raise self.skipped("a UNIX connection has no reset")
        near, far = await self.pair()
        far.transport.pauseProducing()
        near.transport.write(b"x" * MUCH)
        far.transport.abortConnection()
        await near.whenLost()
        self.assertLost(near, error.ConnectionLost)

    async def test_itIsLostOnlyOnceHoweverOftenItIsClosed(self):
        near, far = await self.pair()
        near.transport.write(b"x")
        near.transport.loseConnection()
        near.transport.loseConnection()
        near.transport.abortConnection()
        near.transport.abortConnection()
        await near.whenLost()
        await far.whenLost()
        await self.turns()
        self.assertLost(near, error.ConnectionAborted, error.ConnectionDone)
        near.transport.loseConnection()
        near.transport.abortConnection()
        await self.turns()
        self.assertEqual(near.events.count("lost"), 1)

    async def test_itIsNotLostWithinTheCallThatClosesIt(self):
        for close in ("loseConnection", "abortConnection", "stopProducing"):
            near, _ = await self.pair()
            getattr(near.transport, close)()
            self.assertEqual(near.events, ["made"], close)
            await near.whenLost()

    async def test_writingAfterTheEndIsIgnored(self):
        near, far = await self.pair()
        near.transport.loseConnection()
        near.transport.write(b"late")
        near.transport.writeSequence([b"late"])
        await near.whenLost()
        near.transport.write(b"later")
        near.transport.writeSequence([b"later"])
        near.transport.pauseProducing()
        near.transport.resumeProducing()
        await far.whenLost()
        self.assertNotIn(b"later", far.received)
        self.assertEqual(near.events, ["made", "lost"])

    async def test_whenItIsClosedNothingMoreIsReceived(self):
        class Curt(End):
            def dataReceived(self, data):
                super().dataReceived(data)
                self.transport.loseConnection()

        near, far = await self.pair(near=Curt())
        far.transport.write(b"x")
        await near.whenReceived(1)
        far.transport.write(b"y" * MUCH)
        await near.whenLost()
        self.assertEqual(near.received, b"x")

    async def test_itCanBeClosedAsSoonAsItIsConnected(self):
        for close, reason in (("loseConnection", error.ConnectionDone), ("abortConnection", error.ConnectionAborted)):

            class Shy(End):
                closing = close

                def connectionMade(self):
                    super().connectionMade()
                    getattr(self.transport, self.closing)()

            near, far = await self.pair(near=Shy())
            await near.whenLost()
            await far.whenLost()
            self.assertEqual(near.events, ["made", "lost"])
            self.assertLost(near, reason)

    async def test_whenTheProtocolFailsItsConnectionIsClosedAndTheFailureIsLogged(self):
        for problem in (ZeroDivisionError("broken protocol"), OSError("not the network's")):

            class Broken(End):
                problem_ = problem

                def dataReceived(self, data):
                    raise self.problem_

            near, far = await self.pair(near=Broken())
            far.transport.write(b"x")
            await near.whenLost()
            await far.whenLost()
            self.assertLost(near, type(problem))
            self.assertEqual([failure.value for failure in self.flushLoggedErrors()], [problem])

    # Half a connection.

    async def test_whenThePeerSendsNoMoreTheRestGoesOn(self):
        near, far = await self.pair(near=HalfCloseableEnd(), far=HalfCloseableEnd())
        far.transport.write(b"question")
        far.transport.loseWriteConnection()
        await near.when(lambda: "read side lost" in near.events)
        self.assertEqual(near.received, b"question")
        near.transport.write(b"answer")
        await far.whenReceived(6)
        self.assertEqual(near.events, ["made", "data", "read side lost"])
        near.transport.loseConnection()
        await near.whenLost()
        self.assertLost(near, error.ConnectionDone)
        await far.when(lambda: "read side lost" in far.events)

    async def test_whenTheWriteSideIsClosedWhatWasWrittenIsSentFirst(self):
        near, far = await self.pair(near=HalfCloseableEnd(), far=HalfCloseableEnd())
        near.transport.write(b"x" * MUCH)
        near.transport.loseWriteConnection()
        await far.when(lambda: "read side lost" in far.events)
        self.assertEqual(len(far.received), MUCH)
        await near.when(lambda: "write side lost" in near.events)
        near.transport.write(b"late")
        far.transport.write(b"answer")
        await near.whenReceived(6)
        far.transport.loseConnection()
        await near.when(lambda: "read side lost" in near.events)
        near.transport.loseConnection()
        await near.whenLost()
        self.assertEqual(near.events, ["made", "write side lost", "data", "read side lost", "lost"])
        self.assertLost(near, error.ConnectionDone)
        self.assertEqual(len(far.received), MUCH)

    async def test_theWriteSideCanBeClosedWithNothingWritten(self):
        near, far = await self.pair(near=HalfCloseableEnd(), far=HalfCloseableEnd())
        near.transport.loseWriteConnection()
        await far.when(lambda: "read side lost" in far.events)
        await near.when(lambda: "write side lost" in near.events)
        near.transport.loseConnection()
        await near.whenLost()
        self.assertLost(near, error.ConnectionDone)

    # Flow control.

    async def test_whileItIsPausedNothingIsReceived(self):
        near, far = await self.pair()
        near.transport.pauseProducing()
        near.transport.pauseProducing()
        far.transport.write(b"hello")
        await self.turns()
        self.assertEqual(near.received, b"")
        near.transport.resumeProducing()
        near.transport.resumeProducing()
        await near.whenReceived(5)
        self.assertEqual(near.events, ["made", "data"])

    async def test_itCanBePausedAsSoonAsItIsConnected(self):
        class Patient(End):
            def connectionMade(self):
                self.transport.pauseProducing()
                super().connectionMade()

        class Eager(End):
            def connectionMade(self):
                self.transport.write(b"hello")
                super().connectionMade()

        near, far = await self.pair(near=Patient(), far=Eager())
        far.transport.write(b" there")
        await self.turns()
        self.assertEqual(near.received, b"")
        near.transport.resumeProducing()
        near.transport.pauseProducing()
        await self.turns()
        self.assertEqual(near.received, b"")
        near.transport.resumeProducing()
        await near.whenReceived(11)
        self.assertEqual(near.received, b"hello there")
        near.transport.pauseProducing()
        far.transport.write(b"!")
        await self.turns()
        self.assertEqual(near.received, b"hello there")
        near.transport.resumeProducing()
        await near.whenReceived(12)

    async def test_pausedAtOnceAndResumedAtOnceIsNotPaused(self):
        class Undecided(End):
            def connectionMade(self):
                self.transport.pauseProducing()
                super().connectionMade()
                self.transport.resumeProducing()

        near, far = await self.pair(near=Undecided())
        far.transport.write(b"hello")
        await near.whenReceived(5)

    async def test_itCanBeClosedWhilePausedSinceItWasConnected(self):
        class Patient(End):
            def connectionMade(self):
                self.transport.pauseProducing()
                super().connectionMade()

        near, far = await self.pair(near=Patient())
        far.transport.write(b"never read")
        await self.turns()
        near.transport.write(b"answer")
        near.transport.resumeProducing()
        near.transport.loseConnection()
        await near.whenLost()
        self.assertEqual(near.received, b"")

    async def test_whatThePeerSentBeforeItClosedIsThereAfterAPause(self):
        class Patient(End):
            def connectionMade(self):
                self.transport.pauseProducing()
                super().connectionMade()

        for end in (End, Patient):
            near, far = await self.pair(near=end())
            near.transport.pauseProducing()
            far.transport.write(b"x" * 100000)
            far.transport.loseConnection()
            await far.whenLost()
            await self.turns()
            self.assertEqual(near.events, ["made"])
            near.transport.resumeProducing()
            await near.whenLost()
            self.assertEqual(len(near.received), 100000)
            self.assertLost(near, error.ConnectionDone)

    async def test_whenPausedFromTheStartThePeersEndIsStillSeen(self):
        class Patient(HalfCloseableEnd):
            def connectionMade(self):
                self.transport.pauseProducing()
                super().connectionMade()

        near, far = await self.pair(near=Patient(), far=HalfCloseableEnd())
        far.transport.loseWriteConnection()
        await self.turns()
        self.assertEqual(near.events, ["made"])
        near.transport.resumeProducing()
        await near.when(lambda: "read side lost" in near.events)
        near.transport.write(b"answer")
        await far.whenReceived(6)
        self.assertEqual(near.events, ["made", "read side lost"])

    async def test_pausingWhileDataComesHoldsTheRestBack(self):
        class Sipping(End):
            def dataReceived(self, data):
                self.transport.pauseProducing()
                super().dataReceived(data)

        near, far = await self.pair(near=Sipping())
        far.transport.write(b"x" * MUCH)
        await near.whenReceived(1)
        await self.turns()
        had = len(near.received)
        self.assertLess(had, MUCH)
        await self.turns()
        self.assertEqual(len(near.received), had)
        while len(near.received) < MUCH:
            had = len(near.received)
            near.transport.resumeProducing()
            await near.whenReceived(had + 1)

    async def test_aProducerIsPausedWhileThePeerDoesNotRead(self):
        near, far = await self.pair()
        far.transport.pauseProducing()
        flood = Flood(near.transport, 8 * MUCH)
        near.transport.registerProducer(flood, True)
        flood.produce()
        await flood.pausedOnce
        left = await self.settled(lambda: flood.left)
        self.assertTrue(flood.paused)
        self.assertGreater(left, 4 * MUCH)
        far.transport.resumeProducing()
        await far.whenReceived(8 * MUCH)
        self.assertEqual(flood.left, 0)
        self.assertEqual(flood.calls[-1], "resume")
        self.assertNotIn("stop", flood.calls)

    async def test_aPullProducerIsAskedAsLongAsItIsRegistered(self):
        near, far = await self.pair()
        data = b"".join(number.to_bytes(4, "big") for number in range(MUCH // 4))
        slices = Slices(near.transport, data, 50000)
        near.transport.registerProducer(slices, False)
        self.assertEqual(slices.asked, 1)
        await far.whenLost()
        await near.whenLost()
        self.assertTrue(far.received == data)
        self.assertFalse(slices.stopped)
        self.assertEqual(slices.pieces, [])

    async def test_aPullProducerIsNotAskedWhileThePeerDoesNotRead(self):
        near, far = await self.pair()
        far.transport.pauseProducing()
        slices = Slices(near.transport, b"x" * 8 * MUCH, 65536)
        near.transport.registerProducer(slices, False)
        asked = await self.settled(lambda: slices.asked)
        self.assertGreater(len(slices.pieces), 100)
        self.assertEqual(slices.asked, asked)
        far.transport.resumeProducing()
        await far.whenLost()
        self.assertEqual(len(far.received), 8 * MUCH)

    async def test_closingWaitsForTheProducer(self):
        near, far = await self.pair()
        far.transport.pauseProducing()
        flood = Flood(near.transport, 8 * MUCH)
        near.transport.registerProducer(flood, True)
        flood.produce()
        await flood.pausedOnce
        near.transport.loseConnection()
        await self.turns()
        self.assertEqual(near.events, ["made"])
        far.transport.resumeProducing()
        await far.whenLost()
        await near.whenLost()
        self.assertEqual(len(far.received), 8 * MUCH)
        self.assertLost(near, error.ConnectionDone)

    async def test_whenTheConnectionIsLostItsProducerIsStoppedOnce(self):
        for streaming in (True, False):
            near, far = await self.pair()
            far.transport.pauseProducing()
            if streaming:
                producer = Flood(near.transport, 8 * MUCH)
                near.transport.registerProducer(producer, True)
                producer.produce()
            else:
                producer = Slices(near.transport, b"x" * 8 * MUCH, 65536)
                near.transport.registerProducer(producer, False)
            near.transport.abortConnection()
            await near.whenLost()
            await self.turns()
            if streaming:
                self.assertEqual(producer.calls.count("stop"), 1)
            else:
                self.assertTrue(producer.stopped)

    async def test_aProducerForALostConnectionIsStoppedAtOnce(self):
        near, _ = await self.pair()
        near.transport.abortConnection()
        await near.whenLost()
        flood = Flood(near.transport, MUCH)
        near.transport.registerProducer(flood, True)
        self.assertEqual(flood.calls, ["stop"])

    async def test_thereIsOneProducerAtATime(self):
        near, _ = await self.pair()
        near.transport.registerProducer(Flood(near.transport, 1), True)
        self.assertRaises(RuntimeError, near.transport.registerProducer, Flood(near.transport, 1), True)
        near.transport.unregisterProducer()
        near.transport.registerProducer(Flood(near.transport, 1), True)
        near.transport.unregisterProducer()

    async def test_twoConnectionsCanFeedEachOther(self):
        """What a proxy does: each side's transport is the producer of the other's."""
        readers, writers = await self.pair(), await self.pair()
        (source, client), (sink, server) = readers, writers
        source.dataReceived = sink.transport.write
        sink.transport.registerProducer(source.transport, True)
        server.transport.pauseProducing()
        client.transport.write(b"x" * 8 * MUCH)
        await self.turns(100)
        server.transport.resumeProducing()
        await server.whenReceived(8 * MUCH)
        sink.transport.unregisterProducer()

    # Addresses and options.

    async def test_bothEndsAgreeOnTheirAddresses(self):
        near, far = await self.pair()
        host, peer = near.transport.getHost(), near.transport.getPeer()
        if self.isTCP:
            self.assertIsInstance(host, IPv4Address)
            self.assertEqual(host, far.transport.getPeer())
            self.assertEqual(peer, far.transport.getHost())
        else:
            self.assertIsInstance(host, UNIXAddress)
            self.assertIsInstance(peer, UNIXAddress)
            self.assertEqual(host, far.transport.getPeer())

    async def test_itsPeerIsKnownAfterTheEndIfItWasAskedForBefore(self):
        near, far = await self.pair()
        peer = near.transport.getPeer()
        far.transport.loseConnection()
        await near.whenLost()
        self.assertEqual(near.transport.getPeer(), peer)

    async def test_optionsOfItsSocketCanBeSet(self):
        near, _ = await self.pair()
        near.transport.setTcpNoDelay(True)
        self.assertEqual(near.transport.getTcpNoDelay(), self.isTCP)
        near.transport.setTcpNoDelay(False)
        self.assertFalse(near.transport.getTcpNoDelay())
        near.transport.setTcpKeepAlive(True)
        self.assertTrue(near.transport.getTcpKeepAlive())
        self.assertTrue(near.transport.getHandle().getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))


class ConnectorContract:
    """
    What opens connections to instances. Mix with a C{TestCase} that has C{reactor} and C{makeConnector()}, which gives
    the C{connect(host, port, factory, timeout_secs)} under test.
    """

    def listen(self, interface="127.0.0.1"):
        far = End()
        port = self.reactor.listenTCP(0, Building(far), interface=interface)
        self.addCleanup(port.stopListening)
        return far, port.getHost()

    async def closed(self, *ends):
        for end in ends:
            end.transport.abortConnection()
        await defer.gatherResults([end.whenLost() for end in ends])

    async def test_itFiresWithTheProtocolWhenThatIsConnected(self):
        far, host = self.listen()
        built = []

        def build():
            built.append(End())
            return built[-1]

        connecting = self.makeConnector()(host.host, host.port, build, 5)
        self.assertNoResult(connecting)
        self.assertEqual(built, [])
        near = await connecting
        self.assertEqual((built, near.events), ([near], ["made"]))
        near.transport.write(b"hello")
        await far.whenReceived(5)
        self.assertEqual(near.transport.getPeer(), IPv4Address("TCP", "127.0.0.1", host.port))
        await self.closed(near, far)

    async def test_itConnectsByIPv6AndByName(self):
        try:
            _, host = self.listen("::1")
        except error.CannotListenError:
            raise self.skipped("there is no IPv6 here") from None
        near = await self.makeConnector()("::1", host.port, End, 5)
        self.assertEqual(near.transport.getPeer().host, "::1")
        await self.closed(near)
        _, host = self.listen()
        near = await self.makeConnector()("localhost", host.port, End, 5)
        self.assertEqual(near.transport.getPeer().port, host.port)
        await self.closed(near)

    async def test_whenNobodyListensItIsRefused(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            connecting = self.makeConnector()("127.0.0.1", port, End, 5)
            await self.assertFailure(connecting, error.ConnectionRefusedError)
        self.assertEqual(self.timers(), [])

    async def test_whenNobodyAnswersItTimesOut(self):
        with self.unanswering() as port:
            connecting = self.makeConnector()("127.0.0.1", port, End, 0.05)
            await self.assertFailure(connecting, error.TimeoutError)
        self.assertEqual(self.timers(), [])

    async def test_whenItIsCancelledItEndsAtOnce(self):
        with self.unanswering() as port:
            connecting = self.makeConnector()("127.0.0.1", port, End, 5)
            await deferLater(self.reactor, 0)
            connecting.cancel()
            self.failureResultOf(connecting, defer.CancelledError)
            await deferLater(self.reactor, 0)
            await deferLater(self.reactor, 0)
        self.assertEqual(self.timers(), [])

    async def test_whenItIsCancelledBeforeItBeganItEndsAtOnce(self):
        far, host = self.listen()
        connecting = self.makeConnector()(host.host, host.port, End, 5)
        connecting.cancel()
        self.failureResultOf(connecting, defer.CancelledError)
        for _ in range(10):
            await deferLater(self.reactor, 0)
        self.assertEqual(self.timers(), [])
        if "made" in far.events:
            await far.whenLost()

    async def test_whenTheFactoryFailsItFails(self):
        far, host = self.listen()

        def build():
            raise ZeroDivisionError

        await self.assertFailure(self.makeConnector()(host.host, host.port, build, 5), ZeroDivisionError)
        self.flushLoggedErrors(ZeroDivisionError)
        await far.whenLost()

    def timers(self):
        return [timer for timer in self.reactor.getDelayedCalls() if timer.getTime() - self.reactor.seconds() < 10]

    def unanswering(self):
        """A context with a port whose kernel queue is full, so that connecting to it neither succeeds nor fails."""
        return _Unanswering()


class _Unanswering:
    def __enter__(self):
        self._listening = socket.socket()
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(0)
        self._clients = []
        for _ in range(3):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(self._listening.getsockname())
            self._clients.append(client)
        return self._listening.getsockname()[1]

    def __exit__(self, *_):
        for each in [*self._clients, self._listening]:
            each.close()


class Connecting(ClientFactory):
    """The far end's, on Twisted's own transport."""

    noisy = False

    def __init__(self, end):
        self.end = end

    def buildProtocol(self, address):
        return self.end
