"""Bodies of requests, and what slows them down."""

from twisted.trial.unittest import SynchronousTestCase

from tests.router.world import World, chunked, get, head, ok, parse, post, values
from waiter.router.limits import Limits


class BodyTests(SynchronousTestCase):
    def test_lengthIsKept(self):
        """A body with a length reaches the instance with its length, as it comes."""
        world = World()
        client, instance = world.ask(post(b"0123456789")[:-6])
        _, headers, rest = parse(instance.take())
        self.assertEqual((values(headers, b"content-length"), rest), ([b"10"], b"0123"))
        client.deliver(b"45")
        self.assertEqual(instance.take(), b"45")
        client.deliver(b"6789")
        self.assertEqual(instance.take(), b"6789")
        instance.deliver(ok())
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 200 OK")
        self.assertEqual(world.numbers.request_bytes, 10)
        world.check_idle(self)
        self.assertEqual(len(world.backends._idle["s.1"]), 1)

    def test_requestInOnePiece(self):
        """Head and body that come together are sent together."""
        world = World()
        client = world.client()
        for _ in range(3):
            _, instance = world.ask(post(b"hello"), client)
            writes = instance.writes
            self.assertEqual(parse(instance.take())[2], b"hello")
            instance.deliver(ok())
        self.assertEqual(writes, 3)

    def test_chunksAreKept(self):
        """A chunked body stays chunked, with its trailers but for the dangerous ones."""
        world = World()
        request = head(b"PUT / HTTP/1.1", b"Host: app.example", b"Transfer-Encoding: Chunked")
        client, instance = world.ask(request + b"3\r\nabc\r\n")
        client.deliver(b"2;x=y\r\nde\r\n0\r\nX-Sum: 5\r\nHost: evil\r\nX-Forwarded-For: evil\r\n\r\n")
        _, headers, rest = parse(instance.take())
        self.assertEqual(
            (values(headers, b"transfer-encoding"), values(headers, b"content-length")), ([b"chunked"], [])
        )
        self.assertEqual(rest, b"3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n")
        instance.deliver(ok())
        world.check_idle(self)
        self.assertEqual(client.end, None)

    def test_backPressureOnTheBody(self):
        """While the instance does not read, neither is the client read, beyond a bound."""
        world = World()
        client, instance = world.ask(post(b"x" * 1000000)[:200])
        instance.take()
        instance.fill()
        client.deliver(b"x" * 60000)
        self.assertFalse(client.paused)
        client.deliver(b"x" * 60000)
        self.assertTrue(client.paused)
        client.deliver(b"x" * 60000)
        self.assertEqual(instance.take(), b"")
        instance.drain()
        world.step()
        self.assertEqual(instance.take(), b"x" * 180000)
        self.assertFalse(client.paused)

    def test_backPressureOnTheAnswer(self):
        """While the client does not read, neither is the instance read."""
        world = World()
        client, instance = world.ask()
        instance.deliver(ok(b"x" * 1000)[:100])
        client.fill()
        self.assertTrue(instance.paused)
        client.drain()
        self.assertFalse(instance.paused)
        world.step()
        instance.deliver(ok(b"x" * 1000)[100:])
        self.assertEqual(parse(client.take())[2], b"x" * 1000)
        world.check_idle(self)

    def test_aHeldConnectionIsGivenBackReading(self):
        """An answer that ends while the client does not read leaves a connection that can be used."""
        world = World()
        client, instance = world.ask()
        instance.deliver(ok(b"abc")[:-1])
        client.fill()
        instance.protocol.dataReceived(b"c")
        self.assertFalse(instance.paused)
        world.check_idle(self)

    def test_theNextRequestWaitsForASlowReader(self):
        """A client that does not read its answers gets no further ones."""
        world = World()
        client, instance = world.ask(get(b"/1") + get(b"/2"))
        instance.deliver(ok(b"abc")[:-1])
        client.fill()
        instance.protocol.dataReceived(b"c")
        instance.take()
        world.step()
        self.assertEqual(instance.take(), b"")
        client.drain()
        self.assertEqual(parse(instance.take())[0], b"GET /2 HTTP/1.1")

    def test_expectContinue(self):
        """Expect goes to the instance, its 100 to the client, then the body."""
        world = World()
        client, instance = world.ask(post(b"hello", b"Expect: 100-continue")[:-5])
        self.assertEqual(values(parse(instance.take())[1], b"expect"), [b"100-continue"])
        instance.deliver(head(b"HTTP/1.1 100 Continue", b"X: y"))
        self.assertEqual(client.take(), b"HTTP/1.1 100 Continue\r\n\r\n")
        client.deliver(b"hello")
        self.assertEqual(instance.take(), b"hello")
        instance.deliver(ok())
        self.assertEqual(values(parse(client.take())[1], b"connection"), [])

    def test_expectContinueAndSilence(self):
        """After a second of silence the client is told to go on, once."""
        world = World()
        client, instance = world.ask(post(b"hello", b"Expect: 100-continue")[:-5])
        world.wait(0.75)
        self.assertEqual(client.take(), b"")
        world.wait(1)
        self.assertEqual(client.take(), b"HTTP/1.1 100 Continue\r\n\r\n")
        instance.deliver(head(b"HTTP/1.1 100 Continue"))
        world.wait(3)
        self.assertEqual(client.take(), b"")

    def test_expectContinueAndAnOldInstance(self):
        """An instance that speaks HTTP/1.0 would not know what to do with Expect, so the client is told at once."""
        world = World()
        client, instance = world.ask()
        instance.deliver(head(b"HTTP/1.0 200 OK", b"Content-Length: 0"))
        client.take()
        _, instance = world.ask(post(b"hello", b"Expect: 100-continue")[:-5], client)
        self.assertEqual(client.take(), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(values(parse(instance.take())[1], b"expect"), [])
        client.deliver(b"hello")
        self.assertEqual(instance.take(), b"hello")

    def test_expectContinueAndAnotherInstance(self):
        """A client is told to go on once, however many instances are asked."""
        world = World(instances=2)
        client, instance = world.ask(post(b"hello", b"Expect: 100-continue", method=b"PUT")[:-5])
        instance.deliver(head(b"HTTP/1.1 100 Continue"))
        self.assertEqual(client.take(), b"HTTP/1.1 100 Continue\r\n\r\n")
        instance.reset()
        world.step()
        other = world.instances.last
        self.assertEqual(values(parse(other.take())[1], b"expect"), [])
        other.deliver(head(b"HTTP/1.1 100 Continue"))
        client.deliver(b"hello")
        self.assertEqual((other.take(), client.take()), (b"hello", b""))
        other.deliver(ok())
        self.assertEqual(values(parse(client.take())[1], b"connection"), [])

    def test_expectContinueAndAFinalAnswer(self):
        """A client that was not told to go on may leave its body out, so its connection ends."""
        world = World()
        client, instance = world.ask(post(b"hello", b"Expect: 100-continue")[:-5])
        instance.deliver(head(b"HTTP/1.1 401 No", b"Content-Length: 0"))
        self.assertEqual(values(parse(client.take())[1], b"connection"), [b"close"])
        self.assertTrue(client.half)
        self.assertEqual(instance.end, "aborted")
        world.check_idle(self)

    def test_earlyAnswer(self):
        """An instance may answer before it has the whole body: the rest is read and dropped."""
        world = World()
        client, instance = world.ask(post(b"x" * 1000)[:200])
        instance.deliver(head(b"HTTP/1.1 413 Too Much", b"Content-Length: 2") + b"no")
        self.assertEqual(parse(client.take())[::2], (b"HTTP/1.1 413 Too Much", b"no"))
        world.check_idle(self)
        self.assertEqual(instance.end, "aborted")
        client.deliver(post(b"x" * 1000)[200:])
        _, other = world.ask(get(b"/next"), client)
        self.assertEqual(parse(other.take())[0], b"GET /next HTTP/1.1")

    def test_answerWhileTheBodyComes(self):
        """Body and answer flow at the same time."""
        world = World()
        request = head(b"POST / HTTP/1.1", b"Host: app.example", b"Transfer-Encoding: chunked")
        client, instance = world.ask(request + b"1\r\na\r\n")
        instance.deliver(head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked") + b"1\r\nA\r\n")
        self.assertTrue(client.take().endswith(b"1\r\nA\r\n"))
        instance.take()
        client.deliver(b"1\r\nb\r\n")
        self.assertEqual(instance.take(), b"1\r\nb\r\n")
        instance.deliver(b"1\r\nB\r\n")
        self.assertEqual(client.take(), b"1\r\nB\r\n")
        client.deliver(b"0\r\n\r\n")
        self.assertEqual(instance.take(), b"0\r\n\r\n")
        instance.deliver(b"0\r\n\r\n")
        self.assertEqual(client.take(), b"0\r\n\r\n")
        world.check_idle(self)
        self.assertEqual(len(world.backends._idle["s.1"]), 1)

    def test_brokenChunks(self):
        """A body that cannot be understood ends the request and the connection; the instance never sees an end."""
        world = World()
        request = head(b"POST / HTTP/1.1", b"Host: app.example", b"Transfer-Encoding: chunked")
        client, instance = world.ask(request + b"1\r\na\r\n")
        instance.take()
        client.deliver(b"zz\r\n")
        first, headers, _ = parse(client.take())
        self.assertEqual((first, values(headers, b"connection")), (b"HTTP/1.1 400 Bad Request", [b"close"]))
        self.assertEqual((instance.end, instance.take()), ("aborted", b""))
        self.assertTrue(client.half)
        world.check_idle(self)
        self.assertEqual(world.numbers.client_error, 1)


PUT = head(b"PUT / HTTP/1.1", b"Host: app.example", b"Transfer-Encoding: chunked")
OLD = head(b"HTTP/1.0 200 OK", b"Content-Length: 0")
OLD_KEPT = head(b"HTTP/1.0 200 OK", b"Connection: keep-alive", b"Content-Length: 0")


class GatheringTests(SynchronousTestCase):
    """Bodies in chunks for instances that are known not to read chunks."""

    def old(self, answer=OLD, **options):
        """A world whose first instance has answered in HTTP/1.0."""
        world = World(**options)
        client, instance = world.ask()
        instance.deliver(answer)
        client.take()
        instance.take()
        world.step()
        return world, client

    def check_sent(self, instance, body):
        _, headers, rest = parse(instance.take())
        framing = [values(headers, name) for name in (b"content-length", b"transfer-encoding", b"expect")]
        self.assertEqual((framing, rest), ([[b"%d" % len(body)], [], []], body))

    def check_refused(self, client, status):
        first, _, body = parse(client.take())
        self.assertEqual(first.split()[1], status)
        return body

    def test_theLengthIsKnownBeforeAnythingIsSent(self):
        """Nothing is opened before the whole body is there; it has its length then, and no trailers."""
        world, client = self.old()
        world.ask(PUT + b"3\r\nabc\r\n", client)
        self.assertEqual((len(world.instances.wires), world.reserver.slots_in_use), (1, 1))
        client.deliver(b"2;x=y\r\nde\r\n")
        client.deliver(b"0\r\nX-Sum: 5\r\n\r\n")
        world.step()
        instance = world.instances.last
        self.check_sent(instance, b"abcde")
        instance.deliver(OLD)
        self.check_refused(client, b"200")
        self.assertEqual((len(world.instances.wires), client.end, world.numbers.request_bytes), (2, None, 5))
        world.check_idle(self)

    def test_allAtOnce(self):
        """A body that comes with its head needs no waiting, and a kept connection is used; an empty one has a length, too."""
        world, client = self.old(OLD_KEPT)
        for body in (chunked(b"hel", b"lo"), chunked()):
            _, instance = world.ask(PUT + body, client)
            self.check_sent(instance, b"hello" if len(body) > 5 else b"")
            instance.deliver(OLD_KEPT)
        self.assertEqual(len(world.instances.wires), 1)
        world.check_idle(self)

    def test_otherBodiesComeAsTheyAre(self):
        """One with a length is passed on as it comes, and an instance that was not heard yet gets chunks."""
        world, client = self.old()
        _, instance = world.ask(post(b"hello")[:-2], client)
        self.assertEqual(parse(instance.take())[2], b"hel")
        world = World()
        _, instance = world.ask(PUT + b"3\r\nabc\r\n")
        self.assertEqual(parse(instance.take())[2], b"3\r\nabc\r\n")

    def test_tooMuch(self):
        """A client is told what to do; the instance never hears of it, and the slot is free again."""
        world, client = self.old(limits=Limits(gathered_bytes=1000))
        world.ask(PUT + chunked(b"x" * 600)[:-5], client)
        self.assertEqual(client.take(), b"")
        client.deliver(b"191\r\n" + b"x" * 401 + b"\r\n")
        body = self.check_refused(client, b"411")
        self.assertIn(b"Send the body with a Content-Length", body)
        self.assertEqual((len(world.instances.wires), world.numbers.client_error), (1, 1))
        world.check_idle(self)
        client.deliver(b"0\r\n\r\n")
        _, instance = world.ask(get(b"/next"), client)
        self.assertEqual(parse(instance.take())[0], b"GET /next HTTP/1.1")

    def test_asMuchAsIsGathered(self):
        """The limit itself is not too much."""
        world, client = self.old(limits=Limits(gathered_bytes=1000))
        for piece in chunked(b"x" * 600, b"x" * 400).partition(b"\r\n190\r\n"):
            client.deliver(PUT + piece if piece[:3] == b"258" else piece)
            world.step()
        self.check_sent(world.instances.last, b"x" * 1000)

    def test_theLimitOfAllBodiesHolds(self):
        """It is the one that is told where it is lower."""
        world, client = self.old(limits=Limits(body_bytes=500))
        world.ask(PUT + b"1\r\nx\r\n", client)
        client.deliver(chunked(b"x" * 600)[:-5])
        self.check_refused(client, b"413")
        world.check_idle(self)

    def test_whoSendsNoMore(self):
        """A client that falls silent, or sends too slowly, does not keep the slot."""
        for pause, pieces, bytes_per_sec in ((70, 1, 0.0), (10, 10, 16.0)):
            world, client = self.old(limits=Limits(client_bytes_per_sec=bytes_per_sec))
            world.ask(PUT, client)
            for _ in range(pieces):
                client.deliver(b"1\r\nx\r\n")
                world.wait(pause)
            self.check_refused(client, b"408")
            world.check_idle(self)

    def test_whoLeaves(self):
        """The slot of a client that goes away is free at once."""
        world, client = self.old()
        world.ask(PUT + b"1\r\nx\r\n", client)
        client.reset()
        world.check_idle(self)
        self.assertEqual((len(world.instances.wires), world.numbers.client_error), (1, 1))

    def test_brokenChunks(self):
        """What cannot be understood is not sent."""
        world, client = self.old()
        world.ask(PUT + b"1\r\nx\r\n", client)
        client.deliver(b"zz\r\n")
        self.check_refused(client, b"400")
        world.check_idle(self)
        self.assertEqual(len(world.instances.wires), 1)

    def test_expectContinue(self):
        """The client is told at once to go on, and the instance does not hear of it."""
        world, client = self.old()
        world.ask(PUT[:-2] + b"Expect: 100-continue\r\n\r\n", client)
        self.assertEqual(client.take(), b"HTTP/1.1 100 Continue\r\n\r\n")
        client.deliver(chunked(b"hello"))
        world.step()
        self.check_sent(world.instances.last, b"hello")
        world.instances.last.deliver(OLD)
        self.assertEqual(values(parse(client.take())[1], b"connection"), [])

    def test_anotherInstance(self):
        """One that is not known to be old gets in chunks what was gathered for one that cannot be reached."""
        world, client = self.old(instances=2)
        world.instances.refusing.add(10001)
        world.ask(PUT + b"3\r\nabc\r\n", client)
        client.deliver(b"0\r\nX-Sum: 3\r\n\r\n")
        world.step()
        _, headers, rest = parse(world.instances.last.take())
        self.assertEqual(values(headers, b"transfer-encoding") + values(headers, b"content-length"), [b"chunked"])
        self.assertEqual(rest, chunked(b"abc", trailers=[b"X-Sum: 3"]))

    def test_onceMore(self):
        """A body that was gathered can be sent again where an idempotent one can."""
        world, client = self.old(OLD_KEPT)
        _, stale = world.ask(PUT + chunked(b"abc"), client)
        self.check_sent(stale, b"abc")
        stale.reset()
        world.step()
        self.assertIsNot(world.instances.last, stale)
        self.check_sent(world.instances.last, b"abc")

    def test_tinyChunksTakeLittleMemory(self):
        """What has come is joined now and then."""
        world, client = self.old()
        world.ask(PUT, client)
        request = client.protocol.responder.request
        most = 0
        for _ in range(100):
            client.deliver(b"2\r\nab\r\n" * 500)
            most = max(most, len(request.body))
        self.assertLess(most, 2000)
        client.deliver(b"0\r\n\r\n")
        world.step()
        self.check_sent(world.instances.last, b"ab" * 50000)
