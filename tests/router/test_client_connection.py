"""Several requests on one connection, and clients that take their time."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.router.world import World, chunked, get, head, ok, parse, post, unchunk, values
from waiter.router.limits import Limits


class PipelineTests(SynchronousTestCase):
    def test_answersComeInOrder(self):
        """Requests that are sent ahead are answered one after the other."""
        world = World(slots=5)
        client = world.client()
        client.deliver(b"".join(get(b"/%d" % n) for n in range(5)))
        for n in range(5):
            world.step()
            instance = world.instances.last
            self.assertEqual(parse(instance.take())[0], b"GET /%d HTTP/1.1" % n)
            self.assertEqual(world.reserver.slots_in_use, 1)
            instance.deliver(ok(b"%d" % n))
            self.assertEqual(parse(client.take())[2], b"%d" % n)
        world.check_idle(self)
        self.assertEqual(world.numbers.total, 5)

    def test_bodiesAndRequestsMixed(self):
        """Bodies with a length, chunked ones and none follow each other without a gap."""
        world = World()
        client = world.client()
        requests = [
            post(b"one"),
            get(b"/two"),
            head(b"PUT /three HTTP/1.1", b"Host: app.example", b"Transfer-Encoding: chunked") + chunked(b"th", b"ree"),
            get(b"/four"),
            post(b"x" * 10000, target=b"/five"),
            get(b"/six"),
        ]
        client.deliver(b"".join(requests))
        seen = []
        for _ in requests:
            world.step()
            instance = world.instances.last
            first, _, rest = parse(instance.take())
            seen.append((first.split()[1], len(rest)))
            instance.deliver(ok())
        self.assertEqual(
            seen, [(b"/", 3), (b"/two", 0), (b"/three", 15), (b"/four", 0), (b"/five", 10000), (b"/six", 0)]
        )
        self.assertEqual(client.take().count(b"HTTP/1.1 200 OK"), 6)
        world.check_idle(self)

    def test_aRefusalHasItsTurn(self):
        """What cannot be understood is refused after the requests before it are answered; nothing after it is read."""
        world = World()
        client, instance = world.ask(get(b"/good") + b"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n" + get(b"/never"))
        self.assertEqual(client.take(), b"")
        instance.deliver(ok(b"good"))
        answers = client.take()
        first, headers, rest = parse(answers)
        self.assertEqual((first, rest[:4], values(headers, b"connection")), (b"HTTP/1.1 200 OK", b"good", []))
        first, headers, _ = parse(rest[4:])
        self.assertEqual((first, values(headers, b"connection")), (b"HTTP/1.1 400 Bad Request", [b"close"]))
        self.assertTrue(client.half)
        world.wait(6)
        self.assertEqual(client.end, "aborted")
        self.assertEqual(world.numbers.total, 1)

    def test_nobodyCanQueueWithoutBound(self):
        """Of what is sent ahead only so much is read."""
        world = World()
        client, instance = world.ask(get(b"/first"))
        for _ in range(10):
            client.deliver(get(b"/x") * 200)
        self.assertTrue(client.paused)
        self.assertLess(len(client.protocol._pending) + sum(map(len, client._arriving)), 10 * 200 * 50)
        instance.deliver(ok())
        for _ in range(2000):
            world.step()
            instance.deliver(ok())
        self.assertFalse(client.paused)
        self.assertEqual(world.numbers.total, 2001)
        self.assertEqual(client.take().count(b"HTTP/1.1 200"), 2001)

    def test_errorsOfServicesDoNotEndTheConnection(self):
        """One request that fails does not take the next with it."""
        world = World()
        client, instance = world.ask(post(b"1") + get(b"/2"))
        instance.reset()
        world.step()
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 502 Bad Gateway")
        world.wait(11)
        self.assertEqual(parse(world.instances.last.take())[0], b"GET /2 HTTP/1.1")

    def test_manyRefusedRequests(self):
        """Requests that need no waiting do not nest."""
        world = World()
        client = world.client()
        client.deliver(get().replace(b"app", b"other") * 3000)
        while world.clock.getDelayedCalls() and client.written.count(b"HTTP/1.1 400") < 3000:
            world.step()
        self.assertEqual(client.take().count(b"HTTP/1.1 400"), 3000)
        self.assertEqual(client.end, None)

    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def test_segmentsDoNotMatter(self, data):
        """However the stream of requests is cut into segments, the instances get the same."""
        stream = (
            post(b"first body")
            + b"\r\n"
            + get(b"/2")
            + get(b"/3")
            + head(b"PUT /4 HTTP/1.1", b"Host: app.example", b"Transfer-Encoding: chunked")
            + chunked(b"abc", b"d" * 20, trailers=(b"X-T: 1",))
            + head(
                b"POST /5 HTTP/1.1", b"Host: app.example", b"Connection: upgrade", b"Upgrade: h2c", b"Content-Length: 4"
            )
            + b"GET "
            + get(b"/6")
            + get(b"/7", b"Connection: close")
            + get(b"/8")
        )
        cuts = sorted(data.draw(st.lists(st.integers(1, len(stream) - 1), max_size=12)))
        pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        world = World()
        client = world.client()
        seen = []
        for piece in [*pieces, *[b""] * 8]:
            client.deliver(piece)
            world.step()
            for wire in world.instances.wires:
                if wire.protocol.asker is not None and client.protocol.responder.request.complete:
                    first, headers, rest = parse(wire.take())
                    body, trailers = unchunk(rest) if values(headers, b"transfer-encoding") else (rest, b"")
                    seen.append((first.split()[1], values(headers, b"upgrade"), body, trailers))
                    wire.deliver(ok())
        self.assertEqual(
            seen,
            [
                (b"/", [], b"first body", b""),
                (b"/2", [], b"", b""),
                (b"/3", [], b"", b""),
                (b"/4", [], b"abc" + b"d" * 20, b"X-T: 1\r\n"),
                (b"/5", [], b"GET ", b""),
                (b"/6", [], b"", b""),
                (b"/7", [], b"", b""),
            ],
        )
        self.assertEqual(client.take().count(b"HTTP/1.1 200 OK"), 7)
        world.check_idle(self)


class SlowClientTests(SynchronousTestCase):
    def test_idle(self):
        """A connection that is not used is closed after a while, without a word."""
        world = World()
        client, instance = world.ask()
        instance.deliver(ok())
        client.take()
        world.wait(74)
        self.assertEqual(client.end, None)
        world.wait(2)
        self.assertEqual((client.end, client.take()), ("closed", b""))

    def test_nothingAtAll(self):
        """A connection on which nothing comes is closed sooner."""
        world = World()
        client = world.client()
        world.wait(32)
        self.assertEqual((client.end, client.take()), ("closed", b""))

    def test_slowHead(self):
        """A head may take only so long in all, however steadily it comes."""
        world = World()
        client = world.client()
        request = get(b"/" + b"x" * 200)
        for byte in request[:40]:
            client.deliver(bytes([byte]))
            world.wait(1)
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 408 Request Timeout")
        self.assertTrue(client.half)
        world.wait(6)
        self.assertEqual(client.end, "aborted")

    def test_slowSecondHead(self):
        """The next one has as much time as the first."""
        world = World()
        client, instance = world.ask()
        world.wait(60)
        instance.deliver(ok())
        client.take()
        world.wait(60)
        client.deliver(get()[:20])
        world.wait(29)
        self.assertEqual(client.end, None)
        client.deliver(get()[20:])
        world.step()
        world.wait(60)
        self.assertEqual(client.end, None)

    def test_emptyLinesAreNoRequest(self):
        """They do not keep a connection open."""
        world = World()
        client = world.client()
        for _ in range(40):
            client.deliver(b"\r\n")
            world.wait(1)
        self.assertEqual(client.end, "closed")

    def test_bodyNobodyWants(self):
        """A client that stops in the middle of a body that is thrown away is cut off."""
        world = World()
        client = world.client()
        client.deliver(post(b"hello")[:-1].replace(b"app", b"other"))
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 400 Bad Request")
        world.wait(59)
        self.assertEqual(client.end, None)
        world.wait(2)
        self.assertEqual(client.end, "aborted")

    def test_waitingForASlotIsNoIdling(self):
        """A request may wait for an instance much longer than a connection may be idle."""
        world = World(instances=0)
        client = world.client()
        client.deliver(get())
        world.wait(250)
        self.assertEqual((client.end, world.reserver.load.waiting), (None, 1))

    def test_lingering(self):
        """After the last answer a client that still sends is listened to, so that it can read the answer."""
        world = World()
        client = world.client()
        client.deliver(b"nonsense\r\n\r\n" + b"x" * 10000)
        self.assertEqual(client.take()[:12], b"HTTP/1.1 501")
        self.assertEqual((client.half, client.end), (True, None))
        client.deliver(b"x" * 100000)
        client.finish()
        self.assertEqual(client.end, "closed")


class LimitTests(SynchronousTestCase):
    def refusal(self, request, **limits):
        world = World(limits=Limits(**limits))
        client = world.client()
        client.deliver(request)
        world.step()
        if world.instances.wires:
            return None
        first, headers, _ = parse(client.take())
        self.assertEqual(values(headers, b"connection"), [b"close"])
        self.assertTrue(client.half or client.end)
        return first[9:12]

    def test_headSize(self):
        """A head of up to 32 KiB is served; a longer one is refused with 431, in whatever pieces it comes."""
        room = 32768 - len(get(b"/", b"X: "))
        self.assertIsNone(self.refusal(get(b"/", b"X: " + b"x" * room)))
        self.assertEqual(self.refusal(get(b"/", b"X: " + b"x" * (room + 1))), b"431")
        self.assertEqual(self.refusal(get(b"/" + b"x" * 40000)), b"431")
        self.assertEqual(self.refusal(b"GET /" + b"x" * 50000), b"431")
        self.assertEqual(self.refusal(get(b"/", *[b"X-%d: %b" % (n, b"x" * 500) for n in range(80)])), b"431")

    def test_headerCount(self):
        """No more than so many headers."""
        self.assertIsNone(self.refusal(get(b"/", *[b"X: y"] * 199)))
        self.assertEqual(self.refusal(get(b"/", *[b"X: y"] * 200)), b"431")
        self.assertEqual(self.refusal(get(b"/", *[b"X: y"] * 5), header_count=5), b"431")

    def test_trailerSize(self):
        """Trailers are bounded like heads."""
        world = World()
        request = head(b"POST / HTTP/1.1", b"Host: app.example", b"Transfer-Encoding: chunked")
        client, instance = world.ask(request + b"1\r\na\r\n0\r\n")
        for n in range(80):
            client.deliver(b"X-%d: %b\r\n" % (n, b"x" * 500))
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 431 Request Header Fields Too Large")
        self.assertEqual(instance.end, "aborted")
        world.check_idle(self)
