"""Bodies of requests, and what slows them down."""

from twisted.trial.unittest import SynchronousTestCase

from tests.router.world import World, get, head, ok, parse, post, values


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
