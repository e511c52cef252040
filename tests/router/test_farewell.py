import socket

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from waiter.router.farewell import MOST, PATIENCE_SECS, Farewells


class FarewellTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.farewells = Farewells(self.clock)
        self.addCleanup(self.farewells.close)

    def pair(self):
        """Both ends of a connection: the one that was accepted and the client's."""
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            client = socket.create_connection(listening.getsockname())
            client.settimeout(60)
            self.addCleanup(client.close)
            return listening.accept()[0], client

    def test_theClientIsToldAndTheConnectionEnds(self):
        accepted, client = self.pair()
        self.farewells.bid(accepted, b"enough")
        self.assertEqual(client.recv(100) + client.recv(100), b"enough")
        self.assertNotEqual(accepted.fileno(), -1)
        self.clock.advance(PATIENCE_SECS)
        self.assertEqual(accepted.fileno(), -1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_whatTheClientSendsMeanwhileDoesNotCostItTheWords(self):
        accepted, client = self.pair()
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        self.farewells.bid(accepted, b"enough")
        client.sendall(b"and more")
        self.clock.advance(PATIENCE_SECS)
        self.assertEqual(client.recv(100) + client.recv(100), b"enough")

    def test_noMoreThanSoManyAreHeld(self):
        pairs = [self.pair()[0] for _ in range(MOST + 3)]
        for accepted in pairs:
            self.farewells.bid(accepted, b"enough")
        self.assertEqual([accepted.fileno() == -1 for accepted in pairs], [True] * 3 + [False] * MOST)

    def test_eachHasItsTime(self):
        first, second = self.pair()[0], self.pair()[0]
        self.farewells.bid(first, b"enough")
        self.clock.advance(PATIENCE_SECS / 2)
        self.farewells.bid(second, b"enough")
        self.clock.advance(PATIENCE_SECS / 2)
        self.assertEqual((first.fileno() == -1, second.fileno() == -1), (True, False))
        self.clock.advance(PATIENCE_SECS / 2)
        self.assertEqual(second.fileno(), -1)

    def test_whoIsGoneAlreadyIsNoTrouble(self):
        accepted, client = self.pair()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        self.farewells.bid(accepted, b"enough")
        self.farewells.close()
        self.assertEqual(accepted.fileno(), -1)
