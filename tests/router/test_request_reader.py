"""From bytes to requests."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.router.world import chunked, get, head, ok, post
from waiter.errors import HeadTooLarge, MethodNotAllowed, WaiterError
from waiter.router.first_lines import FirstLines
from waiter.router.headers import read_request
from waiter.router.known_heads import KnownHeads
from waiter.router.limits import Limits
from waiter.router.request_reader import RequestReader

CHUNKED = head(b"PUT / HTTP/1.1", b"Host: app.example", b"Transfer-Encoding: chunked")


def read(stream, *, segments=None):
    """The requests in a stream, and the most that came of one piece."""
    arrived = []
    reader = RequestReader(Limits(), FirstLines(), KnownHeads(), arrived.append)
    most = 0
    for segment in segments or [stream]:
        pending = segment
        while pending:
            before = len(arrived)
            room = reader.room
            rest = reader.feed(pending[:room])
            pending = rest + pending[room:]
            most = max(most, len(arrived) - before)
    return arrived, most


def bodies(requests):
    return [(request.target, b"".join(request.body), request.complete) for request in requests]


class PieceTests(SynchronousTestCase):
    """Nobody can make more requests come to be at once than fit into 4 KiB."""

    MOST = 4096 // len(get())
    AHEAD = get() * 5000

    def test_alone(self):
        requests, most = read(self.AHEAD)
        self.assertEqual(len(requests), 5000)
        self.assertLessEqual(most, self.MOST + 1)

    def test_behindBodies(self):
        for body in (
            chunked(b"x" * 200000),
            chunked(),
            b"1\r\nx\r\n000;a=b\r\n\r\n",
            chunked(b"x" * 100000, trailers=[b"X: " + b"y" * 5000, b"Z: " + b"z" * 20000]),
            chunked(b"\r\n0\r\n\r\n" * 10000, b"\r\n0" * 5000, b"0" * 5000),
            chunked(*[b"x" * 65000] * 5),
        ):
            requests, most = read(CHUNKED + body + self.AHEAD)
            self.assertEqual(len(requests), 5001)
            self.assertLessEqual(most, self.MOST + 1)
        requests, most = read(post(b"x" * 200000) + self.AHEAD)
        self.assertEqual(len(requests), 5001)
        self.assertLessEqual(most, self.MOST + 1)

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(st.binary(max_size=30) | st.integers(1, 70000).map(bytes) | st.just(b"\r\n0\r\n"), max_size=5),
        st.lists(st.integers(0, 200000), max_size=4),
    )
    def test_howeverItIsCut(self, chunks, cuts):
        body = chunked(*[chunk for chunk in chunks if chunk])
        stream = CHUNKED + body + self.AHEAD[: len(get()) * 1000]
        places = sorted({cut % len(stream) for cut in cuts} - {0})
        segments = [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]
        requests, most = read(stream, segments=segments)
        self.assertEqual(b"".join(requests[0].body), b"".join(chunks))
        self.assertEqual(len(requests), 1001)
        self.assertLessEqual(most, self.MOST + 1)


class RepeatedTests(SynchronousTestCase):
    def reader(self, *requests):
        arrived = []
        reader = RequestReader(Limits(), FirstLines(), KnownHeads(), arrived.append)
        for request in requests:
            self.assertEqual(reader.feed(request), b"")
        return reader, arrived

    def test_sameHeaders(self):
        """A request with the headers of the one before is recognised, whatever its method and target."""
        reader, (first,) = self.reader(get(b"/1", b"X: y"))
        for method, target in ((b"GET", b"/2?a"), (b"DELETE", b"/3"), (b"MKCOL", b"/"), (b"GET", b"/")):
            request = reader.repeated(get(target, b"X: y").replace(b"GET", method))
            self.assertEqual((request.method, request.target, request.complete), (method, target, True))
            self.assertIs(request.headers, first.headers)

    def test_whatIsNot(self):
        """Anything else is not, and is read as if nothing had been tried."""
        for data in (
            get(b"/", b"X: z"),
            get(b"/", b"x: y"),
            get(b"/"),
            get(b"/", b"X: y")[:-1],
            get(b"/", b"X: y") * 2,
            get(b"/", b"X: y") + b"\r\n",
            get(b"/", b"X: y", version=b"1.0"),
            get(b"http://app.example/", b"X: y"),
            get(b"/#f", b"X: y"),
            b"\r\n" + get(b"/", b"X: y"),
            b"\n" + get(b"/", b"X: y"),
            b"\r" + get(b"/", b"X: y"),
            b" " + get(b"/", b"X: y"),
            get(b"/a b", b"X: y"),
            get(b"/\x00", b"X: y"),
            get(b"/\n", b"X: y"),
            get(b"/", b"X: y").replace(b"GET", b"FOO"),
            get(b"/", b"X: y").replace(b"GET", b"CONNECT"),
            get(b"/", b"X: y").replace(b"GET", b"DESCRIBE"),
            get(b"/", b"X: y").replace(b" HTTP", b"  HTTP"),
            b"",
            b"\r\n\r\n",
        ):
            plain, plain_arrived = self.reader()
            expected = self.outcome(plain, plain_arrived, data)
            reader, arrived = self.reader(get(b"/", b"X: y"))
            arrived.clear()
            request = reader.repeated(data)
            self.assertIsNone(request, data)
            self.assertEqual(self.outcome(reader, arrived, data), expected)

    def outcome(self, reader, arrived, data):
        try:
            reader.feed(data)
        except WaiterError as error:
            return str(error)
        return bodies(arrived)

    def test_neverRemembered(self):
        """Requests with a body, of HTTP/1.0, or that want another protocol, and what came with something else."""
        for request in (
            post(b"x"),
            CHUNKED + chunked(b"x"),
            get(b"/", version=b"1.0"),
            get(b"/", b"Connection: keep-alive", version=b"1.0"),
            get(b"/", b"Connection: close") + get(),
            get(b"/", b"Connection: upgrade", b"Upgrade: websocket"),
            get(b"/", b"Connection: upgrade", b"Upgrade: h2c"),
            b"\r\n" + get(),
            get() * 2,
        ):
            reader, _ = self.reader(request)
            self.assertIsNone(reader.repeated(request), request)
            self.assertIsNone(reader.repeated(get()), request)

    def test_severalAreRemembered(self):
        """Those seen before, too, whatever was in between, and on other connections."""
        lines, known_heads = FirstLines(), KnownHeads()
        first, second = (RequestReader(Limits(), lines, known_heads, lambda request: None) for _ in range(2))
        for request in (get(b"/", b"A: 1"), post(b"x"), get(b"/", b"B: 1")) * 2:
            first.feed(request)
        for reader in (first, second, first):
            for header in (b"A: 1", b"B: 1", b"A: 1"):
                request = reader.repeated(get(b"/x", header))
                self.assertIn((header[:1], b"1"), request.headers.fields)
            self.assertIsNone(reader.repeated(get(b"/", b"C: 1")))

    def test_theLastRequest(self):
        """That a client sends no more is remembered, too."""
        lines, known_heads = FirstLines(), KnownHeads()
        first, second = (RequestReader(Limits(), lines, known_heads, lambda request: None) for _ in range(2))
        first.feed(get(b"/", b"Connection: close"))
        self.assertTrue(first.ended)
        self.assertIsNone(second.repeated(get(b"/", b"Connection: close")))
        known_heads.remember(first._block, first._headers)
        self.assertFalse(second.repeated(get(b"/", b"Connection: close")).headers.keep_alive)
        self.assertTrue(second.ended)

    def test_answersAreNoRequests(self):
        """Nor is anything else that happens to end alike."""
        reader, _ = self.reader(get())
        self.assertIsNone(reader.repeated(ok()))


class RefusalTests(SynchronousTestCase):
    def test_theReasonIsToldWhileAnotherErrorIsBeingHandled(self):
        for stream, refusal in (
            (get(b"/", b"X: " + b"y" * 40000), HeadTooLarge),
            (get(b"/", *[b"X: y"] * 1000), HeadTooLarge),
            (get().replace(b"GET", b"CONNECT"), MethodNotAllowed),
            (CHUNKED + chunked(trailers=[b"X: " + b"y" * 40000]), HeadTooLarge),
        ):
            self.assertRaises(refusal, read, stream)
            try:
                [].pop()
            except IndexError:
                self.assertRaises(refusal, read, stream)


class KnownHeadsTests(SynchronousTestCase):
    HEADERS = read_request([(b"Host", b"a")], 1)

    def keep(self, heads, block):
        heads.remember(block, self.HEADERS)
        heads.remember(block, self.HEADERS)

    def test_whatComesOnce(self):
        """What has come once only is not kept; of what came, only so much is known."""
        heads = KnownHeads()
        for n in range(20000):
            heads.remember(b"%d" % n, self.HEADERS)
        self.assertIsNone(heads.find(b"19999"))
        heads.remember(b"19999", self.HEADERS)
        self.assertIsNotNone(heads.find(b"19999"))
        self.assertLess(len(heads._noted), 10000)

    def test_bound(self):
        """They take only so much memory; what is in use stays."""
        heads = KnownHeads(most_bytes=20000)
        most = 0
        for n in range(1000):
            self.keep(heads, b"%d" % n)
            self.assertIsNotNone(heads.find(b"0"))
            most = max(most, len(heads._young) + len(heads._old))
        self.assertIn(most, range(10, 17))
        self.assertIsNone(heads.find(b"1"))
        self.assertIsNotNone(heads.find(b"999"))

    def test_manyHeaders(self):
        """Those with many headers take as much room as their objects."""
        large = read_request([(b"Host", b"a")] + [(b"X", b"y")] * 199, 1)
        heads = KnownHeads(most_bytes=1 << 20)
        for n in range(1000):
            heads.remember(b"%d" % n, large)
            heads.remember(b"%d" % n, large)
        self.assertLess(len(heads._young) + len(heads._old), 30)

    def test_manyServices(self):
        """A thousand services that browsers ask for in turns are known all the time."""
        headers = read_request([(b"Host", b"a")] + [(b"X", b"y")] * 20, 1)
        heads = KnownHeads()
        blocks = [b"x" * 900 + b"%d" % n for n in range(1000)]
        for block in blocks * 2:
            heads.remember(block, headers)
        for block in blocks * 3:
            self.assertIsNotNone(heads.find(block))

    def test_longOnes(self):
        """Very long ones are not."""
        heads = KnownHeads()
        self.keep(heads, b"x" * 4096)
        self.keep(heads, b"y" * 4097)
        self.assertIsNotNone(heads.find(b"x" * 4096))
        self.assertIsNone(heads.find(b"y" * 4097))
