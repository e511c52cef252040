"""Slots of one service: taken, waited for, given back."""

from collections.abc import Collection
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.reservation.making import make_instance, make_manager, make_service, make_state, routing
from waiter.errors import NoInstanceInTime, QueueFull, ServiceFailing, ShuttingDown
from waiter.model.load import ServiceLoad
from waiter.model.outcome import Outcome
from waiter.model.routing import DeploymentError
from waiter.reservation.ejection import EjectionRules
from waiter.reservation.lease import Lease

BAD_COMMAND = DeploymentError(key="bad-startup-command", message="Invalid startup command", explanation="exit code 127")


class ReserverCase(SynchronousTestCase):
    """A reserver of a service called s."""

    parameters: dict[str, Any] = {}

    def setUp(self) -> None:
        self.clock = Clock()
        self.service = make_service(**self.parameters)
        self.manager = make_manager(self.clock)
        self.reserver = self.manager.reserver(self.service)

    def update(self, slots: dict[str, int] | None = None, **more: Any) -> None:
        self.manager.update(routing(make_state(self.service, slots, **more)))

    def take(self) -> Lease:
        lease = self.reserver.reserve(timeout_secs=60.0)
        assert isinstance(lease, Lease)
        return lease

    def wait(self, timeout_secs: float = 60.0, priority: int = 0) -> Deferred[Lease]:
        waiting = self.reserver.reserve(timeout_secs=timeout_secs, priority=priority)
        assert isinstance(waiting, Deferred)
        return waiting

    def served(self, waiting: Deferred[Lease]) -> Lease:
        return self.successResultOf(waiting)

    def served_names(self, count: int) -> list[str]:
        return [self.take().instance.id.removeprefix("s.") for _ in range(count)]

    def tags(self, name: str) -> list[str]:
        return self.reserver.state()["instance-id->state"][f"s.{name}"]["status-tags"]


def names(exclude: Collection[str]) -> frozenset[str]:
    return frozenset(f"s.{name}" for name in exclude)


class SlotTests(ReserverCase):
    def test_free_slots_are_given_at_once(self) -> None:
        """When slots are free, a reservation is a lease; when none is, it waits."""
        self.update({"1": 2})
        first, second = self.take(), self.take()
        self.assertEqual([first.instance.id, second.instance.id], ["s.1", "s.1"])
        self.assertIsNot(first, second)
        waiting = self.wait()
        first.release(Outcome.SUCCESS)
        self.assertEqual(self.served(waiting).instance.id, "s.1")

    def test_a_slot_is_given_back_once(self) -> None:
        """When a lease is released twice, one slot is free, not two."""
        self.update({"1": 2})
        first, _ = self.take(), self.take()
        waiting = [self.wait(), self.wait()]
        first.release(Outcome.SUCCESS)
        first.release(Outcome.SUCCESS)
        self.served(waiting[0])
        self.assertNoResult(waiting[1])
        self.assertEqual(self.reserver.slots_in_use, 2)

    def test_all_slots_come_back(self) -> None:
        """When everything is released, everything is free, whatever the outcome."""
        self.update({"1": 3, "2": 3})
        harmless = (Outcome.SUCCESS, Outcome.CLIENT_ERROR, Outcome.GENERIC_ERROR, Outcome.SOCKET_TIMEOUT)
        for lease, outcome in zip([self.take() for _ in range(6)], harmless * 2, strict=False):
            self.assertLess(self.reserver.slots_available, 6)
            lease.release(outcome)
        self.assertEqual(self.reserver.slots_in_use, 0)
        self.assertEqual(self.reserver.slots_available, 6)

    def test_numbers(self) -> None:
        """Assigned, in use and available are what they say; the load counts users and waiters."""
        self.update({"1": 2, "2": 1})
        self.take()
        numbers = (self.reserver.slots_assigned, self.reserver.slots_in_use, self.reserver.slots_available)
        self.assertEqual(numbers, (3, 1, 2))
        self.take()
        self.take()
        self.clock.advance(7)
        self.wait()
        self.assertEqual(self.reserver.load, ServiceLoad(outstanding=4, waiting=1, last_request_at=7.0))

    def test_load_before_the_first_request(self) -> None:
        """When none came, it is not known when the last one did."""
        self.assertEqual(self.reserver.load, ServiceLoad(outstanding=0, waiting=0, last_request_at=None))

    def test_try_reserve(self) -> None:
        """It takes a free slot that is not excluded, and never waits."""
        self.update({"1": 1, "2": 1})
        self.assertEqual(self.reserver.try_reserve(names(["1"])).instance.id, "s.2")
        self.assertIsNone(self.reserver.try_reserve(names(["1"])))
        self.assertEqual(self.reserver.try_reserve(frozenset()).instance.id, "s.1")
        self.assertIsNone(self.reserver.try_reserve(frozenset()))
        self.assertEqual(self.reserver.load.waiting, 0)

    def test_watchdog(self) -> None:
        """The longest wait and the longest hold are known."""
        self.assertEqual((self.reserver.oldest_wait_secs(5.0), self.reserver.oldest_lease_secs(5.0)), (0.0, 0.0))
        self.update({"1": 1})
        lease = self.take()
        self.clock.advance(10)
        self.wait()
        self.clock.advance(5)
        now = self.clock.seconds()
        self.assertEqual(self.reserver.oldest_wait_secs(now), 5.0)
        self.assertEqual(self.reserver.oldest_lease_secs(now), 15.0)
        lease.release(Outcome.SUCCESS)
        self.assertEqual(self.reserver.oldest_wait_secs(now), 0.0)
        self.assertEqual(self.reserver.oldest_lease_secs(now), 0.0)


class OldestTests(ReserverCase):
    def test_oldest(self) -> None:
        """The oldest first, expired ones last and of these the youngest first."""
        self.update({"1": 1, "2": 1, "3": 2, "4": 1}, expired=["1", "2"])
        self.assertEqual(self.served_names(5), ["3", "3", "4", "2", "1"])

    def test_a_released_slot_of_an_older_instance_comes_first(self) -> None:
        """The order holds whatever was given back in which order."""
        self.update({"1": 1, "2": 1, "3": 1})
        leases = {name: self.take() for name in "123"}
        for name in "231":
            leases[name].release(Outcome.SUCCESS)
        self.assertEqual(self.served_names(3), ["1", "2", "3"])

    def test_an_older_instance_that_appears_comes_first(self) -> None:
        """An update sorts anew."""
        self.update({"2": 2})
        self.served_names(1)
        self.update({"1": 1, "2": 2})
        self.assertEqual(self.served_names(2), ["1", "2"])


class YoungestTests(ReserverCase):
    parameters = {"load_balancing": "youngest"}

    def test_youngest(self) -> None:
        """The youngest first; expired ones last."""
        self.update({"1": 1, "2": 1, "3": 2, "4": 1}, expired=["1", "4"])
        self.assertEqual(self.served_names(5), ["3", "3", "2", "4", "1"])


class RandomTests(ReserverCase):
    parameters = {"load_balancing": "random"}

    def test_random(self) -> None:
        """All of them, expired ones last."""
        self.update({"1": 1, "2": 1, "3": 1, "4": 1}, expired=["1", "4"])
        served = self.served_names(4)
        self.assertEqual([set(served[:2]), set(served[2:])], [{"2", "3"}, {"1", "4"}])

    def test_the_youngest_while_the_service_shrinks(self) -> None:
        """When instances are to go, requests gather on the youngest, so that the oldest becomes idle and is killed."""
        self.update({"1": 9, "2": 9, "3": 9})
        self.reserver.set_scaling_down(True)
        self.assertEqual(self.served_names(5), ["3"] * 5)
        self.assertEqual(self.reserver.reserve_for_kill().instance.id, "s.1")
        self.reserver.set_scaling_down(False)
        self.assertEqual(self.reserver.state()["load-balancing"], "random")


class WaitTests(ReserverCase):
    def test_first_come_first_served(self) -> None:
        """Slots go to those who wait in the order they came, larger priorities first."""
        waiting = [self.wait(), self.wait(), self.wait(priority=1)]
        self.update({"1": 1})
        for expected in (2, 0, 1):
            self.served(waiting[expected]).release(Outcome.SUCCESS)

    def test_an_update_serves_as_many_as_it_can(self) -> None:
        """When slots appear, they are taken at once."""
        waiting = [self.wait() for _ in range(5)]
        self.update({"1": 2, "2": 2})
        self.assertEqual([self.served(one).instance.id for one in waiting[:4]], ["s.1", "s.1", "s.2", "s.2"])
        self.assertNoResult(waiting[4])

    def test_cancelled(self) -> None:
        """Who leaves is not served; the next one is."""
        self.update({"1": 1})
        lease = self.take()
        first, second = self.wait(), self.wait()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        lease.release(Outcome.SUCCESS)
        self.served(second)
        self.assertEqual(self.reserver.load.outstanding, 1)

    def test_cancelled_just_when_served(self) -> None:
        """When a callback cancels one who has been given a slot already, the slot goes to the next one."""
        waiting: list[Deferred[Lease]] = [self.wait(), self.wait(), self.wait()]
        waiting[0].addCallback(lambda lease: (waiting[1].cancel(), lease)[1])
        self.update({"1": 2})
        self.failureResultOf(waiting[1], CancelledError)
        self.served(waiting[0])
        self.served(waiting[2])
        self.assertEqual(self.reserver.slots_in_use, 2)

    def test_a_long_chain_does_not_recurse(self) -> None:
        """When each served request is over at once, one slot serves 5,000 of them without a deep stack."""
        self.update({"1": 1})
        lease = self.take()
        waiting = [self.wait() for _ in range(5000)]
        for one in waiting:
            one.addCallback(lambda served: served.release(Outcome.SUCCESS))
        lease.release(Outcome.SUCCESS)
        self.assertEqual(self.reserver.load, ServiceLoad(outstanding=0, waiting=0, last_request_at=0.0))

    def test_a_callback_does_not_push_in(self) -> None:
        """When several slots appear, a request made by the first served one does not get a slot another waits for."""
        late: list[object] = []
        first, second = self.wait(), self.wait()
        first.addCallback(lambda lease: (late.append(self.reserver.reserve(timeout_secs=1.0)), lease)[1])
        self.update({"1": 2})
        self.served(second)
        self.assertNoResult(late[0])
        late[0].addErrback(lambda _: None)

    def test_demand(self) -> None:
        """Whenever a request begins to wait its service is named, and not when a slot is free."""
        demands: list[str] = []
        self.manager.demands.subscribe(demands.append)
        self.update({"1": 1})
        self.take()
        self.assertEqual(demands, [])
        self.wait()
        self.wait()
        self.assertEqual(demands, ["s", "s"])

    def test_demand_that_is_met_at_once(self) -> None:
        """When whoever hears of the demand brings a slot, the request has it already."""
        self.manager.demands.subscribe(lambda _: self.update({"1": 1}))
        self.assertEqual(self.served(self.wait()).instance.id, "s.1")


class TimeoutTests(ReserverCase):
    def time_out(self, timeout_secs: float = 5.0) -> NoInstanceInTime:
        waiting = self.wait(timeout_secs=timeout_secs)
        self.clock.advance(timeout_secs + 0.1)
        return self.failureResultOf(waiting, NoInstanceInTime).value

    def test_message_of_an_unknown_service(self) -> None:
        """When nothing is known, nothing is advised."""
        self.assertEqual(self.time_out().message, "After 5 seconds, no instance available to handle request.")

    def test_whole_seconds(self) -> None:
        """The timeout is named in whole seconds."""
        self.assertEqual(self.time_out(2.9).message, "After 2 seconds, no instance available to handle request.")

    def test_message_of_a_service_that_does_not_start(self) -> None:
        """When instances are there and none is healthy, or all have failed, look at the start."""
        advice = " Check that your service is able to start properly!"
        self.update(unhealthy=["1"])
        self.assertTrue(self.time_out().message.endswith(advice))
        self.update(failed=(make_instance("1"),))
        self.assertTrue(self.time_out().message.endswith(advice))

    def test_message_of_instances_that_tell_what_is_wrong(self) -> None:
        """What the last failed one and the starting one show is passed on, and as data too."""
        failed = attrs.evolve(
            make_instance("1"), message="It ended.", advice="Look.", exit_code=3, last_output=("so long",)
        )
        self.update(unhealthy=["2"], failed=(failed,))
        error = self.time_out()
        self.assertTrue(
            error.message.endswith(
                "start properly!\n1 instance failed on 127.0.0.1 port 10000.\nIt ended.\nLook.\n"
                "Its last output:\n    so long"
            ),
            error.message,
        )
        self.assertEqual((error.details["instance"]["id"], error.details["instance"]["exit-code"]), ("s.1", 3))
        state = make_state(self.service, unhealthy=["2"])
        waiting = attrs.evolve(state.unhealthy[0], message="The last health check: refused.", advice="Wait.")
        self.manager.update(routing(attrs.evolve(state, unhealthy=(waiting,))))
        self.assertTrue(
            self.time_out().message.endswith(
                "start properly!\nAn instance on 127.0.0.1 port 10000 is not healthy yet.\n"
                "The last health check: refused.\nWait."
            )
        )

    def test_message_of_a_service_that_is_too_small(self) -> None:
        """When healthy instances are all in use, look at the scaling."""
        self.update({"1": 1})
        self.take()
        self.assertTrue(self.time_out().message.endswith(" Check that your service is able to scale properly!"))

    def test_message_when_the_scheduler_holds_instances_back(self) -> None:
        """When the scheduler has a reason for not starting instances, the caller reads it."""
        self.update(queued_reason="512 MiB are declared and 100 MiB are free")
        error = self.time_out()
        self.assertEqual(
            error.message,
            "After 5 seconds, no instance available to handle request.\n"
            "Instances are held back: 512 MiB are declared and 100 MiB are free",
        )
        self.assertEqual(error.details["queued-reason"], "512 MiB are declared and 100 MiB are free")

    def test_details(self) -> None:
        """The numbers of the moment, the one included that is told."""
        self.manager = make_manager(self.clock, waiting_to_stream=lambda service_id: {"s": 7}[service_id])
        self.reserver = self.manager.reserver(self.service)
        self.update({"1": 2, "2": 1})
        self.take()
        self.take()
        self.take().release(Outcome.INSTANCE_ERROR)
        error = self.time_out()
        self.assertEqual(
            error.details,
            {
                "outstanding-requests": 3,
                "requests-waiting-to-stream": 7,
                "service-id": "s",
                "slots-assigned": 3,
                "slots-available": 0,
                "slots-in-use": 2,
                "waiting-for-available-instance": 1,
                "work-stealing-offers-received": 0,
                "work-stealing-offers-sent": 0,
            },
        )
        self.assertEqual((error.status, error.error_class), (503, "waiter.RequestTimeout"))

    def test_streaming_unknown(self) -> None:
        """What nobody counts is not called 0."""
        self.assertIsNone(self.time_out().details["requests-waiting-to-stream"])

    def test_who_was_served_is_not_told(self) -> None:
        """When a slot came in time, the timeout does nothing."""
        waiting = self.wait(timeout_secs=5.0)
        self.update({"1": 1})
        lease = self.served(waiting)
        self.clock.advance(10)
        self.assertFalse(lease.released)


class QueueLimitTests(ReserverCase):
    parameters = {"max_queue_length": 2}

    def refusal(self) -> QueueFull:
        return self.assertRaises(QueueFull, self.reserver.reserve, timeout_secs=1.0)

    def test_full(self) -> None:
        """When as many wait as may, the next one is refused at once, with numbers."""
        self.update({"1": 1})
        self.take()
        self.wait(), self.wait()
        error = self.refusal()
        self.assertEqual(error.message, "Max queue length exceeded")
        self.assertEqual(
            error.details,
            {"current-queue-length": 2, "max-queue-length": 2, "outstanding-requests": 3, "service-id": "s"},
        )
        self.assertEqual((error.status, error.error_class), (503, "waiter.QueueLength"))

    def test_retry_after(self) -> None:
        """It is worth trying again after the time an instance takes to start: rounded up, at least a second."""
        self.wait(), self.wait()
        self.assertEqual(self.refusal().retry_after_secs, 5)
        for start_secs, expected in ((0.02, 1), (1.0, 1), (2.1, 3)):
            self.update(start_secs=start_secs)
            self.assertEqual(self.refusal().retry_after_secs, expected)

    def test_refused_requests_count_as_requests(self) -> None:
        """A service that refuses is not idle."""
        self.wait(), self.wait()
        self.clock.advance(3)
        self.refusal()
        self.assertEqual(self.reserver.load, ServiceLoad(outstanding=2, waiting=2, last_request_at=3.0))

    def test_room_again(self) -> None:
        """When one leaves, the next one may wait."""
        first, _ = self.wait(), self.wait()
        first.addErrback(lambda _: None)
        first.cancel()
        self.wait()
        self.refusal()


class DeploymentErrorTests(ReserverCase):
    def test_refused_even_with_free_slots(self) -> None:
        """When the service has a deployment error, requests are told, with the explanation."""
        self.update({"1": 1}, deployment_error=BAD_COMMAND)
        error = self.assertRaises(ServiceFailing, self.reserver.reserve, timeout_secs=1.0)
        self.assertEqual(error.message, "Deployment error: Invalid startup command\nexit code 127")
        self.assertEqual(error.details, {"deployment-error": "bad-startup-command", "service-id": "s"})
        self.assertIsNone(self.reserver.try_reserve(frozenset()))

    def test_without_explanation(self) -> None:
        """When there is nothing to explain, one line says it."""
        self.update(deployment_error=DeploymentError(key="k", message="Cannot"))
        error = self.assertRaises(ServiceFailing, self.reserver.reserve, timeout_secs=1.0)
        self.assertEqual(error.message, "Deployment error: Cannot")

    def test_those_who_wait_are_told_at_once(self) -> None:
        """When an update brings the error, nobody waits any longer."""
        waiting = [self.wait(), self.wait(priority=1)]
        self.update(deployment_error=BAD_COMMAND)
        for one in waiting:
            self.failureResultOf(one, ServiceFailing)
        self.assertEqual(self.reserver.load.outstanding, 0)

    def test_over(self) -> None:
        """When an update no longer has the error, requests are served again."""
        self.update({"1": 1}, deployment_error=BAD_COMMAND)
        self.update({"1": 1})
        self.take()


class EjectionTests(ReserverCase):
    def fail_once(self, outcome: Outcome = Outcome.INSTANCE_ERROR) -> None:
        self.take().release(outcome)

    def secs_until_served(self, limit: int = 400) -> int:
        waiting = self.wait(timeout_secs=1000.0)
        for secs in range(limit):
            if waiting.called:
                self.served(waiting).release(Outcome.CLIENT_ERROR)
                return secs
            self.clock.advance(1)
        raise AssertionError("never served")

    def test_back_off(self) -> None:
        """Consecutive failures eject for 10, 20, 40, 80, 160, 160 seconds; the end of each wakes who waits."""
        self.update({"1": 1})
        spans = []
        for _ in range(6):
            self.fail_once()
            spans.append(self.secs_until_served())
        self.assertEqual(spans, [10, 20, 40, 80, 160, 160])

    def test_another_instance_serves_meanwhile(self) -> None:
        """An ejected instance is passed over, and counts as assigned but not as available."""
        self.update({"1": 1, "2": 1})
        self.fail_once()
        self.assertEqual(self.tags("1"), ["ejected", "healthy"])
        self.assertEqual((self.reserver.slots_assigned, self.reserver.slots_available), (2, 1))
        self.assertEqual(self.take().instance.id, "s.2")
        self.wait()

    def test_a_success_clears_the_history(self) -> None:
        """When a request succeeds, the next failure starts from the beginning, and an ejection is over."""
        self.update({"1": 2})
        good = self.take()
        self.fail_once()
        waiting = self.wait()
        good.release(Outcome.SUCCESS)
        self.served(waiting).release(Outcome.CLIENT_ERROR)
        self.fail_once()
        self.assertEqual(self.secs_until_served(), 10)

    def test_other_errors_neither_clear_nor_lengthen(self) -> None:
        """Other than the original, where what was the client's fault cleared an instance's history."""
        self.update({"1": 5})
        others = [self.take() for _ in range(3)]
        self.fail_once()
        for lease, outcome in zip(
            others, (Outcome.CLIENT_ERROR, Outcome.GENERIC_ERROR, Outcome.SOCKET_TIMEOUT), strict=True
        ):
            lease.release(outcome)
            self.assertEqual(self.tags("1"), ["ejected", "healthy"])
        self.assertEqual(self.secs_until_served(), 10)
        self.fail_once()
        self.assertEqual(self.secs_until_served(), 20)

    def test_a_failure_during_an_ejection_lengthens_it(self) -> None:
        """When more requests fail, the end moves; the earlier end does nothing."""
        self.update({"1": 2})
        other = self.take()
        self.fail_once()
        self.clock.advance(5)
        other.release(Outcome.INSTANCE_ERROR)
        self.assertEqual(self.secs_until_served(), 20)

    def test_an_update_keeps_an_ejection_and_ends_it_in_time(self) -> None:
        """Updates neither readmit early nor late."""
        self.update({"1": 1})
        self.fail_once()
        self.update({"1": 1})
        self.assertEqual(self.tags("1"), ["ejected", "healthy"])
        self.clock.advance(10)
        self.update({"1": 1})
        self.assertEqual(self.tags("1"), ["healthy"])
        self.assertEqual(self.reserver.state()["instance-id->consecutive-failures"], {"s.1": 1})

    def test_busy_ejects(self) -> None:
        """A 503 ejects like an error while another instance could serve, be it free or not."""
        self.update({"1": 1, "2": 1})
        busy = self.take()
        self.take()
        busy.release(Outcome.INSTANCE_BUSY)
        self.assertEqual(self.tags("1"), ["ejected", "healthy"])

    def test_busy_never_ejects_the_last_serving_instance(self) -> None:
        """Other than the original: with one instance a 503 would have turned into ten seconds of waiting."""
        self.update({"1": 1, "2": 1})
        self.fail_once(Outcome.INSTANCE_BUSY)
        self.assertEqual(self.tags("1"), ["ejected", "healthy"])
        for _ in range(7):
            self.fail_once(Outcome.INSTANCE_BUSY)
        self.assertEqual(self.tags("2"), ["healthy"])
        self.assertEqual(self.manager.failing("s"), frozenset())

    def test_busy_does_not_lengthen_when_nobody_else_serves(self) -> None:
        """When the only instance is ejected, a late 503 leaves it at that."""
        self.update({"1": 2})
        late = self.take()
        self.fail_once()
        late.release(Outcome.INSTANCE_BUSY)
        self.assertEqual(self.secs_until_served(), 10)

    def test_an_instance_that_does_not_serve_is_no_other(self) -> None:
        """Ejected, locked, unhealthy and slotless instances do not count."""
        self.update({"1": 1, "2": 1, "3": 1, "4": 0}, unhealthy=["5"])
        self.fail_once()
        self.assertEqual(self.reserver.reserve_for_kill(exclude=names("1345")).instance.id, "s.2")
        self.fail_once(Outcome.INSTANCE_BUSY)
        self.assertEqual(self.tags("3"), ["healthy"])

    def test_failing(self) -> None:
        """From the fifth failure in a row an instance is to be replaced, until it succeeds."""
        self.update({"1": 1})
        for expected in (0, 0, 0, 0, 1, 1):
            self.fail_once()
            self.clock.advance(160)
            self.assertEqual(len(self.manager.failing("s")), expected)
        self.assertEqual(self.manager.failing("s"), {"s.1"})
        self.fail_once(Outcome.SUCCESS)
        self.assertEqual(self.manager.failing("s"), frozenset())

    def test_a_vanished_instance_is_forgotten_after_its_ejection(self) -> None:
        """The row stays while it is ejected; once gone, its failures are gone."""
        self.update({"1": 1})
        self.fail_once()
        self.update({})
        self.assertEqual(self.tags("1"), ["ejected"])
        self.clock.advance(10)
        self.assertEqual(self.reserver.state()["instance-id->state"], {})

    def test_other_rules(self) -> None:
        """The rules are the manager's."""
        self.manager = make_manager(self.clock, ejection=EjectionRules(base_secs=3, expiry_threshold=1))
        self.reserver = self.manager.reserver(self.service)
        self.update({"1": 1})
        self.fail_once()
        self.assertEqual(self.manager.failing("s"), {"s.1"})
        self.assertEqual(self.secs_until_served(), 3)


class KillTests(ReserverCase):
    def test_locked(self) -> None:
        """Who is about to be killed gets no request, and is not chosen twice; it uses no slot."""
        self.update({"1": 1, "2": 1})
        self.assertEqual(self.reserver.reserve_for_kill().instance.id, "s.2")
        self.assertEqual(self.tags("2"), ["healthy", "locked"])
        self.assertEqual(self.reserver.slots_in_use, 0)
        self.assertEqual(self.reserver.slots_available, 1)
        self.assertEqual(self.take().instance.id, "s.1")
        self.assertIsNone(self.reserver.reserve_for_kill())

    def test_killed(self) -> None:
        """
        A killed instance is never offered again, whatever updates say.

        Other than the original, where the next update made it a healthy instance, and the favourite of the next kill.
        """
        self.update({"1": 1})
        self.reserver.reserve_for_kill().release(Outcome.KILLED)
        waiting = self.wait(timeout_secs=10_000.0)
        for _ in range(50):
            self.update({"1": 1})
            self.clock.advance(20)
        self.assertNoResult(waiting)
        self.assertEqual(self.tags("1"), ["healthy", "killed"])
        self.assertIsNone(self.reserver.reserve_for_kill())
        self.update({})
        self.clock.advance(250)
        self.update({"1": 1})
        self.assertNoResult(waiting)
        self.update({"2": 1})
        self.assertEqual(self.served(waiting).instance.id, "s.2")

    def test_killed_ones_are_forgotten_when_long_gone(self) -> None:
        """Five minutes after it was last reported nothing is left of it."""
        self.update({"1": 1})
        self.reserver.reserve_for_kill().release(Outcome.KILLED)
        self.update({})
        self.clock.advance(299)
        self.assertIn("s.1", self.reserver.state()["instance-id->state"])
        self.clock.advance(1)
        self.assertEqual(self.reserver.state()["instance-id->state"], {})

    def test_a_success_does_not_raise_the_dead(self) -> None:
        """When a lingering request of a killed instance ends well, that changes nothing."""
        self.update({"1": 2}, expired=["1"])
        lingering = self.take()
        self.clock.advance(61)
        self.reserver.reserve_for_kill().release(Outcome.KILLED)
        lingering.release(Outcome.SUCCESS)
        self.wait()
        self.assertEqual(self.tags("1"), ["ejected", "expired", "healthy", "killed"])

    def test_not_killed(self) -> None:
        """
        When it is not killed after all, it serves again at once.
        """
        self.update({"1": 1})
        lock = self.reserver.reserve_for_kill()
        waiting = self.wait()
        lock.release(Outcome.NOT_KILLED)
        self.served(waiting)

    def test_not_killed_keeps_ejection_and_failures(self) -> None:
        """Other than the original, where the lock's end ended the ejection as well."""
        self.update({"1": 1})
        self.take().release(Outcome.INSTANCE_ERROR)
        self.reserver.reserve_for_kill().release(Outcome.NOT_KILLED)
        self.assertEqual(self.tags("1"), ["ejected", "healthy"])
        waiting = self.wait()
        self.clock.advance(10)
        self.served(waiting).release(Outcome.INSTANCE_ERROR)
        self.assertEqual(self.reserver.state()["instance-id->consecutive-failures"], {"s.1": 2})

    def test_any_other_outcome_is_not_killed(self) -> None:
        """A killer that fails for any reason leaves the instance as it was."""
        self.update({"1": 1})
        for outcome in set(Outcome) - {Outcome.KILLED}:
            self.reserver.reserve_for_kill().release(outcome)
            self.assertEqual(self.tags("1"), ["healthy"])

    def test_unlocked_once(self) -> None:
        """When a lock is released twice, the next one's lock holds."""
        self.update({"1": 1})
        first = self.reserver.reserve_for_kill()
        first.release(Outcome.NOT_KILLED)
        self.reserver.reserve_for_kill()
        first.release(Outcome.NOT_KILLED)
        self.assertEqual(self.tags("1"), ["healthy", "locked"])

    def test_excluded(self) -> None:
        """Excluded instances are not chosen."""
        self.update({"1": 1, "2": 1})
        self.assertIsNone(self.reserver.reserve_for_kill(exclude=names("12")))

    def test_all_at_once(self) -> None:
        """A whole service is locked only when nobody uses it, and nobody waits for it either."""
        self.update(unhealthy=["3"])
        patient = self.wait()
        self.assertIsNone(self.reserver.reserve_all_for_kill())
        patient.addErrback(lambda _: None)
        patient.cancel()
        self.update({"1": 1, "2": 1}, unhealthy=["3"])
        locks = self.reserver.reserve_all_for_kill()
        self.assertEqual({lock.instance.id for lock in locks}, names("123"))
        waiting = self.wait()
        for lock in locks:
            lock.release(Outcome.NOT_KILLED)
        self.served(waiting)

    def test_busy_instances_are_spared(self) -> None:
        """Unless expired, and then for as long as a request is young."""
        self.update({"1": 1})
        lease = self.take()
        self.clock.advance(1000)
        self.assertIsNone(self.reserver.reserve_for_kill())
        lease.release(Outcome.SUCCESS)
        self.update({"1": 1}, expired=["1"])
        self.take()
        self.clock.advance(60)
        self.assertIsNone(self.reserver.reserve_for_kill())
        self.clock.advance(0.5)
        self.assertEqual(self.reserver.reserve_for_kill().instance.id, "s.1")

    def test_locks_survive_updates(self) -> None:
        """Also one that does not name the instance."""
        self.update({"1": 1})
        lock = self.reserver.reserve_for_kill()
        self.update({})
        self.update({"1": 1})
        self.assertEqual(self.tags("1"), ["healthy", "locked"])
        lock.release(Outcome.NOT_KILLED)
        self.take()

    def test_watchdog_sees_locks(self) -> None:
        """A lock that is never released is found like a lease."""
        self.update({"1": 1})
        self.reserver.reserve_for_kill()
        self.assertEqual(self.reserver.oldest_lease_secs(30.0), 30.0)


class UpdateTests(ReserverCase):
    def test_an_instance_that_vanishes_stays_until_released(self) -> None:
        """It serves nobody else, and is forgotten when its last slot comes back."""
        self.update({"1": 2})
        first, second = self.take(), self.take()
        self.update({})
        self.assertEqual(
            self.reserver.state()["instance-id->state"],
            {"s.1": {"slots-assigned": 0, "slots-used": 2, "status-tags": []}},
        )
        first.release(Outcome.SUCCESS)
        self.wait()
        second.release(Outcome.CLIENT_ERROR)
        self.assertEqual(self.reserver.state()["instance-id->state"], {})

    def test_slots_taken_away_while_in_use(self) -> None:
        """When fewer slots are left than are in use, those given back are lost until the numbers fit."""
        self.update({"1": 3})
        leases = [self.take() for _ in range(3)]
        self.update({"1": 1})
        self.assertEqual((self.reserver.slots_in_use, self.reserver.slots_available), (3, 0))
        waiting = self.wait()
        leases[0].release(Outcome.SUCCESS)
        leases[1].release(Outcome.SUCCESS)
        self.assertNoResult(waiting)
        leases[2].release(Outcome.SUCCESS)
        self.served(waiting)

    def test_slots_come_back(self) -> None:
        """When slots are taken away and given again while in use, none is counted twice."""
        self.update({"1": 2})
        leases = [self.take() for _ in range(2)]
        self.update({})
        self.update({"1": 2})
        waiting = [self.wait(), self.wait(), self.wait()]
        for lease in leases:
            lease.release(Outcome.SUCCESS)
        self.served(waiting[0]), self.served(waiting[1])
        self.assertNoResult(waiting[2])

    def test_unhealthy_starting_and_foreign_instances_do_not_serve(self) -> None:
        """A healthy instance that is another router's is not even known here."""
        state = make_state(self.service, {"1": 0}, unhealthy=["2"], starting=["3"])
        foreign = make_state(self.service, {"4": 1})
        self.reserver.update(state.__class__(service=self.service, healthy=foreign.healthy, unhealthy=state.unhealthy))
        self.assertEqual(self.reserver.state()["sorted-instance-ids"], ["s.2", "s.3"])
        self.wait()

    def test_the_latest_instance_is_handed_out(self) -> None:
        """When an update describes an instance anew, later leases have the new description."""
        self.update({"1": 2})
        old = self.take()
        moved = make_instance("1", started_at=99.0)
        self.reserver.update(
            make_state(self.service, {"1": 2}).__class__(service=self.service, healthy=(moved,), slots={"s.1": 2})
        )
        self.assertEqual(self.take().instance.started_at, 99.0)
        self.assertEqual(old.instance.started_at, 1.0)
        old.release(Outcome.SUCCESS)
        self.assertEqual(self.reserver.slots_in_use, 1)

    def test_a_changed_limit(self) -> None:
        """When the description changes, so does what follows from it."""
        self.service = make_service(max_queue_length=1, load_balancing="youngest")
        self.update({"1": 1, "2": 1})
        self.assertEqual(self.take().instance.id, "s.2")
        self.take()
        self.wait()
        self.assertRaises(QueueFull, self.reserver.reserve, timeout_secs=1.0)

    def test_state(self) -> None:
        """Everything is shown, under the API's names."""
        self.update({"1": 2, "2": 1}, instability_issue="not-enough-memory")
        self.take()
        self.take().release(Outcome.INSTANCE_ERROR)
        self.clock.advance(1)
        state = self.reserver.state()
        self.assertEqual(state["instance-id->state"]["s.1"]["slots-used"], 1)
        self.assertEqual(state["instance-id->eject-expiry-time"], {"s.1": "2001-09-09T01:46:50.000Z"})
        self.assertEqual(state["instance-id->consecutive-failures"], {"s.1": 1})
        self.assertEqual(state["sorted-instance-ids"], ["s.1", "s.2"])
        self.assertEqual(state["id->instance"]["s.2"]["port"], 10000)
        self.assertEqual(state["instability-issue"], "not-enough-memory")
        self.assertIsNone(state["deployment-error"])
        self.assertEqual((state["outstanding"], state["waiting"]), (1, 0))
        self.assertEqual((state["oldest-lease-secs"], state["oldest-wait-secs"]), (1.0, 0.0))


class ClosedTests(ReserverCase):
    def test_closed(self) -> None:
        """When the router stops, those who wait and those who come are told; leases may still come back."""
        self.update({"1": 1})
        lease = self.take()
        waiting = self.wait()
        self.manager.stopService()
        self.failureResultOf(waiting, ShuttingDown)
        self.assertRaises(ShuttingDown, self.reserver.reserve, timeout_secs=1.0)
        lease.release(Outcome.INSTANCE_ERROR)
        self.assertEqual(self.reserver.slots_in_use, 0)
        self.assertIsNone(self.reserver.try_reserve(frozenset()))
        self.assertIsNone(self.reserver.reserve_for_kill())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_update_after_the_end(self) -> None:
        """It serves nobody."""
        self.manager.stopService()
        self.update({"1": 1})
        self.reserver.update(make_state(self.service, {"1": 1}))
        self.assertRaises(ShuttingDown, self.reserver.reserve, timeout_secs=1.0)
