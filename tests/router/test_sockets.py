import socket

from twisted.trial.unittest import SynchronousTestCase

from waiter.router.sockets import has_left, queued_bytes


class Transport:
    def __init__(self, handle):
        self.handle = handle

    def getHandle(self):
        return self.handle


class SocketTests(SynchronousTestCase):
    def setUp(self):
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            self.client = socket.create_connection(listening.getsockname())
            self.server = listening.accept()[0]
        self.addCleanup(self.client.close)
        self.addCleanup(self.server.close)
        self.transport = Transport(self.server)

    def left(self, *, half=True):
        return has_left(self.transport, half=half)

    def test_whoIsThereHasNotLeft(self):
        self.client.sendall(b"hello")
        self.assertFalse(self.left())

    def test_whoClosedHasLeftAlsoIfWhatWasSentIsUnread(self):
        self.client.sendall(b"hello")
        self.client.close()
        self.assertTrue(self.left())
        self.assertEqual(self.server.recv(100), b"hello")

    def test_whoSendsNoMoreHasLeftOnlyWhereHalfAConnectionIsNone(self):
        self.client.shutdown(socket.SHUT_WR)
        self.assertEqual((self.left(half=True), self.left(half=False)), (True, False))

    def test_whoResetHasLeft(self):
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.client.close()
        self.assertTrue(self.left(half=False))

    def test_ofAClosedSocketNothingIsKnown(self):
        self.server.close()
        self.assertFalse(self.left())
        self.assertFalse(has_left(object(), half=True))
        self.assertEqual(queued_bytes(-1), 0)

    def test_whatTheOtherSideHasNotTakenIsQueued(self):
        self.server.setblocking(False)
        sent = 0
        try:
            while True:
                sent += self.server.send(b"x" * 65536)
        except BlockingIOError:
            pass
        queued = queued_bytes(self.server.fileno())
        self.assertGreater(queued, 0)
        self.assertLess(queued, sent)
        self.client.settimeout(60)
        left = sent
        while left:
            left -= len(self.client.recv(65536))
        self.client.sendall(b"all read")
        self.server.settimeout(60)
        self.server.recv(100)
        self.assertEqual(queued_bytes(self.server.fileno()), 0)
