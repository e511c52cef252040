"""Tests for L{waiter.autoscaler.autoscaler}, with the real reservation and a scheduler in memory."""

import json
from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase

from tests.autoscaler.support import service
from tests.autoscaler.world import World
from waiter.model.instance import Instance
from waiter.model.load import ServiceLoad
from waiter.model.outcome import Outcome
from waiter.model.routing import InstanceCounts, RoutingState, ServiceState
from waiter.reservation.lease import Lease


class AutoscalerCase(SynchronousTestCase):
    parameters = {"scale_up_factor": 0.5, "scale_down_factor": 0.5, "max_instances": 50, "idle_timeout_mins": 0}

    def setUp(self):
        self.service = service(**self.parameters)
        self.world = World(self.service)
        self.scheduler = self.world.scheduler
        self.autoscaler = self.world.autoscaler
        self.clock = self.world.clock

    def have(self, instances):
        """Let that many instances run, and start."""
        self.scheduler.put(self.service, requested=instances)
        self.world.start()
        self.clock.advance(0)
        self.scheduler.calls.clear()

    def load(self, outstanding, waiting=0):
        """Let the load be that, whatever the reservation says; C{None} for not known."""
        loads = {self.service.id: ServiceLoad(outstanding=outstanding or 0, waiting=waiting)}
        self.world.loads = lambda: None if outstanding is None else loads

    @property
    def view(self):
        return self.autoscaler.state()[self.service.id]


class Turns(AutoscalerCase):
    def test_first_turn(self):
        """The first turn scales nothing, and the target is the number of instances."""
        self.load(20)
        self.have(4)
        self.assertEqual(self.view["target-instances"], 4.0)
        self.assertEqual(self.view["scale-amount"], 0)
        self.assertEqual(self.scheduler.calls, [])

    def test_next_turn(self):
        """A second later the target is half way to the load, and instances are requested."""
        self.load(20)
        self.have(4)
        self.clock.advance(1)
        self.assertEqual(self.view["target-instances"], 12.0)
        self.assertEqual(self.scheduler.calls, [("scale", self.service.id, 12, False)])

    def test_late_turn(self):
        """A turn that comes late moves the target as far as the turns that did not come."""
        self.load(20)
        self.have(4)
        self.clock.advance(2)
        self.assertEqual(self.view["target-instances"], 16.0)

    def test_down(self):
        """Without load, instances are stopped."""
        self.load(0)
        self.have(4)
        self.clock.advance(1)
        self.assertEqual(len(self.world.calls("kill")), 2)

    def test_no_load_known(self):
        """While the load is not known nothing happens, and that time does not count afterwards."""
        self.load(None)
        self.have(8)
        self.load(8)
        self.clock.advance(1)
        self.load(None)
        for _ in range(60):
            self.clock.advance(1)
        self.assertEqual(self.scheduler.calls, [])
        self.load(0)
        self.clock.advance(1)
        self.assertEqual(self.view["target-instances"], 4.0)

    def test_no_routing_state(self):
        """Without a routing state nothing happens, whatever the load is."""
        self.load(8, waiting=8)
        self.world.executor.startService()
        self.autoscaler.startService()
        self.autoscaler.demand(self.service.id)
        self.clock.pump([1] * 10)
        self.assertEqual(self.scheduler.calls, [])

    def test_demand_before_the_routing_state(self):
        """Demand that came before the first routing state is met as soon as it comes."""
        self.autoscaler.startService()
        self.world.reserve(self.service)
        self.clock.advance(0)
        self.world.publish()
        self.clock.advance(0)
        self.assertEqual(self.scheduler.calls, [("create", self.service.id)])

    def test_part_of_a_routing_state(self):
        """What is not in a part of the first routing state may exist: it is not created before the whole is there."""
        self.autoscaler.startService()
        self.world.reserve(self.service)
        self.autoscaler.update(RoutingState(whole=False))
        self.clock.pump([1] * 3)
        self.assertEqual(self.scheduler.calls, [])
        self.world.publish()
        self.clock.advance(0)
        self.assertEqual(self.scheduler.calls, [("create", self.service.id)])

    def test_pending(self):
        """What was requested but does not run yet is neither requested again nor forgotten."""
        self.world.start_secs = None
        self.load(20)
        self.have(4)
        for _ in range(8):
            self.clock.advance(1)
        numbers = [call[2] for call in self.scheduler.calls]
        self.assertEqual(numbers, [12, 16, 18, 19, 20])

    def test_no_kill_during_a_step_up(self):
        """While a number is being set nothing is stopped, because it is not known how many there will be."""
        self.load(20)
        self.have(4)
        self.scheduler.hold()
        self.clock.advance(1)
        self.load(0)
        self.clock.pump([1] * 5)
        self.assertEqual(self.world.calls("kill"), [])
        self.scheduler.let_go()
        self.clock.pump([1] * 2)
        self.assertEqual(self.world.requested(self.service), 1)

    def test_scheduler_fails(self):
        """A step that failed is ordered again."""
        self.load(20)
        self.have(4)
        self.scheduler.failure = OSError("unreachable")
        self.clock.advance(1)
        self.scheduler.failure = None
        self.clock.advance(1)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual(self.world.requested(self.service), 16)

    def test_one_fails(self):
        """A service whose turn fails does not take the others down."""
        other = service("waiter-service-a-other", **self.parameters)
        self.world.services[other.id] = other
        self.scheduler.put(other, requested=1)
        self.world.loads = lambda: {
            other.id: ServiceLoad(outstanding=-1),
            self.service.id: ServiceLoad(outstanding=20),
        }
        self.have(4)
        self.clock.advance(1)
        self.assertTrue(self.flushLoggedErrors(ValueError))
        self.assertEqual(self.world.requested(self.service), 12)

    def test_new_description(self):
        """A service whose description has changed follows the new one, from the target it had."""
        self.load(8)
        self.have(8)
        self.world.services[self.service.id] = service(**{**self.parameters, "max_instances": 5})
        self.world.publish()
        self.clock.advance(1)
        self.assertEqual(self.view["target-instances"], 5.0)
        self.assertEqual(len(self.world.calls("kill")), 3)

    def test_stop(self):
        """After it is stopped it does nothing."""
        self.load(20)
        self.have(4)
        self.autoscaler.demand(self.service.id)
        self.successResultOf(self.autoscaler.stopService())
        self.autoscaler.demand(self.service.id)
        self.world.publish()
        self.clock.pump([0.1] * 30)
        self.assertEqual(self.scheduler.calls, [])


class Leadership(AutoscalerCase):
    parameters = {**AutoscalerCase.parameters, "min_instances": 0}

    def test_others_compute(self):
        """A router that does not lead computes and does nothing; when it leads it goes on from there."""
        self.world.leader = False
        self.load(20)
        self.have(4)
        self.clock.pump([1, 1])
        self.assertEqual(self.view["target-instances"], 16.0)
        self.assertEqual(self.scheduler.calls, [])
        self.world.leader = True
        self.clock.advance(1)
        self.assertEqual(self.world.requested(self.service), 18)

    def test_no_kills(self):
        """A router that does not lead stops nothing."""
        self.world.leader = False
        self.load(0)
        self.have(4)
        self.clock.pump([1] * 5)
        self.assertEqual(self.view["scale-amount"], -3)
        self.assertEqual(self.scheduler.calls, [])

    def test_creates(self):
        """Every router creates a service for which somebody waits, and starts its first instance."""
        self.world.leader = False
        self.world.start()
        self.world.reserve(self.service)
        self.clock.advance(0)
        self.assertEqual(self.scheduler.calls, [("create", self.service.id)])

    def test_starts_from_zero(self):
        """Every router starts the first instance of a service that has none, and leaves the others to the leader."""
        self.world.leader = False
        self.world.start_secs = None
        self.have(0)
        self.clock.advance(0.9)
        for _ in range(20):
            self.world.reserve(self.service)
        self.clock.advance(0)
        self.assertEqual(self.view["scale-to-instances"], 10)
        self.assertEqual(self.world.requested(self.service), 1)
        self.clock.pump([1] * 3)
        self.assertEqual(self.world.requested(self.service), 1)


class Demand(AutoscalerCase):
    parameters = {**AutoscalerCase.parameters, "min_instances": 0}

    def test_unknown_service(self):
        """The first request creates the service in the reactor's next iteration, not inside the reservation."""
        self.world.start()
        waiting = self.world.reserve(self.service)
        self.assertEqual(self.scheduler.calls, [])
        self.clock.advance(0)
        self.assertEqual(self.scheduler.calls, [("create", self.service.id)])
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(waiting).instance.service_id, self.service.id)

    def test_many_requests(self):
        """However many requests wait, while the creation is pending there is one, and one turn."""
        self.world.start()
        self.scheduler.hold()
        for _ in range(10):
            for _ in range(100):
                self.world.reserve(self.service)
            self.assertLessEqual(len(self.clock.getDelayedCalls()), 6)
            self.clock.advance(0.01)
        self.assertEqual(self.scheduler.calls, [("create", self.service.id)])

    def test_created_and_not_seen(self):
        """After the creation, while the routing state does not show it yet, it is not created again."""
        self.world.lag_secs = 2
        self.world.start()
        for _ in range(15):
            self.world.reserve(self.service)
            self.clock.advance(0.1)
        self.assertEqual(self.scheduler.calls, [("create", self.service.id)])

    def test_none_requested(self):
        """A service that the scheduler knows without instances gets its first at once."""
        self.have(0)
        self.world.reserve(self.service)
        self.clock.advance(0)
        self.assertEqual(self.scheduler.calls, [("scale", self.service.id, 1, False)])

    def test_gone_without_news(self):
        """A service that vanishes while requests wait is created again at once."""
        self.world.start_secs = None
        self.have(1)
        self.world.reserve(self.service)
        self.clock.advance(0)
        self.scheduler.forget(self.service.id)
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual(self.scheduler.calls, [("create", self.service.id)])

    def test_last_instance_goes_while_somebody_waits(self):
        """If the last instance goes while a request waits, another is started without waiting for the next turn."""
        self.have(1)
        (instance,) = self.scheduler.active(self.service.id)
        lease = self.world.reservers.find(self.service.id).reserve_for_kill()
        waiting = self.world.reserve(self.service)
        self.clock.advance(0.1)
        self.scheduler.kill(instance)
        lease.release(Outcome.KILLED)
        self.clock.advance(0)
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(waiting).instance.id, f"{self.service.id}.0002")

    def test_between_turns(self):
        """Demand moves the target by the time since the last turn, so that the next turn has less left to do."""
        self.have(1)
        self.load(21)
        self.clock.advance(0.5)
        self.autoscaler.demand(self.service.id)
        self.clock.advance(0)
        self.assertAlmostEqual(self.view["target-instances"], 1 + 20 * (1 - 0.5**0.5))
        self.clock.advance(0.5)
        self.assertAlmostEqual(self.view["target-instances"], 11.0)

    def test_not_with_every_request(self):
        """Under full load there is a turn every 50 ms, not one for each request."""
        self.have(1)
        turns = []
        turn = self.autoscaler._turn
        self.autoscaler._turn = lambda *arguments: (turns.append(self.clock.seconds()), turn(*arguments))
        self.load(1)
        for _ in range(900):
            self.autoscaler.demand(self.service.id)
            self.clock.advance(0.001)
        self.assertTrue(15 <= len(turns) <= 19, turns)
        self.assertGreaterEqual(min(b - a for a, b in pairwise(turns)), 0.049)

    def test_busy_service_does_not_delay_others(self):
        """A service in a pause between turns does not keep another from being created at once."""
        other = service("waiter-service-other")
        self.world.services[other.id] = other
        self.have(1)
        self.autoscaler.demand(self.service.id)
        self.clock.advance(0)
        self.autoscaler.demand(self.service.id)
        self.world.reserve(other)
        self.clock.advance(0)
        self.assertEqual(self.scheduler.calls, [("create", other.id)])

    def test_not_described(self):
        """Demand for a service that nobody has described is logged and forgotten."""
        self.world.start()
        self.autoscaler.demand("waiter-service-nobody")
        self.clock.advance(0)
        self.assertEqual(self.scheduler.calls, [])

    def test_persists(self):
        """As long as somebody waits, a creation that failed is tried again."""
        self.world.start()
        self.scheduler.failure = OSError("unreachable")
        self.world.reserve(self.service)
        self.clock.advance(0)
        self.scheduler.failure = None
        for _ in range(20):
            self.clock.advance(0.1)
        self.flushLoggedErrors(OSError)
        self.assertEqual(len(self.world.calls("create")), 2)
        self.assertEqual(self.world.requested(self.service), 1)

    def test_minimum_follows_at_once(self):
        """A created service with a minimum above one gets the others at once."""
        wanted = service("waiter-service-three", min_instances=3)
        self.world.services[wanted.id] = wanted
        self.world.start()
        self.world.reserve(wanted)
        self.clock.pump([0, 0, 0])
        self.assertEqual(self.world.requested(wanted), 3)


class SlowStart(AutoscalerCase):
    parameters = {"scale_up_factor": 0.001, "min_instances": 0}

    def test_from_zero(self):
        """However slow the factor, the first instance is there at once."""
        self.world.start()
        lease = self.world.reserve(self.service)
        self.clock.pump([0, 0])
        self.assertIsInstance(self.successResultOf(lease), Lease)


class Expired(AutoscalerCase):
    def state(self, *, healthy, expired_healthy=0, expired_unhealthy=0, requested=5):
        good = tuple(Instance(id=f"{self.service.id}.h{n}", service_id=self.service.id) for n in range(healthy))
        bad = tuple(
            Instance(id=f"{self.service.id}.u{n}", service_id=self.service.id) for n in range(expired_unhealthy)
        )
        return RoutingState(
            services={
                self.service.id: ServiceState(
                    service=self.service,
                    healthy=good,
                    unhealthy=bad,
                    expired=good[:expired_healthy] + bad,
                    counts=InstanceCounts(healthy=healthy, requested=requested, scheduled=requested),
                )
            }
        )

    def test_counted(self):
        """Of the unhealthy expired instances only two count, of the healthy all."""
        self.load(5)
        self.have(5)
        self.autoscaler.update(self.state(healthy=4, expired_healthy=3, expired_unhealthy=9))
        self.clock.advance(1)
        self.assertEqual((self.view["expired-instances"], self.view["healthy-instances"]), (5, 4))

    def test_not_twice(self):
        """While a step does not show yet, no further replacement is asked for."""
        self.load(5)
        self.have(5)
        self.world.lag_secs = None
        self.autoscaler.update(self.state(healthy=5, expired_healthy=1))
        self.clock.pump([1] * 5)
        self.assertEqual(self.scheduler.calls, [("scale", self.service.id, 6, False)])

    def test_killed_one_is_not_replaced(self):
        """An expired instance that has just been stopped but still shows is not replaced once more."""
        self.load(5)
        self.have(6)
        self.world.lag_secs = None
        self.autoscaler.update(self.state(healthy=5, expired_unhealthy=1, requested=6))
        ledger = self.world.executor.ledger
        ledger.end(ledger.begin(self.service.id, 5), 5, self.clock.seconds())
        self.clock.pump([1] * 3)
        self.assertEqual(self.scheduler.calls, [])


class Views(AutoscalerCase):
    def test_state(self):
        """The view is JSON and says what was seen and decided."""
        self.load(20)
        self.have(4)
        self.clock.advance(1)
        self.assertEqual(
            json.loads(json.dumps(self.autoscaler.state())),
            {
                self.service.id: {
                    "expired-instances": 0,
                    "healthy-instances": 4,
                    "outstanding-requests": 20,
                    "scale-amount": 8,
                    "scale-to-instances": 12,
                    "scaling-state": "scale-up",
                    "target-instances": 12.0,
                    "total-instances": 4,
                }
            },
        )

    def test_scaling_state(self):
        """The scaling state is the direction of the last turn; a service without a turn is stable."""
        self.assertEqual(self.autoscaler.scaling_state(self.service.id), "stable")
        self.load(20)
        self.have(4)
        self.assertEqual(self.autoscaler.scaling_state(self.service.id), "stable")
        self.clock.advance(1)
        self.assertEqual(self.autoscaler.scaling_state(self.service.id), "scale-up")
        self.load(0)
        self.clock.pump([1, 1])
        self.assertEqual(self.autoscaler.scaling_state(self.service.id), "scale-down")

    def test_reserver_is_told_of_changes(self):
        """The reserver is told when the direction changes, and only then."""
        told = []
        self.world.executor.set_scaling_down = lambda service_id, down: told.append(down)
        self.load(4)
        self.have(4)
        self.clock.pump([1] * 5)
        self.assertEqual(told, [False])
        self.load(0)
        self.clock.advance(1)
        self.assertEqual(told, [False, True])

    def test_forgets(self):
        """A service that is gone is forgotten."""
        self.load(0)
        self.have(1)
        self.scheduler.forget(self.service.id)
        self.clock.advance(0.01)
        self.assertEqual(self.autoscaler.state(), {})
