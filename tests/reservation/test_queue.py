"""The queue of those who wait."""

import time
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, DeferredQueue, QueueOverflow, QueueUnderflow
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.reservation.making import forget, make_instance
from waiter.model.outcome import Outcome
from waiter.reservation.lease import Lease
from waiter.reservation.queue import Waiter, WaitingQueue


def make_lease(name: str = "1", give_back: Callable[[Lease, Outcome], object] = forget) -> Lease:
    return Lease(make_instance(name), 0.0, give_back)


class TimedOut(Exception):
    """The error of these tests."""


class WaitingQueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.emptied = 0
        self.queue = self.make_queue()

    def make_queue(self, backlog: int | None = None) -> WaitingQueue:
        def overdue(waiters: list[Waiter]) -> None:
            self.queue.fail(waiters, lambda waiter: TimedOut(waiter.timeout_secs))

        def emptied() -> None:
            self.emptied += 1

        return WaitingQueue(self.clock, backlog=backlog, overdue=overdue, emptied=emptied)

    # The contract of DeferredQueue

    def check_contract(self, queue: WaitingQueue | DeferredQueue[Lease]) -> None:
        first, second = queue.get(), queue.get()
        with self.assertRaises(QueueUnderflow):
            queue.get()
        self.assertNoResult(first)
        lease = make_lease()
        queue.put(lease)
        self.assertIs(self.successResultOf(first), lease)
        self.assertNoResult(second)
        third = queue.get()
        second.cancel()
        self.failureResultOf(second, CancelledError)
        lease = make_lease()
        queue.put(lease)
        self.assertIs(self.successResultOf(third), lease)
        with self.assertRaises(QueueOverflow):
            queue.put(make_lease())

    def test_twisteds_own_queue_keeps_the_contract(self) -> None:
        """What is asked of the queue is what C{DeferredQueue} does when it keeps nothing."""
        self.check_contract(DeferredQueue(size=0, backlog=2))

    def test_keeps_the_contract(self) -> None:
        """First come first served; nothing is kept; the backlog is bounded; cancelling makes room."""
        self.check_contract(self.make_queue(backlog=2))

    # Order

    def test_priority(self) -> None:
        """Larger priorities come first, equal ones as they came."""
        priorities = [0, 5, 0, 5, -1]
        waiting = [self.queue.get(priority=priority) for priority in priorities]
        order: list[int] = []
        for number, deferred in enumerate(waiting):
            deferred.addCallback(lambda _, number=number: order.append(number))
        for _ in waiting:
            self.queue.put(make_lease())
        self.assertEqual(order, [1, 3, 0, 2, 4])

    # Leaving

    def test_timeout(self) -> None:
        """When the timeout passes the wait fails; others go on."""
        short = self.queue.get(timeout_secs=1.0)
        long = self.queue.get(timeout_secs=2.0)
        forever = self.queue.get()
        self.clock.advance(0.9)
        self.assertNoResult(short)
        self.clock.advance(0.2)
        self.assertEqual(self.failureResultOf(short, TimedOut).value.args, (1.0,))
        self.assertNoResult(long)
        self.clock.advance(1.0)
        self.failureResultOf(long, TimedOut)
        self.clock.advance(1000.0)
        self.assertNoResult(forever)
        self.assertEqual(self.queue.waiting, 1)
        forever.cancel()
        self.failureResultOf(forever, CancelledError)

    def test_no_time_at_all(self) -> None:
        """A timeout of nothing, or less, has passed at the next look."""
        for timeout_secs in (0.0, -5.0):
            waiting = self.queue.get(timeout_secs=timeout_secs)
            self.clock.advance(0.1)
            self.failureResultOf(waiting, TimedOut)

    def test_served_in_time(self) -> None:
        """Who was served is not told of a timeout."""
        waiting = self.queue.get(timeout_secs=1.0)
        other = self.queue.get(timeout_secs=2.0)
        self.queue.put(make_lease())
        self.clock.advance(1.5)
        self.successResultOf(waiting)
        self.assertNoResult(other)
        other.addErrback(lambda failure: failure.trap(TimedOut))
        self.clock.advance(1.5)

    def test_emptied_is_told_when_the_last_one_leaves(self) -> None:
        """Only when nobody is left, and only for cancelling: the others' leaving is its owner's doing."""
        first, second = self.queue.get(), self.queue.get()
        first.addErrback(lambda _: None)
        second.addErrback(lambda _: None)
        second.cancel()
        self.assertEqual(self.emptied, 0)
        first.cancel()
        self.assertEqual(self.emptied, 1)
        self.queue.get()
        self.queue.put(make_lease())
        self.assertEqual(self.emptied, 1)

    def test_all_fail(self) -> None:
        """Each of them gets an error of its own, in the order they came."""
        waiting = [self.queue.get(priority=priority) for priority in (0, 3, 0, 0)]
        order: list[int] = []
        errors: list[Exception] = []
        for number, deferred in enumerate(waiting):
            deferred.addErrback(lambda failure, number=number: (order.append(number), errors.append(failure.value)))
        self.queue.fail(self.queue.all(), lambda _: TimedOut())
        self.assertEqual(order, [0, 1, 2, 3])
        self.assertEqual(len({id(error) for error in errors}), 4)
        self.assertEqual(self.queue.waiting, 0)

    def test_oldest(self) -> None:
        """The longest wait is known, whatever the priority."""
        self.assertIsNone(self.queue.oldest_since())
        first = self.queue.get(priority=-1)
        self.clock.advance(5)
        self.queue.get(priority=9)
        self.assertEqual(self.queue.oldest_since(), 0.0)
        first.addErrback(lambda _: None)
        first.cancel()
        self.assertEqual(self.queue.oldest_since(), 5.0)

    # Callbacks that come back

    def test_told_when_all_is_done(self) -> None:
        """When several slots are given at once, all are given before the first waiter is told."""
        seen: list[int] = []
        for _ in range(3):
            self.queue.get().addCallback(lambda _: seen.append(self.queue.waiting))
        self.queue.put_all(make_lease() for _ in range(3))
        self.assertEqual(seen, [0, 0, 0])

    def test_one_after_the_other(self) -> None:
        """When a callback puts a slot, the one who gets it is told after that callback has ended."""
        story: list[str] = []

        def told(name: str) -> None:
            story.append(f"{name} begins")
            if self.queue.waiting:
                self.queue.put(make_lease())
            story.append(f"{name} ends")

        for name in "abc":
            self.queue.get().addCallback(lambda _, name=name: told(name))
        self.queue.put(make_lease())
        self.assertEqual(story, [f"{name} {what}" for name in "abc" for what in ("begins", "ends")])

    def test_a_long_chain_does_not_recurse(self) -> None:
        """Each served waiter serves the next one, 20,000 times."""

        def told(_: Lease) -> None:
            if self.queue.waiting:
                self.queue.put(make_lease())

        for _ in range(20_000):
            self.queue.get().addCallback(told)
        self.queue.put(make_lease())
        self.assertEqual(self.queue.waiting, 0)

    def test_cancelled_after_it_was_given_a_slot(self) -> None:
        """When a callback cancels one who has been given a slot but not been told, the slot goes back."""
        given_back: list[Outcome] = []
        second: list[Deferred[Lease]] = []
        first = self.queue.get()
        first.addCallback(lambda _: second[0].cancel())
        second.append(self.queue.get())
        lease = make_lease("2", lambda _, outcome: given_back.append(outcome))
        self.queue.put_all([make_lease("1"), lease])
        self.failureResultOf(second[0], CancelledError)
        self.assertEqual(given_back, [Outcome.GENERIC_ERROR])
        self.assertTrue(lease.released)

    def test_cancelled_after_it_has_failed(self) -> None:
        """When a callback cancels one that is about to be told of an error, it is told that it was cancelled."""
        second: list[Deferred[Lease]] = []
        first = self.queue.get()
        first.addErrback(lambda _: second[0].cancel())
        second.append(self.queue.get())
        self.queue.fail(self.queue.all(), lambda _: TimedOut())
        self.failureResultOf(second[0], CancelledError)

    def test_a_failing_callback_stops_nothing(self) -> None:
        """When a callback raises, the others are told all the same."""
        broken = self.queue.get()
        broken.addCallback(lambda _: 1 / 0)
        other = self.queue.get()
        self.queue.put_all([make_lease(), make_lease()])
        self.failureResultOf(broken, ZeroDivisionError)
        self.successResultOf(other)

    # Size

    def test_a_hundred_thousand_leave_at_once(self) -> None:
        """
        When very many wait and leave, each costs about the same as when few do, in whatever order they leave.

        A queue that searches for the one who leaves would take thousands of times as long.
        """

        def secs_each(count: int, reverse: bool) -> float:
            queue = self.make_queue()
            waiting = [queue.get(timeout_secs=300.0 + number % 50) for number in range(count)]
            for deferred in waiting:
                deferred.addErrback(lambda _: None)
            if reverse:
                waiting.reverse()
            start = time.process_time()
            for deferred in waiting:
                deferred.cancel()
            spent = time.process_time() - start
            self.assertEqual(queue.waiting, 0)
            queue.stop()
            return spent / count

        few = max(secs_each(2_000, reverse) for reverse in (False, True))
        self.assertLess(secs_each(10_000, reverse=False), 30 * few)
        self.assertLess(secs_each(100_000, reverse=True), 30 * few)

    @given(st.data())
    def test_against_a_plain_list(self, data: st.DataObject) -> None:
        """Whatever is done in whatever order, a list that is searched from the front comes to the same result."""
        queue = self.make_queue()
        model: list[tuple[int, int, Deferred[Lease]]] = []
        for number in range(data.draw(st.integers(0, 25))):
            what = data.draw(st.sampled_from(["get", "get", "put", "cancel"]))
            if what == "get":
                priority = data.draw(st.integers(0, 2))
                deferred = queue.get(priority=priority)
                model.append((-priority, number, deferred))
                model.sort(key=lambda entry: entry[:2])
            elif what == "put":
                lease = make_lease()
                if model:
                    queue.put(lease)
                    self.assertIs(self.successResultOf(model.pop(0)[2]), lease)
                else:
                    self.assertRaises(QueueOverflow, queue.put, lease)
            elif model:
                entry = data.draw(st.sampled_from(model))
                entry[2].cancel()
                self.failureResultOf(entry[2], CancelledError)
                model.remove(entry)
            self.assertEqual(queue.waiting, len(model))
            for entry in model:
                self.assertNoResult(entry[2])
