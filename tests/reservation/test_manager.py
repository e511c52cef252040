"""One reserver for each service, for as long as it is needed."""

import json
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.reservation.making import make_manager, make_service, make_state, routing
from waiter.errors import NoInstanceInTime, ShuttingDown
from waiter.model.load import ServiceLoad
from waiter.model.outcome import Outcome
from waiter.model.routing import DeploymentError
from waiter.reservation.lease import Lease
from waiter.reservation.manager import ReserverManager


class ManagerCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.manager = make_manager(self.clock)
        self.service = make_service()

    def reserve(self, **more: Any) -> Any:
        return self.manager.reserver(self.service).reserve(timeout_secs=60.0, **more)


class ReserverManagerTests(ManagerCase):
    def test_defaults(self) -> None:
        """The clock alone is enough."""
        manager = ReserverManager(self.clock)
        manager.update(routing(make_state(make_service(load_balancing="random"), {"1": 1})))
        self.assertIsNotNone(manager.find("s").try_reserve(frozenset()))

    def test_one_reserver_for_a_service(self) -> None:
        """It is created when asked for and is the same the next time; finding creates none."""
        self.assertIsNone(self.manager.find("s"))
        reserver = self.manager.reserver(self.service)
        self.assertIs(self.manager.reserver(make_service()), reserver)
        self.assertIs(self.manager.find("s"), reserver)

    def test_follows_the_routing_state(self) -> None:
        """Every service of the state has a reserver with its slots."""
        other = make_service("t")
        self.manager.update(routing(make_state(self.service, {"1": 1}), make_state(other, {"2": 3})))
        self.assertEqual(self.manager.find("s").slots_assigned, 1)
        self.assertEqual(self.manager.find("t").slots_assigned, 3)
        self.assertIsInstance(self.reserve(), Lease)

    def test_who_is_waited_for(self) -> None:
        """A service is as long as a request waits for one of its instances."""
        self.assertFalse(self.manager.is_waited_for("s"))
        waiting = self.reserve()
        self.assertIsInstance(waiting, Deferred)
        self.assertTrue(self.manager.is_waited_for("s"))
        self.manager.update(routing(make_state(self.service, {"s.1": 1})))
        self.successResultOf(waiting)
        self.assertFalse(self.manager.is_waited_for("s"))

    def test_loads(self) -> None:
        """The load of each service that is known."""
        self.manager.update(routing(make_state(self.service), make_state(make_service("t"))))
        self.clock.advance(2)
        self.reserve()
        self.assertEqual(
            self.manager.loads(),
            {"s": ServiceLoad(outstanding=1, waiting=1, last_request_at=2.0), "t": ServiceLoad()},
        )

    def test_failing_of_an_unknown_service(self) -> None:
        """Nothing fails."""
        self.assertEqual(self.manager.failing("s"), frozenset())

    def test_state(self) -> None:
        """It can be written as JSON and has the slots of each instance."""
        self.manager.update(routing(make_state(self.service, {"1": 2, "2": 0}), make_state(make_service("t"))))
        self.reserve()
        state = json.loads(json.dumps(self.manager.state()))
        self.assertEqual(state["service-id->my-instance->slots"], {"s": {"s.1": 2}, "t": {}})
        self.assertEqual(state["service-id->responder"]["s"]["slots-in-use"], 1)
        json.dumps(self.manager.find("s").state())

    def test_a_newer_state_from_inside(self) -> None:
        """When a request served by an update brings a newer state, the rest of the older one does not overwrite it."""
        other = make_service("t")
        waiting = self.reserve()
        newer = routing(make_state(self.service, {"1": 1}), make_state(other, {"9": 9}))
        waiting.addCallback(lambda _: self.manager.update(newer))
        self.manager.update(routing(make_state(self.service, {"1": 1}), make_state(other, {"8": 8})))
        self.successResultOf(waiting)
        self.assertEqual(self.manager.find("t").slots, {"t.9": 9})

    def test_stopped(self) -> None:
        """When stopped, everybody is refused, services seen for the first time included, and no timer is left."""
        self.manager.startService()
        self.manager.update(routing(make_state(self.service, {"1": 1})))
        self.reserve().release(Outcome.INSTANCE_ERROR)
        waiting = self.reserve()
        self.manager.stopService()
        self.failureResultOf(waiting, ShuttingDown)
        self.assertRaises(ShuttingDown, self.reserve)
        new = self.manager.reserver(make_service("new"))
        self.assertRaises(ShuttingDown, new.reserve, timeout_secs=1.0)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class RetirementTests(ManagerCase):
    def gone(self) -> bool:
        return self.manager.find("s") is None

    def test_retired_when_the_service_is_gone(self) -> None:
        """When nobody needs it, at once."""
        self.manager.update(routing(make_state(self.service, {"1": 1})))
        self.reserve().release(Outcome.SUCCESS)
        self.manager.update(routing())
        self.assertTrue(self.gone())
        self.assertEqual(self.manager.loads(), {})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stays_while_a_slot_is_in_use(self) -> None:
        """And goes when it is given back."""
        self.manager.update(routing(make_state(self.service, {"1": 1})))
        lease = self.reserve()
        self.manager.update(routing())
        self.assertFalse(self.gone())
        lease.release(Outcome.SUCCESS)
        self.assertTrue(self.gone())

    def test_stays_while_an_instance_is_locked(self) -> None:
        """And after the kill for as long as the dead instance might be reported once more."""
        self.manager.update(routing(make_state(self.service, {"1": 1})))
        lock = self.manager.find("s").reserve_for_kill()
        self.manager.update(routing())
        self.assertFalse(self.gone())
        lock.release(Outcome.KILLED)
        self.manager.update(routing())
        self.assertFalse(self.gone())
        self.manager.update(routing(make_state(self.service, {"1": 1})))
        self.assertIsInstance(self.reserve(), Deferred)

    def test_goes_when_the_dead_are_forgotten(self) -> None:
        """Without another update."""
        self.manager.update(routing(make_state(self.service, {"1": 1})))
        self.manager.find("s").reserve_for_kill().release(Outcome.KILLED)
        self.manager.update(routing())
        self.clock.advance(300)
        self.assertTrue(self.gone())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stays_while_somebody_waits(self) -> None:
        """A request for a service that is about to be created outlasts states without it."""
        waiting = self.reserve()
        for _ in range(3):
            self.manager.update(routing())
        self.manager.update(routing(make_state(self.service, {"1": 1})))
        self.successResultOf(waiting)
        self.assertEqual(self.manager.find("s").slots_in_use, 1)

    def test_goes_when_the_last_one_leaves(self) -> None:
        """Whether by cancelling or by timeout."""
        for leave in ("cancel", "timeout"):
            waiting = self.reserve()
            self.manager.update(routing())
            self.assertFalse(self.gone())
            if leave == "cancel":
                waiting.cancel()
                self.failureResultOf(waiting, CancelledError)
            else:
                self.clock.advance(60)
                self.failureResultOf(waiting, NoInstanceInTime)
            self.assertTrue(self.gone())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_comes_back_to_life(self) -> None:
        """When the service is back before the reserver was retired, it goes on."""
        self.manager.update(routing(make_state(self.service, {"1": 1})))
        reserver = self.manager.find("s")
        lease = self.reserve()
        self.manager.update(routing())
        self.manager.update(routing(make_state(self.service, {"1": 1})))
        lease.release(Outcome.SUCCESS)
        self.assertIs(self.manager.find("s"), reserver)
        self.assertIsInstance(self.reserve(), Lease)

    def test_the_same_state_after_an_absence(self) -> None:
        """When the very same value comes again after the service was gone, its slots are back."""
        state = routing(make_state(self.service, {"1": 2}))
        self.manager.update(state)
        self.reserve()
        self.manager.update(routing())
        self.manager.update(state)
        self.assertIsInstance(self.reserve(), Lease)

    def test_a_retired_one_passes_requests_on(self) -> None:
        """Who kept it is served by its successor; nobody waits where no slot will ever come."""
        self.manager.update(routing(make_state(self.service, {"1": 1})))
        kept = self.manager.find("s")
        self.manager.update(routing())
        self.assertTrue(self.gone())
        waiting = kept.reserve(timeout_secs=5.0)
        self.assertIsNotNone(self.manager.find("s"))
        self.assertIsNot(self.manager.find("s"), kept)
        self.manager.update(routing(make_state(self.service, {"1": 2})))
        self.successResultOf(waiting)
        self.assertIsInstance(kept.reserve(timeout_secs=5.0), Lease)
        self.assertIsNone(kept.try_reserve(frozenset()))
        self.assertIsNone(kept.reserve_for_kill())
        self.assertEqual(self.manager.find("s").slots_in_use, 2)
        self.manager.stopService()
        self.assertRaises(ShuttingDown, kept.reserve, timeout_secs=5.0)

    def test_a_deployment_error_is_gone_with_the_service(self) -> None:
        """The next request for it waits for a new start."""
        error = DeploymentError(key="k", message="m")
        self.manager.update(routing(make_state(self.service, deployment_error=error)))
        self.manager.update(routing())
        self.assertIsInstance(self.reserve(), Deferred)
