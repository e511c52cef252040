"""WebSockets."""

from twisted.trial.unittest import SynchronousTestCase

from tests.router.world import World, get, head, ok, parse, post, values

WEBSOCKET = (b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket", b"Sec-WebSocket-Key: k")
AGREED = head(
    b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: a"
)


def opened(**options):
    """A world with an open tunnel, and its two ends."""
    world = World(**options)
    client, instance = world.ask(get(b"/ws", *WEBSOCKET))
    request = instance.take()
    instance.deliver(AGREED)
    return world, client, instance, request, client.take()


class OpenTests(SynchronousTestCase):
    def test_bytesPassBothWays(self):
        """After the instance's 101 all bytes are passed on, in both directions."""
        world, client, instance, request, answer = opened()
        first, headers, _ = parse(request)
        self.assertEqual(first, b"GET /ws HTTP/1.1")
        self.assertEqual((values(headers, b"upgrade"), values(headers, b"connection")), ([b"WebSocket"], [b"Upgrade"]))
        self.assertEqual(values(headers, b"sec-websocket-key"), [b"k"])
        first, headers, rest = parse(answer)
        self.assertEqual((first, rest), (b"HTTP/1.1 101 Switching Protocols", b""))
        self.assertEqual(values(headers, b"sec-websocket-accept"), [b"a"])
        self.assertEqual((values(headers, b"upgrade"), values(headers, b"connection")), ([b"websocket"], [b"Upgrade"]))
        self.assertEqual(len(values(headers, b"x-cid")), 1)
        client.deliver(b"\x81\x00GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(instance.take(), b"\x81\x00GET / HTTP/1.1\r\n\r\n")
        instance.deliver(b"\x82\x00HTTP/1.1 200 OK\r\n\r\n")
        self.assertEqual(client.take(), b"\x82\x00HTTP/1.1 200 OK\r\n\r\n")
        self.assertEqual((world.reserver.slots_in_use, world.numbers.streaming), (1, 1))
        self.assertEqual(world.metrics.router.upgrades_open, 1)

    def test_bytesThatCameEarly(self):
        """What either side sends too early is not lost."""
        world = World()
        client, instance = world.ask(get(b"/ws", *WEBSOCKET) + b"early")
        client.deliver(b"-bird")
        self.assertFalse(instance.take().endswith(b"early"))
        instance.deliver(AGREED + b"first")
        self.assertEqual(instance.take(), b"early-bird")
        self.assertTrue(client.take().endswith(b"\r\n\r\nfirst"))

    def test_agreementByteByByte(self):
        """An agreement in single bytes is one, too."""
        world = World()
        client, instance = world.ask(get(b"/ws", *WEBSOCKET))
        for byte in AGREED + b"frame":
            instance.deliver(bytes([byte]))
        self.assertTrue(client.take().endswith(b"\r\n\r\nframe"))

    def test_requestByteByByte(self):
        """So is a request."""
        world = World()
        client = world.client()
        for byte in get(b"/ws", *WEBSOCKET) + b"frame":
            client.deliver(bytes([byte]))
        world.step()
        instance = world.instances.last
        instance.take()
        instance.deliver(AGREED)
        self.assertEqual(instance.take(), b"frame")

    def test_refused(self):
        """Any other answer than 101 is passed on as it is, and the connection goes on with HTTP."""
        world = World()
        client, instance = world.ask(get(b"/ws", *WEBSOCKET))
        instance.take()
        instance.deliver(head(b"HTTP/1.1 403 No", b"Content-Length: 2") + b"no")
        self.assertEqual(parse(client.take())[::2], (b"HTTP/1.1 403 No", b"no"))
        world.check_idle(self)
        _, instance = world.ask(get(b"/next"), client)
        self.assertEqual(parse(instance.take())[0], b"GET /next HTTP/1.1")
        instance.deliver(ok())
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 200 OK")

    def test_otherUpgrades(self):
        """Any other protocol is ignored: the request is served as usual, with its body, and so is what follows."""
        for upgrade in (b"h2c", b"h2c, websocket", b"TLS/1.0"):
            for plain in (get(b"/a"), post(b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", target=b"/a")):
                world = World()
                request = plain.replace(
                    b"\r\n\r\n",
                    b"\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nHTTP2-Settings: x\r\n\r\n" % upgrade,
                    1,
                )
                _client, instance = world.ask(request + get(b"/b"))
                first, headers, rest = parse(instance.take())
                self.assertEqual(
                    (first.split()[1], values(headers, b"upgrade"), values(headers, b"connection")), (b"/a", [], [])
                )
                self.assertEqual(values(headers, b"http2-settings"), [])
                self.assertEqual(rest, parse(request)[2])
                instance.deliver(ok())
                world.step()
                self.assertEqual(parse(instance.take())[0], b"GET /b HTTP/1.1")

    def test_webSocketWithABody(self):
        """A request with a body cannot become a WebSocket, so it is served as usual."""
        world = World()
        request = post(b"GET /smuggled HTTP/1.1\r\n\r\n", *WEBSOCKET, method=b"GET", target=b"/a")
        _client, instance = world.ask(request)
        _first, headers, rest = parse(instance.take())
        self.assertEqual((values(headers, b"upgrade"), rest), ([], b"GET /smuggled HTTP/1.1\r\n\r\n"))

    def test_withoutConnectionUpgrade(self):
        """Upgrade without Connection: upgrade means nothing; neither does it in HTTP/1.0."""
        for request in (get(b"/", b"Upgrade: websocket"), get(b"/", *WEBSOCKET, version=b"1.0")):
            world = World()
            _client, instance = world.ask(request)
            self.assertEqual(values(parse(instance.take())[1], b"upgrade"), [])

    def test_queueAndSlots(self):
        """A WebSocket waits for a slot and holds it like any other request."""
        world = World(timeouts={"queue": 10.0})
        _first, instance = world.ask()
        client = world.client()
        client.deliver(get(b"/ws", *WEBSOCKET))
        self.assertEqual(world.reserver.load.waiting, 1)
        instance.deliver(ok())
        world.step()
        instance.take()
        instance.deliver(AGREED)
        other = world.client()
        other.deliver(get())
        world.wait(11)
        self.assertEqual(parse(other.take())[0], b"HTTP/1.1 503 Service Unavailable")


class EndTests(SynchronousTestCase):
    def check_over(self, world, outcome):
        world.step()
        world.check_idle(self)
        self.assertEqual(world.metrics.router.upgrades_open, 0)
        self.assertEqual(getattr(world.numbers, outcome), 1)
        (record,) = world.log.records
        self.assertEqual((record.request_type, record.status), ("websocket", None))
        self.assertEqual(world.numbers.status, {101: 1})

    def test_clientEndsFirst(self):
        """When the client ends its direction the instance is told, and may still send."""
        world, client, instance, *_ = opened()
        client.finish()
        self.assertTrue(instance.half)
        self.assertEqual((client.end, instance.end), (None, None))
        instance.deliver(b"last words")
        self.assertEqual(client.take(), b"last words")
        self.assertEqual(world.reserver.slots_in_use, 1)
        instance.finish()
        self.assertEqual((client.end, instance.end), ("closed", "closed"))
        self.check_over(world, "successful")

    def test_instanceEndsFirst(self):
        """And the other way round."""
        world, client, instance, *_ = opened()
        instance.finish()
        self.assertTrue(client.half)
        client.deliver(b"last words")
        self.assertEqual(instance.take(), b"last words")
        client.finish()
        self.assertEqual((client.end, instance.end), ("closed", "closed"))
        self.check_over(world, "successful")

    def test_clientBreaks(self):
        """A client that breaks its connection breaks the instance's."""
        world, client, instance, *_ = opened()
        client.reset()
        self.assertEqual(instance.end, "aborted")
        self.check_over(world, "client_error")

    def test_instanceBreaks(self):
        """And the other way round."""
        world, client, instance, *_ = opened()
        instance.reset()
        self.assertEqual(client.end, "aborted")
        self.check_over(world, "instance_error")

    def test_quietForTooLong(self):
        """A tunnel through which nothing passes for the socket timeout is closed."""
        world, client, instance, *_ = opened(timeouts={"socket": 60.0})
        for _ in range(3):
            world.wait(50)
            instance.deliver(b"x")
            world.wait(50)
            client.deliver(b"x")
        self.assertEqual(client.end, None)
        world.wait(61)
        self.assertEqual((client.end, instance.end), ("closed", "closed"))
        self.check_over(world, "generic_error")

    def test_backPressure(self):
        """Who does not read is not sent more, in both directions."""
        world, client, instance, *_ = opened()
        client.fill()
        self.assertTrue(instance.paused)
        client.drain()
        self.assertFalse(instance.paused)
        instance.fill()
        self.assertTrue(client.paused)
        instance.drain()
        self.assertFalse(client.paused)
        world.step()
        client.deliver(b"x")
        self.assertEqual(instance.take(), b"x")

    def test_drain(self):
        """Tunnels may go on until the deadline."""
        world, client, instance, *_ = opened()
        done = world.factory.drain(10)
        world.wait(9)
        client.deliver(b"x")
        self.assertEqual(instance.take(), b"x")
        world.wait(2)
        self.successResultOf(done)
        self.assertEqual(instance.end, "aborted")
        world.step()
        world.check_idle(self)
