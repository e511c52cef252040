"""Connections to instances and their pool."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.router.world import World, chunked, get, head, ok, parse, post, unchunk, values
from waiter.model.instance import Instance
from waiter.router.attempt import Attempt
from waiter.router.exchange import Exchange
from waiter.router.interface import IAsker, IResponder


class PoolTests(SynchronousTestCase):
    def used(self, number=1, **options):
        """A world in which this many connections are idle."""
        world = World(slots=10, **options)
        pairs = [(world.client(), None) for _ in range(number)]
        for client, _ in pairs:
            client.deliver(get())
        world.step()
        for wire in world.instances.wires:
            wire.deliver(ok())
        world.step()
        return world, world.client()

    def test_theLastUsedIsUsedFirst(self):
        """So that those too many fall idle."""
        world, client = self.used(3)
        for _ in range(3):
            client.deliver(get())
            world.step()
            self.assertEqual([bool(wire.protocol.asker) for wire in world.instances.wires], [False, False, True])
            world.instances.last.deliver(ok())

    def test_whereNothingCanBeSentNothingIs(self):
        """A connection that is about to be lost, as after a goodbye in TLS, is not used again."""
        world, client = self.used()
        ending = world.instances.last
        ending.take()
        ending.producer.stopProducing()
        client.deliver(post(b"once"))
        world.step()
        self.assertEqual((ending.take(), len(world.instances.wires)), (b"", 2))
        world.instances.last.deliver(ok())
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 200 OK")
        ending.finish()
        world.check_idle(self)

    def test_idleConnectionsAreClosed(self):
        """After ten seconds without use, give or take."""
        world, client = self.used(2)
        for _ in range(3):
            world.wait(6)
            client.deliver(get())
            world.step()
            world.instances.last.deliver(ok())
        self.assertEqual([wire.end for wire in world.instances.wires], ["closed", None])
        world.wait(13)
        self.assertEqual([wire.end for wire in world.instances.wires], ["closed", "closed"])
        self.assertEqual((world.backends._idle, world.backends._welcome), ({}, set()))

    def test_whatAnInstanceAnnouncesIsHeeded(self):
        """A connection is not used in the last second of the time that an instance says it keeps it, known answer or not."""
        for announced, fresh_secs, old_secs in (
            (b"timeout=5", 3.9, 4.0),
            (b"max=100, Timeout=3", 1.9, 2.0),
            (b'timeout = "5", max=100', 3.9, 4.0),
            (b"timeout=1", 0.4, 0.5),
        ):
            world = World()
            client = world.client()
            answers = [ok(b"x", b"Keep-Alive: " + announced), ok(b"x", b"Keep-Alive: " + announced), ok()]
            for number, answer in enumerate((*answers, *answers)):
                client.deliver(post(b"%d" % number))
                world.step()
                self.assertEqual(len(world.instances.wires), 1, announced)
                world.instances.last.deliver(answer)
                world.step(fresh_secs)
            world.step(old_secs - fresh_secs)
            client.deliver(post(b"last"))
            world.step()
            self.assertEqual([wire.end for wire in world.instances.wires], ["closed", None], announced)
            world.instances.last.deliver(ok())
            self.assertEqual(client.take().count(b"HTTP/1.1 200 OK"), 7)

    def test_aShorterTimeHoldsFromThenOn(self):
        """An instance that says now this, now that, or nothing any more, is believed in the shortest."""
        world = World()
        client = world.client()
        for announced in (b"timeout=9", b"timeout=3", b"timeout=60", b"nonsense"):
            client.deliver(get())
            world.step()
            world.instances.last.deliver(ok(b"", b"Keep-Alive: " + announced))
        self.assertEqual(len(world.instances.wires), 1)
        world.step(2)
        client.deliver(get())
        world.step()
        self.assertEqual(len(world.instances.wires), 2)

    def test_noTimeAtAll(self):
        """A connection that the instance does not keep is not used again, and one with an absurd time is kept as usual."""
        for announced, wires in ((b"timeout=0", 2), (b"timeout=" + b"9" * 500, 1), (b"timeout=-1", 1), (b"", 1)):
            world = World()
            client = world.client()
            for _ in range(2):
                client.deliver(get())
                world.step()
                world.instances.last.deliver(ok(b"", b"Keep-Alive: " + announced))
            self.assertEqual(len(world.instances.wires), wires, announced)
            self.assertEqual(client.take().count(b"HTTP/1.1 200 OK"), 2)

    def test_forget(self):
        """The connections of an instance that is gone are closed, those in use when they are not any more."""
        world, client = self.used(2)
        client.deliver(get())
        world.step()
        world.backends.forget("s.1")
        self.assertEqual([wire.end for wire in world.instances.wires], ["closed", None])
        world.instances.last.deliver(ok())
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 200 OK")
        self.assertEqual(world.instances.last.end, "closed")

    def test_retain(self):
        """All instances but those named are forgotten."""
        world, _client = self.used(2)
        world.backends.retain({"s.1", "s.9"})
        self.assertEqual([wire.end for wire in world.instances.wires], [None, None])
        world.backends.retain({"s.9"})
        self.assertEqual([wire.end for wire in world.instances.wires], ["closed", "closed"])

    def test_close(self):
        """Idle connections are closed, those in use are broken and their users told."""
        world, client = self.used(2)
        client.deliver(get())
        world.step()
        world.backends.close()
        self.assertEqual([wire.end for wire in world.instances.wires], ["closed", "aborted"])
        world.step()
        self.assertEqual(world.clock.getDelayedCalls()[1:], [])

    def test_timersEnd(self):
        """Nothing is left when the last idle connection is closed."""
        world, _client = self.used(1)
        world.factory.drain(0.1)
        world.wait(15)
        self.assertEqual(world.clock.getDelayedCalls(), [])

    def test_https(self):
        """Instances that speak HTTPS need a way to connect to them."""
        world = World()
        instance = Instance(id="s.1", service_id="s", host="127.0.0.1", port=1, protocol="https")
        self.failureResultOf(world.backends.connect(instance), ConnectError)

    def test_cancel(self):
        """Cancelling gives up connecting."""
        world = World()
        world.instances.slow = True
        connecting = world.backends.connect(Instance(id="s.1", service_id="s", host="127.0.0.1", port=1))
        connecting.addErrback(lambda failure: None)
        connecting.cancel()
        self.assertEqual(world.instances.cancelled, 1)


class InterfaceTests(SynchronousTestCase):
    def test_everybodyKeepsToThem(self):
        """The parts talk to each other by what they say they are."""
        world = World()
        client, instance = world.ask()
        exchange = client.protocol.responder
        self.assertIsInstance(exchange, Exchange)
        verifyObject(IResponder, exchange)
        self.assertIsInstance(instance.protocol.asker, Attempt)
        verifyObject(IAsker, instance.protocol.asker)
        for protocol in (client.protocol, instance.protocol):
            verifyObject(IHalfCloseableProtocol, protocol)
            verifyObject(IPushProducer, protocol)
        client.deliver(b"")
        instance.deliver(ok())
        client, instance = world.ask(get(b"/", b"Connection: upgrade", b"Upgrade: websocket"))
        instance.deliver(head(b"HTTP/1.1 101 Yes", b"Connection: upgrade", b"Upgrade: websocket"))
        verifyObject(IResponder, client.protocol.responder)
        verifyObject(IAsker, instance.protocol.asker)


class SegmentTests(SynchronousTestCase):
    """However an instance's answers are cut into segments, the client gets the same."""

    ANSWERS = (
        ok(b"hello"),
        ok(b""),
        ok(b"x" * 300),
        head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked") + chunked(b"abc", b"d" * 40, trailers=(b"X-T: 1",)),
        head(b"HTTP/1.1 103 Early", b"Link: x") + ok(b"after hints"),
        head(b"HTTP/1.1 204 None"),
        head(b"HTTP/1.1 304 Same", b"ETag: x"),
        head(b"HTTP/1.1 404 Gone", b"Content-Length: 3", b"Content-Type: x") + b"404",
        head(b"HTTP/1.0 200 OK", b"Connection: keep-alive", b"Content-Length: 3") + b"1.0",
    )

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.tuples(st.sampled_from(range(len(ANSWERS))), st.lists(st.integers(0, 400), max_size=5)),
            min_size=1,
            max_size=8,
        )
    )
    def test_segments(self, plan):
        world = World()
        client = world.client()
        for which, cuts in plan:
            answer = self.ANSWERS[which]
            client.deliver(get())
            world.step()
            instance = world.instances.last
            places = sorted(cut % len(answer) for cut in cuts)
            for a, b in zip([0, *places], [*places, len(answer)], strict=True):
                instance.deliver(answer[a:b])
            got = client.take()
            if which == 4:
                self.assertEqual(got.count(b"HTTP/1.1 103 Early\r\nLink: x"), 1)
                got = parse(got)[2]
            first, headers, rest = parse(got)
            final = answer[answer.rindex(b"HTTP/1.") :]
            expected_first, _, expected = parse(final)
            self.assertEqual(first, expected_first.replace(b"1.0", b"1.1"))
            if which == 3:
                rest, expected = unchunk(rest), unchunk(expected)
            self.assertEqual(rest, expected)
            self.assertEqual(values(headers, b"connection"), [])
        self.assertEqual(len(world.instances.wires), 1)
        world.check_idle(self)

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.integers(0, 400), max_size=6), st.integers(0, 8), st.integers(0, 400))
    def test_damaged(self, cuts, which, place):
        """An answer with one byte changed or missing never leaks a slot, and never poisons the next answer."""
        answer = bytearray(self.ANSWERS[which])
        place %= len(answer)
        if place % 2:
            del answer[place]
        else:
            answer[place] ^= 0x15
        world = World(instances=8, timeouts={"socket": 5.0})
        client = world.client()
        client.deliver(get(b"/first"))
        world.step()
        instance = world.instances.last
        places = sorted(cut % len(answer) for cut in cuts)
        for a, b in zip([0, *places], [*places, len(answer)], strict=True):
            instance.deliver(bytes(answer[a:b]))
        world.step()
        if not (client.take() or client.end):
            world.instances.last.reset()
        world.wait(8)
        client.take()
        for wire in world.instances.wires:
            wire.take()
        other, _ = world.ask(get(b"/second"))
        (instance,) = (wire for wire in world.instances.wires if wire.written)
        self.assertEqual(parse(instance.take())[0], b"GET /second HTTP/1.1")
        instance.deliver(ok(b"second"))
        self.assertEqual(parse(other.take())[2], b"second")
