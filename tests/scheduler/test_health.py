"""Health checks, made of small servers on the loopback interface."""

import getpass
import socket
from base64 import b64encode

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions, KeyPair, PrivateCertificate
from twisted.internet.ssl import DistinguishedName as Name
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.certificates import Authority
from waiter.model.description import ServiceDescription
from waiter.model.instance import Flag, Instance
from waiter.scheduler.health import HealthProbe, answered, health_url, unanswered
from waiter.support.trust import Trust
from waiter.version import __version__

CONNECTED, RESPONDED = Flag.HAS_CONNECTED, Flag.HAS_RESPONDED


def description(**parameters):
    core = {"cmd": "x", "cpus": 1, "mem": 1, "run_as_user": getpass.getuser(), "version": "1"} | parameters
    return ServiceDescription(**core)


def instance(port=10000, host="127.0.0.1", extra=()):
    return Instance(id="a.1", service_id="a", host=host, port=port, extra_ports=extra)


class Scripted(Protocol):
    """Says its lines when a request's head is in, then does what it is told."""

    def connectionMade(self):
        self.factory.connections.append(self)
        self.received = b""

    def dataReceived(self, data):
        self.received += data
        if self.received.endswith(b"\r\n\r\n"):
            self.factory.script(self.transport)

    def connectionLost(self, reason):
        self.factory.lost.callback(None)


class ScriptedFactory(Factory):
    protocol = Scripted
    noisy = False

    def __init__(self, script):
        self.script = script
        self.connections = []
        self.lost = Deferred()


def answers(head):
    def script(transport):
        transport.write(head)
        transport.loseConnection()

    return script


class TimedReactor:
    """The reactor with a clock that the test advances, so that no limit is reached because the machine is slow."""

    def __init__(self):
        self.clock = Clock()

    def __getattr__(self, name):
        return getattr(self.clock if name in {"callLater", "seconds"} else reactor, name)


class ResultTests(SynchronousTestCase):
    def test_anAnswerOfTwoHundredToTwoHundredNinetyNineIsHealthy(self):
        self.assertEqual([status for status in range(100, 600) if answered("u", status).healthy], list(range(200, 300)))

    def test_aHealthyInstanceHasNoFlags(self):
        self.assertEqual(answered("u", 204).flags, frozenset())
        self.assertEqual(answered("u", 404).flags, {CONNECTED, RESPONDED})

    def test_eachErrorHasItsFlags(self):
        def flags(error, *, connected):
            return unanswered("u", error, connected=connected, reason="").flags

        self.assertEqual(flags("connect-exception", connected=False), frozenset())
        self.assertEqual(flags("hangup-exception", connected=True), {CONNECTED, Flag.HANGUP_EXCEPTION})
        self.assertEqual(flags("timeout-exception", connected=True), {CONNECTED, Flag.TIMEOUT_EXCEPTION})
        self.assertEqual(flags("timeout-exception", connected=False), {Flag.TIMEOUT_EXCEPTION})
        self.assertEqual(flags("ssl-exception", connected=True), {Flag.SSL_EXCEPTION})
        self.assertEqual(flags("generic-exception", connected=True), {CONNECTED, RESPONDED})

    def test_theAddressIsThatOfThePortThatIsToBeChecked(self):
        self.assertEqual(health_url(instance(), description()), "http://127.0.0.1:10000/status")
        self.assertEqual(
            health_url(
                instance(extra=(10001,)),
                description(
                    ports=2, health_check_port_index=1, health_check_url="/up?deep=1", health_check_proto="https"
                ),
            ),
            "https://127.0.0.1:10001/up?deep=1",
        )

    def test_anUnknownAddressHasNoURL(self):
        self.assertIsNone(health_url(instance(host="0.0.0.0"), description()))
        self.assertIsNone(health_url(instance(port=0), description()))
        self.assertIsNone(health_url(instance(), description(ports=2, health_check_port_index=1)))


class HealthProbeTests(TestCase):
    timeout = 120

    async def listen(self, script, tls=None):
        self.factory = ScriptedFactory(script)
        factory = self.factory if tls is None else TLSMemoryBIOFactory(tls, False, self.factory)
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        return instance(port.getHost().port)

    async def check(self, target, *, timeout_secs=5.0, **parameters):
        result = await HealthProbe(reactor, timeout_secs=timeout_secs).check(target, description(**parameters))
        if self.factory is not None and self.factory.connections:
            await self.factory.lost
        return result

    factory = None

    def closed_port(self):
        """A port on which nobody listens, and nobody else can."""
        bound = socket.socket()
        self.addCleanup(bound.close)
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]

    async def test_anAnswerIsAnAnswer(self):
        for status, healthy in ((200, True), (404, False), (503, False)):
            target = await self.listen(answers(b"HTTP/1.1 %d Word\r\nContent-Length: 2\r\n\r\nok" % status))
            result = await self.check(target)
            self.assertEqual((result.healthy, result.status, result.error), (healthy, status, None))
            said = "" if healthy else ': "ok"'
            self.assertEqual(
                result.message, f"GET http://127.0.0.1:{target.port}/status was answered with {status}{said}"
            )
            self.assertEqual(result.body_start, None if healthy else "ok")

    async def test_theRequestSaysWhatItIs(self):
        target = await self.listen(answers(b"HTTP/1.1 204 No\r\n\r\n"))
        self.assertTrue((await self.check(target, health_check_url="/health?x=1")).healthy)
        line, *headers = self.factory.connections[0].received.lower().decode().strip().split("\r\n")
        self.assertEqual(line, "get /health?x=1 http/1.1")
        fields = dict(header.split(": ", 1) for header in headers)
        self.assertEqual(fields["host"], f"127.0.0.1:{target.port}")
        self.assertEqual(fields["x-waiter-request-type"], "health-check")
        self.assertEqual(fields["user-agent"], f"waiter-syncer/{__version__}")
        self.assertTrue(fields["x-cid"].startswith("waiter-health-check-"))
        self.assertEqual(fields["connection"], "close")

    async def test_whereItIsWantedTheRequestCarriesCredentials(self):
        probe = HealthProbe(
            reactor, password=lambda service_id: f"secret of {service_id}", principal="zo\xeb@HERE\r\nx: y"
        )
        for authentication, expected in (
            ("disabled", []),
            (
                "standard",
                [
                    b"Authorization: Basic " + b64encode(b"waiter:secret of a"),
                    b"X-Waiter-Auth-Principal: zo%C3%AB",
                    b"X-Waiter-Authenticated-Principal: zo%C3%AB@HERE%0D%0Ax%3A y",
                ],
            ),
        ):
            target = await self.listen(answers(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
            await probe.check(target, description(health_check_authentication=authentication))
            await self.factory.lost
            head = self.factory.connections[0].received.removesuffix(b"\r\n\r\n").split(b"\r\n")
            self.assertEqual([line for line in head if b"Auth" in line], expected)

    async def test_nobodyListeningIsARefusal(self):
        checking = HealthProbe(reactor).check(instance(self.closed_port()), description())
        result = self.successResultOf(checking)
        self.assertEqual((result.healthy, result.status, result.error), (False, None, "connect-exception"))
        self.assertEqual(result.flags, frozenset())
        self.assertIn("was refused", result.message)

    async def test_anUnknownAddressIsNotAsked(self):
        result = self.successResultOf(HealthProbe(reactor).check(instance(host="0.0.0.0"), description()))
        self.assertEqual((result.healthy, result.error), (False, "unknown-authority"))

    async def test_aConnectionThatIsCutIsAHangup(self):
        for script in (lambda transport: transport.loseConnection(), lambda transport: transport.abortConnection()):
            result = await self.check(await self.listen(script))
            self.assertEqual((result.healthy, result.error), (False, "hangup-exception"))
            self.assertEqual(result.flags, {CONNECTED, Flag.HANGUP_EXCEPTION})

    async def test_anInstanceThatSaysNothingTimesOut(self):
        asked, timed = Deferred(), TimedReactor()
        target = await self.listen(lambda _: asked.callback(None))
        checking = HealthProbe(timed, timeout_secs=5).check(target, description())
        await asked
        timed.clock.advance(4.9)
        self.assertNoResult(checking)
        timed.clock.advance(0.1)
        result = self.successResultOf(checking)
        self.assertEqual((result.healthy, result.error), (False, "timeout-exception"))
        self.assertEqual(result.flags, {CONNECTED, Flag.TIMEOUT_EXCEPTION})
        self.assertIn("not answered within 5 s", result.message)
        await self.factory.lost

    async def test_moreTimeCanBeGivenToOneCheck(self):
        target = await self.listen(
            lambda transport: reactor.callLater(0.05, answers(b"HTTP/1.1 204 No\r\n\r\n"), transport)
        )
        result = await HealthProbe(reactor, timeout_secs=0.001).check(target, description(), patience_secs=20)
        self.assertTrue(result.healthy)
        await self.factory.lost

    async def test_whatIsNotHTTPIsNotHealthy(self):
        result = await self.check(await self.listen(answers(b"220 mail.example.org ESMTP\r\n\r\n")))
        self.assertFalse(result.healthy)
        self.assertEqual((result.status, result.error), (None, "generic-exception"))
        self.assertEqual(result.flags, {CONNECTED, RESPONDED})
        self.assertEqual(result.body_start, "220 mail.example.org ESMTP")
        self.assertIn("got what is not an answer in HTTP/1", result.message)
        self.assertTrue(result.message.endswith(': "220 mail.example.org ESMTP"'))

    async def test_anAnswerThatIsCutOffInItsHeadIsAHangup(self):
        result = await self.check(await self.listen(answers(b"HTTP/1.1 200 OK\r\nContent-")))
        self.assertEqual((result.error, result.body_start), ("hangup-exception", None))

    async def test_interimAnswersAreNotTheAnswer(self):
        result = await self.check(await self.listen(answers(b"HTTP/1.1 103 Soon\r\n\r\nHTTP/1.1 204 No\r\n\r\n")))
        self.assertEqual((result.healthy, result.status), (True, 204))

    async def test_endlessInterimAnswersAreNoAnswer(self):
        target = await self.listen(lambda transport: transport.write(b"HTTP/1.1 100 Go on\r\n\r\n" * 100000))
        result = await self.check(target)
        self.assertEqual((result.healthy, result.error), (False, "generic-exception"))

    async def test_aHeadThatDripsTimesOut(self):
        target = await self.listen(lambda transport: self.drip(transport, b"HTTP/1.1 200 OK\r\nX: ", b"y"))
        result = await self.check(target, timeout_secs=0.1)
        self.assertEqual((result.healthy, result.error), (False, "timeout-exception"))

    async def test_aBodyThatDripsIsShownAsFarAsItComesSoon(self):
        target = await self.listen(lambda transport: self.drip(transport, b"HTTP/1.1 503 No\r\n\r\nNot yet", b"."))
        result = await self.check(target, timeout_secs=1000)
        self.assertEqual((result.healthy, result.status), (False, 503))
        self.assertTrue(result.body_start.startswith("Not yet"))

    async def test_aBodyThatComesLateIsNotWaitedFor(self):
        target = await self.listen(lambda transport: transport.write(b"HTTP/1.1 503 No\r\n\r\n"))
        result = await self.check(target, timeout_secs=1000)
        self.assertEqual((result.status, result.body_start), (503, None))
        self.assertTrue(result.message.endswith("was answered with 503"))

    async def test_theBodyOfAnUnhealthyAnswerMayComeAfterItsHead(self):
        def script(transport):
            transport.write(b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\n")
            reactor.callLater(0.001, transport.write, b"Soon")

        target = await self.listen(script)
        result = await HealthProbe(TimedReactor(), timeout_secs=1000).check(target, description())
        self.assertEqual((result.status, result.body_start), (503, "Soon"))
        await self.factory.lost

    def drip(self, transport, start, drop):
        def fall():
            transport.write(drop)
            self.dripping = reactor.callLater(0.005, fall)

        transport.write(start)
        fall()
        self.factory.lost.addCallback(lambda _: self.dripping.cancel())

    async def test_aHealthyAnswerIsNotKeptWaitingForItsBody(self):
        heard = []

        def script(transport):
            transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
            self.finish = lambda: transport.write(b"ok")

        target = await self.listen(script)
        checking = HealthProbe(reactor, timeout_secs=1000).check(target, description()).addCallback(heard.append)
        await checking
        self.assertTrue(heard[0].healthy)
        self.finish()
        await self.factory.lost

    async def test_whoeverIsNotReachedOverTheReactorIsUnhealthyToo(self):
        result = await HealthProbe(reactor).check(instance(self.closed_port(), host="localhost"), description())
        self.assertEqual((result.healthy, result.error, result.flags), (False, "connect-exception", frozenset()))
        self.assertIn("could not connect", result.message)

    async def test_aHostByNameIsAskedOverTheReactor(self):
        for head, healthy in ((b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", True), (b"nonsense", False)):
            target = await self.listen(answers(head))
            result = await self.check(instance(target.port, host="localhost"))
            self.assertEqual(result.healthy, healthy)

    async def test_anUnreachableHostTimesOut(self):
        # The listener's queue is full, so the kernel drops what comes.
        full = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(full.close)
        port = full.getsockname()[1]
        for _ in range(2):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
            self.addCleanup(waiting.close)
        result = await HealthProbe(reactor, timeout_secs=0.05).check(instance(port), description())
        self.assertEqual((result.error, result.flags), ("timeout-exception", {Flag.TIMEOUT_EXCEPTION}))
        self.assertIn("could not connect within 0.05 s", result.message)

    def test_aCheckThatCannotBeMadeSaysNothingAboutTheInstance(self):
        def no_more(*_):
            raise OSError(24, "Too many open files")

        self.patch(socket, "socket", no_more)
        self.failureResultOf(HealthProbe(reactor).check(instance(), description()), OSError)

    async def test_aServerThatSeesToOneConnectionAtATimeIsFreeAfterACheck(self):
        target = await self.listen(answers(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
        await HealthProbe(reactor).check(target, description())
        await self.factory.lost
        self.assertIn(b"connection: close", self.factory.connections[0].received.lower())

    async def test_anEndlessBodyDoesNotDelayTheResultAndIsCut(self):
        def script(transport):
            transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
            transport.write(b"x" * 1000000)

        result = await self.check(await self.listen(script))
        self.assertTrue(result.healthy)

    async def test_aBodyThatNeverEndsIsCutAfterAWhile(self):
        timed = TimedReactor()
        target = await self.listen(lambda transport: transport.write(b"HTTP/1.1 200 OK\r\n\r\nand"))
        result = await HealthProbe(timed, timeout_secs=5).check(target, description())
        self.assertTrue(result.healthy)
        self.assertFalse(self.factory.lost.called)
        timed.clock.advance(5)
        await self.factory.lost

    async def test_anInstanceThatDoesNotSpeakTLSIsATLSError(self):
        target = await self.listen(answers(b"HTTP/1.1 400 Bad\r\n\r\n"))
        self.factory.protocol = lambda: Blunt(self.factory)
        result = await HealthProbe(reactor).check(target, description(backend_proto="https"))
        self.assertEqual((result.healthy, result.error), (False, "ssl-exception"))
        self.assertEqual(result.flags, {Flag.SSL_EXCEPTION})
        await self.factory.lost

    async def test_aCertificateThatNobodyVouchesForWillDo(self):
        key = KeyPair.generate(size=2048)
        name = Name(commonName="instance")
        signed = key.signRequestObject(name, key.requestObject(name), 1)
        options = CertificateOptions(
            privateKey=key.original,
            certificate=PrivateCertificate.fromCertificateAndKeyPair(signed, key).original,
        )
        target = await self.listen(answers(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), tls=options)
        self.assertTrue((await self.check(target, backend_proto="https")).healthy)

    async def test_aCertificateThatIsNotBelievedIsATLSError(self):
        """Where instances have to prove who they are, a check tells at once why one did not."""
        authority = Authority()
        trust = Trust(authorities=authority.pem)
        for issued, healthy in (
            (authority.issue(addresses=["127.0.0.1"]), True),
            (authority.issue("nobody.example"), False),
        ):
            options = PrivateCertificate.loadPEM(issued.pem + issued.key_pem).options()
            target = await self.listen(answers(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), tls=options)
            result = await HealthProbe(reactor, trust=trust).check(target, description(backend_proto="https"))
            self.assertEqual((result.healthy, result.error), (healthy, None if healthy else "ssl-exception"))
        self.assertIn("the certificate for 127.0.0.1 is not accepted: it is for nobody.example", result.message)

    async def test_aCheckThatIsCancelledDropsItsConnection(self):
        asked = Deferred()
        target = await self.listen(lambda _: asked.callback(None))
        checking = HealthProbe(reactor).check(target, description())
        await asked
        checking.cancel()
        with self.assertRaises(CancelledError):
            await checking
        await self.factory.lost


class Blunt(Protocol):
    """Answers anything at once, in plain text."""

    def __init__(self, factory):
        self.factory = factory

    def dataReceived(self, data):
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.transport.loseConnection()

    def connectionLost(self, reason):
        if not self.factory.lost.called:
            self.factory.lost.callback(None)
