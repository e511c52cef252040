"""Finding a free instance quickly gives the same as looking at all of them."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.reservation.making import forget, make_row
from waiter.reservation.free import FreeAtRandom, FreeByRank, FreeInstances
from waiter.reservation.lease import Lease
from waiter.reservation.selection import LoadBalancing, pick, serving_order

RANDOM = Random(3)  # noqa: S311 - reproducible
STEPS = st.lists(st.tuples(st.sampled_from(["take", "give", "eject", "admit"]), st.integers(0, 100)), max_size=60)
ROWS = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=6)


class FreeInstancesTests(SynchronousTestCase):
    def check(self, free: FreeInstances, load_balancing: LoadBalancing, shape: object, steps: object) -> None:
        table = [
            make_row(number, healthy=True, slots=slots, expired=expired)
            for number, (slots, expired) in enumerate(shape)
        ]
        order = serving_order(table, load_balancing)
        free.rebuild(order)
        for step, which in steps:
            row = table[which % len(table)]
            if step == "take":
                row = free.first()
                if row is not None:
                    row.leases.add(Lease(row.instance, 0.0, forget))
            elif step == "give" and row.leases:
                row.leases.pop()
            elif step in {"eject", "admit"}:
                row.ejected_until = 1.0 if step == "eject" else None
                row.refresh()
            if row is not None and row.free and not row.listed:
                free.add(row)
            first = free.first()
            expected = pick(order, frozenset(), load_balancing, RANDOM.choice)
            if load_balancing == "random":
                self.assertEqual(first is None, expected is None)
                if first is not None:
                    self.assertTrue(first.free)
                    self.assertEqual(first.expired, expected.expired)
            else:
                self.assertIs(first, expected)

    @given(ROWS, STEPS, st.sampled_from(["oldest", "youngest"]))
    def test_by_rank(self, shape: object, steps: object, load_balancing: LoadBalancing) -> None:
        """At every moment the first is the one that a scan of the serving order finds."""
        self.check(FreeByRank(), load_balancing, shape, steps)

    @given(ROWS, STEPS)
    def test_at_random(self, shape: object, steps: object) -> None:
        """At every moment one is found if there is one, and an expired one only if no other is free."""
        self.check(FreeAtRandom(RANDOM), "random", shape, steps)

    def test_at_random_draws_evenly(self) -> None:
        """Each free instance comes up about as often as any other, also after some have been full."""
        table = [make_row(number, healthy=True, slots=2) for number in range(4)]
        free = FreeAtRandom(RANDOM)
        free.rebuild(table)
        table[0].leases = {Lease(table[0].instance, 0.0, forget) for _ in range(2)}
        counts = dict.fromkeys(range(4), 0)
        for _ in range(3000):
            row = free.first()
            counts[table.index(row)] += 1
        self.assertEqual(counts[0], 0)
        for number in (1, 2, 3):
            self.assertTrue(900 < counts[number] < 1100, counts)
