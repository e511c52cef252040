"""TLS to instances."""

from twisted.internet import error, reactor
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority
from tests.contracts.transports import Building, ConnectorContract, End, Flood, HalfCloseableEnd
from tests.router.test_carriers import NOT_FAST, ConnectedTCP
from waiter.router.instance_tls import secure_connector
from waiter.support.trust import CertificateRefused, Trust

AUTHORITY = Authority("Right")
OTHER = Authority("Wrong")
LOCAL = AUTHORITY.issue("localhost", addresses=["127.0.0.1", "::1"])


def server_options(issued):
    return PrivateCertificate.loadPEM(issued.pem + issued.key_pem).options()


class SecureConnected(ConnectedTCP):
    """Connections to servers that have a certificate."""

    trust = Trust(authorities=AUTHORITY.pem)

    def makeConnector(self, trust=None):
        return secure_connector(reactor, super().makeConnector(), (trust or self.trust).creator)

    def listen(self, interface="127.0.0.1", issued=LOCAL, options=None):
        far = End()
        port = reactor.listenSSL(0, Building(far), options or server_options(issued), interface=interface)
        self.addCleanup(port.stopListening)
        return far, port.getHost()

    async def refused(self, issued, *, trust=None, host="127.0.0.1", options=None):
        """Why it is not connected; nothing must have been sent."""
        far, address = self.listen(issued=issued, options=options)
        built = []
        connecting = self.makeConnector(trust)(host, address.port, lambda: built.append(1), 5)
        problem = await self.assertFailure(connecting, ConnectError)
        await far.whenLost()
        self.assertEqual((built, far.received), ([], b""))
        return problem

    async def accepted(self, issued, *, trust=None, host="127.0.0.1"):
        far, address = self.listen(issued=issued)
        near = await self.makeConnector(trust)(host, address.port, End, 5)
        near.transport.write(b"hello")
        await far.whenReceived(5)
        far.transport.write(b"there")
        await near.whenReceived(5)
        self.assertEqual(near.events[0], "made")
        await self.closed(near, far)


class SecureConnectorTests:
    async def test_whoCanProveWhoHeIs(self):
        await self.accepted(LOCAL)
        await self.accepted(LOCAL, host="localhost")
        await self.accepted(AUTHORITY.issue("api.example"), trust=Trust(authorities=AUTHORITY.pem, name="api.example"))
        await self.accepted(LOCAL, trust=Trust(authorities=OTHER.pem + b"and\n" + AUTHORITY.pem))

    async def test_onThisMachineNobodyHasToUnlessToldSo(self):
        await self.accepted(OTHER.issue("nobody.example", days=-1), trust=Trust())

    async def test_whoCannot(self):
        for issued, options, words in (
            (OTHER.issue(addresses=["127.0.0.1"]), {}, "its authority is not one that is trusted"),
            (OTHER, {}, "it is signed by itself alone"),
            (AUTHORITY.issue(addresses=["127.0.0.1"], days=-1), {}, "it has expired"),
            (AUTHORITY.issue("localhost"), {}, "for 127.0.0.1 is not accepted: it is for localhost"),
            (AUTHORITY.issue(), {}, "it is for nobody by name"),
            (AUTHORITY.issue(addresses=["127.0.0.2"]), {}, "it is for 127.0.0.2"),
            (LOCAL, {"trust": Trust(authorities=AUTHORITY.pem, name="api.example")}, "for api.example is not accepted"),
            # One that this machine trusts issued nothing here.
            (LOCAL, {"trust": Trust(name="localhost")}, "its authority is not one that is trusted"),
        ):
            problem = await self.refused(issued, **options)
            self.assertIsInstance(problem, CertificateRefused)
            self.assertIn(words, str(problem))

    async def test_whoSpeaksNoTLS(self):
        far = End()
        far.connectionMade = lambda: far.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        port = reactor.listenTCP(0, Building(far), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        connecting = self.makeConnector()("127.0.0.1", port.getHost().port, End, 5)
        problem = await self.assertFailure(connecting, ConnectError)
        self.assertIn("the TLS handshake failed: ", str(problem))
        self.assertNotIsInstance(problem, CertificateRefused)
        await far.whenLost()

    async def test_whoHangsUp(self):
        far = End()
        far.dataReceived = lambda _: far.transport.loseConnection()
        port = reactor.listenTCP(0, Building(far), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        connecting = self.makeConnector()("127.0.0.1", port.getHost().port, End, 5)
        problem = await self.assertFailure(connecting, ConnectError)
        self.assertIn("the connection was closed", str(problem))
        await far.whenLost()

    async def test_whoSaysNothing(self):
        """The handshake has the same time as the connection."""
        far = End()
        port = reactor.listenTCP(0, Building(far), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        connecting = self.makeConnector()("127.0.0.1", port.getHost().port, End, 0.1)
        await self.assertFailure(connecting, error.TimeoutError)
        await far.whenLost()
        self.assertEqual(self.timers(), [])

    async def test_afterAGoodbyeTheConnectionIsLostWhoeverMightWrite(self):
        """A producer is told in the same moment that nothing can be sent any more, and not waited for."""
        far, address = self.listen()
        near = await self.makeConnector()("127.0.0.1", address.port, HalfCloseableEnd, 5)
        producer = Flood(near.transport, 0)
        near.transport.registerProducer(producer, True)
        near.transport.write(b"hello")
        await far.whenReceived(5)
        far.transport.loseConnection()
        await near.whenLost()
        self.assertEqual((near.events, producer.calls), (["made", "lost"], ["stop"]))
        self.assertTrue(near.reasons[0].check(error.ConnectionDone), near.reasons)
        await far.whenLost()

    async def test_whenItIsCancelledDuringTheHandshake(self):
        far = End()
        port = reactor.listenTCP(0, Building(far), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        connecting = self.makeConnector()("127.0.0.1", port.getHost().port, End, 5)
        await far.whenReceived(1)
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        await far.whenLost()
        await deferLater(reactor, 0)
        await deferLater(reactor, 0)
        self.assertEqual(self.timers(), [])


class ReactorSecureConnectorTests(SecureConnected, SecureConnectorTests, ConnectorContract):
    pass


class CarrierSecureConnectorTests(SecureConnected, SecureConnectorTests, ConnectorContract):
    skip = NOT_FAST
    fast = True


class TrustTests(SynchronousTestCase):
    def test_oneContextForAHost(self):
        """What is needed for a host is made once."""
        trust = Trust(authorities=AUTHORITY.pem)
        self.assertIs(trust.creator("127.0.0.1"), trust.creator("127.0.0.1"))
        self.assertIsNot(trust.creator("127.0.0.1"), trust.creator("127.0.0.2"))

    def test_othersMustProveWhoTheyAreEvenIfNothingIsSet(self):
        """Without settings, only addresses of this machine are believed."""
        kinds = {host: type(Trust().creator(host)).__name__ for host in ("127.0.0.1", "::1", "localhost", "127.9.9.9")}
        self.assertEqual(set(kinds.values()), {"AnyCertificate"})
        kinds = {
            host: type(Trust().creator(host)).__name__ for host in ("10.0.0.1", "node.example", "127.0.0.1.example")
        }
        self.assertEqual(set(kinds.values()), {"_Proven"})

    def test_whatIsNoAuthority(self):
        """A file without certificates is refused."""
        for pem, words in ((b"", "no certificate in it"), (AUTHORITY.pem.replace(b"MII", b"AAA"), "cannot be read")):
            problem = self.assertRaises(ValueError, Trust, authorities=pem)
            self.assertIn(words, str(problem))
