"""How requests end other than well."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.router.world import World, get, head, ok, parse, post, values
from waiter.model.outcome import Outcome
from waiter.reservation.lease import Lease


class GoneTests(SynchronousTestCase):
    """A client that goes away gives everything back at once, and only once, wherever its request is."""

    def leave(self, world, client, how):
        getattr(client, how)()
        world.check_idle(self)
        world.step()
        world.check_idle(self)
        self.assertEqual(world.numbers.client_error, 1)
        self.assertEqual(len(world.log.records), 1)
        self.assertIsNone(world.log.records[0].waiter_error_class)

    def test_whileResolving(self):
        for how in ("reset", "finish"):
            world = World()
            cancelled = []
            world.catalogue.waiting = Deferred(cancelled.append)
            client = world.client()
            client.deliver(get())
            getattr(client, how)()
            self.assertEqual(len(cancelled), 1)

    def test_whileWaiting(self):
        for how in ("reset", "finish"):
            world = World(instances=0)
            client = world.client()
            client.deliver(get())
            self.leave(world, client, how)
            world.run_instances(1)
            world.step()
            self.assertEqual(world.instances.wires, [])

    def test_whileConnecting(self):
        for how in ("reset", "finish"):
            world = World()
            world.instances.slow = True
            client = world.client()
            client.deliver(get())
            self.assertEqual(world.reserver.slots_in_use, 1)
            self.leave(world, client, how)
            self.assertEqual(world.instances.cancelled, 1)

    def test_whileAsking(self):
        for how in ("reset", "finish"):
            world = World()
            client, instance = world.ask()
            self.leave(world, client, how)
            self.assertEqual(instance.end, "aborted")

    def test_whileAnswered(self):
        for how in ("reset", "finish"):
            world = World()
            client, instance = world.ask()
            instance.deliver(ok(b"hello")[:-2])
            self.leave(world, client, how)
            self.assertEqual(instance.end, "aborted")
            self.assertEqual(world.log.records[0].status, 200)

    def test_whileSendingABody(self):
        world = World()
        client, instance = world.ask(post(b"hello")[:-2])
        self.leave(world, client, "reset")
        self.assertEqual(instance.end, "aborted")

    def test_whenTheSlotComesJustThen(self):
        """A slot granted in the very moment the client goes is not lost."""
        world = World()
        first, instance = world.ask()
        second, third = world.client(), world.client()
        second.deliver(get(b"/2"))
        third.deliver(get(b"/3"))
        instance.take()
        first.reset()
        second.reset()
        world.step()
        self.assertEqual(parse(world.instances.last.take())[0], b"GET /3 HTTP/1.1")
        world.instances.last.deliver(ok())
        world.check_idle(self)

    def test_clientErrorsDoNotHarmTheInstance(self):
        """The instance serves on."""
        world = World()
        client, _instance = world.ask()
        client.reset()
        world.step()
        _, other = world.ask()
        other.deliver(ok())
        world.check_idle(self)


class TimeoutTests(SynchronousTestCase):
    def test_silentInstance(self):
        """An instance that does not begin to answer in time is given up: 504."""
        world = World(timeouts={"socket": 5.0})
        client, instance = world.ask()
        world.wait(4.5)
        self.assertEqual(client.take(), b"")
        world.wait(1.5)
        first, _headers, rest = parse(client.take())
        self.assertEqual(first, b"HTTP/1.1 504 Gateway Timeout")
        self.assertIn(b"Request to service backend timed out", rest)
        self.assertIn(b"slots-assigned", rest)
        self.assertEqual((client.end, instance.end), (None, "aborted"))
        world.check_idle(self)
        self.assertEqual(world.numbers.instance_error, 1)

    def test_instanceFallsSilent(self):
        """One that stops in the middle of its answer is given up, and the client's connection broken."""
        world = World(timeouts={"socket": 5.0})
        client, instance = world.ask()
        instance.deliver(ok(b"hello")[:-1])
        world.wait(4)
        self.assertEqual(client.end, None)
        world.wait(2)
        self.assertEqual((client.end, instance.end), ("aborted", "aborted"))
        world.check_idle(self)

    def test_slowButSteady(self):
        """One that sends something now and then is not."""
        world = World(timeouts={"socket": 5.0})
        client, instance = world.ask()
        answer = ok(b"x" * 10)
        instance.deliver(answer[:-10])
        for _ in range(10):
            world.wait(4)
            instance.deliver(b"x")
        self.assertEqual(parse(client.take())[2], b"x" * 10)
        self.assertEqual(client.end, None)

    def test_clientDoesNotReadItsAnswer(self):
        """A client that takes nothing for the streaming timeout is cut off; that is not the instance's fault."""
        world = World()
        client, instance = world.ask()
        instance.deliver(ok(b"hello")[:-1])
        client.fill()
        world.wait(19)
        self.assertEqual(client.end, None)
        world.wait(2)
        self.assertEqual((client.end, instance.end), ("aborted", "aborted"))
        world.check_idle(self)
        self.assertEqual((world.numbers.client_error, world.numbers.instance_error), (1, 0))

    def test_clientReadsSlowly(self):
        """A client that takes a little now and then may take as long as it likes."""
        world = World()
        client, instance = world.ask()
        instance.deliver(ok(b"hello")[:-1])
        client.fill()
        for unsent in range(10000, 0, -1000):
            client.unsent_bytes = unsent
            world.wait(18)
        self.assertEqual((client.end, instance.end), (None, None))
        world.wait(4)
        self.assertEqual((client.end, instance.end), ("aborted", "aborted"))

    def test_instanceDoesNotReadTheBody(self):
        """An instance that takes nothing of a body for the streaming timeout is given up: 503."""
        world = World()
        client, instance = world.ask(post(b"hello")[:-1])
        instance.fill()
        world.wait(19)
        self.assertEqual(client.take(), b"")
        world.wait(2)
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 503 Service Unavailable")
        self.assertEqual(world.log.records[0].waiter_error_class, "waiter.StreamTimeout")
        self.assertEqual(world.numbers.instance_error, 1)

    def test_clientDoesNotSendItsBody(self):
        """A client that sends nothing of its body for a minute gets a 408; that is not the instance's fault."""
        world = World(timeouts={"socket": 5.0})
        client, instance = world.ask(post(b"hello")[:-1])
        world.wait(59)
        self.assertEqual(client.take(), b"")
        world.wait(2)
        first, headers, _ = parse(client.take())
        self.assertEqual((first, values(headers, b"connection")), (b"HTTP/1.1 408 Request Timeout", [b"close"]))
        self.assertEqual((world.numbers.client_error, world.numbers.instance_error), (1, 0))
        self.assertEqual(instance.end, "aborted")
        world.check_idle(self)


class InstanceTests(SynchronousTestCase):
    """Instances that break things."""

    def test_diesInTheMiddleOfItsAnswer(self):
        """The client's connection is broken, never ended as if all were well."""
        for answer in (
            ok(b"hello")[:-1],
            head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked") + b"5\r\nhello\r\n",
        ):
            for how in ("reset", "finish"):
                world = World()
                client, instance = world.ask()
                instance.deliver(answer)
                getattr(instance, how)()
                self.assertEqual(client.end, "aborted")
                self.assertFalse(client.take().endswith(b"0\r\n\r\n"))
                world.step()
                world.check_idle(self)
                self.assertEqual(world.numbers.instance_error, 1)

    def test_resetOfABodyThatEndsWithTheConnection(self):
        """A reset is not the end of such a body."""
        world = World()
        client, instance = world.ask()
        instance.deliver(head(b"HTTP/1.1 200 OK") + b"abc")
        instance.reset()
        self.assertEqual(client.end, "aborted")
        self.assertFalse(client.take().endswith(b"0\r\n\r\n"))

    def test_nonsense(self):
        """An answer that is none is a 502 and costs the instance its connection."""
        for answer in (
            b"SSH-2.0-OpenSSH\r\n",
            head(b"HTTP/1.1 200 OK", b"Content-Length: 1", b"Transfer-Encoding: chunked"),
            head(b"HTTP/1.1 200 OK", b"Content-Length: 1", b"Content-Length: 2"),
            head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: gzip, chunked"),
            head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: gzip"),
            head(b"HTTP/1.1 200 OK", b"X: a\r\n b"),
            head(b"HTTP/2.0 200 OK"),
            head(b"HTTP/1.1 099 OK"),
            b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            head(b"HTTP/1.1 101 Switching", b"Connection: upgrade", b"Upgrade: websocket"),
            head(b"HTTP/1.1 101 Switching"),
            head(b"HTTP/1.1 200 OK", b"X: " + b"x" * 70000),
        ):
            world = World()
            client, instance = world.ask(post(b"x"))
            instance.deliver(answer)
            self.assertEqual(parse(client.take())[0], b"HTTP/1.1 502 Bad Gateway", answer[:80])
            self.assertEqual(instance.end, "aborted")
            world.step()
            world.check_idle(self)
            self.assertEqual(world.numbers.instance_error, 1)


class Released(list):
    """Notes every release of a lease."""

    def __init__(self, case):
        super().__init__()
        original = Lease.release

        def release(lease, outcome):
            if not lease.released:
                self.append(outcome)
            original(lease, outcome)

        case.patch(Lease, "release", release)


class OutcomeTests(SynchronousTestCase):
    def test_outcomes(self):
        """The slot is given back with how it went."""
        for answer, outcome in (
            (ok(), Outcome.SUCCESS),
            (head(b"HTTP/1.1 500 Oh", b"Content-Length: 0"), Outcome.SUCCESS),
            (head(b"HTTP/1.1 503 Busy", b"Content-Length: 0"), Outcome.INSTANCE_BUSY),
            (b"nonsense", Outcome.INSTANCE_ERROR),
        ):
            released = Released(self)
            world = World()
            _client, instance = world.ask(post(b"x"))
            instance.deliver(answer)
            self.assertEqual(released, [outcome])
            world.step()
            self.assertEqual(released, [outcome])
