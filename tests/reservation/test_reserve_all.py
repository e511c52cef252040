"""Tests for L{waiter.reservation.reserver.InstanceReserver.reserve_all_for_kill}."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.autoscaler.support import service
from tests.autoscaler.world import World
from waiter.model.outcome import Outcome


class ReserveAllTests(SynchronousTestCase):
    def setUp(self):
        self.service = service()
        self.world = World(self.service)
        self.world.scheduler.put(self.service, requested=3)
        self.world.clock.advance(0)
        self.reserver = self.world.reservers.find(self.service.id)

    def test_all(self):
        """If nobody uses any, all are locked, and a request waits."""
        leases = self.reserver.reserve_all_for_kill()
        self.assertEqual(len(leases), 3)
        waiting = self.world.reserve(self.service)
        self.assertIsInstance(waiting, Deferred)
        leases[1].release(Outcome.NOT_KILLED)
        self.assertEqual(self.successResultOf(waiting).instance, leases[1].instance)

    def test_expired(self):
        """That some are expired and others are not makes no difference."""
        self.world.expire(f"{self.service.id}.0002")
        self.world.clock.advance(0)
        self.assertEqual(len(self.reserver.reserve_all_for_kill()), 3)

    def test_in_use(self):
        """If one is in use, none is locked."""
        used = self.world.reserve(self.service)
        self.assertIsNone(self.reserver.reserve_all_for_kill())
        used.release(Outcome.SUCCESS)
        self.assertEqual(len(self.reserver.reserve_all_for_kill()), 3)

    def test_locked(self):
        """If one is locked already, no further one is."""
        lease = self.reserver.reserve_for_kill()
        self.assertIsNone(self.reserver.reserve_all_for_kill())
        lease.release(Outcome.NOT_KILLED)
        self.assertEqual(len(self.reserver.reserve_all_for_kill()), 3)

    def test_killed(self):
        """One that was killed does not count any more."""
        self.reserver.reserve_for_kill().release(Outcome.KILLED)
        self.assertEqual(len(self.reserver.reserve_all_for_kill()), 2)

    def test_none(self):
        """Without instances there is nothing to lock."""
        self.world.scheduler.put(self.service, requested=0)
        for instance in self.world.scheduler.active(self.service.id):
            self.world.scheduler.vanish(instance)
        self.world.clock.advance(0)
        self.assertEqual(self.reserver.reserve_all_for_kill(), [])
