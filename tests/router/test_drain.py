"""The router stops: what becomes of connections and of those who wait."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.router.world import Wire, World, get, ok, parse, values
from waiter.router.carrier import Carrier
from waiter.router.limits import Limits


class DrainTests(SynchronousTestCase):
    def test_nothingToDo(self):
        """Without connections it is done at once."""
        self.assertIsNone(self.successResultOf(World().factory.drain(5)))

    def test_idleConnectionsAreClosed(self):
        """Idle ones at once, busy ones after their answer, which says so."""
        world = World(slots=5)
        idle = world.client()
        used, instance = world.ask()
        instance.deliver(ok())
        busy, instance = world.ask(get(b"/busy"))
        streaming, other = world.ask(get(b"/streaming"))
        other.deliver(ok(b"hello")[:-1])
        half = world.client()
        half.deliver(get()[:10])
        done = world.factory.drain(30)
        self.assertEqual([wire.end for wire in (idle, used, busy, streaming)], ["closed", "closed", None, None])
        instance.deliver(ok(b"bye"))
        _, headers, rest = parse(busy.take())
        self.assertEqual((values(headers, b"connection"), rest), ([b"close"], b"bye"))
        self.assertEqual(busy.end, "closed")
        other.deliver(b"o")
        self.assertTrue(streaming.take().endswith(b"hello"))
        world.step()
        self.assertNoResult(done)
        half.deliver(get()[10:])
        world.step()
        world.instances.last.deliver(ok())
        world.step()
        self.assertEqual(values(parse(half.take())[1], b"connection"), [b"close"])
        self.assertIsNone(self.successResultOf(done))
        world.check_idle(self)
        self.assertEqual(world.metrics.router.connections_open, 0)

    def test_deadline(self):
        """What is not done by the deadline gets an error, or is broken off if an answer has begun."""
        world = World(slots=2, limits=Limits(drain_waiting_secs=60))
        asking, first = world.ask(get() + get(b"/next"))
        answering, second = world.ask()
        second.deliver(ok(b"hello")[:-1])
        waiting = world.client()
        waiting.deliver(get())
        begun = world.client()
        begun.deliver(get()[:10])
        done = world.factory.drain(30)
        world.wait(29)
        self.assertNoResult(done)
        self.assertEqual(asking.take() + waiting.take(), b"")
        world.wait(2)
        self.assertIsNone(self.successResultOf(done))
        for client in (asking, waiting):
            status, headers, _ = parse(client.take())
            self.assertEqual(
                (status, values(headers, b"connection")), (b"HTTP/1.1 503 Service Unavailable", [b"close"])
            )
        self.assertEqual((answering.end, first.end, second.end), ("aborted", "aborted", "aborted"))
        self.assertEqual(begun.take(), b"")
        world.check_idle(self)

    def test_aRequestThatWaitsIsServedByASlotThatComesFree(self):
        """Where instances are, it is worth waiting a while."""
        world = World()
        _, instance = world.ask()
        waiting = world.client()
        waiting.deliver(get(b"/second"))
        done = world.factory.drain(30)
        world.wait(5)
        instance.deliver(ok())
        world.step()
        instance.deliver(ok(b"second"))
        world.step()
        _, headers, rest = parse(waiting.take())
        self.assertEqual((values(headers, b"connection"), rest), ([b"close"], b"second"))
        self.assertIsNone(self.successResultOf(done))
        world.check_idle(self)

    def assert_refused(self, client):
        status, headers, _ = parse(client.take())
        self.assertEqual(status, b"HTTP/1.1 503 Service Unavailable")
        self.assertEqual((values(headers, b"connection"), values(headers, b"retry-after")), ([b"close"], [b"5"]))

    def test_aRequestThatWaitsIsRefusedAfterAWhile(self):
        """Those that are being served go on meanwhile."""
        world = World(limits=Limits(drain_waiting_secs=10))
        served, instance = world.ask()
        waiting = world.client()
        waiting.deliver(get())
        done = world.factory.drain(30)
        world.wait(9)
        self.assertEqual(waiting.take(), b"")
        world.wait(1.25)
        self.assert_refused(waiting)
        self.assertEqual(world.reserver.load.waiting, 0)
        instance.deliver(ok())
        world.step()
        self.assertTrue(served.take().endswith(b"hello"))
        self.assertIsNone(self.successResultOf(done))

    def test_aRequestThatWaitsForNothingIsRefusedAtOnce(self):
        """Where no instance is, none will come any more."""
        world = World(instances=0)
        client = world.client()
        client.deliver(get())
        world.step()
        done = world.factory.drain(30)
        world.wait(0.5)
        self.assert_refused(client)
        self.assertIsNone(self.successResultOf(done))
        world.check_idle(self)

    def test_whenTheLastInstanceGoesWhoeverWaitsIsRefused(self):
        """It is not started again."""
        world = World(limits=Limits(drain_waiting_secs=10))
        world.ask()
        waiting = world.client()
        waiting.deliver(get())
        world.factory.drain(30)
        world.wait(1)
        self.assertEqual(waiting.take(), b"")
        world.run_instances(0)
        world.wait(0.5)
        self.assert_refused(waiting)

    def test_aRequestWhoseServiceIsStillLookedUpIsRefusedAfterAWhile(self):
        """It may wait as long as the others."""
        world = World(limits=Limits(drain_waiting_secs=10))
        world.catalogue.waiting = Deferred()
        client = world.client()
        client.deliver(get())
        done = world.factory.drain(30)
        world.wait(9)
        self.assertEqual(client.take(), b"")
        world.wait(1.25)
        self.assert_refused(client)
        self.assertIsNone(self.successResultOf(done))

    def test_hurriedTheDeadlineIsNow(self):
        """What has no answer gets an error, what has a part of one is broken off."""
        world = World(slots=2)
        asking, first = world.ask()
        answering, second = world.ask()
        second.deliver(ok(b"hello")[:-1])
        done = world.factory.drain(30)
        world.wait(1)
        world.factory.hurry()
        world.wait(0.5)
        self.assertIsNone(self.successResultOf(done))
        self.assert_refused(asking)
        self.assertEqual((answering.end, first.end, second.end), ("aborted", "aborted", "aborted"))
        world.check_idle(self)

    def test_cutNothingIsLeft(self):
        """Neither connections nor timers."""
        world = World()
        client, _ = world.ask()
        world.factory.drain(30)
        world.factory.cut()
        world.step()
        self.assertEqual(client.end, "aborted")
        world.check_idle(self)
        world.backends.close()
        world.step()
        self.assertEqual(world.clock.getDelayedCalls(), [])

    def test_hurriedWithoutADrainNothingHappens(self):
        """There is no deadline that could come."""
        world = World()
        client, instance = world.ask()
        world.factory.hurry()
        instance.deliver(ok())
        self.assertTrue(client.take().endswith(b"hello"))

    def test_drainCancelled(self):
        """Only whoever asked is not told; all else goes on to its end."""
        world = World()
        client, instance = world.ask()
        done = world.factory.drain(30)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        instance.deliver(ok())
        world.step()
        self.assertTrue(client.take().endswith(b"hello"))
        self.assertEqual(client.end, "closed")

    def test_noTimersAreLeft(self):
        """When all connections are gone no timer runs for them."""
        world = World()
        _client, instance = world.ask()
        instance.deliver(ok())
        world.factory.drain(30)
        world.step()
        world.backends.close()
        world.step()
        self.assertEqual(world.clock.getDelayedCalls(), [])

    def test_connectionsAreCounted(self):
        """Open ones and all there ever were."""
        world = World()
        clients = [world.client() for _ in range(3)]
        clients[0].reset()
        numbers = world.metrics.router
        self.assertEqual((numbers.connections_open, numbers.connections_total), (2, 3))

    def test_aConnectionThatIsMadeWhenTheDrainHasBegunIsClosed(self):
        """It was accepted before, and its transport comes only now."""
        world = World()
        protocol = world.factory.buildProtocol(None)
        done = world.factory.drain(30)
        wire = Wire(world.clock, protocol)
        world.step()
        self.assertEqual(wire.end, "closed")
        self.assertIsNone(self.successResultOf(done))

    def test_aConnectionThatNeverCameToBeIsNotWaitedFor(self):
        """Only what was announced of it is taken back."""
        world = World()
        protocol = world.factory.buildProtocol(None)
        carrier = Carrier(None, protocol)
        carrier.never_opened(OSError())
        carrier.never_opened(OSError())
        self.assertEqual(world.metrics.router.connections_open, 0)
        self.assertIsNone(self.successResultOf(world.factory.drain(30)))
        self.assertEqual(world.clock.getDelayedCalls(), [])
