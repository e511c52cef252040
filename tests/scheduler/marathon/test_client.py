"""Asking Marathon: whom, how long, and what is never done twice."""

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent
from twisted.web.iweb import IAgent
from zope.interface import implementer

from tests.certificates import Authority
from tests.doubles.marathon.faults import Faults
from tests.ports import free_port
from tests.scheduler.marathon.world import World
from waiter.scheduler.marathon.addresses import Addresses, may_follow
from waiter.scheduler.marathon.client import Credentials, MarathonClient, Patience, TrustPolicy
from waiter.scheduler.marathon.errors import MarathonError, MarathonRefused, MarathonUnreachable
from waiter.scheduler.marathon.events import TYPES
from waiter.support.trust import Trust

APP = {"id": "/waiter-service-a", "cmd": "sleep 60", "instances": 0}
BRIEF = Patience(connect=1, answer=0.2, silence=0.2, total=2, listing=2)


class AddressesTests(SynchronousTestCase):
    def test_theOneThatAnsweredLastIsAskedFirst(self):
        addresses = Addresses(["http://a:1/", "http://b:1", "http://c:1"])
        self.assertEqual(list(addresses.to_try()), ["http://a:1", "http://b:1", "http://c:1"])
        addresses.answered("http://b:1")
        self.assertEqual(list(addresses.to_try()), ["http://b:1", "http://c:1", "http://a:1"])
        self.assertEqual(addresses.current, "http://b:1")

    def test_whatIsNoAddressIsRefused(self):
        for wrong in ("", "marathon:8080", "ftp://a", "http://", "http://u:p@a", "http://a/?x=1"):
            with self.assertRaises(ValueError):
                Addresses([wrong])
        with self.assertRaises(ValueError):
            Addresses([])

    def test_credentialsAreNotCarriedFromTLSToNone(self):
        self.assertTrue(may_follow("http://a", "http://b"))
        self.assertTrue(may_follow("http://a", "https://b"))
        self.assertTrue(may_follow("https://a", "https://b"))
        self.assertFalse(may_follow("https://a", "http://b"))
        self.assertFalse(may_follow("http://a", "ftp://b"))


@implementer(IHostnameResolver)
class NoNames:
    """Finds no name."""

    def resolveHostName(self, receiver, hostName, *_, **__):
        receiver.resolutionBegan(None)
        receiver.resolutionComplete()


class Sender(Protocol):
    """Sends what it is told when it is asked, and then nothing."""

    def dataReceived(self, data):
        if b"\r\n\r\n" in data and not self.factory.asked:
            self.factory.asked.append(data)
            self.transport.write(self.factory.answer)

    def connectionLost(self, reason):
        self.factory.lost.append(reason)


@implementer(IAgent)
class Slow:
    """
    Answers nobody.

    @ivar asked: the URIs, and what ends the wait for each.
    """

    def __init__(self):
        self.asked = []

    def request(self, method, uri, headers=None, bodyProducer=None):
        self.asked.append((uri, Deferred()))
        return self.asked[-1][1]


class TurnsTests(SynchronousTestCase):
    def setUp(self):
        self.slow = Slow()
        self.clock = Clock()
        self.client = MarathonClient(
            self.clock, ["http://a"], agents=lambda _: self.slow, most_at_once=2, patience=BRIEF
        )
        self.client.open()

    def call(self, name):
        return Deferred.fromCoroutine(self.client.app(name))

    def asked(self):
        return [uri.partition(b"?")[0].rpartition(b"/")[2].decode() for uri, _ in self.slow.asked]

    def test_fewCallsAreUnderWayAtATime(self):
        first, second, third, _ = (self.call(name) for name in "abcd")
        self.assertEqual(self.asked(), ["a", "b"])
        self.slow.asked[1][1].errback(ConnectError())
        self.failureResultOf(second, MarathonUnreachable)
        self.assertEqual(self.asked(), ["a", "b", "c"])
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(self.asked(), ["a", "b", "c", "d"])
        self.assertNoResult(third)

    def test_whoIsCancelledBeforeItsTurnIsNeverAsked(self):
        _, second, third, fourth = (self.call(name) for name in "abcd")
        third.cancel()
        self.failureResultOf(third, CancelledError)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.asked(), ["a", "b", "d"])
        self.assertNoResult(fourth)

    def test_theTimeOfACallBeginsWithItsTurn(self):
        calls = [self.call(name) for name in "abc"]
        self.clock.advance(BRIEF.answer + 0.01)
        for call in calls[:2]:
            self.failureResultOf(call, MarathonUnreachable)
        self.clock.advance(BRIEF.answer - 0.01)
        self.assertNoResult(calls[2])

    def test_theListDoesNotWait(self):
        for name in "ab":
            self.call(name)

        async def everything():
            return [app async for app in self.client.each_app()]

        Deferred.fromCoroutine(everything())
        self.assertEqual(self.asked(), ["a", "b", "apps"])


class ClientTests(World, TestCase):
    timeout = 120

    async def setUp(self):
        self.start_double()

    def client(self, *addresses, **options):
        client = MarathonClient(reactor, addresses or [self.double.url], **options)
        client.open()
        self.addCleanup(client.close)
        return client

    def timed(self, *addresses, patience=BRIEF):
        """A client with a clock that the test advances, so that nothing takes too long because the machine is slow."""
        clock = Clock()
        client = MarathonClient(clock, addresses, patience=patience, agents=lambda _: Agent(reactor))
        client.open()
        return client, clock

    def fault(self, **faults):
        self.double.front.faults = Faults(**faults)

    def asked(self):
        return [each["method"] for each in self.double.front.asked]

    def listen(self, answer):
        """A server that answers with this and then hangs."""
        factory = Factory.forProtocol(Sender)
        factory.answer, factory.asked, factory.lost, factory.noisy = answer, [], [], False
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return factory, f"http://127.0.0.1:{port.getHost().port}"

    async def apps(self, client):
        return [app["id"] async for app in client.each_app()]

    async def test_whatIsCreatedIsListedAndCanBeDeleted(self):
        client = self.client()
        await client.create(APP)
        self.assertEqual(await self.apps(client), ["/waiter-service-a"])
        self.assertEqual((await client.app("waiter-service-a"))["cmd"], "sleep 60")
        self.assertIsNone(await client.app("waiter-service-b"))
        self.assertIn("deploymentId", await client.delete("waiter-service-a", force=True))
        self.assertEqual(await self.apps(client), [])
        self.assertEqual(await client.framework_id(), self.double.cluster.framework_id)

    async def test_aRefusalSaysWhy(self):
        client = self.client()
        refusal = await self.assertFailure(self.create(client, {"id": "/UPPER"}), MarathonRefused)
        self.assertEqual(refusal.status, 422)
        self.assertIn("/id: '/UPPER' does not match", str(refusal))

    def create(self, client, app=APP):
        return Deferred.fromCoroutine(client.create(app))

    async def test_anAddressThatIsDeadIsPassedOver(self):
        dead = f"http://127.0.0.1:{free_port()}"
        client = self.client(dead, self.double.url)
        await client.create(APP)
        self.assertEqual(await self.apps(client), ["/waiter-service-a"])
        self.assertEqual(client.addresses.current, self.double.url)

    async def test_anAddressWhoseNameIsNotFoundIsPassedOver(self):
        names = MemoryReactorClock()
        names.nameResolver = NoNames()
        nowhere, real = Agent(names), Agent(reactor)

        @implementer(IAgent)
        class Agents:
            def request(self, method, uri, *rest):
                return (nowhere if b"nowhere" in uri else real).request(method, uri, *rest)

        client = self.client("http://nowhere.invalid:8080", self.double.url, agents=lambda _: Agents())
        await client.create(APP)
        self.assertIsNotNone(await client.app("waiter-service-a"))
        lost = self.client("http://nowhere.invalid:8080", agents=lambda _: nowhere)
        error = await self.assertFailure(Deferred.fromCoroutine(lost.app("waiter-service-a")), MarathonUnreachable)
        self.assertIn("nowhere.invalid", str(error))

    async def test_anAddressThatHangsIsPassedOver(self):
        factory, hanging = self.listen(b"")
        client, clock = self.timed(hanging, self.double.url)
        asking = Deferred.fromCoroutine(self.apps(client))
        await self.until(lambda: factory.asked)
        clock.advance(BRIEF.answer)
        self.assertEqual(await asking, [])
        self.assertEqual(len(factory.asked), 1)

    async def test_aChangeThatMayHaveBeenDoneIsNotRepeated(self):
        factory, hanging = self.listen(b"")
        client, clock = self.timed(hanging, self.double.url)
        asking = self.create(client)
        await self.until(lambda: factory.asked)
        clock.advance(BRIEF.answer)
        await self.assertFailure(asking, MarathonUnreachable)
        self.assertEqual((len(factory.asked), self.asked()), (1, []))

    async def test_aChangeThatWasRefusedForLackOfALeaderIsTriedElsewhere(self):
        _, leaderless = self.listen(b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\n{}")
        client = self.client(leaderless, self.double.url)
        await client.create(APP)
        self.assertEqual(self.asked(), ["POST"])

    async def test_whereAllFailTheReasonsAreTold(self):
        self.fault(leaderless=True)
        dead = f"http://127.0.0.1:{free_port()}"
        error = await self.assertFailure(
            Deferred.fromCoroutine(self.apps(self.client(dead, self.double.url))), MarathonUnreachable
        )
        self.assertIn("Could not determine the current leader", str(error))
        self.assertIn("refused", str(error))

    async def test_aRedirectIsFollowed(self):
        self.fault(redirect=self.double.url, path="/v2/info")
        error = await self.assertFailure(Deferred.fromCoroutine(self.client().framework_id()), MarathonUnreachable)
        self.assertIn("too many redirects", str(error))
        leader = self.double.url.encode()
        _, other = self.listen(
            b"HTTP/1.1 307 There\r\nLocation: " + leader + b"/v2/info?x=1\r\nContent-Length: 0\r\n\r\n"
        )
        self.fault()
        self.assertEqual(await self.client(other).framework_id(), self.double.cluster.framework_id)

    async def test_withTheRightPasswordItIsLetIn(self):
        self.fault(credentials="waiter:secret")
        client = self.client(credentials=Credentials(username="waiter", password="secret"))
        self.assertEqual(await self.apps(client), [])
        refusal = await self.assertFailure(Deferred.fromCoroutine(self.apps(self.client())), MarathonRefused)
        self.assertEqual(refusal.status, 401)
        self.assertNotIn("secret", repr(Credentials(username="waiter", password="secret", token="secret")))

    async def test_withTheRightTokenItIsLetIn(self):
        self.fault(credentials="token=abc")
        client = self.client(credentials=Credentials(token="abc"))
        self.assertEqual(await self.apps(client), [])

    async def test_anAnswerThatBreaksOffIsNoAnswer(self):
        self.fault(cut=True)
        await self.assertFailure(Deferred.fromCoroutine(self.apps(self.client())), MarathonUnreachable)

    async def test_anAnswerThatStopsIsGivenUpAndItsConnectionCut(self):
        factory, url = self.listen(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
        client = self.client(url, patience=Patience(connect=60, answer=60, silence=0.2, total=60, listing=60))
        error = await self.assertFailure(Deferred.fromCoroutine(self.apps(client)), MarathonUnreachable)
        self.assertIn("stopped", str(error))
        await self.until(lambda: factory.lost)

    async def test_anAnswerThatTricklesIsGivenUp(self):
        patience = Patience(connect=1, answer=1, silence=1, total=1, listing=0.3)
        factory, url = self.listen(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
        client, clock = self.timed(url, patience=patience)
        asking = Deferred.fromCoroutine(self.apps(client))
        await self.until(lambda: factory.asked)
        clock.advance(0.3)
        error = await self.assertFailure(asking, MarathonUnreachable)
        self.assertIn("within 0.3 s", str(error))
        await self.until(lambda: factory.lost)

    async def test_whatIsNotUnderstoodIsNoAnswer(self):
        for body in (b"<html>", b"\xff\xfe", b"7", b'{"apps": [7]}'):
            for ask in (self.apps, MarathonClient.deployments, MarathonClient.framework_id):
                if ask is MarathonClient.framework_id and body.startswith(b"{"):
                    continue
                _, url = self.listen(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                await self.assertFailure(Deferred.fromCoroutine(ask(self.client(url))), MarathonError)

    async def test_whoCancelsIsToldSoAndTheConnectionIsCut(self):
        factory, url = self.listen(b"")
        client = self.client(url, f"http://127.0.0.1:{free_port()}")
        asking = Deferred.fromCoroutine(client.framework_id())
        await self.until(lambda: factory.asked)
        asking.cancel()
        await self.assertFailure(asking, CancelledError)
        await self.until(lambda: factory.lost)

    async def test_aClientThatIsClosedAsksNobody(self):
        client = self.client()
        await client.close()
        await self.assertFailure(Deferred.fromCoroutine(client.framework_id()), MarathonUnreachable)

    async def test_eventsAreAStreamThatDoesNotEnd(self):
        response = await self.client().events(TYPES)
        self.assertEqual(response.code, 200)
        self.assertEqual(len(self.double.cluster.subscribers), 2)
        response.deliverBody(closing := Closing())
        await closing.begun
        closing.transport.loseConnection()
        await self.until(lambda: len(self.double.cluster.subscribers) == 1)

    async def until(self, holds):
        while not holds():
            pause = Deferred()
            reactor.callLater(0.01, pause.callback, None)
            await pause


class Closing(Protocol):
    def __init__(self):
        self.begun = Deferred()

    def dataReceived(self, data):
        begun, self.begun = self.begun, None
        if begun is not None:
            begun.callback(None)


class TLSTests(World, TestCase):
    timeout = 120

    def setUp(self):
        self.authority = Authority()
        issued = self.authority.issue("localhost", addresses=["127.0.0.1"])
        self.start_double(ssl=PrivateCertificate.loadPEM(issued.pem + issued.key_pem).options())

    def ask(self, trust):
        client = MarathonClient(reactor, [self.double.url], policy=TrustPolicy(trust))
        client.open()
        self.addCleanup(client.close)
        return Deferred.fromCoroutine(client.framework_id())

    async def test_aMarathonWithACertificateOfOurAuthorityIsBelieved(self):
        self.assertEqual(await self.ask(Trust(authorities=self.authority.pem)), self.double.cluster.framework_id)

    async def test_aMarathonWithAnotherCertificateIsNot(self):
        error = await self.assertFailure(self.ask(Trust(authorities=Authority("Other").pem)), MarathonUnreachable)
        self.assertIn("its authority is not one that is trusted", str(error))
