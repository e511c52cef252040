"""Requests that get no instance, or have to wait for one."""

import gc
import json
import re
import sys
from functools import partial

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.router.world import SERVICE_HOST, World, get, head, ok, parse, post, values
from waiter.errors import ServiceForbidden
from waiter.reservation.reserver import InstanceReserver


class RefusedTests(SynchronousTestCase):
    def test_unknownService(self):
        """What names no service is answered with 400 in the form the client likes; the connection goes on."""
        world = World()
        client = world.client()
        client.deliver(head(b"GET /p?q HTTP/1.1", b"Host: other", b"Accept: application/json", b"x-cid: me"))
        first, headers, rest = parse(client.take())
        self.assertEqual(first, b"HTTP/1.1 400 Bad Request")
        self.assertEqual(values(headers, b"content-type"), [b"application/json"])
        self.assertEqual((values(headers, b"server"), values(headers, b"x-cid")), ([b"waiter/1"], [b"me"]))
        error = json.loads(rest)["waiter-error"]
        self.assertEqual((error["cid"], error["uri"], error["query-string"], error["status"]), ("me", "/p", "q", 400))
        self.assertEqual(values(headers, b"content-length"), [b"%d" % len(rest)])
        self.assertEqual((client.end, world.metrics.router.refused_total), (None, 1))
        _, instance = world.ask(get(), client)
        instance.deliver(ok())
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 200 OK")

    def test_connectionClose(self):
        """An error ends the connection of a client that says so, too."""
        world = World()
        client = world.client()
        client.deliver(get(b"/", b"Connection: close").replace(b"app", b"other") + get(b"/never"))
        first, headers, rest = parse(client.take())
        self.assertEqual((first[9:12], values(headers, b"connection"), client.end), (b"400", [b"close"], "closed"))
        self.assertNotIn(b"HTTP/1.1 ", rest)
        self.assertEqual(world.instances.wires, [])

    def test_unknownServiceWithABody(self):
        """The body of a refused request is read and dropped, and the next request is answered."""
        world = World()
        client = world.client()
        client.deliver(post(b"x" * 100000).replace(SERVICE_HOST, b"other"))
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 400 Bad Request")
        _, instance = world.ask(get(), client)
        self.assertEqual(parse(instance.take())[0], b"GET / HTTP/1.1")

    def test_longBodyOfARefusedRequest(self):
        """If too much of it comes, the connection is closed, but not before the client could read the answer."""
        world = World()
        client = world.client()
        client.deliver(post(b"").replace(SERVICE_HOST, b"other").replace(b"Length: 0", b"Length: 10000000"))
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 400 Bad Request")
        for _ in range(10):
            client.deliver(b"x" * 65536)
        self.assertEqual((client.half, client.end), (True, None))
        world.wait(6)
        self.assertEqual(client.end, "aborted")

    def test_badRequestBehindABody(self):
        """What cannot be understood does no harm to the request before it, even if it comes with the rest of that one's body."""
        end = b"0\r\n\r\n"
        for host, answers in ((SERVICE_HOST, [b"200", b"400"]), (b"other", [b"400", b"400"])):
            world = World()
            client = world.client()
            client.deliver(head(b"PUT / HTTP/1.1", b"Host: " + host, b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n")
            world.step()
            client.deliver(end + b"GET / HTTP/1.1\n")
            if host == SERVICE_HOST:
                self.assertEqual(parse(world.instances.last.take())[2], b"3\r\nabc\r\n" + end)
                self.assertEqual(client.written, b"")
                world.instances.last.deliver(ok())
            self.assertEqual(re.findall(rb"HTTP/1.1 (\d+)", client.take()), answers)
            self.assertTrue(client.half)

    def test_noAnswerToHeadHasABody(self):
        """Not even an error."""
        world = World()
        client = world.client()
        client.deliver(head(b"HEAD / HTTP/1.1", b"Host: other"))
        self.assertEqual(parse(client.take())[2], b"")

    def test_refusedLater(self):
        """A resolution that takes time and fails is answered, too."""
        world = World()
        world.catalogue.waiting = Deferred()
        client = world.client()
        client.deliver(get())
        self.assertEqual(client.take(), b"")
        world.catalogue.waiting.errback(ServiceForbidden("No.", retry_after_secs=7))
        first, headers, _rest = parse(client.take())
        self.assertEqual((first, values(headers, b"retry-after")), (b"HTTP/1.1 403 Forbidden", [b"7"]))
        self.assertEqual(world.log.records[0].waiter_error_class, "waiter.ServiceForbidden")

    def test_resolvedLater(self):
        """A resolution that takes time and succeeds goes on."""
        world = World()
        waiting = world.catalogue.waiting = Deferred()
        client = world.client()
        client.deliver(post(b"abc"))
        waiting.callback(world.catalogue.descriptor)
        world.step()
        self.assertEqual(parse(world.instances.last.take())[2], b"abc")

    def test_aPageOfAnotherSiteMayNotDescribeAService(self):
        """Commands from foreign pages are refused before anything is resolved."""
        world = World()
        client = world.client()
        client.deliver(head(b"GET / HTTP/1.1", b"Host: localhost", b"x-waiter-cmd: rm", b"Origin: http://evil"))
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 403 Forbidden")
        client.deliver(head(b"GET / HTTP/1.1", b"Host: localhost", b"x-waiter-cmd: rm", b"Origin: http://evil"))
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 403 Forbidden")
        self.assertEqual(world.catalogue.asked, [])

    def test_bugWhileTelling(self):
        """If not even the error can be told, the connection is broken and nothing leaks."""
        world = World()
        client, instance = world.ask(post(b"x"))
        self.patch(InstanceReserver, "slots_available", property(lambda reserver: 1 / 0))
        instance.reset()
        self.assertEqual(client.end, "aborted")
        world.step()
        world.check_idle(self)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_bug(self):
        """An unexpected exception is a 500 for this request only; nothing leaks."""
        world = World()
        world.catalogue.resolve = lambda host, headers: 1 / 0
        client = world.client()
        client.deliver(get())
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 500 Internal Server Error")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(client.end, None)


def steps(function):
    """How many lines are run in it."""
    number = 0

    def note(_frame, _event, _argument):
        nonlocal number
        number += 1
        return note

    before = sys.gettrace()
    # What the collector of garbage calls does not count.
    gc.disable()
    sys.settrace(note)
    try:
        function()
    finally:
        sys.settrace(before)
        gc.enable()
    return number


class WaitingTests(SynchronousTestCase):
    def test_waitsForASlot(self):
        """Without a free slot a request waits, and goes on when there is one."""
        world = World()
        _first, instance = world.ask()
        second = world.client()
        second.deliver(get(b"/second"))
        self.assertEqual(world.reserver.load.waiting, 1)
        instance.take()
        world.step(2.0)
        instance.deliver(ok())
        world.step()
        self.assertEqual(parse(instance.take())[0], b"GET /second HTTP/1.1")
        instance.deliver(ok())
        self.assertEqual(world.log.records[1].get_instance_latency_ns, 2000000000)
        world.check_idle(self)

    def test_bodyIsNotReadBeforeThereIsAnInstance(self):
        """A waiting request's body is left with the client, but for what was in the network."""
        world = World(instances=0)
        client = world.client()
        client.deliver(post(b"x" * 1000000)[:70000])
        self.assertTrue(client.paused)
        client.deliver(b"x" * 1000)
        world.run_instances(1)
        world.step()
        self.assertFalse(client.paused)
        self.assertTrue(len(world.instances.last.take()) > 70000)

    def test_queueTimeout(self):
        """A request that waits too long gets a 503 that says so, and is forgotten."""
        world = World(instances=0, timeouts={"queue": 10.0})
        client = world.client()
        client.deliver(get())
        world.wait(9)
        self.assertEqual(client.take(), b"")
        world.wait(2)
        first, _headers, rest = parse(client.take())
        self.assertEqual(first, b"HTTP/1.1 503 Service Unavailable")
        self.assertIn(b"After 10 seconds, no instance available to handle request.", rest)
        world.check_idle(self)
        self.assertEqual((world.numbers.generic_error, world.numbers.status), (1, {503: 1}))

    def test_queueFull(self):
        """One more than may wait is refused at once, with a word on when to try again."""
        world = World(instances=0)
        clients = [world.client() for _ in range(6)]
        for client in clients:
            client.deliver(get())
        self.assertEqual([client.take()[:12] for client in clients], [b""] * 5 + [b"HTTP/1.1 503"])

    def test_retryAfter(self):
        """The word is Retry-After."""
        world = World(instances=0)
        clients = [world.client() for _ in range(6)]
        for client in clients:
            client.deliver(get())
        self.assertEqual(len(values(parse(clients[5].take())[1], b"retry-after")), 1)

    def test_whoAsksAgainWaitsBehindTheOthers(self):
        """Nobody is served twice while somebody waits who came before, however fast it asks."""
        world = World()
        clients = [world.client() for _ in range(4)]
        for number, client in enumerate(clients):
            client.deliver(get(b"/%d" % number) * 3)
        world.step()
        (instance,) = world.instances.wires
        order = []
        while request := instance.take():
            order.append(parse(request)[0].split()[1])
            instance.deliver(ok())
            world.step()
        self.assertEqual(order, [b"/0", b"/1", b"/2", b"/3"] * 3)
        world.check_idle(self)

    def test_aRequestCostsTheSameHoweverManyWait(self):
        """To come, to be served and to leave."""
        costs = [self.costs(number) for number in (256, 4096)]
        self.assertEqual(costs[0], costs[1])

    def costs(self, number):
        """How many lines are run for one request while so many wait."""
        world = World(queue_length=10**6)
        _, instance = world.ask()
        waiting = [world.client() for _ in range(number)]
        for client in waiting:
            client.deliver(get(b"/%d" % id(client)))
        world.clock.advance(10)
        last = world.client()

        found = [
            steps(partial(last.deliver, get())),
            steps(partial(instance.deliver, ok())),
            steps(waiting[number // 2].reset),
        ]
        self.assertEqual(world.reserver.load.waiting, number - 1)
        return found
