"""WebSockets."""

from twisted.trial.unittest import SynchronousTestCase
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from tests.router.world import World, get, head, ok, parse, post, values
from waiter.errors import ShuttingDown

WEBSOCKET = (b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket", b"Sec-WebSocket-Key: k")
AGREED = head(
    b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: a"
)

DOWN = Frame(Opcode.TEXT, b"down").serialize(mask=False)
UP = Frame(Opcode.TEXT, b"up").serialize(mask=True)
UP_CLOSE = Frame(Opcode.CLOSE, Close(1001, "").serialize()).serialize(mask=True)
DOWN_CLOSE = Frame(Opcode.CLOSE, Close(1001, "").serialize()).serialize(mask=False)


def received(wire):
    """With what code and reason a client's library sees the end of what the client was sent last."""
    client = ClientProtocol(parse_uri("ws://localhost/"), state=OPEN)
    client.receive_data(wire.take())
    return client.close_rcvd and (client.close_rcvd.code, client.close_rcvd.reason)


def sent_up(wire):
    """The code with which a server's library sees it."""
    server = ServerProtocol(state=OPEN)
    server.receive_data(wire.take())
    return server.close_rcvd and server.close_rcvd.code


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
            instance.deliver(DOWN)
            world.wait(50)
            client.deliver(UP)
        self.assertEqual(client.end, None)
        client.take(), instance.take()
        world.wait(61)
        self.assertEqual((received(client), sent_up(instance)), ((1011, "quiet for too long"), 1001))
        self.assertEqual((client.half, instance.end), (True, "closed"))
        self.check_over(world, "generic_error")
        client.finish()
        self.assertEqual(client.end, "closed")

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

    def test_oneSideHasEndedAndTheOtherIsQuiet(self):
        """When one direction has ended, and nothing comes in the other, the slot is free soon."""
        for end in ("client", "instance"):
            world, client, instance, *_ = opened()
            {"client": client, "instance": instance}[end].finish()
            world.wait(4)
            self.assertEqual(world.reserver.slots_in_use, 1)
            world.wait(2)
            self.assertEqual(world.reserver.slots_in_use, 0)
            self.assertEqual(instance.end, "closed")
            self.check_over(world, "successful")

    def test_whenBothHaveSaidGoodbyeTheInstancesEndIsTheEnd(self):
        """A client that leaves its connection open after the closing handshake holds no slot."""
        world, client, instance, *_ = opened()
        client.deliver(UP_CLOSE)
        instance.deliver(DOWN_CLOSE)
        self.assertEqual((instance.take(), client.take()), (UP_CLOSE, DOWN_CLOSE))
        self.assertEqual(world.reserver.slots_in_use, 1)
        instance.finish()
        self.assertEqual((client.end, instance.end), ("closed", "closed"))
        self.check_over(world, "successful")

    def test_instanceEndsWithinAFrame(self):
        """An instance that ends in the middle of a frame has died: the client's connection is broken at once."""
        world, client, instance, *_ = opened()
        instance.deliver(DOWN[:-1])
        instance.finish()
        self.assertEqual((client.take(), client.end, instance.end), (DOWN[:-1], "aborted", "aborted"))
        self.check_over(world, "instance_error")

    def test_clientEndsWithinAFrame(self):
        """And the other way round."""
        world, client, instance, *_ = opened()
        client.deliver(UP[:-1])
        client.finish()
        self.assertEqual((instance.take(), instance.end), (UP[:-1], "aborted"))
        self.check_over(world, "client_error")

    def test_aSideThatTakesNothing(self):
        """A side that takes nothing for the streaming timeout is broken off, whatever the other one sends."""
        for side, outcome in (("client", "client_error"), ("instance", "instance_error")):
            world, client, instance, *_ = opened(timeouts={"streaming": 20.0})
            full, other = {"client": (client, instance), "instance": (instance, client)}[side]
            full.unsent_bytes = 100000
            full.fill()
            for _ in range(6):
                world.wait(15)
                full.unsent_bytes -= 1
                full.deliver(UP if side == "client" else DOWN)
            self.assertEqual((full.end, other.paused), (None, True))
            for _ in range(5):
                world.wait(5)
                full.deliver(UP if side == "client" else DOWN)
            self.assertEqual((client.end, instance.end), ("aborted", "aborted"))
            self.check_over(world, outcome)

    def test_log(self):
        """The request log tells how many bytes went through and for how long."""
        world, client, instance, *_ = opened()
        client.deliver(UP)
        world.wait(3)
        instance.deliver(DOWN + DOWN)
        client.reset()
        (record,) = world.log.records
        self.assertEqual(
            (record.request_content_length, record.response_content_length, record.handle_request_latency_ns),
            (len(UP), 2 * len(DOWN), 3 * 10**9),
        )
        self.assertEqual((world.numbers.request_bytes, world.numbers.response_bytes), (len(UP), 2 * len(DOWN)))


class WrongAgreementTests(SynchronousTestCase):
    def check_refused(self, agreed, request=None):
        world = World(instances=3)
        client, instance = world.ask(request or get(b"/ws", *WEBSOCKET))
        # What may be sent again is.
        while not client.written:
            instance = world.instances.last
            self.assertEqual(instance.end, None)
            instance.deliver(agreed)
            world.step()
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 502 Bad Gateway", agreed)
        self.assertEqual(instance.end, "aborted")
        world.check_idle(self)
        self.assertEqual(world.metrics.router.upgrades_open, 0)

    def test_toSomethingElse(self):
        """An instance that agrees to another protocol, or does not say to which, is not understood: 502."""
        for line in (b"Upgrade: h2c", b"Upgrade: websocket, h2c", b"Upgrade:", b"X: y"):
            # What follows must not be taken for an answer.
            for rest in (b"", b"\x81\x00", ok()):
                self.check_refused(
                    head(b"HTTP/1.1 101 Switching Protocols", b"Connection: Upgrade", line) + rest,
                )
        self.check_refused(head(b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket") + ok())

    def test_withoutBeingAsked(self):
        """So is one that was not asked."""
        self.check_refused(AGREED, get())
        self.check_refused(AGREED, get(b"/", b"Connection: Upgrade", b"Upgrade: h2c"))
        self.check_refused(AGREED, post(b"", *WEBSOCKET))


class DrainTests(SynchronousTestCase):
    def drained(self, **options):
        world, client, instance, *_ = opened(**options)
        done = world.factory.drain(30)
        return world, client, instance, done

    def check_over(self, world, outcome):
        world.step()
        world.check_idle(self)
        self.assertEqual(world.metrics.router.upgrades_open, 0)
        self.assertEqual(getattr(world.numbers, outcome), 1)

    def test_goodbye(self):
        """The client is told that Waiter goes away; its answer is passed on, and the instance's ends it all."""
        world, client, instance, done = self.drained()
        world.wait(0.5)
        self.assertEqual(received(client), (1001, "going away"))
        client.deliver(UP + UP_CLOSE)
        self.assertEqual(instance.take(), UP + UP_CLOSE)
        instance.deliver(DOWN + DOWN_CLOSE)
        self.assertEqual((client.take(), client.end, instance.end), (b"", "closed", "closed"))
        self.check_over(world, "successful")
        self.successResultOf(done)

    def test_instanceThatDoesNotAnswer(self):
        """An instance may end its connection instead."""
        for end in ("finish", "reset"):
            world, client, instance, done = self.drained()
            world.wait(0.5)
            client.deliver(UP_CLOSE)
            getattr(instance, end)()
            world.step()
            self.assertEqual(received(client), (1001, "going away"))
            self.assertEqual(client.end, "closed")
            self.check_over(world, "successful")
            self.successResultOf(done)

    def test_clientThatDoesNotAnswer(self):
        """A client that does not answer in time is left; the instance is told why."""
        world, client, instance, done = self.drained()
        world.wait(0.5)
        self.assertEqual(received(client), (1001, "going away"))
        client.deliver(UP)
        self.assertEqual(instance.take(), UP)
        world.wait(4)
        self.assertEqual((client.end, instance.end), (None, None))
        world.wait(2)
        self.assertEqual(sent_up(instance), 1001)
        self.assertEqual((client.end, instance.end), ("closed", "closed"))
        self.check_over(world, "client_error")
        self.successResultOf(done)

    def test_clientThatEnds(self):
        """A client may end its connection instead."""
        for end, outcome in (("finish", "successful"), ("reset", "successful")):
            world, client, instance, done = self.drained()
            world.wait(0.5)
            getattr(client, end)()
            world.step()
            self.assertEqual(instance.end, "closed")
            self.check_over(world, outcome)
            self.successResultOf(done)

    def test_withinAFrame(self):
        """The goodbye waits for the end of the message under way, and what follows that is not passed on any more."""
        first = Frame(Opcode.TEXT, b"one ", fin=False).serialize(mask=False)
        last = Frame(Opcode.CONT, b"two").serialize(mask=False)
        ping = Frame(Opcode.PING, b"").serialize(mask=False)
        world, client, instance, *_ = opened()
        instance.deliver(first[:3])
        world.factory.drain(30)
        world.wait(20)
        instance.deliver(first[3:] + ping)
        world.wait(1)
        self.assertEqual(client.take(), first + ping)
        instance.deliver(last[:2])
        self.assertEqual(client.take(), last[:2])
        instance.deliver(last[2:] + DOWN)
        sent = client.take()
        self.assertTrue(sent.startswith(last[2:]))
        self.assertNotIn(DOWN, sent)
        client.written = sent[len(last) - 2 :]
        self.assertEqual(received(client), (1001, "going away"))
        self.assertEqual(client.take(), b"")

    def test_atTheDeadline(self):
        """A message that does not end is cut off at the deadline between two of its frames, with a word; else without."""
        first = Frame(Opcode.TEXT, b"one ", fin=False).serialize(mask=False)
        for part, code, end in ((first, (1001, "going away"), "closed"), (first[:-1], None, "aborted")):
            world, client, instance, *_ = opened()
            instance.deliver(part)
            client.take()
            done = world.factory.drain(10)
            world.wait(9.5)
            self.assertEqual((client.end, client.take()), (None, b""))
            world.wait(0.75)
            self.assertEqual(received(client), code)
            self.assertEqual(instance.end, end)
            self.check_over(world, "generic_error")
            world.wait(1)
            self.successResultOf(done)

    def test_whatIsNoWebSocket(self):
        """What follows no frames is passed on without a word, until the deadline."""
        world, client, instance, *_ = opened()
        instance.deliver(b"SSH-2.0")
        done = world.factory.drain(10)
        world.wait(9)
        client.deliver(b"x")
        self.assertEqual((instance.take(), client.take()), (b"x", b"SSH-2.0"))
        instance.deliver(b"y")
        self.assertEqual(client.take(), b"y")
        world.wait(2)
        self.successResultOf(done)
        self.assertEqual(client.take(), b"")
        self.check_over(world, "generic_error")

    def test_whenTheInstanceHasSaidGoodbyeTheClientIsNotToldTwice(self):
        """After the instance's own close frame there is no place for another."""
        world, client, instance, *_ = opened()
        instance.deliver(DOWN_CLOSE)
        world.factory.drain(30)
        world.wait(1)
        self.assertEqual(client.take(), DOWN_CLOSE)
        client.deliver(UP_CLOSE)
        self.assertEqual(instance.take(), UP_CLOSE)
        instance.finish()
        self.assertEqual((client.end, instance.end), ("closed", "closed"))
        self.check_over(world, "successful")

    def test_aClientThatDoesNotReadIsLeft(self):
        """A client that reads nothing, and so not the goodbye either, does not hold up the stop."""
        world, client, instance, *_ = opened()
        client.fill()
        self.assertTrue(instance.paused)
        done = world.factory.drain(30)
        world.wait(0.5)
        self.assertFalse(instance.paused)
        world.wait(6)
        self.assertEqual((client.end, instance.end), ("closed", "closed"))
        self.check_over(world, "client_error")
        self.successResultOf(done)

    def test_deadlineBeforeTheAnswer(self):
        """The deadline does not wait for an answer."""
        world, client, instance, *_ = opened()
        done = world.factory.drain(1)
        world.wait(0.5)
        world.wait(0.75)
        self.assertEqual(received(client), (1001, "going away"))
        self.assertEqual((client.end, sent_up(instance), instance.end), ("closed", 1001, "closed"))
        self.successResultOf(done)
        self.check_over(world, "generic_error")
        tunnel_told_late = client.protocol
        tunnel_told_late.give_up(ShuttingDown("again"))
