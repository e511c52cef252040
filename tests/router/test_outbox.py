"""What is sent at the end of a turn of the loop."""

from twisted.trial.unittest import SynchronousTestCase

from waiter.router.outbox import MANY, SMALL, Outbox


class Loop:
    """Calls what is to be called soon when the test says so."""

    def __init__(self):
        self.soon = []

    def call_soon(self, call):
        self.soon.append(call)

    def turn(self):
        soon, self.soon = self.soon, []
        for call in soon:
            call()


class OutboxTests(SynchronousTestCase):
    def setUp(self):
        self.loop = Loop()
        self.outbox = Outbox(self.loop)
        self.sent = []
        self.first, self.second = (self.writer(name) for name in "ab")

    def writer(self, name):
        return self.outbox.writer(lambda data: self.sent.append((name, data)))

    def test_smallPiecesOfAllConnectionsAreSentInOrderAtTheEndOfTheTurn(self):
        self.first(b"1")
        self.second(b"2")
        self.first(b"3")
        self.assertEqual(self.sent, [])
        self.assertEqual(len(self.loop.soon), 1)
        self.loop.turn()
        self.assertEqual(self.sent, [("a", b"1"), ("b", b"2"), ("a", b"3")])
        self.first(b"4")
        self.loop.turn()
        self.assertEqual(self.sent[3:], [("a", b"4")])

    def test_aLargePieceIsSentAtOnceAfterThoseBefore(self):
        self.first(b"1")
        large = b"x" * (SMALL + 1)
        self.first(large)
        self.assertEqual(self.sent, [("a", b"1"), ("a", large)])
        self.loop.turn()
        self.assertEqual(len(self.sent), 2)

    def test_whatMayChangeIsSentAtOnce(self):
        data = bytearray(b"1")
        self.first(data)
        self.assertEqual(self.sent, [("a", b"1")])

    def test_manyPiecesAreSentAtOnce(self):
        for _ in range(MANY):
            self.first(b"1")
        self.assertEqual(len(self.sent), MANY)
        self.first(b"2")
        self.loop.turn()
        self.assertEqual(len(self.sent), MANY + 1)

    def test_whoIsToldThatHeSendsTooMuchMayFlushAndWrite(self):
        """Nothing is sent twice, and nothing is forgotten."""

        def write(data):
            self.sent.append(("c", data))
            if data == b"1":
                self.outbox.flush()
                third(b"3")

        third = self.outbox.writer(write)
        third(b"1")
        self.first(b"2")
        self.loop.turn()
        self.assertEqual(self.sent, [("c", b"1"), ("a", b"2"), ("c", b"3")])

    def test_aConnectionThatFailsDoesNotKeepOthersFromSending(self):
        def write(data):
            raise ZeroDivisionError

        self.outbox.writer(write)(b"1")
        self.first(b"2")
        self.loop.turn()
        self.assertEqual(self.sent, [("a", b"2")])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
