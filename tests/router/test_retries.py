"""Which requests are sent again, and to whom."""

import json
from errno import EMFILE

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectError
from twisted.trial.unittest import SynchronousTestCase

from tests.router.world import World, chunked, get, head, ok, parse, post
from waiter.router.retries import RetryBudget, RetryBudgets
from waiter.support.trust import CertificateRefused
from waiter.telemetry.metrics import ServiceMetrics


def put(body):
    return post(body, method=b"PUT")


class ConnectTests(SynchronousTestCase):
    """Nothing was sent to an instance that could not be connected to."""

    def test_anotherInstanceIsTried(self):
        """Any request is sent to another instance, with its body, and the client notices nothing."""
        for request in (get(), post(b"x" * 3000), post(b"x" * 200000)):
            world = World(instances=3)
            world.instances.refusing = {10001, 10002}
            client, instance = world.ask(request)
            self.assertEqual(instance.getPeer().port, 10003)
            self.assertTrue(instance.take().endswith(request[-2000:].rpartition(b"\r\n\r\n")[2]))
            instance.deliver(ok(b"third"))
            self.assertEqual(parse(client.take())[2], b"third")
            world.check_idle(self)
            self.assertEqual((world.numbers.retries, world.log.records[0].retries), (2, 2))
            self.assertEqual((world.numbers.successful, world.numbers.instance_error), (1, 0))

    def test_theRefusingInstanceIsSetAside(self):
        """The next request does not go there."""
        world = World(instances=2)
        world.instances.refusing = {10001}
        client, instance = world.ask()
        instance.deliver(ok())
        world.instances.refusing = set()
        _, instance = world.ask(get(), client)
        self.assertEqual(instance.getPeer().port, 10002)

    def test_theOnlyInstance(self):
        """If there is no other, the request waits: for another one, or until the same one is trusted again."""
        for new in (2, 1):
            world = World(instances=1)
            world.instances.refusing = {10001}
            client = world.client()
            client.deliver(post(b"body"))
            world.step()
            self.assertEqual(world.reserver.load.waiting, 1)
            self.assertEqual(client.take(), b"")
            if new == 2:
                world.run_instances(2)
                world.step()
            else:
                world.instances.refusing = set()
                world.wait(11)
            self.assertEqual(world.instances.last.getPeer().port, 10000 + new)
            self.assertEqual(parse(world.instances.last.take())[2], b"body")
            world.instances.last.deliver(ok())
            self.assertEqual(parse(client.take())[0], b"HTTP/1.1 200 OK")
            world.check_idle(self)

    def test_untilTheQueueTimeout(self):
        """All attempts together take no longer than the queue timeout."""
        world = World(instances=1, timeouts={"queue": 15.0})
        world.instances.refusing = {10001}
        client = world.client()
        client.deliver(get())
        world.wait(14)
        self.assertEqual(client.take(), b"")
        world.wait(2)
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 503 Service Unavailable")
        world.check_idle(self)

    def test_ourOwnFault(self):
        """If this process has no files left, no instance is blamed, and none is tried in vain."""
        world = World(instances=2)
        world.instances.refusal = ConnectError(osError=EMFILE)
        world.instances.refusing = {10001}
        client = world.client()
        client.deliver(get())
        world.step()
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 502 Bad Gateway")
        world.check_idle(self)
        world.instances.refusing = set()
        _, instance = world.ask(get(), client)
        self.assertEqual(instance.getPeer().port, 10001)

    def test_certificateRefused(self):
        """If an instance's certificate is not believed, another one is not tried, and the client is told why."""
        world = World(instances=2)
        world.instances.refusal = CertificateRefused(string="it is for somebody else")
        world.instances.refusing = {10001}
        client = world.client()
        for _ in range(2):
            client.deliver(get(b"/", b"Accept: application/json"))
            world.step()
            first, _, body = parse(client.take())
            self.assertEqual(first, b"HTTP/1.1 502 Bad Gateway")
            error = json.loads(body)["waiter-error"]
            self.assertEqual(error["message"], "The instance could not prove who it is")
            self.assertEqual(error["details"]["reason"], "it is for somebody else")
        world.check_idle(self)
        self.assertEqual(world.numbers.retries, 0)

    def test_noTimeLeft(self):
        """When connecting has used up the time, the error says that it was the connecting."""
        world = World(instances=2, timeouts={"queue": 1.0})
        world.instances.slow = True
        world.instances.refusing = {10001}
        client = world.client()
        client.deliver(get())
        world.wait(3)
        world.instances.accept()
        first, _, rest = parse(client.take())
        self.assertEqual(first, b"HTTP/1.1 502 Bad Gateway")
        self.assertIn(b"Request failed to connect to service backend", rest)
        world.check_idle(self)


class ClosingTests(SynchronousTestCase):
    """An instance that closes its connection at every possible byte of its answer."""

    answers = (
        ok(b"hello"),
        head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked") + chunked(b"he", b"llo"),
        head(b"HTTP/1.1 204 No Content"),
    )

    def outcome(self, request, answer, cut, how):
        """What the client has got in the end, when the first instance closes after C{cut} bytes."""
        world = World(instances=2)
        client, instance = world.ask(request)
        if cut:
            instance.deliver(answer[:cut])
        getattr(instance, how)()
        world.step()
        if len(world.instances.wires) == 2:
            world.instances.last.deliver(ok(b"again"))
            world.step()
        world.check_idle(self)
        self.assertEqual(world.numbers.total, 1)
        self.assertEqual(len(world.log.records), 1)
        return client, len(world.instances.wires) - 1

    def test_idempotentRequests(self):
        """Until the head is there the request is sent to another instance; after that, the client's connection is broken."""
        for answer in self.answers:
            until = answer.index(b"\r\n\r\n") + 4
            for how in ("reset", "finish"):
                for cut in range(len(answer)):
                    for request in (get(), put(b"short")):
                        client, retries = self.outcome(request, answer, cut, how)
                        if cut < until:
                            self.assertEqual((client.end, retries), (None, 1), (answer, cut))
                            self.assertEqual(parse(client.take())[2], b"again")
                        else:
                            self.assertEqual((client.end, retries), ("aborted", 0), (answer, cut))

    def test_otherRequests(self):
        """A POST may have been carried out, and is never sent twice."""
        for answer in self.answers:
            until = answer.index(b"\r\n\r\n") + 4
            for how in ("reset", "finish"):
                for cut in range(len(answer)):
                    client, retries = self.outcome(post(b"short"), answer, cut, how)
                    self.assertEqual(retries, 0)
                    if cut < until:
                        self.assertEqual(client.end, None)
                        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 502 Bad Gateway")
                    else:
                        self.assertEqual(client.end, "aborted")

    def test_completeAnswers(self):
        """A connection that ends after the answer harms nobody."""
        for answer in self.answers:
            for how in ("reset", "finish"):
                client, retries = self.outcome(post(b"short"), answer, len(answer), how)
                self.assertEqual((client.end, retries), (None, 0))


class StaleTests(SynchronousTestCase):
    """An idle connection that the instance closes just when it is used again."""

    def again(self, request, cut=0):
        world = World(instances=2)
        client, instance = world.ask(get(b"/first"))
        instance.deliver(ok())
        client.take()
        world.ask(request, client)
        self.assertEqual(len(world.instances.wires), 1)
        if cut:
            instance.deliver(ok()[:cut])
        instance.finish()
        world.step()
        return world, client

    def test_idempotent(self):
        """The request is sent again on a new connection to the same instance, which is not blamed."""
        for request in (get(), put(b"body"), put(b"")):
            world, client = self.again(request)
            self.assertEqual([wire.getPeer().port for wire in world.instances.wires], [10001, 10001])
            self.assertEqual(parse(world.instances.last.take())[2], parse(request)[2])
            world.instances.last.deliver(ok(b"again"))
            self.assertEqual(parse(client.take())[2], b"again")
            world.check_idle(self)
            _, instance = world.ask(get(), client)
            self.assertEqual(instance.getPeer().port, 10001)

    def test_notIdempotent(self):
        """It may have been carried out, so it is not sent again; nor is the instance blamed."""
        world, client = self.again(post(b"body"))
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 502 Bad Gateway")
        self.assertEqual((world.numbers.generic_error, world.numbers.instance_error), (1, 0))
        _, instance = world.ask(get(), client)
        self.assertEqual(instance.getPeer().port, 10001)

    def test_begun(self):
        """If the answer had begun, the instance is to be blamed, and another one asked."""
        world, _client = self.again(get(), cut=5)
        self.assertEqual(world.instances.last.getPeer().port, 10002)

    def test_closedWhileIdle(self):
        """A connection that the instance closes while it is idle is not used again."""
        world = World()
        client, instance = world.ask()
        instance.deliver(ok())
        client.take()
        instance.finish()
        _, other = world.ask(post(b"body"), client)
        self.assertIsNot(other, instance)
        other.deliver(ok())
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 200 OK")


class BusyTests(SynchronousTestCase):
    """An instance that answers 503."""

    busy = head(b"HTTP/1.1 503 Busy", b"Content-Length: 4") + b"busy"

    def test_anotherFreeInstanceIsAsked(self):
        """An idempotent request is sent to another instance if one has a free slot now."""
        for request, cut in ((get(), None), (get(), -2), (put(b"body"), None)):
            world = World(instances=2)
            client, instance = world.ask(request)
            instance.deliver(self.busy[:cut])
            world.step()
            other = world.instances.last
            self.assertEqual(other.getPeer().port, 10002)
            self.assertEqual(parse(other.take())[2], parse(request)[2])
            other.deliver(ok(b"other"))
            self.assertEqual(parse(client.take())[2], b"other")
            world.check_idle(self)
            self.assertEqual(instance.end, None if cut is None else "aborted")
            # The first one is set aside.
            _, third = world.ask(get(), client)
            self.assertIs(third, other)

    def test_onlyOnce(self):
        """The second 503 is the answer."""
        world = World(instances=3)
        client, instance = world.ask()
        instance.deliver(self.busy)
        world.step()
        world.instances.last.deliver(self.busy)
        self.assertEqual(parse(client.take())[::2], (b"HTTP/1.1 503 Busy", b"busy"))
        self.assertEqual(len(world.instances.wires), 2)
        world.check_idle(self)

    def test_otherwiseItIsTheAnswer(self):
        """It is passed on if there is no other instance, none is free, or the request is not idempotent."""
        for instances, occupied, request in ((1, 0, get()), (2, 1, get()), (2, 0, post(b"body"))):
            world = World(instances=instances)
            for _ in range(occupied):
                world.reserver.reserve(timeout_secs=1)
            client, instance = world.ask(request)
            instance.deliver(self.busy)
            world.step()
            self.assertEqual(parse(client.take())[::2], (b"HTTP/1.1 503 Busy", b"busy"))
            self.assertEqual(len(world.instances.wires), 1)
            self.assertEqual(client.end, None)

    def test_theLastInstanceServesOn(self):
        """The only instance is not set aside for a 503."""
        world = World(instances=1)
        client, instance = world.ask()
        instance.deliver(self.busy)
        world.ask(get(), client)
        self.assertEqual(world.reserver.slots_in_use, 1)


class KeptBodyTests(SynchronousTestCase):
    def test_longBodiesAreNotKept(self):
        """Beyond 64 KiB a body is not kept, and so not sent again."""
        for size, again in ((65536, True), (65537, False)):
            world = World(instances=2)
            client, instance = world.ask(put(b"x" * size))
            instance.reset()
            world.step()
            self.assertEqual(len(world.instances.wires) == 2, again)
            if again:
                self.assertEqual(parse(world.instances.last.take())[2], b"x" * size)
            else:
                self.assertEqual(parse(client.take())[0], b"HTTP/1.1 502 Bad Gateway")

    def test_unfinishedBodies(self):
        """What was sent of a body is sent again, and the rest follows as it comes."""
        world = World(instances=2)
        client, instance = world.ask(put(b"0123456789")[:-4])
        client.deliver(b"67")
        instance.reset()
        world.step()
        other = world.instances.last
        self.assertEqual(parse(other.take())[2], b"01234567")
        client.deliver(b"89")
        self.assertEqual(other.take(), b"89")
        other.deliver(ok())
        world.check_idle(self)
        self.assertEqual(client.end, None)

    def test_chunkedBodies(self):
        """The same with chunks."""
        world = World(instances=2)
        request = head(b"PUT / HTTP/1.1", b"Host: app.example", b"Transfer-Encoding: chunked")
        client, instance = world.ask(request + b"2\r\nab\r\n1\r\nc\r\n")
        instance.reset()
        world.step()
        other = world.instances.last
        self.assertEqual(parse(other.take())[2], b"3\r\nabc\r\n")
        client.deliver(b"0\r\nX-T: 1\r\n\r\n")
        self.assertEqual(other.take(), b"0\r\nX-T: 1\r\n\r\n")

    def test_notForEver(self):
        """A request that kills every instance is sent three times and no more."""
        world = World(instances=5)
        client = world.client()
        client.deliver(get())
        for _ in range(3):
            world.step()
            world.instances.last.reset()
        world.step()
        self.assertEqual(len(world.instances.wires), 3)
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 502 Bad Gateway")
        world.check_idle(self)


class BudgetTests(SynchronousTestCase):
    def test_tenASecond(self):
        """Without any load to speak of, ten requests may be sent again in the first second, and then ten a second."""
        budget = RetryBudget(0.0, 0)
        self.assertEqual([budget.spend(0.5, 0) for _ in range(11)], [True] * 10 + [False])
        self.assertEqual([budget.spend(2.0, 0) for _ in range(11)], [True] * 10 + [False])

    def test_aFifthOfTheRequests(self):
        """Beyond that, one in five."""
        budget = RetryBudget(0.0, 1000)
        self.assertEqual(sum(budget.spend(1.0, 2000) for _ in range(1000)), 210)

    @given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 50)), max_size=200))
    def test_neverMore(self, steps):
        """Over any time, no more than a fifth of the requests and ten a second, and what one window may be off."""
        budget = RetryBudget(0.0, 0)
        now, total, spent = 0.0, 0, 0
        for secs, requests in steps:
            now += secs
            total += requests
            spent += budget.spend(now, total)
            self.assertLessEqual(spent, 0.2 * total + 10 * max(1.0, now) + 20)

    def test_oneForEachService(self):
        """The budget of one service is not used up by another; what is spent is counted."""
        budgets = RetryBudgets(lambda: 0.0)
        first, second = ServiceMetrics(), ServiceMetrics()
        self.assertEqual([budgets.spend("a", first) for _ in range(11)], [True] * 10 + [False])
        self.assertTrue(budgets.spend("b", second))
        self.assertEqual((first.retries, second.retries), (10, 1))

    def test_spent(self):
        """When it is spent, failures are passed on."""
        world = World(instances=40)
        statuses = []
        for _ in range(14):
            client, instance = world.ask()
            instance.reset()
            world.step()
            if not client.written:
                world.instances.last.deliver(ok(b"", b"Connection: close"))
                world.step()
            statuses.append(parse(client.take())[0][9:12])
        self.assertEqual(statuses, [b"200"] * 12 + [b"502"] * 2)
        world.check_idle(self)


class AgainTests(SynchronousTestCase):
    """A request that one instance has failed goes to the first that can be had, which may be the same."""

    def failed(self):
        """A request waits, since one instance refused it and the other is in use."""
        world = World(instances=2)
        client, one = world.ask()
        _, other = world.ask()
        one.deliver(ok())
        one.finish()
        world.step()
        world.instances.refusing = {one.getPeer().port}
        client.take()
        other.take()
        client.deliver(get(b"/again"))
        world.step()
        self.assertEqual(world.reserver.load.waiting, 1)
        world.instances.refusing = set()
        return world, client, other

    def check(self, world, client, instance):
        self.assertEqual(parse(instance.take())[0], b"GET /again HTTP/1.1")
        instance.deliver(ok(b"at last"))
        self.assertTrue(client.take().endswith(b"at last"))

    def test_theOther(self):
        """The one that failed is left alone for a while, whoever is free."""
        world, client, other = self.failed()
        world.wait(8)
        other.deliver(ok())
        world.step()
        self.check(world, client, other)
        world.check_idle(self)

    def test_theSameWhileTheOtherIsInUse(self):
        """Nobody waits for what may never come free while there is one that serves again."""
        world, client, _ = self.failed()
        world.wait(12)
        self.assertEqual(len(world.instances.wires), 3)
        self.check(world, client, world.instances.last)

    def test_theSameWhenTheOtherIsGone(self):
        world, client, other = self.failed()
        world.run_instances(1)
        other.deliver(ok())
        world.wait(12)
        self.check(world, client, world.instances.last)
        world.check_idle(self)
