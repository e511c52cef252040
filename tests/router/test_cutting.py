"""An instance that closes its connection after every possible byte of the request it got and of the answer it sent."""

from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from tests.hostile import judge
from tests.router.world import World, chunked, get, head, ok, post, values

JSON = b"Accept: application/json"
ANSWERS = (
    ok(b"first"),
    head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked") + chunked(b"fi", b"rst", trailers=(b"X: y",)),
    head(b"HTTP/1.1 103 Early Hints", b"Link: </x>") + ok(b"first"),
    head(b"HTTP/1.0 200 OK") + b"first",
)
WAYS = ("finish", "reset")
LONG = b"x" * 70000


def put(body):
    return post(body, JSON, method=b"PUT")


def in_chunks(method, *pieces):
    return head(method + b" / HTTP/1.1", b"Host: app.example", JSON, b"Transfer-Encoding: chunked") + chunked(*pieces)


def busy(world):
    """The connections on which an answer is waited for."""
    return [wire for wire in world.instances.wires if wire.protocol.asker is not None and wire.end is None]


def serve(world):
    """From now on the instances answer what they get whole, until nothing more happens."""
    for _ in range(4):
        world.step()
        for wire in busy(world):
            _, rest = judge.requests(wire.written)
            if not rest:
                wire.deliver(ok(b"again"))
        world.step()
        # The only instance is trusted again after a while.
        world.wait(11)


class Run:
    """
    One request, and an instance that closes at one point of it.

    @ivar tries: on how many connections anything of the request arrived.
    @ivar whole: on how many all of it did.
    """

    def __init__(self, request, *, answer=b"", sent=None, way="reset", reused=False, instances=2):
        """
        @param answer: what the instance sends before it closes.
        @param sent: how much the client has sent by then; C{None} for all.
        """
        sent = len(request) if sent is None else sent
        self.world = world = World(instances=instances)
        self.client = client = world.client()
        if reused:
            _, wire = world.ask(get(b"/warm"), client)
            wire.deliver(ok())
            client.take()
            wire.take()
        client.deliver(request[:sent])
        world.step()
        self.asked = bool(busy(world))
        wires = busy(world) or world.instances.wires
        if wires:
            wires[-1].deliver(answer if self.asked else b"")
            getattr(wires[-1], way)()
            world.step()
        client.deliver(request[sent:])
        serve(world)
        written = [wire.written for wire in world.instances.wires]
        self.tries = sum(map(bool, written))
        self.whole = sum(len(judge.requests(stream)[0]) for stream in written)

    def outcome(self):
        """Status and body that the client got; C{None} if the answer broke off."""
        try:
            (status, headers, body), rest = judge.answer(self.client.written, b"GET")
        except judge.Unfinished:
            return None
        judge.check(rest == b"", rest)
        judge.check(status < 500 or values(headers, b"content-type") == [b"application/json"], headers)
        return status, body if status < 500 else b""


class CuttingTests(SynchronousTestCase):
    def check(self, run, expected, *, idempotent):
        self.assertEqual(run.outcome(), expected)
        self.assertLessEqual(run.tries, 2 if idempotent else 1)
        self.assertLessEqual(run.whole, 2 if idempotent else 1)
        if expected is None:
            self.assertEqual(run.client.end, "aborted")
        world = run.world
        world.check_idle(self)
        for wires in world.backends._idle.values():
            for backend in wires:
                self.assertTrue(backend.reusable)
                self.assertIsNone(backend.transport.end)
                self.assertFalse(backend.transport.lost)
        world.wait(15)
        self.assertEqual([wire for wire in world.instances.wires if not wire.lost], [], "a connection is left")
        self.assertFalse(world.backends._welcome)

    def expected(self, answer, cut, way, *, idempotent):
        """What the client has to get when the instance closes after so many bytes of its answer to a whole request."""
        final = answer.rindex(b"HTTP/1.")
        begun = cut - (answer.index(b"\r\n\r\n", final) + 4)
        if begun < 0:
            return (200, b"again") if idempotent else (502, b"")
        if answer[final:].startswith(b"HTTP/1.0"):
            # It ends where the connection ends, if that is no accident.
            return (200, b"first"[:begun]) if way == "finish" else None
        return (200, b"first") if cut == len(answer) else None

    def test_everyByteOfTheAnswer(self):
        """New connections and used ones, one instance and two, every method and kind of body."""
        requests = (
            (get(b"/", JSON), True),
            (post(b"", JSON), False),
            (post(b"body", JSON), False),
            (put(b""), True),
            (put(b"body"), True),
            (in_chunks(b"POST", b"bo", b"dy"), False),
            (in_chunks(b"PUT", b"bo", b"dy"), True),
        )
        for (request, idempotent), answer, way in product(requests, ANSWERS, WAYS):
            for cut in range(len(answer) + 1):
                reused, instances = cut % 2 == 1, 1 + cut // 2 % 2
                run = Run(request, answer=answer[:cut], way=way, reused=reused, instances=instances)
                expected = self.expected(answer, cut, way, idempotent=idempotent)
                self.check(run, expected, idempotent=idempotent)

    def test_everyByteOfTheRequest(self):
        """The client has sent a part of it; the rest follows when the connection is gone."""
        requests = (
            (get(b"/", JSON), True),
            (post(b"some body", JSON), False),
            (put(b"some body"), True),
            (in_chunks(b"POST", b"some", b"body"), False),
            (in_chunks(b"PUT", b"some", b"body"), True),
        )
        for (request, idempotent), way, reused, instances in product(requests, WAYS, (False, True), (1, 2)):
            for sent in range(len(request) + 1):
                run = Run(request, sent=sent, way=way, reused=reused, instances=instances)
                # Nothing was asked yet when an idle connection was closed.
                again = idempotent or not run.asked
                self.check(run, (200, b"again") if again else (502, b""), idempotent=idempotent)
                self.assertEqual(run.whole, again + (run.asked and sent == len(request)))

    def test_longBodies(self):
        """Beyond what is kept of a body, nothing is sent twice."""
        for way, reused, request in product(
            WAYS, (False, True), (put(LONG), in_chunks(b"PUT", LONG[:40000], LONG[40000:]))
        ):
            start = request.index(b"\r\n\r\n") + 4
            for size in (0, 1, 100, 39999, 65000, 65536, 66000, 69999, len(request) - start):
                run = Run(request, sent=start + size, way=way, reused=reused)
                kept = min(size, len(LONG)) <= 65536
                self.check(run, (200, b"again") if kept else (502, b""), idempotent=True)
                self.assertEqual(run.tries, 2 if kept else 1)
        for way, size in product(WAYS, (0, 1, 65536, 70000)):
            request = post(LONG, JSON)
            run = Run(request, sent=request.index(b"\r\n\r\n") + 4 + size, way=way)
            self.check(run, (502, b""), idempotent=False)

    def test_everybodyCloses(self):
        """If all instances do it, an idempotent request is tried three times, any other once."""
        for (request, tries), way in product(((get(b"/", JSON), 3), (put(b"body"), 3), (post(b"body", JSON), 1)), WAYS):
            world = World(instances=5)
            client, _ = world.ask(request)
            for _ in range(5):
                for wire in busy(world):
                    getattr(wire, way)()
                world.step()
            self.assertEqual(len(world.instances.wires), tries)
            (status, headers, _), rest = judge.answer(client.written, b"GET")
            self.assertEqual((status, values(headers, b"content-type"), rest), (502, [b"application/json"], b""))
            world.check_idle(self)


class PoolTests(SynchronousTestCase):
    """Connections that are kept."""

    def test_aRestartOnTheSamePort(self):
        """The connections of an instance are never used for another that has its port."""
        world = World(instances=1, slots=3)
        clients = [world.client() for _ in range(3)]
        for client in clients:
            client.deliver(get())
        world.step()
        for wire in list(world.instances.wires):
            wire.deliver(ok())
        old = list(world.instances.wires)
        self.assertEqual(len(world.backends._idle["s.1"]), 3)
        world.run_instances(1, 3, name="other")
        _, wire = world.ask(get(), clients[0])
        self.assertNotIn(wire, old)
        self.assertEqual(wire.getPeer(), old[0].getPeer())
        wire.deliver(ok())
        world.backends.retain(["other.1"])
        self.assertEqual([each.end for each in old], ["closed"] * 3)
        self.assertEqual(list(world.backends._idle), ["other.1"])

    def test_anInstanceThatClosesItsIdleConnections(self):
        """No request ever meets one of them, and none is kept."""
        world = World(instances=1, slots=20)
        clients = [world.client() for _ in range(20)]
        for way in (*WAYS, "finish"):
            for client in clients:
                client.deliver(post(b"x", JSON))
            world.step()
            for wire in busy(world):
                wire.deliver(ok())
            for client in clients:
                self.assertEqual(judge.answer(client.take(), b"POST")[0][0], 200)
            self.assertEqual(len(world.backends._idle["s.1"]), 20)
            for wire in world.instances.wires:
                if not wire.lost and wire.end is None:
                    getattr(wire, way)()
            world.step()
            self.assertFalse(world.backends._idle.get("s.1"))
        self.assertFalse(world.backends._welcome)

    def test_neverMoreThanSlots(self):
        """There are as many connections as there were requests at once, and those not needed are closed soon."""
        world = World(instances=1, slots=3)
        clients = [world.client() for _ in range(8)]
        for _ in range(10):
            for client in clients:
                client.deliver(get())
            for _ in range(8):
                world.step()
                for wire in busy(world):
                    wire.deliver(ok())
        self.assertEqual(len(world.instances.wires), 3)
        for client in clients:
            self.assertEqual(client.take().count(b"200 OK"), 10)
        world.wait(14)
        self.assertEqual([wire.end for wire in world.instances.wires], ["closed"] * 3)
        self.assertFalse(world.backends._welcome)
