"""Which instances serve nobody, since when, and how that is noticed."""

from tests.reservation.making import make_service
from tests.reservation.test_reserver import ReserverCase
from waiter.model.outcome import Outcome


class IdleTests(ReserverCase):
    def test_whoServesNobodyIsIdleSinceItsLastRequestEnded(self) -> None:
        self.update({"1": 1, "2": 1})
        self.clock.advance(5)
        lease = self.take()
        self.assertEqual(self.reserver.idle_instances(), {"s.2": 0.0})
        self.clock.advance(10)
        lease.release(Outcome.SUCCESS)
        self.assertEqual(self.reserver.idle_instances(), {"s.1": 15.0, "s.2": 0.0})

    def test_anInstanceWithOneOfItsSlotsInUseIsNotIdle(self) -> None:
        self.update({"1": 2})
        first, second = self.take(), self.take()
        first.release(Outcome.SUCCESS)
        self.assertEqual(self.reserver.idle_instances(), {})
        self.clock.advance(3)
        second.release(Outcome.SUCCESS)
        self.assertEqual(self.reserver.idle_instances(), {"s.1": 3.0})

    def test_aNewInstanceWasUsedWhenItsServiceWasAskedForLast(self) -> None:
        self.update({"1": 1})
        self.clock.advance(7)
        self.take()
        self.clock.advance(100)
        self.update({"1": 1, "2": 1})
        self.assertEqual(self.reserver.idle_instances(), {"s.2": 7.0})

    def test_thoseThatAreStartingAreIdleToo(self) -> None:
        self.update(starting=["1"], unhealthy=["1"])
        self.assertEqual(self.reserver.idle_instances(), {"s.1": 0.0})

    def test_anIdleInstanceCanBeLocked(self) -> None:
        self.update({"1": 1, "2": 1})
        self.take()
        self.assertIsNone(self.reserver.lock_idle("s.1"))
        self.assertIsNone(self.reserver.lock_idle("s.unknown"))
        lock = self.reserver.lock_idle("s.2")
        self.assertEqual(lock.instance.id, "s.2")
        self.assertIsNone(self.reserver.lock_idle("s.2"))
        self.assertEqual(self.reserver.idle_instances(), {})
        waiting = self.wait()
        lock.release(Outcome.NOT_KILLED)
        self.assertEqual(self.served(waiting).instance.id, "s.2")

    def test_whatWasKilledIsNotIdle(self) -> None:
        self.update({"1": 1})
        self.reserver.lock_idle("s.1").release(Outcome.KILLED)
        self.assertEqual(self.reserver.idle_instances(), {})
        self.assertIsNone(self.reserver.lock_idle("s.1"))

    def test_aClosedReserverHasNothing(self) -> None:
        self.update({"1": 1})
        self.manager.stopService()
        self.assertEqual(self.reserver.idle_instances(), {})
        self.assertIsNone(self.reserver.lock_idle("s.1"))


class WatchTests(ReserverCase):
    def setUp(self) -> None:
        super().setUp()
        self.told: list[str] = []
        self.manager.idles.subscribe(self.told.append)

    def test_whoWatchesIsToldWhenAnInstanceBecomesIdle(self) -> None:
        self.update({"1": 2})
        self.manager.watch_idle(True)
        first, second = self.take(), self.take()
        first.release(Outcome.SUCCESS)
        self.assertEqual(self.told, [])
        second.release(Outcome.SUCCESS)
        self.assertEqual(self.told, ["s"])

    def test_nobodyIsToldWhoDoesNotWatch(self) -> None:
        self.update({"1": 1})
        self.take().release(Outcome.SUCCESS)
        self.manager.watch_idle(True)
        self.manager.watch_idle(False)
        self.take().release(Outcome.SUCCESS)
        self.assertEqual(self.told, [])

    def test_servicesThatComeLaterAreWatched(self) -> None:
        self.manager.watch_idle(True)
        self.service = make_service("later")
        self.reserver = self.manager.reserver(self.service)
        self.update({"1": 1})
        self.take().release(Outcome.SUCCESS)
        self.assertEqual(self.told, ["later"])


class RemarkTests(ReserverCase):
    def test_aRemarkIsShownAsLongAsInstancesAreHeldBack(self) -> None:
        self.reserver.remark("Nothing can be stopped")
        self.assertIsNone(self.reserver.queued_reason)
        self.update(queued_reason="Waits for memory")
        self.assertEqual(self.reserver.queued_reason, "Waits for memory. Nothing can be stopped")
        waiting = self.wait(timeout_secs=1)
        self.clock.advance(1.2)
        self.assertIn("Waits for memory. Nothing can be stopped", self.failureResultOf(waiting).getErrorMessage())
        self.reserver.remark(None)
        self.assertEqual(self.reserver.queued_reason, "Waits for memory")
