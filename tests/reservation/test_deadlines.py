"""Many timeouts on one timer."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from waiter.reservation.deadlines import GRAIN_SECS, Deadlines


class DeadlinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.due: list[list[str]] = []
        self.deadlines: Deadlines[str] = Deadlines(self.clock, self.due.append)

    def test_due_at_its_time(self) -> None:
        """On a tick's edge a thing is due at once, before that it is not."""
        self.deadlines.add("a", 5.0)
        self.clock.advance(4.95)
        self.assertEqual(self.due, [])
        self.clock.advance(0.05)
        self.assertEqual(self.due, [["a"]])

    def test_an_earlier_one_later(self) -> None:
        """When one is added that is due before all others, the timer follows."""
        self.deadlines.add("late", 300.0)
        self.deadlines.add("early", 1.0)
        self.clock.advance(1.0)
        self.assertEqual(self.due, [["early"]])
        self.clock.advance(299.0)
        self.assertEqual(self.due, [["early"], ["late"]])

    def test_one_timer(self) -> None:
        """However many there are, there is one delayed call."""
        for number in range(100):
            self.deadlines.add(str(number), 1.0 + number)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_discarded(self) -> None:
        """What is discarded is never due; a second time does nothing."""
        tick = self.deadlines.add("a", 1.0)
        self.deadlines.add("b", 1.0)
        self.deadlines.discard("a", tick)
        self.deadlines.discard("a", tick)
        self.clock.advance(2.0)
        self.assertEqual(self.due, [["b"]])
        self.deadlines.discard("b", tick)

    def test_cleared_and_used_again(self) -> None:
        """After a clear nothing of before is due, and what is added is due in its time, early or late."""
        self.deadlines.add("a", 10.0)
        self.deadlines.clear()
        self.deadlines.add("b", 5.0)
        self.deadlines.add("c", 20.0)
        self.clock.advance(10.0)
        self.assertEqual(self.due, [["b"]])
        self.clock.advance(10.0)
        self.assertEqual(self.due, [["b"], ["c"]])

    def test_a_cleared_timer_that_fires_finds_nothing(self) -> None:
        """And does not start again."""
        self.deadlines.add("a", 10.0)
        self.deadlines.clear()
        self.clock.advance(10.0)
        self.assertEqual(self.due, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped(self) -> None:
        """A stop leaves no delayed call."""
        self.deadlines.add("a", 10.0)
        self.deadlines.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.deadlines.add("b", 1.0)
        self.clock.advance(1.0)
        self.assertEqual(self.due, [["b"]])

    def test_what_is_due_may_add(self) -> None:
        """A thing added while others are due has its own turn."""
        self.deadlines = Deadlines(self.clock, lambda things: (self.due.append(things), again(things)))

        def again(things: list[str]) -> None:
            if things == ["a"]:
                self.deadlines.add("b", self.clock.seconds())

        self.deadlines.add("a", 1.0)
        self.clock.advance(1.0)
        self.clock.advance(GRAIN_SECS)
        self.assertEqual(self.due, [["a"], ["b"]])

    @given(
        st.floats(0, 1e6),
        st.lists(st.tuples(st.floats(0, 30), st.floats(0, 2))),
    )
    def test_never_early_and_at_most_a_grain_late(self, start: float, additions: list[tuple[float, float]]) -> None:
        """Whenever things are added, each is due once, not before its time and at most one grain after it."""
        clock = Clock()
        clock.advance(start)
        due: dict[int, float] = {}

        def record(things: list[int]) -> None:
            for thing in things:
                self.assertNotIn(thing, due)
                due[thing] = clock.seconds()

        deadlines: Deadlines[int] = Deadlines(clock, record)
        wanted = {}
        for number, (delay, pause) in enumerate(additions):
            wanted[number] = clock.seconds() + delay
            deadlines.add(number, wanted[number])
            advance_finely(clock, pause)
        while clock.getDelayedCalls():
            clock.advance(clock.getDelayedCalls()[0].getTime() - clock.seconds())
        self.assertEqual(set(due), set(wanted))
        for number, at in wanted.items():
            self.assertGreaterEqual(due[number], at - 1e-6)
            self.assertLessEqual(due[number], at + GRAIN_SECS + 1e-6)


def advance_finely(clock: Clock, secs: float) -> None:
    """C{Clock.advance} runs everything at the end of the span; real time does not."""
    end = clock.seconds() + secs
    while clock.getDelayedCalls() and clock.getDelayedCalls()[0].getTime() <= end:
        clock.advance(max(0.0, clock.getDelayedCalls()[0].getTime() - clock.seconds()))
    clock.advance(max(0.0, end - clock.seconds()))
