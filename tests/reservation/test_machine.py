"""
Everything in any order; and proof that the machine notices when a guard is missing.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis.stateful import run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from tests.reservation.machine import RandomMachine, ReserverMachine, YoungestMachine
from waiter.errors import NoInstanceInTime
from waiter.model.outcome import Outcome
from waiter.model.routing import ServiceState
from waiter.reservation.deadlines import Deadlines
from waiter.reservation.free import FreeByRank
from waiter.reservation.lease import Lease
from waiter.reservation.queue import Waiter, WaitingQueue
from waiter.reservation.reserver import InstanceReserver
from waiter.reservation.slots import InstanceSlots
from waiter.reservation.table import SlotTable


class ReserverMachineTests(SynchronousTestCase):
    def run_machine(self, machine: type[ReserverMachine], examples: int) -> None:
        run_state_machine_as_test(
            machine,
            settings=settings(max_examples=examples, stateful_step_count=40, deadline=None, print_blob=True),
        )

    def test_everything_in_any_order(self) -> None:
        """No slot is given twice or lost, nobody waits for a free slot, and everybody is told once."""
        self.run_machine(ReserverMachine, 150)

    def test_youngest(self) -> None:
        """The same with the youngest first."""
        self.run_machine(YoungestMachine, 50)

    def test_random(self) -> None:
        """The same with a random instance."""
        self.run_machine(RandomMachine, 50)


class MissingGuardTests(SynchronousTestCase):
    """
    The machine must fail when a guard is taken away; otherwise it would prove nothing.
    """

    def assert_noticed(self, target: type, name: str, replacement: Any) -> None:
        """
        With C{target.name} replaced, some run of the machine fails an assertion.

        The runs are the same each time; there is no shrinking, as nobody is going to read them.
        """
        with mock.patch.object(target, name, replacement), self.assertRaises(AssertionError):
            run_state_machine_as_test(
                ReserverMachine,
                settings=settings(
                    max_examples=3000,
                    stateful_step_count=50,
                    deadline=None,
                    derandomize=True,
                    database=None,
                    phases=[Phase.generate],
                    report_multiple_bugs=False,
                    suppress_health_check=list(HealthCheck),
                    verbosity=Verbosity.quiet,
                ),
            )

    def assert_noticed_without_granting(self, name: str) -> None:
        """The same with a method of the reserver that does what it does, but gives no slot to anybody who waits."""

        def replacement(reserver: InstanceReserver, *arguments: Any) -> None:
            with mock.patch.object(reserver, "_grant"):
                original(reserver, *arguments)

        original = getattr(InstanceReserver, name)
        self.assert_noticed(InstanceReserver, name, replacement)

    # Leases

    def test_a_lease_given_back_twice(self) -> None:
        """A lease that forgets that it was released."""

        def release(lease: Lease, outcome: Outcome) -> None:
            lease.released = True
            lease._give_back(lease, outcome)

        self.assert_noticed(Lease, "release", release)

    def test_slots_given_out_without_counting(self) -> None:
        """An instance that is always free while it serves."""

        def first(free: FreeByRank) -> InstanceSlots | None:
            return next((row for row in free._order if row.capacity), None)

        self.assert_noticed(FreeByRank, "first", first)

    def test_a_released_slot_that_is_not_found_again(self) -> None:
        """A free instance that is never listed again."""

        def add(free: FreeByRank, row: InstanceSlots) -> None:
            row.listed = True

        self.assert_noticed(FreeByRank, "add", add)

    # Who waits

    def test_nobody_looks_at_the_queue_after_a_release(self) -> None:
        """A slot that comes back and is given to nobody."""
        self.assert_noticed_without_granting("_give_back")

    def test_nobody_looks_at_the_queue_after_an_update(self) -> None:
        """Slots that appear and are given to nobody."""
        self.assert_noticed_without_granting("_follow")

    def test_nobody_looks_at_the_queue_after_an_ejection(self) -> None:
        """An instance that is readmitted and serves nobody of those who wait."""
        self.assert_noticed_without_granting("_readmit")

    def test_nobody_looks_at_the_queue_after_a_lock(self) -> None:
        """An instance that is not killed after all and serves nobody of those who wait."""
        self.assert_noticed_without_granting("_unlock")

    def test_a_cancelled_request_stays_in_the_queue(self) -> None:
        """A slot that is given to one who has left."""
        self.assert_noticed(WaitingQueue, "_cancelled", lambda queue, waiter: None)

    def test_a_slot_lost_with_its_receiver(self) -> None:
        """One who is cancelled after a slot was given to it, and takes it along."""

        def cancelled(queue: WaitingQueue, waiter: Waiter) -> None:
            if waiter.waits:
                original(queue, waiter)
            waiter.verdict = None

        original = WaitingQueue._cancelled
        self.assert_noticed(WaitingQueue, "_cancelled", cancelled)

    def test_one_told_from_inside_another(self) -> None:
        """Without the guard against re-entry."""

        def deliver(queue: WaitingQueue) -> None:
            queue._delivering = False
            original(queue)

        original = WaitingQueue._deliver
        self.assert_noticed(WaitingQueue, "_deliver", deliver)

    def test_told_before_all_is_given(self) -> None:
        """A queue that tells each one as soon as it has a slot, while slots are still to be given."""

        def put_all(queue: WaitingQueue, leases: Iterable[Lease]) -> None:
            for lease in leases:
                original(queue, (lease,))

        original = WaitingQueue.put_all
        self.assert_noticed(WaitingQueue, "put_all", put_all)

    def test_last_come_first_served(self) -> None:
        """A queue that is a stack."""
        self.assert_noticed(WaitingQueue, "_first", lambda queue: max(queue.all(), key=lambda waiter: waiter.number))

    def test_priorities_forgotten(self) -> None:
        """A queue that serves all alike."""
        self.assert_noticed(WaitingQueue, "_first", lambda queue: queue.all()[0])

    def test_no_timeouts(self) -> None:
        """Deadlines that are never due."""
        self.assert_noticed(Deadlines, "add", lambda deadlines, thing, at: 0)

    def test_a_deployment_error_that_ends_no_wait(self) -> None:
        """Requests that wait although nothing will come."""

        def fail(queue: WaitingQueue, waiters: Iterable[Waiter], error: Callable[[Waiter], Exception]) -> None:
            """Only timeouts."""
            original(queue, [waiter for waiter in waiters if isinstance(error(waiter), NoInstanceInTime)], error)

        original = WaitingQueue.fail
        self.assert_noticed(WaitingQueue, "fail", fail)

    # Instances

    def test_killed_instances_offered_again(self) -> None:
        """As the original did: an update forgets who was killed."""

        def update(table: SlotTable, state: ServiceState, now: float) -> None:
            for row in table.rows.values():
                row.killed = False
            original(table, state, now)

        original = SlotTable.update
        self.assert_noticed(SlotTable, "update", update)

    def test_the_dead_forgotten_with_their_row(self) -> None:
        """A killed instance that is reported again after an update without it."""

        def unreport(table: SlotTable, row: InstanceSlots, now: float) -> None:
            original(table, row, now)
            if row.killed:
                row.ejected_until = None

        original = SlotTable._unreport
        self.assert_noticed(SlotTable, "_unreport", unreport)

    def test_locked_instances_serve(self) -> None:
        """A lock that keeps nobody away."""

        def refresh(row: InstanceSlots) -> None:
            lock, row.lock = row.lock, None
            original(row)
            row.lock = lock

        original = InstanceSlots.refresh
        self.assert_noticed(InstanceSlots, "refresh", refresh)

    def test_the_last_serving_instance_ejected_for_being_busy(self) -> None:
        """A reserver that does not look whether another one serves."""
        self.assert_noticed(SlotTable, "is_last_serving", lambda table, instance_id: False)

    def test_any_end_clears_the_failures(self) -> None:
        """As the original did: what was the client's fault clears an instance's history."""

        def judge(table: SlotTable, row: InstanceSlots, outcome: Outcome, now: float) -> bool:
            return original(table, row, Outcome.SUCCESS if outcome is Outcome.CLIENT_ERROR else outcome, now)

        original = SlotTable.judge
        self.assert_noticed(SlotTable, "judge", judge)

    def test_exclusions_forgotten(self) -> None:
        """A table that offers the instance that has just been busy."""

        def pick(table: SlotTable, exclude: Collection[str]) -> InstanceSlots | None:
            return original(table, ())

        original = SlotTable.pick
        self.assert_noticed(SlotTable, "pick", pick)

    # The reserver as a whole

    def test_retired_while_somebody_waits(self) -> None:
        """A reserver that goes when its service does, whoever waits."""

        def settle(reserver: InstanceReserver) -> None:
            if reserver._orphaned and not reserver.retired and not reserver._table.rows:
                reserver._context.idle(reserver)

        self.assert_noticed(InstanceReserver, "_settle", settle)

    def test_a_retired_one_that_serves(self) -> None:
        """A reserver that takes requests although no update reaches it."""

        def retire(reserver: InstanceReserver) -> None:
            original(reserver)
            reserver._barred = False

        original = InstanceReserver.retire
        self.assert_noticed(InstanceReserver, "retire", retire)
