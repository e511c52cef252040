"""Clients that read slowly, or ask for more than they read."""

from twisted.internet.error import ConnectionDone
from twisted.trial.unittest import SynchronousTestCase

from tests.router.test_api_channel import Echo, own
from tests.router.world import World, chunked, get, head, ok, parse, values
from waiter.router.limits import Limits


class SlowReaderTests(SynchronousTestCase):
    def closing(self, unsent):
        """A client that has been sent its last answer, and has so much of it still to read."""
        world = World(limits=Limits(linger_secs=5, unread_secs=20))
        client, instance = world.ask(get(b"/", b"Connection: close"))
        client.stays = True
        client.unsent_bytes = unsent
        instance.deliver(ok())
        return world, client

    def test_aClientThatReadsItsLastAnswerSlowlyGetsAllOfIt(self):
        """As long as it reads on, the connection is not cut."""
        world, client = self.closing(100_000)
        for _ in range(10):
            world.wait(10)
            self.assertEqual(client.end, "closed")
            client.unsent_bytes -= 10_000
        world.wait(1)

    def test_aClientThatDoesNotReadItsLastAnswerIsCutOff(self):
        """After a while without a byte."""
        world, client = self.closing(100_000)
        world.wait(19)
        self.assertEqual(client.end, "closed")
        world.wait(3)
        self.assertEqual(client.end, "aborted")

    def trickle(self, world, client, bytes_per_sec, secs):
        for _ in range(secs):
            client.unsent_bytes -= bytes_per_sec
            world.wait(1)

    def test_aClientThatReadsItsLastAnswerAByteASecondIsCutOff(self):
        """The least pace holds there, too."""
        world, client = self.closing(100_000)
        self.trickle(world, client, 1, 58)
        self.assertEqual(client.end, "closed")
        self.trickle(world, client, 1, 5)
        self.assertEqual(client.end, "aborted")

    def test_aClientThatReadsItsLastAnswerALittleFasterIsNot(self):
        world, client = self.closing(100_000)
        self.trickle(world, client, 17, 200)
        self.assertEqual(client.end, "closed")
        client.lose(ConnectionDone())

    def test_aClientThatReadsARefusalAByteASecondIsCutOff(self):
        """Also one that is listened to so that it gets the answer."""
        world = World()
        client = world.client()
        client.unsent_bytes = 10_000
        client.deliver(b"nonsense\r\n\r\n" + b"x" * 10000)
        self.trickle(world, client, 1, 58)
        self.assertEqual((client.half, client.end), (True, None))
        self.trickle(world, client, 1, 5)
        self.assertEqual(client.end, "aborted")

    def behind(self):
        """A client that has still to read an answer, and has sent the next request."""
        world = World()
        client, instance = world.ask()
        instance.deliver(ok())
        client.unsent_bytes = 100_000
        client.fill()
        client.deliver(get(b"/next"))
        instance.take()
        return world, client, instance

    def test_aClientThatReadsSlowlyAndHasSentTheNextRequestIsNotCutOff(self):
        """What it has still to read is the whole of an answer."""
        world, client, instance = self.behind()
        self.trickle(world, client, 100, 300)
        self.assertEqual((client.end, instance.take()), (None, b""))
        client.drain()
        world.step()
        world.instances.last.deliver(ok(b"next"))
        self.assertTrue(client.take().endswith(b"next"))
        world.check_idle(self)

    def test_oneThatDoesNotReadIs(self):
        world, client, _ = self.behind()
        world.wait(19)
        self.assertEqual(client.end, None)
        world.wait(3)
        self.assertEqual(client.end, "aborted")

    def test_oneThatReadsAByteASecondIs(self):
        world, client, _ = self.behind()
        self.trickle(world, client, 1, 63)
        self.assertEqual(client.end, "aborted")

    def test_whoHasCaughtUpBeginsAnew(self):
        """A pace is of one answer."""
        world, client, _ = self.behind()
        self.trickle(world, client, 1, 50)
        client.drain()
        world.step()
        world.instances.last.deliver(ok())
        client.unsent_bytes += 100_000
        client.fill()
        client.deliver(get(b"/third"))
        self.trickle(world, client, 17, 30)
        self.assertEqual(client.end, None)

    def test_theNextRequestOfAClientThatDoesNotReadWaits(self):
        """Also where its headers are known, so that answers do not pile up here."""
        world = World()
        client, instance = world.ask()
        instance.deliver(ok())
        for _ in range(3):
            world.ask(client=client)
            instance.deliver(ok())
        client.fill()
        instance.take()
        world.ask(client=client)
        self.assertEqual(instance.take(), b"")
        client.drain()
        world.step()
        self.assertEqual(parse(instance.take())[0], b"GET / HTTP/1.1")

    def test_anInstanceIsNotReadForAClientThatWasFullBeforeItWasAsked(self):
        """The transport says only once that it is full, be the request still waiting for its slot then."""
        world = World()
        _, busy = world.ask()
        client = world.client()
        client.deliver(get(b"/slow"))
        client.fill()
        busy.deliver(ok())
        world.step()
        instance = world.instances.last
        self.assertTrue(instance.paused)
        client.drain()
        self.assertFalse(instance.paused)
        world.step()
        instance.deliver(ok(b"slow"))
        self.assertTrue(client.take().endswith(b"slow"))
        world.check_idle(self)

    def test_oneClientsRequestsDoNotKeepAllOthersWaiting(self):
        """Of many requests sent at once that are answered at once only some are, then others have their turn."""
        world = World(api=Echo())
        client = world.client()
        client.deliver(own(b"/x") * 1000)
        self.assertLess(client.take().count(b"HTTP/1.1 200"), 100)
        other = world.client()
        other.deliver(own(b"/other"))
        self.assertTrue(other.take().endswith(b"GET /other HTTP/1.1 "))
        for _ in range(100):
            world.step()
        self.assertGreater(client.take().count(b"HTTP/1.1 200"), 900)
        client.deliver(own(b"/last"))
        self.assertTrue(client.take().endswith(b"GET /last HTTP/1.1 "))

    def test_aClientThatGoesBetweenTwoTurnsLeavesNothing(self):
        """The turn that was to come finds nothing to do."""
        world = World(api=Echo())
        client = world.client()
        client.deliver(own(b"/x") * 1000)
        client.reset()
        world.step()
        self.assertEqual(world.clock.getDelayedCalls(), [])


class LateGarbageTests(SynchronousTestCase):
    """What cannot be understood, right behind a body."""

    request = head(b"POST / HTTP/1.1", b"Host: app.example", b"Transfer-Encoding: chunked") + chunked(b"body")

    garbage = b"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n"

    def check(self, world, client, instance):
        self.assertTrue(instance.take().endswith(b"4\r\nbody\r\n0\r\n\r\n"))
        instance.deliver(ok(b"fine"))
        _, headers, rest = parse(client.take())
        self.assertEqual((values(headers, b"connection"), rest[:4]), ([], b"fine"))
        self.assertEqual(parse(rest[4:])[0], b"HTTP/1.1 400 Bad Request")
        world.check_idle(self)

    def test_theRequestBeforeItIsWhole(self):
        """It is answered as if nothing had followed, and then the rest is refused."""
        world = World()
        client, instance = world.ask(self.request + self.garbage)
        self.check(world, client, instance)

    def test_alsoIfTheHeadCameBefore(self):
        """However it is cut."""
        world = World()
        at = self.request.index(b"\r\n\r\n") + 4
        client, instance = world.ask(self.request[:at])
        head_bytes = instance.take()
        client.deliver(self.request[at:] + self.garbage)
        instance.written = head_bytes + instance.written
        self.check(world, client, instance)

    def test_behindABodyThatNobodyWants(self):
        """The answer came before; the rest is refused."""
        world = World()
        at = self.request.index(b"\r\n\r\n") + 4
        client, instance = world.ask(self.request[:at])
        instance.deliver(ok(b"early"))
        self.assertTrue(client.take().endswith(b"early"))
        client.deliver(self.request[at:] + self.garbage)
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 400 Bad Request")

    def test_insideTheBodyItSpoilsTheRequest(self):
        """Then it is the request that cannot be understood."""
        world = World()
        at = self.request.index(b"\r\n\r\n") + 4
        client, instance = world.ask(self.request[:at])
        client.deliver(b"GARBAGE\r\n\r\n")
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 400 Bad Request")
        self.assertEqual(instance.end, "aborted")
