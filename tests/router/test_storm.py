"""Everything at once, in any order: whatever clients and instances do, nothing is lost and nothing is kept."""

from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.router.world import SERVICE_HOST, World, chunked, get, head, ok, post
from waiter.reservation.lease import Lease

REQUESTS = (
    get(),
    get(b"/", b"X: y"),
    get(b"/", b"Connection: close"),
    get(b"/", version=b"1.0"),
    get(b"/", b"Connection: upgrade", b"Upgrade: websocket"),
    get(b"/", b"Connection: upgrade", b"Upgrade: h2c"),
    post(b"x" * 100),
    post(b"x" * 100000, method=b"PUT"),
    post(b"hello", b"Expect: 100-continue"),
    head(b"PUT / HTTP/1.1", b"Host: " + SERVICE_HOST, b"Transfer-Encoding: chunked") + chunked(b"a", b"b" * 10000),
    get().replace(b"GET", b"HEAD"),
    head(b"GET /apps HTTP/1.1", b"Host: localhost"),
    get().replace(SERVICE_HOST, b"other"),
    b"nonsense\r\n\r\n",
)
ANSWERS = (
    ok(),
    ok(b"x" * 50000),
    ok(b"", b"Connection: close"),
    head(b"HTTP/1.1 503 Busy", b"Content-Length: 4") + b"busy",
    head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked") + chunked(b"abc", b"d" * 1000),
    head(b"HTTP/1.0 200 OK") + b"until the end",
    head(b"HTTP/1.1 100 Continue"),
    head(b"HTTP/1.1 103 Early"),
    head(b"HTTP/1.1 101 Yes", b"Connection: upgrade", b"Upgrade: websocket"),
    head(b"HTTP/1.1 304 Same"),
    b"nonsense",
    b"\x81\x05hello",
)
WHICH = st.integers(0, 5)
STEPS = st.one_of(
    st.tuples(st.just("connect")),
    st.tuples(st.just("send"), WHICH, st.sampled_from(REQUESTS), st.sampled_from([1.0, 1.0, 1.0, 0.5, 0.95])),
    st.tuples(st.just("answer"), WHICH, st.sampled_from(ANSWERS), st.sampled_from([1.0, 1.0, 1.0, 0.5, 0.9])),
    st.tuples(st.sampled_from(["finish", "reset", "fill", "drain"]), WHICH, st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.0, 0.25, 2.0, 12.0, 70.0])),
    st.tuples(st.just("refuse"), st.integers(10001, 10003), st.booleans()),
    st.tuples(st.just("instances"), st.integers(0, 3)),
)


def noting(list_of_leases, method):
    """The same method, which notes whose it was called on."""

    def noted(lease, *arguments):
        list_of_leases.append(lease)
        return method(lease, *arguments)

    return noted


class StormTests(SynchronousTestCase):
    @settings(max_examples=200, deadline=None)
    @given(st.lists(STEPS, max_size=40), st.booleans())
    def test_nothingLeaks(self, steps, drained):
        world = World(instances=2, slots=2, timeouts={"queue": 20.0, "socket": 30.0})
        leases, released = [], []
        with (
            patch.object(Lease, "__init__", noting(leases, Lease.__init__)),
            patch.object(Lease, "release", noting(released, Lease.release)),
        ):
            self.live(world, steps, drained)
        self.assertEqual((world.numbers.waiting_to_stream, world.numbers.streaming), (0, 0))
        self.assertEqual(sorted(map(id, released)), sorted(map(id, leases)))
        numbers = world.numbers
        outcomes = (numbers.successful, numbers.client_error, numbers.instance_error, numbers.generic_error)
        self.assertEqual(sum(outcomes), numbers.total)
        router = world.metrics.router
        self.assertEqual((router.connections_open, router.upgrades_open), (0, 0))
        self.assertEqual(len([r for r in world.log.records if r.service_id is not None]), numbers.total)
        self.assertEqual(world.backends._welcome, set())
        for wire in world.instances.wires:
            self.assertTrue(wire.end is not None or wire.lost)
        reserver = world.reserver
        if reserver is not None:
            self.assertEqual((reserver.slots_in_use, reserver.load.waiting), (0, 0))

    def live(self, world, steps, drained):
        """All of the steps, and the end of all connections."""
        clients = []
        for name, *arguments in steps:
            getattr(self, f"do_{name}")(world, clients, *arguments)
            world.step()
        if drained:
            done = world.factory.drain(5)
            world.wait(6)
            self.successResultOf(done)
        for client in clients:
            client.reset()
        world.step()
        world.backends.close()
        world.step()

    def do_connect(self, world, clients):
        clients.append(world.client())

    def do_send(self, world, clients, which, request, share):
        if not clients:
            clients.append(world.client())
        client = clients[which % len(clients)]
        if not client.lost:
            client.deliver(request[: int(len(request) * share)])

    def do_answer(self, world, clients, which, answer, share):
        wires = [wire for wire in world.instances.wires if wire.end is None and not wire.lost]
        if wires:
            wires[-1 - which % len(wires)].deliver(answer[: int(len(answer) * share)])

    def wire(self, world, clients, which, at_client):
        wires = clients if at_client else world.instances.wires
        wires = [wire for wire in wires if wire.end is None and not wire.lost]
        return wires[which % len(wires)] if wires else None

    def do_finish(self, world, clients, which, at_client):
        wire = self.wire(world, clients, which, at_client)
        if wire is not None:
            wire.finish()

    def do_reset(self, world, clients, which, at_client):
        wire = self.wire(world, clients, which, at_client)
        if wire is not None:
            wire.reset()

    def do_fill(self, world, clients, which, at_client):
        wire = self.wire(world, clients, which, at_client)
        if wire is not None and wire.producer is not None:
            wire.fill()

    def do_drain(self, world, clients, which, at_client):
        wire = self.wire(world, clients, which, at_client)
        if wire is not None and wire.producer is not None:
            wire.drain()

    def do_wait(self, world, clients, secs):
        world.wait(secs)

    def do_refuse(self, world, clients, port, refuses):
        (world.instances.refusing.add if refuses else world.instances.refusing.discard)(port)

    def do_instances(self, world, clients, number):
        world.run_instances(number, 2)
