"""The ways requests come."""

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import ISSLTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from waiter.router import forwarding
from waiter.router.forwarding import Forwardings

HERE = IPv4Address("TCP", "127.0.0.1", 9091)


class Plain:
    def __init__(self, peer, host=HERE):
        self._peer = peer
        self._host = host

    def getPeer(self):
        return self._peer

    def getHost(self):
        return self._host


@implementer(ISSLTransport)
class Secure(Plain):
    """Encrypted."""


class ForwardingsTests(SynchronousTestCase):
    def test_whatIsTold(self):
        for transport, expected in (
            (Plain(IPv4Address("TCP", "10.0.0.1", 1)), (b"10.0.0.1", b"http", b"9091", False)),
            (Secure(IPv6Address("TCP", "fe80::1", 1)), (b"fe80::1", b"https", b"9091", False)),
            (Plain(IPv4Address("TCP", "127.1.2.3", 1)), (b"127.1.2.3", b"http", b"9091", True)),
            (Plain(IPv6Address("TCP", "::1", 1)), (b"::1", b"http", b"9091", True)),
            (Plain(IPv6Address("TCP", "::ffff:127.0.0.1", 1)), (b"::ffff:127.0.0.1", b"http", b"9091", True)),
            (Plain(UNIXAddress(None), UNIXAddress(b"/s")), (b"unknown", b"http", b"", True)),
        ):
            told = Forwardings().of(transport)
            self.assertEqual((told.address, told.proto, told.port, told.trusted), expected)

    def test_oneForAllThatCameTheSameWay(self):
        """From whatever port."""
        forwardings = Forwardings()
        first = forwardings.of(Plain(IPv4Address("TCP", "10.0.0.1", 1)))
        self.assertIs(forwardings.of(Plain(IPv4Address("TCP", "10.0.0.1", 2))), first)
        for other in (
            Plain(IPv4Address("TCP", "10.0.0.2", 1)),
            Plain(IPv4Address("TCP", "10.0.0.1", 1), IPv4Address("TCP", "127.0.0.1", 9092)),
            Secure(IPv4Address("TCP", "10.0.0.1", 1)),
        ):
            self.assertIsNot(forwardings.of(other), first)

    def test_memoryIsBounded(self):
        self.patch(forwarding, "_MOST", 10)
        forwardings = Forwardings()
        for number in range(100):
            forwardings.of(Plain(IPv4Address("TCP", f"10.0.0.{number}", 1)))
            self.assertLessEqual(len(forwardings._known), 10)
