"""TLS to clients."""

import contextlib
import os
import socket
import ssl
from pathlib import Path

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.ssl import Certificate, CertificateOptions, TLSVersion, optionsForClientTLS
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.certificates import Authority
from tests.contracts.transports import MUCH, Building, Connecting, End, Flood, HalfCloseableEnd, TransportContract
from tests.router.test_carriers import NOT_FAST, OnSockets
from tests.router.test_listening import Ends
from tests.router.world import Wire, World
from waiter.router.carrier import Carrier
from waiter.router.certificates import Certificates
from waiter.router.endpoint import parse_endpoint
from waiter.router.listening import CannotListen, ListeningService
from waiter.router.tls import ServerTLSFactory
from waiter.telemetry.counters import RouterMetrics

AUTHORITY = Authority()
TRUST = Certificate.loadPEM(AUTHORITY.pem)
LOCAL = AUTHORITY.issue("localhost", "other.example", addresses=["127.0.0.1"])


def hello():
    """How a client begins."""
    client = SSL.Connection(CertificateOptions().getContext(), None)
    client.set_connect_state()
    with contextlib.suppress(SSL.WantReadError):
        client.do_handshake()
    return client.bio_read(65536)


HELLO = hello()


def written(path, *pems):
    Path(path).write_bytes(b"".join(pems))
    return path


class Files:
    """Mix with a test case: makes files of certificates."""

    def files(self, issued=LOCAL):
        """An endpoint with certificate and key in files of their own."""
        folder = Path(self.mktemp())
        folder.mkdir()
        self.certificate = written(folder / "certificate.pem", issued.pem)
        self.key = written(folder / "key.pem", issued.key_pem)
        return f"ssl:0:privateKey={self.key}:certKey={self.certificate}:interface=127.0.0.1"

    def directory(self, **issued):
        """An endpoint with certificates in a directory."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        for name, each in issued.items():
            written(self.folder / f"{name}.pem", each.pem, each.key_pem)
        return f"tls:{self.folder}:0:interface=127.0.0.1"


class CertificatesTests(Files, SynchronousTestCase):
    def loaded(self, endpoint):
        certificates = Certificates(parse_endpoint(endpoint))
        certificates.load()
        return certificates

    def shown(self, certificates, name=None):
        """The serial number of the certificate that a client sees, by OpenSSL alone."""
        server = certificates.serverConnectionForTLS(None)
        client = SSL.Connection(CertificateOptions().getContext(), None)
        if name is not None:
            client.set_tlsext_host_name(name)
        server.set_accept_state()
        client.set_connect_state()
        for _ in range(4):
            for one, other in ((client, server), (server, client)):
                with contextlib.suppress(SSL.WantReadError):
                    one.do_handshake()
                with contextlib.suppress(SSL.WantReadError):
                    other.bio_write(one.bio_read(65536))
        return [each.to_cryptography().serial_number for each in client.get_peer_cert_chain()]

    def refreshed(self, certificates, times=2):
        for _ in range(times):
            self.successResultOf(Deferred.fromCoroutine(certificates.refresh(maybeDeferred)))

    def test_fromFiles(self):
        """The certificate and its chain are shown whatever name is asked for."""
        middle = Authority("Middle", above=AUTHORITY)
        issued = middle.issue("a.example")
        endpoint = self.files(issued)
        for name in (None, b"a.example", b"b.example"):
            self.assertEqual(self.shown(self.loaded(endpoint), name), [issued.serial])
        more = written(self.mktemp(), middle.pem)
        self.assertEqual(self.shown(self.loaded(f"{endpoint}:extraCertChain={more}")), [issued.serial, middle.serial])
        written(self.certificate, issued.pem, middle.pem)
        self.assertEqual(self.shown(self.loaded(endpoint)), [issued.serial, middle.serial])

    def test_fromOneFile(self):
        """Key and certificate may be in one file."""
        path = written(self.mktemp(), LOCAL.key_pem, LOCAL.pem)
        self.assertEqual(self.shown(self.loaded(f"ssl:0:privateKey={path}")), [LOCAL.serial])

    def test_byName(self):
        """Of a directory the certificate is shown that is for the name asked for; the first one to all others."""
        a, b, many = AUTHORITY.issue("a.example"), AUTHORITY.issue("B.example"), AUTHORITY.issue("*.many.example")
        certificates = self.loaded(self.directory(first=a, second=b, third=many))
        for name, expected in (
            (None, a),
            (b"a.example", a),
            (b"b.example", b),
            (b"B.EXAMPLE", b),
            (b"x.many.example", many),
            (b"many.example", a),
            (b"x.y.many.example", a),
            (b"unknown.example", a),
            (b"\xff\xfe", a),
        ):
            self.assertEqual(self.shown(certificates, name), [expected.serial], name)

    def test_aDirectoryAsCertbotMakesThem(self):
        """Below a directory, keys and chains may be in files of their own, and files be links."""
        middle = Authority("Middle", above=AUTHORITY)
        issued = middle.issue("a.example")
        endpoint = self.directory()
        archive = Path(self.mktemp())
        archive.mkdir()
        live = self.folder / "a.example"
        live.mkdir()
        for name, pems in (
            ("cert", (issued.pem,)),
            ("chain", (middle.pem,)),
            ("fullchain", (issued.pem, middle.pem)),
            ("privkey", (issued.key_pem,)),
        ):
            written(archive / f"{name}1.pem", *pems)
            (live / f"{name}.pem").symlink_to((archive / f"{name}1.pem").absolute())
        (self.folder / "README").write_text("not a certificate")
        self.assertEqual(self.shown(self.loaded(endpoint)), [issued.serial, middle.serial])

    def test_filesThatChangeAreReadAgain(self):
        """When files have changed and rest, what they hold now is shown."""
        certificates = self.loaded(self.files())
        self.refreshed(certificates, 3)
        newer = AUTHORITY.issue("localhost")
        written(self.certificate, newer.pem)
        self.refreshed(certificates, 1)
        written(self.key, newer.key_pem)
        self.refreshed(certificates, 1)
        self.assertEqual(self.shown(certificates), [LOCAL.serial])
        self.refreshed(certificates, 1)
        self.assertEqual(self.shown(certificates), [newer.serial])

    def test_toTouchAFileIsEnough(self):
        """What is read again has new keys for tickets, also where the certificate is the same."""
        certificates = self.loaded(self.files())
        before = certificates._shown
        os.utime(self.certificate, (1, 1))
        self.refreshed(certificates)
        self.assertIsNot(certificates._shown.otherwise, before.otherwise)
        self.assertEqual(self.shown(certificates), [LOCAL.serial])

    def test_aDirectoryThatChangesIsReadAgain(self):
        """Certificates may come and go."""
        a, b = AUTHORITY.issue("a.example"), AUTHORITY.issue("b.example")
        certificates = self.loaded(self.directory(first=a))
        self.assertEqual(self.shown(certificates, b"b.example"), [a.serial])
        written(self.folder / "second.pem", b.pem, b.key_pem)
        self.refreshed(certificates)
        self.assertEqual(self.shown(certificates, b"b.example"), [b.serial])
        (self.folder / "first.pem").unlink()
        self.refreshed(certificates)
        self.assertEqual(self.shown(certificates, b"a.example"), [b.serial])

    def test_filesThatDoNotHoldAreLeft(self):
        """If what is there now cannot be used, that is logged once, and the old certificate is shown further on."""
        from twisted.logger import globalLogPublisher

        events = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        certificates = self.loaded(self.files())
        written(self.certificate, AUTHORITY.issue("localhost").pem)
        self.refreshed(certificates, 5)
        self.assertEqual(self.shown(certificates), [LOCAL.serial])
        said = [event for event in events if "cannot be used" in event.get("log_format", "")]
        self.assertEqual(len(said), 1)
        self.assertIn("is not that of the first certificate", said[0]["reason"])
        self.certificate.unlink()
        self.refreshed(certificates, 5)
        self.assertEqual(self.shown(certificates), [LOCAL.serial])
        self.assertIn("No such file", events[-1]["reason"])
        written(self.certificate, LOCAL.pem)
        self.refreshed(certificates, 5)
        self.assertIn("were read again", events[-1]["log_format"])

    def test_whatCannotBeServed(self):
        """A start fails with words that say which file, and what is the matter."""
        empty = self.directory()
        for endpoint, words in (
            ("ssl:0:privateKey=/nowhere.pem:interface=127.0.0.1", "/nowhere.pem cannot be read: No such file"),
            (empty, "no certificate whose key is there, too (certificates: 0, keys: 0)"),
            ("tls:/nowhere:0", "/nowhere is no directory that can be read"),
            (f"ssl:0:privateKey={__file__}", "has no certificate"),
        ):
            service = ListeningService(reactor, [endpoint], Ends())
            problem = self.assertRaises(CannotListen, service.privilegedStartService)
            self.assertIn(words, str(problem))
            self.assertIn(endpoint, str(problem))


class HandshakeTests(Files, SynchronousTestCase):
    """Handshakes that do not come to an end, in memory."""

    def setUp(self):
        self.world = World()
        self.numbers = self.world.metrics.router
        certificates = Certificates(parse_endpoint(self.files()))
        certificates.load()
        self.tls = ServerTLSFactory(certificates, self.world.factory, self.world.clock, self.numbers)

    def counted(self):
        return self.numbers.tls_failures_total, self.numbers.tls_timeouts_total

    def wire(self, data):
        wire = Wire(self.world.clock, self.tls.buildProtocol(None))
        wire.deliver(data)
        return wire

    def test_oneThatTakesTooLongIsEndedAndCounted(self):
        """However much of it has come. It is not one that failed."""
        for number, data in enumerate((b"", HELLO[:1], HELLO[:-1], HELLO), 1):
            wire = self.wire(data)
            self.world.wait(29)
            self.assertEqual(wire.end, None)
            self.world.wait(2)
            self.assertEqual((wire.end, self.counted()), ("aborted", (0, number)))
            self.assertEqual(self.numbers.connections_open, 0)

    def test_aClientThatGoesBeforeItsEndIsCounted(self):
        """Unless it never began: those are mostly checks whether somebody listens."""
        for data, expected in ((b"", 0), (HELLO[:1], 1), (HELLO, 2)):
            self.wire(data).reset()
            self.assertEqual(self.counted(), (expected, 0))

    def test_whatWaiterItselfBreaksOffIsNotCounted(self):
        wire = self.wire(HELLO)
        self.world.factory.drain(10)
        self.world.step()
        self.assertEqual((wire.end, self.counted()), ("aborted", (0, 0)))

    def test_anIdleClientAfterItIsNotCounted(self):
        """That its handshake is over is what matters."""
        client = SSL.Connection(CertificateOptions().getContext(), None)
        client.set_connect_state()
        wire = self.wire(b"")
        for _ in range(3):
            with contextlib.suppress(SSL.WantReadError):
                client.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                wire.deliver(client.bio_read(65536))
            if answered := wire.take():
                client.bio_write(answered)
        self.world.wait(40)
        self.assertEqual((wire.end, self.counted()), ("closed", (0, 0)))

    def test_oneWhoseConnectionNeverCameToBeIsForgotten(self):
        """The router had heard of it."""
        for _ in range(2):
            Carrier(None, self.tls.buildProtocol(None)).never_opened(OSError())
        self.assertEqual((self.numbers.connections_open, self.counted()), (0, (0, 0)))
        self.assertIsNone(self.successResultOf(self.world.factory.drain(30)))


class HalfCloseableEnds(Ends):
    kind = HalfCloseableEnd


class ServedTests:
    """Connections of clients to a listening service, on either kind of transports."""

    async def served(self):
        self.factory = HalfCloseableEnds()
        self.numbers = RouterMetrics()
        self.service = ListeningService(
            reactor, [self.files()], self.factory, fast=self.fast, certificates_secs=0.01, numbers=self.numbers
        )
        self.service.privilegedStartService()
        (self.address,) = self.service.addresses
        self.service.startService()
        self.addCleanup(self.nobodyIsLeft)
        self.addCleanup(self.service.stopService)

    async def nobodyIsLeft(self):
        for near in self.factory.ends:
            await self.gone(near)

    async def gone(self, end):
        if end.transport is not None and not end.reasons:
            end.transport.abortConnection()
            await end.whenLost()

    @property
    def near(self):
        """The server's end of the connection that was made last."""
        return self.factory.ends[-1]

    async def plain(self):
        """A client without TLS."""
        far = End()
        number = len(self.factory.ends)
        reactor.connectTCP("127.0.0.1", self.address.port, Connecting(far))
        await far.when(lambda: "made" in far.events)
        while len(self.factory.ends) == number:
            await self.turn()
        self.addCleanup(self.gone, far)
        return far

    async def client(self, options=None):
        far = End()
        options = options or optionsForClientTLS("localhost", trustRoot=TRUST, acceptableProtocols=[b"h2", b"http/1.1"])
        number = len(self.factory.ends)
        reactor.connectTCP("127.0.0.1", self.address.port, TLSMemoryBIOFactory(options, True, Connecting(far), reactor))
        await far.when(lambda: "made" in far.events)
        while len(self.factory.ends) == number:
            await self.turn()
        self.addCleanup(self.gone, far)
        return far

    async def test_bytesPassBothWays(self):
        await self.served()
        far = await self.client()
        far.transport.write(b"q" * MUCH)
        await self.near.whenReceived(MUCH)
        self.near.transport.write(b"a" * MUCH)
        await far.whenReceived(MUCH)
        self.assertEqual(far.transport.negotiatedProtocol, b"http/1.1")
        self.assertTrue(ISSLTransport.providedBy(self.near.transport))
        self.assertEqual(self.near.transport.getPeer(), far.transport.getHost())
        self.assertEqual(far.transport.getPeerCertificate().get_serial_number(), LOCAL.serial)
        await self.gone(far)
        await self.near.whenLost()
        self.assertEqual(self.numbers.tls_failures_total, 0)

    async def test_aClientThatDoesNotBelieveUsIsCounted(self):
        await self.served()
        far = await self.client(options=optionsForClientTLS("another.example", trustRoot=TRUST))
        far.transport.write(b"q")
        await far.whenLost()
        await self.near.whenLost()
        self.assertEqual((self.near.received, self.numbers.tls_failures_total), (b"", 1))

    async def test_closingDoesNotWaitForTheClientsGoodbye(self):
        await self.served()
        far = await self.client()
        far.transport.write(b"q")
        await self.near.whenReceived(1)
        far.transport.pauseProducing()
        self.near.transport.write(b"a" * 1000)
        self.near.transport.loseConnection()
        await self.near.whenLost()
        self.assertTrue(self.near.reasons[0].check(ConnectionDone))
        far.transport.resumeProducing()
        await far.whenLost()
        self.assertEqual((bytes(far.received), far.reasons[0].check(ConnectionDone)), (b"a" * 1000, ConnectionDone))

    async def test_anAbortedConnectionDoesNotLookLikeAnEnd(self):
        await self.served()
        far = await self.client()
        far.transport.write(b"q")
        await self.near.whenReceived(1)
        self.near.transport.write(b"half of it")
        await far.whenReceived(10)
        self.near.transport.abortConnection()
        await far.whenLost()
        self.assertTrue(far.reasons[0].check(ConnectionLost), far.reasons)

    async def test_oneDirectionCanEnd(self):
        """What was written before arrives, what is written after does not, and what the client sends is read on."""
        await self.served()
        # One that does not answer a goodbye by its own, as Twisted does.
        with socket.create_connection(("127.0.0.1", self.address.port)) as raw:
            client = await self.handshake(raw)
            await self.arrived()
            client.send(b"q")
            raw.sendall(client.bio_read(65536))
            await self.near.whenReceived(1)
            self.near.transport.write(b"the end")
            self.near.transport.loseWriteConnection()
            self.near.transport.write(b"lost")
            self.near.transport.loseWriteConnection()
            got = b""
            while True:
                try:
                    got += client.recv(65536)
                except SSL.WantReadError:
                    client.bio_write(await self.read(raw))
                except SSL.ZeroReturnError:
                    break
            self.assertEqual(got, b"the end")
            self.assertEqual(await self.read(raw), b"")
            client.send(b"more")
            raw.sendall(client.bio_read(65536))
            await self.near.whenReceived(5)
            self.assertEqual((self.near.received, self.near.reasons), (b"qmore", []))
        await self.near.whenLost()

    async def read(self, raw):
        raw.setblocking(False)
        while True:
            try:
                return raw.recv(65536)
            except BlockingIOError:
                await self.turn()

    async def arrived(self):
        while not self.factory.ends:
            await self.turn()

    async def turn(self):
        turned = Deferred()
        reactor.callLater(0, turned.callback, None)
        await turned

    async def handshake(self, raw):
        client = SSL.Connection(CertificateOptions().getContext(), None)
        client.set_connect_state()
        while True:
            try:
                client.do_handshake()
            except SSL.WantReadError:
                with contextlib.suppress(SSL.WantReadError):
                    raw.sendall(client.bio_read(65536))
                client.bio_write(await self.read(raw))
            else:
                raw.sendall(client.bio_read(65536))
                return client

    async def test_aClientThatSaysGoodbyeIsLostWhoeverMightWrite(self):
        await self.served()
        far = await self.client()
        far.transport.write(b"q")
        await self.near.whenReceived(1)
        producer = Flood(self.near.transport, 0)
        self.near.transport.registerProducer(producer, True)
        far.transport.loseConnection()
        await self.near.whenLost()
        self.assertEqual(producer.calls, ["stop"])
        self.assertTrue(self.near.reasons[0].check(ConnectionDone), self.near.reasons)

    async def test_aClientThatGoesWithoutAGoodbyeIsLost(self):
        await self.served()
        with socket.create_connection(("127.0.0.1", self.address.port)) as raw:
            await self.handshake(raw)
            await self.arrived()
        await self.near.whenLost()
        self.assertTrue(self.near.reasons[0].check(ConnectionLost), self.near.reasons)

    async def test_howMuchIsUnsentIsKnown(self):
        await self.served()
        far = await self.client()
        far.transport.write(b"q")
        await self.near.whenReceived(1)
        far.transport.pauseProducing()
        self.assertEqual(self.near.transport.unsent_bytes, 0)
        self.near.transport.write(b"a" * 8 * MUCH)
        self.assertGreater(self.near.transport.unsent_bytes, MUCH)
        far.transport.resumeProducing()
        await far.whenReceived(8 * MUCH)
        self.assertEqual(self.near.transport.unsent_bytes, 0)

    async def test_oldVersionsAreRefused(self):
        await self.served()
        options = CertificateOptions(
            insecurelyLowerMinimumTo=TLSVersion.TLSv1_0, lowerMaximumSecurityTo=TLSVersion.TLSv1_1
        )
        far = await self.client(options=options)
        far.transport.write(b"q")
        await far.whenLost()
        await self.near.whenLost()
        self.assertEqual((self.near.received, self.numbers.tls_failures_total), (b"", 1))

    async def session(self, context, name="localhost", known=None):
        """One connection of Python's own TLS. Answers whether it took up a known session, its session and its protocol."""
        number = len(self.factory.ends)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname=name, session=known)
        with socket.create_connection(("127.0.0.1", self.address.port)) as raw:

            async def done(step, *arguments):
                while True:
                    try:
                        result = step(*arguments)
                    except ssl.SSLWantReadError:
                        raw.sendall(outgoing.read())
                        incoming.write(await self.read(raw))
                    else:
                        raw.sendall(outgoing.read())
                        return result

            await done(tls.do_handshake)
            await done(tls.write, b"q")
            while len(self.factory.ends) == number:
                await self.turn()
            await self.near.whenReceived(1)
            # In TLS 1.3 the ticket comes before the first bytes.
            self.near.transport.write(b"a")
            await done(tls.read, 1)
            found = tls.session_reused, tls.session, tls.selected_alpn_protocol()
        await self.near.whenLost()
        return found

    def context(self, version=None):
        context = ssl.create_default_context(cadata=AUTHORITY.pem.decode())
        context.set_alpn_protocols(["h2", "http/1.1"])
        if version is not None:
            context.minimum_version = context.maximum_version = version
        return context

    async def test_aClientMayTakeUpItsSessionAgain(self):
        """With both versions of TLS; what is spoken is agreed upon anew."""
        await self.served()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = self.context(version)
            reused, session, protocol = await self.session(context)
            self.assertEqual((reused, protocol), (False, "http/1.1"), version)
            reused, _, protocol = await self.session(context, known=session)
            self.assertEqual((reused, protocol), (True, "http/1.1"), version)

    async def test_aSessionCanBeTakenUpWhateverNameIsAskedFor(self):
        """Those for names have contexts of their own."""
        self.files = lambda: self.directory(first=LOCAL, second=AUTHORITY.issue("b.example"))
        await self.served()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for name in ("localhost", "b.example"):
                context = self.context(version)
                _, session, _ = await self.session(context, name)
                reused, _, protocol = await self.session(context, name, session)
                self.assertEqual((reused, protocol), (True, "http/1.1"), (version, name))
                self.assertEqual(session.timeout, 7200)

    async def test_aSessionOfACertificateThatIsReplacedIsNotTakenUp(self):
        """The client notices nothing: it begins a new one."""
        await self.served()
        context = self.context()
        reused, session, _ = await self.session(context)
        (certificates,) = self.service._certificates
        certificates.load()
        reused, session, _ = await self.session(context, known=session)
        self.assertFalse(reused)
        self.assertTrue((await self.session(context, known=session))[0])

    async def test_whoSpeaksNoneOfOurProtocolsIsNotStopped(self):
        """It is answered in HTTP/1.1, which says what is wrong. Many clients do not say what they speak."""
        await self.served()
        for protocols, agreed in (
            ([], None),
            (["h2"], None),
            (["http/1.0"], "http/1.0"),
            (["http/1.1", "http/1.0"], "http/1.1"),
        ):
            context = ssl.create_default_context(cadata=AUTHORITY.pem.decode())
            if protocols:
                context.set_alpn_protocols(protocols)
            self.assertEqual((await self.session(context))[2], agreed)

    async def test_aClientThatSpeaksPlainHTTPIsToldSo(self):
        await self.served()
        far = await self.plain()
        far.transport.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await far.whenLost()
        await self.near.whenLost()
        head, _, body = bytes(far.received).partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 400 "))
        self.assertIn(b"content-length: %d" % len(body), head)
        self.assertIn(b"https://", body)
        self.assertEqual((self.near.received, self.numbers.tls_failures_total), (b"", 1))

    async def test_aClientThatSpeaksNeitherIsClosed(self):
        await self.served()
        for nonsense in (b"\x16\x03\x01\x00\x05hello", b"\x00" * 100):
            far = await self.plain()
            far.transport.write(nonsense)
            await far.whenLost()
            await self.near.whenLost()
            self.assertEqual(self.near.received, b"")
        self.assertEqual(self.numbers.tls_failures_total, 2)

    async def test_newConnectionsGetTheNewCertificateAndOldOnesGoOn(self):
        await self.served()
        first = await self.client()
        first.transport.write(b"q")
        first_near = self.near
        await first_near.whenReceived(1)
        newer = AUTHORITY.issue("localhost")
        for path, pem in ((self.certificate, newer.pem), (self.key, newer.key_pem)):
            Path(written(f"{path}.new", pem)).replace(path)
        serial = LOCAL.serial
        while serial != newer.serial:
            far = await self.client()
            far.transport.write(b"q")
            await self.near.whenReceived(1)
            serial = far.transport.getPeerCertificate().get_serial_number()
            await self.gone(far)
        first.transport.write(b"still here")
        await first_near.whenReceived(11)

    async def test_whomTheInnerFactoryRefusesIsClosed(self):
        await self.served()
        self.factory.refuses = True
        far = End()
        reactor.connectTCP("127.0.0.1", self.address.port, Connecting(far))
        await far.whenLost()


class ReactorServedTests(ServedTests, Files, TestCase):
    timeout = 120
    fast = False


class CarrierServedTests(ServedTests, Files, TestCase):
    skip = NOT_FAST
    timeout = 120
    fast = True


class SecureTransport(Files, OnSockets):
    """The near end is the server's in TLS, the far end is Twisted's own TLS."""

    async def connect(self, near, far):
        service = ListeningService(reactor, [self.files()], Building(near), fast=self.fast)
        service.startService()
        self.addCleanup(service.stopService)
        (address,) = service.addresses
        options = optionsForClientTLS("localhost", trustRoot=TRUST)
        reactor.connectSSL("127.0.0.1", address.port, Connecting(far), options)
        await near.when(lambda: "made" in near.events)
        await far.when(lambda: "made" in far.events)


DIFFERENT = frozenset(
    {
        # One direction can end, which is tested above; Twisted's TLS at the far end takes that for the end of both.
        "test_theWriteSideCanBeClosedWithNothingWritten",
        "test_whenPausedFromTheStartThePeersEndIsStillSeen",
        "test_whenThePeerIsNotHalfCloseableItsEndIsTheEnd",
        "test_whenThePeerSendsNoMoreTheRestGoesOn",
        "test_whenTheWriteSideIsClosedWhatWasWrittenIsSentFirst",
        # The far end waits for a goodbye, which a paused near end does not say.
        "test_whatThePeerSentBeforeItClosedIsThereAfterAPause",
        # Closed before the handshake is done, it is aborted.
        "test_itCanBeClosedAsSoonAsItIsConnected",
        "test_itCanBeClosedWhilePausedSinceItWasConnected",
        # The far end reports in OpenSSL's words.
        "test_whenItIsAbortedThePeerSeesAReset",
        "test_whenItIsAbortedWhatWasNotSentIsDropped",
        # A protocol's failure is logged, and the connection lost for another reason.
        "test_whenTheProtocolFailsItsConnectionIsClosedAndTheFailureIsLogged",
        # Twisted's own ways; the last thing a producer is told may be to pause when it has no more.
        "test_aProducerIsPausedWhileThePeerDoesNotRead",
        "test_aPullProducerIsAskedAsLongAsItIsRegistered",
        "test_onlyBytesCanBeWritten",
        "test_optionsOfItsSocketCanBeSet",
        "__dict__",
        "__weakref__",
    }
)
SecureTransportContract = type(
    "SecureTransportContract",
    (),
    {name: value for name, value in vars(TransportContract).items() if name not in DIFFERENT},
)
"""What of the contract holds in TLS in the same words."""


class ReactorSecureTransportTests(SecureTransportContract, SecureTransport):
    pass


class CarrierSecureTransportTests(SecureTransportContract, SecureTransport):
    skip = NOT_FAST
    fast = True
