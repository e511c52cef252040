"""Tests for L{waiter.autoscaler.collection}, with the real reservation and a scheduler in memory."""

import json

from twisted.trial.unittest import SynchronousTestCase

from tests.autoscaler.support import service
from tests.autoscaler.world import World
from waiter.model.load import ServiceLoad
from waiter.model.outcome import Outcome


class CollectionCase(SynchronousTestCase):
    parameters = {"idle_timeout_mins": 0.5}
    options = {}

    def setUp(self):
        self.service = service(**self.parameters)
        self.world = World(self.service, collector=self.options)
        self.scheduler = self.world.scheduler
        self.collector = self.world.collector
        self.clock = self.world.clock
        self.scheduler.put(self.service, requested=1)
        self.world.start()
        self.clock.advance(0)

    def wait(self, secs):
        """Let time pass in seconds."""
        self.clock.pump([1] * secs)

    def is_gone(self):
        return self.world.requested(self.service) is None


class IdleTimeout(CollectionCase):
    def test_adopted(self):
        """A service nobody asked for goes its timeout after this router first saw it, not at once."""
        self.wait(30)
        self.assertFalse(self.is_gone())
        self.wait(2)
        self.assertTrue(self.is_gone())

    def test_last_request(self):
        """A request starts the time again."""
        self.wait(20)
        self.world.client(self.service, request_secs=0.1, requests=1)
        self.wait(30)
        self.assertFalse(self.is_gone())
        self.wait(2)
        self.assertTrue(self.is_gone())

    def test_request_under_way(self):
        """A service with a request under way stays, and its time begins with the request's end."""
        lease = self.world.reserve(self.service)
        self.wait(300)
        self.assertFalse(self.is_gone())
        lease.release(Outcome.SUCCESS)
        self.wait(29)
        self.assertFalse(self.is_gone())
        self.wait(3)
        self.assertTrue(self.is_gone())

    def test_seen_again(self):
        """For a service that was gone the time begins when it is seen again."""
        self.wait(32)
        self.assertTrue(self.is_gone())
        self.scheduler.put(self.service, requested=1)
        self.wait(30)
        self.assertFalse(self.is_gone())
        self.wait(2)
        self.assertTrue(self.is_gone())

    def test_load_not_known(self):
        """Where the load is not known the service stays."""
        self.world.loads = lambda: None
        self.wait(100)
        self.assertFalse(self.is_gone())
        self.world.loads = dict
        self.wait(100)
        self.assertFalse(self.is_gone())
        self.world.loads = lambda: {self.service.id: ServiceLoad()}
        self.wait(2)
        self.assertTrue(self.is_gone())

    def test_load_not_known_restarts_the_time(self):
        """Who may have been busy elsewhere has not been idle."""
        self.wait(20)
        self.world.loads = lambda: None
        self.wait(20)
        self.world.loads = lambda: {self.service.id: ServiceLoad()}
        self.wait(29)
        self.assertFalse(self.is_gone())
        self.wait(3)
        self.assertTrue(self.is_gone())

    def test_not_leading(self):
        """A router that does not lead deletes nothing, but knows how long it has been when it leads."""
        self.world.leader = False
        self.wait(100)
        self.assertFalse(self.is_gone())
        self.world.leader = True
        self.wait(1)
        self.assertTrue(self.is_gone())

    def test_several_instances(self):
        """All instances go together, in one deletion."""
        self.scheduler.put(self.service, requested=4)
        self.clock.advance(0)
        self.wait(32)
        self.assertTrue(self.is_gone())
        self.assertEqual(len(self.world.killed), 4)
        self.assertEqual(len(self.world.calls("delete")), 1)

    def test_stopped(self):
        """After it is stopped it deletes nothing."""
        self.successResultOf(self.collector.stopService())
        self.wait(100)
        self.assertFalse(self.is_gone())

    def test_state(self):
        """The view is JSON and says for how long each service has been idle."""
        self.wait(7)
        self.assertEqual(
            json.loads(json.dumps(self.collector.state())), {self.service.id: {"deleting": False, "idle-secs": 7.0}}
        )


class Never(CollectionCase):
    parameters = {"idle_timeout_mins": 0}

    def test_zero(self):
        """With a timeout of 0 a service stays for ever."""
        self.clock.pump([60] * 1000)
        self.assertFalse(self.is_gone())


class Trouble(CollectionCase):
    def test_failure(self):
        """A deletion that failed is tried again some seconds later; meanwhile the service is as it was."""
        self.scheduler.failure = OSError("unreachable")
        self.wait(35)
        self.assertEqual(len(self.world.calls("delete")), 1)
        self.wait(5)
        self.assertEqual(len(self.world.calls("delete")), 2)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 2)
        self.scheduler.failure = None
        client = self.world.client(self.service, request_secs=0, requests=1)
        self.clock.advance(0)
        self.assertEqual(client.served, 1)

    def test_one_deletion_at_a_time(self):
        """While a deletion is under way there is no other."""
        self.scheduler.hold()
        self.wait(50)
        self.assertEqual(len(self.world.calls("delete")), 1)
        self.assertTrue(self.collector.state()[self.service.id]["deleting"])

    def test_request_during_deletion(self):
        """A request that comes during the deletion waits and is served by a new instance right after it."""
        self.scheduler.hold()
        self.wait(32)
        self.assertEqual(len(self.world.calls("delete")), 1)
        client = self.world.client(self.service, request_secs=0, requests=1)
        self.wait(2)
        self.assertEqual(self.world.calls("create"), [])
        self.scheduler.let_go()
        self.clock.pump([0, 0])
        self.assertEqual(client.served, 1)
        self.assertEqual(client.instances, {f"{self.service.id}.0002"})
        self.wait(20)
        self.assertFalse(self.is_gone())

    def test_request_after_deletion(self):
        """A request that comes after the deletion but before the routing state shows it is served, too."""
        self.world.lag_secs = None
        self.wait(32)
        self.assertTrue(self.is_gone())
        client = self.world.client(self.service, request_secs=0, requests=1)
        self.clock.advance(0)
        self.assertEqual(len(self.world.calls("create")), 1)
        self.world.publish()
        self.clock.pump([0, 0])
        self.assertEqual(client.served, 1)


class Rules(CollectionCase):
    options = {"rules": (lambda state, load, idle_secs: "broken" if idle_secs > 3 else None,)}

    def test_other_rules(self):
        """Other reasons for deleting a service can be given."""
        self.wait(3)
        self.assertFalse(self.is_gone())
        self.wait(1)
        self.assertTrue(self.is_gone())
