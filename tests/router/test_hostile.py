"""
Requests and answers that could be understood in two ways, sent raw, and judged by the bytes the other side gets: they are
refused and the connection closed, or they are passed on in one form that cannot be misunderstood.
"""

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from tests.hostile import judge
from tests.hostile.answers import REPLIES
from tests.hostile.corpus import CASES, FAMILIES
from tests.router.world import World, get, head, ok, post, values

HOST = b"Host: app.example\r\n"


def bytewise(stream):
    return [bytes([byte]) for byte in stream]


def send(*pieces):
    """Deliver the pieces and answer every request: the client's connection, and the instance's."""
    world = World()
    client = world.client()
    for piece in pieces:
        client.deliver(piece)
        world.step()
    answered = True
    while answered:
        answered = False
        for wire in world.instances.wires:
            asker, responder = wire.protocol.asker, client.protocol.responder
            if asker is not None and responder is not None and responder.request.complete and wire.end is None:
                answered = True
                wire.deliver(head(b"HTTP/1.1 204 No Content"))
        world.step()
    return client, world.instances.wires


def understood(wires):
    """The requests in what the instance got; an incomplete one only on a connection that was cut."""
    found = []
    for wire in wires:
        requests, rest = judge.requests(wire.written)
        judge.check(not rest or wire.end == "aborted", rest)
        short = [(method, target, body) for method, target, _, body in requests]
        judge.check(short == judge.read_by_h11(wire.written), "h11 reads it otherwise", wire.written)
        found += requests
    return found


class RequestTests(SynchronousTestCase):
    def check(self, case, pieces):
        """The instance gets what it may, the client one answer for each request, and the connection ends as it must."""
        client, wires = send(*pieces)
        found = [(method, target, body) for method, target, _, body in understood(wires)]
        self.assertEqual(found, list(case.requests))
        stream, statuses = client.written, []
        for method, _, _ in case.requests:
            (status, _, _), stream = judge.answer(stream, method)
            statuses.append(status)
        self.assertEqual(statuses, [204] * len(statuses))
        if case.refusals:
            (status, headers, _), stream = judge.answer(stream, b"GET")
            self.assertIn(b"%d" % status, case.refusals)
            self.assertEqual(values(headers, b"connection"), [b"close"])
        self.assertEqual(stream, b"")
        self.assertTrue(client.half or client.end, "the connection is open")

    def check_all(self, cases, deliveries):
        wrong = []
        for case in cases:
            for pieces in deliveries(case.stream):
                try:
                    self.check(case, pieces)
                except Exception as problem:  # noqa: BLE001 - all of them are wanted at once
                    wrong.append((case.family, case.stream[:300], len(pieces), repr(problem)[:300]))
                    break
        self.assertEqual(wrong, [])

    def test_whole(self):
        """Every stream at once."""
        self.check_all(CASES, lambda stream: [[stream]])

    def test_bytewise(self):
        """Every stream of moderate length byte by byte."""
        self.check_all([case for case in CASES if len(case.stream) < 1000], lambda stream: [bytewise(stream)])

    def test_everySplit(self):
        """A sample of all families in two pieces, wherever they are cut."""
        cases = [case for case in CASES if len(case.stream) < 300][::23]
        self.check_all(cases, lambda stream: [[stream[:at], stream[at:]] for at in range(1, len(stream))])

    def test_families(self):
        """There are at least twenty cases in each."""
        for family in FAMILIES:
            self.assertGreaterEqual(len(family), 20, family[0].family)
        for name, number in Counter(reply.family for reply in REPLIES).items():
            self.assertGreaterEqual(number, 20, name)

    def test_lookAlikes(self):
        """Headers that an application might take for framing or for Waiter's own are not passed on."""
        stream = (
            b"POST / HTTP/1.1\r\n%bTransfer_Encoding: chunked\r\nContent_Length: 99\r\nX_Waiter_Auth_Principal: root\r\n"
            b"X-Waiter-Auth-Principal: root\r\nX_Forwarded_For: 1.2.3.4\r\nProxy-Connection: x\r\nContent-Length: 5\r\n\r\nhello"
        ) % HOST
        ((_, _, headers, body),) = understood(send(stream)[1])
        self.assertEqual(body, b"hello")
        self.assertEqual([name for name, _ in headers if b"_" in name], [])
        self.assertEqual(values(headers, b"x-waiter-auth-principal"), [b"alice"])
        self.assertEqual(values(headers, b"proxy-connection"), [])

    def test_connectionCannotChangeTheRequest(self):
        """Naming a header in Connection removes it, but not those that say what the request is and who asks."""
        stream = (
            b"POST / HTTP/1.1\r\n%bX-Gone: 1\r\nX-Kept: 1\r\nCookie: a=b\r\nContent-Length: 5\r\nConnection: X-Gone, Host,Content-Length, "
            b"x-waiter-auth-principal, X-Forwarded-For, x-cid, cookie, via, , transfer-encoding\r\n\r\nhello"
        ) % HOST
        ((_, _, headers, body),) = understood(send(stream)[1])
        self.assertEqual(
            (body, values(headers, b"host"), values(headers, b"cookie")), (b"hello", [b"app.example"], [b"a=b"])
        )
        self.assertEqual((values(headers, b"x-gone"), values(headers, b"x-kept")), ([], [b"1"]))
        for name in (b"x-waiter-auth-principal", b"x-forwarded-for", b"x-cid", b"via"):
            self.assertEqual(len(values(headers, name)), 1, name)


class AnswerTests(SynchronousTestCase):
    """Whatever an instance answers."""

    def check(self, reply, pieces):
        """The client gets a whole plain answer, or an error, or one that breaks off; the next one gets its own."""
        world = World()
        client, instance = world.ask(post(b"once"))
        for piece in pieces:
            instance.deliver(piece)
            world.step()
        if reply.ends:
            instance.finish()
            world.step()
        self.judge(reply, client)
        # Nothing of it is taken for the answer to another request.
        world.wait(0.5)
        world.run_instances(2)
        next_client, next_instance = world.ask(get(b"/next"))
        if not reply.kept:
            self.assertIsNot(next_instance, instance)
        next_instance.deliver(ok(b"next"))
        world.step()
        (status, _, body), rest = judge.answer(next_client.written, b"GET")
        self.assertEqual((status, body, rest), (200, b"next", b""))
        if client.protocol.responder is None and client.end is None and not client.half:
            client.take()
            world.ask(get(b"/last"), client)[1].deliver(ok(b"last"))
            self.assertEqual(judge.answer(client.take(), b"GET")[0][::2], (200, b"last"))

    def judge(self, reply, client):
        try:
            (status, _headers, body), rest = judge.answer(client.written, b"GET")
        except judge.Unfinished:
            # It can be seen to have broken off, unless the instance may still go on.
            self.assertTrue(client.end == "aborted" or not reply.bodies, client.written)
            return
        self.assertEqual(rest, b"")
        if body in reply.bodies:
            self.assertIn(status, (200, 204, 304))
        else:
            self.assertEqual(status, 502, client.written)

    def test_all(self):
        """At once, byte by byte, and in two pieces."""
        wrong = []
        for reply in REPLIES:
            ways = [[reply.data], [reply.data[: len(reply.data) // 2], reply.data[len(reply.data) // 2 :]]]
            if len(reply.data) < 1000:
                ways.append(bytewise(reply.data))
            for pieces in ways:
                try:
                    self.check(reply, pieces)
                except Exception as problem:  # noqa: BLE001 - all of them are wanted at once
                    wrong.append((reply.family, reply.data[:200], reply.ends, len(pieces), repr(problem)[:300]))
                    break
        self.assertEqual(wrong, [])
