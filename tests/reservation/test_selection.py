"""
Whom to serve with and whom to kill.

The vectors are the original's: instances 1 to 8, started in that order; 2 3 5 6 8 are healthy with one slot each, 1 4 7
unhealthy. Where Waiter decides otherwise the test says so.
"""

from collections.abc import Collection
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.reservation.making import make_row
from waiter.reservation.selection import LoadBalancing, choose_victim, pick, serving_order
from waiter.reservation.slots import InstanceSlots

HEALTHY = (2, 3, 5, 6, 8)
UNHEALTHY = (1, 4, 7)
NOW = 1000.0
LINGERING_SECS = 60.0
ACTIVE = (NOW - 59.0,)
LINGER = (NOW - 61.0,)


def rows(
    *,
    unhealthy: Collection[int] = (),
    expired: Collection[int] = (),
    ejected: Collection[int] = (),
    killed: Collection[int] = (),
    locked: Collection[int] = (),
    starting: Collection[int] = (),
    active: Collection[int] = (),
    linger: Collection[int] = (),
    healthy: Collection[int] = HEALTHY,
) -> list[InstanceSlots]:
    return [
        make_row(
            number,
            healthy=number in healthy,
            unhealthy=number in unhealthy,
            expired=number in expired,
            ejected=number in ejected,
            killed=number in killed,
            locked=number in locked,
            starting=number in starting,
            busy_since=ACTIVE if number in active else LINGER if number in linger else (),
        )
        for number in sorted({*healthy, *unhealthy})
    ]


def names(exclude: Collection[int]) -> frozenset[str]:
    return frozenset(f"s.{number}" for number in exclude)


def number(row: InstanceSlots | None) -> int | None:
    return None if row is None else int(row.instance.id.removeprefix("s."))


def served(
    table: list[InstanceSlots], exclude: Collection[int] = (), load_balancing: LoadBalancing = "oldest"
) -> int | None:
    draw = Random(0).choice  # noqa: S311 - reproducible
    return number(pick(serving_order(table, load_balancing), names(exclude), load_balancing, draw))


def victim(
    table: list[InstanceSlots], exclude: Collection[int] = (), load_balancing: LoadBalancing = "oldest"
) -> int | None:
    return number(choose_victim(table, names(exclude), load_balancing, NOW, LINGERING_SECS))


class ServingTests(SynchronousTestCase):
    def test_the_originals_vectors(self) -> None:
        """The oldest instance that serves, is free and is not excluded."""
        self.assertEqual(served(rows()), 2)
        self.assertEqual(served(rows(ejected=[2])), 3)
        self.assertEqual(served(rows(ejected=[2], killed=[3], locked=[5])), 6)
        self.assertEqual(served(rows(), [1, 2, 7, 8]), 3)
        self.assertEqual(served(rows(unhealthy=UNHEALTHY)), 2)
        self.assertEqual(served(rows(unhealthy=UNHEALTHY), [1, 2, 3, 7, 8]), 5)
        self.assertIsNone(served(rows(), HEALTHY))
        self.assertEqual(served(rows(expired=[2, 3, 8])), 5)
        self.assertEqual(served(rows(expired=HEALTHY)), 8)

    def test_an_instance_without_a_free_slot_is_passed_over(self) -> None:
        """The next one in the order serves."""
        self.assertEqual(served(rows(active=[2, 3])), 5)
        self.assertIsNone(served(rows(active=HEALTHY)))

    def test_a_starting_one_does_not_serve(self) -> None:
        """Not even if it is called healthy at the same time."""
        self.assertEqual(served(rows(starting=[2])), 3)

    def test_youngest(self) -> None:
        """The youngest serves."""
        self.assertEqual(served(rows(), load_balancing="youngest"), 8)
        self.assertEqual(served(rows(active=[8]), load_balancing="youngest"), 6)

    def test_youngest_serves_with_expired_ones_last(self) -> None:
        """
        Other than the original, which then served with the oldest expired one first: that one is to be killed next, and
        every request keeps it alive.
        """
        self.assertEqual(served(rows(expired=[2, 8]), load_balancing="youngest"), 6)
        self.assertEqual(served(rows(expired=HEALTHY), load_balancing="youngest"), 8)

    def test_random_serves_with_expired_ones_last(self) -> None:
        """Other than the original, which drew from all."""
        table = rows(expired=[2, 8], active=[3])
        order = serving_order(table, "random")
        random = Random(1)  # noqa: S311 - reproducible
        drawn = {number(pick(order, names([5]), "random", random.choice)) for _ in range(50)}
        self.assertEqual(drawn, {6})
        drawn = {number(pick(order, frozenset(), "random", random.choice)) for _ in range(50)}
        self.assertEqual(drawn, {5, 6})
        drawn = {number(pick(order, names([5, 6]), "random", random.choice)) for _ in range(50)}
        self.assertEqual(drawn, {2, 8})

    def test_random_with_nothing_free(self) -> None:
        """Nobody is drawn from nothing."""
        self.assertIsNone(served(rows(active=HEALTHY), load_balancing="random"))

    def test_equal_starts_are_ordered_by_id(self) -> None:
        """And an unknown start counts as the earliest."""
        table = [make_row(number, healthy=True) for number in (3, 2, 1)]
        for row, started_at in zip(table, (5.0, 5.0, None), strict=True):
            row.instance = row.instance.__class__(
                id=row.instance.id, service_id=row.instance.service_id, started_at=started_at
            )
        self.assertEqual([number(row) for row in serving_order(table, "oldest")], [1, 2, 3])
        self.assertEqual([number(row) for row in serving_order(table, "youngest")], [3, 2, 1])


class VictimTests(SynchronousTestCase):
    def test_the_originals_vectors_without_expired_ones(self) -> None:
        """Idle unhealthy, then idle ejected, then the youngest idle healthy one."""
        self.assertEqual(victim(rows()), 8)
        self.assertEqual(victim(rows(), load_balancing="youngest"), 2)
        self.assertEqual(victim(rows(), [1, 2, 7, 8]), 6)
        self.assertEqual(victim(rows(), [1, 2, 7, 8], "youngest"), 3)
        self.assertEqual(victim(rows(active=[6]), [1, 2, 7, 8]), 5)
        self.assertEqual(victim(rows(unhealthy=UNHEALTHY)), 7)
        self.assertEqual(victim(rows(unhealthy=UNHEALTHY, active=[7])), 4)
        self.assertEqual(victim(rows(unhealthy=UNHEALTHY, killed=[7])), 4)
        self.assertEqual(victim(rows(unhealthy=UNHEALTHY), [1, 2, 7, 8]), 4)
        self.assertEqual(victim(rows(ejected=[8])), 8)
        self.assertEqual(victim(rows(ejected=[2], killed=[3], locked=[8])), 2)
        self.assertEqual(victim(rows(killed=[3], locked=[8])), 6)

    def test_the_originals_vectors_with_expired_ones(self) -> None:
        """The oldest idle expired one; a busy one last and only if all its requests linger."""
        both = rows(unhealthy=UNHEALTHY, expired=[2, 5])
        self.assertEqual(victim(both), 2)
        self.assertEqual(victim(rows(expired=[2])), 2)
        self.assertEqual(victim(rows(expired=[2]), load_balancing="youngest"), 2)
        self.assertIsNone(victim(rows(expired=[2], active=[2])))
        self.assertEqual(victim(rows(expired=[2], linger=[2])), 2)
        self.assertEqual(victim(rows(expired=[2, 6, 8], linger=[2])), 6)
        self.assertEqual(victim(rows(expired=[2, 6, 8], linger=[2, 6, 8])), 2)
        self.assertEqual(victim(rows(expired=[2, 6, 8]), [1, 2, 3]), 6)
        self.assertEqual(victim(rows(expired=[2], active=[2], ejected=[5, 6])), 6)

    def test_the_originals_vectors_with_expired_and_unhealthy_ones(self) -> None:
        """Unhealthy ones may go while healthy ones are protected by an expired one."""
        self.assertEqual(victim(rows(unhealthy=UNHEALTHY, expired=[2], active=[2])), 7)
        self.assertEqual(victim(rows(unhealthy=UNHEALTHY, expired=[2], active=[2], locked=[7])), 4)
        self.assertEqual(victim(rows(unhealthy=UNHEALTHY, expired=[2], active=[2], killed=[7])), 4)
        self.assertEqual(victim(rows(unhealthy=UNHEALTHY, expired=[2], linger=[2])), 7)

    def test_an_expired_one_waits_for_its_starting_replacement(self) -> None:
        """While one starts, only unhealthy ones that do not start may go."""
        self.assertEqual(victim(rows(unhealthy=UNHEALTHY, expired=[2], starting=[7])), 4)
        self.assertIsNone(victim(rows(unhealthy=[7], expired=[2], starting=[7])))

    def test_an_ejected_one_that_is_no_longer_reported_is_not_chosen(self) -> None:
        """The original's vector: 2 and 3 healthy, 5 ejected and unknown."""
        table = [*rows(healthy=[2, 3]), make_row(5, ejected=True, reported=False)]
        self.assertEqual(victim(table), 3)

    def test_one_busy_request_protects(self) -> None:
        """Among lingering requests a single younger one is enough."""
        table = [make_row(2, healthy=True, expired=True, slots=2, busy_since=[NOW - 61, NOW - 59])]
        self.assertIsNone(victim(table))

    def test_nothing_to_choose_from(self) -> None:
        """No rows, no victim."""
        self.assertIsNone(victim([]))


CONDITIONS = st.fixed_dictionaries(
    {
        key: st.sets(st.integers(1, 8))
        for key in ("unhealthy", "expired", "ejected", "killed", "locked", "starting", "active", "linger")
    }
)


class SelectionPropertyTests(SynchronousTestCase):
    @given(CONDITIONS, st.sets(st.integers(1, 8)), st.sampled_from(["oldest", "youngest", "random"]))
    def test_what_is_chosen_may_be_chosen(
        self, conditions: dict[str, set[int]], exclude: set[int], load_balancing: LoadBalancing
    ) -> None:
        """Whatever the table, the one that serves is fit to, and the victim is not needed."""
        conditions["unhealthy"] -= set(HEALTHY)
        table = rows(**conditions)
        by_number = {number(row): row for row in table}
        chosen = served(table, exclude, load_balancing)
        if chosen is not None:
            row = by_number[chosen]
            self.assertLessEqual(set(row.tags), {"healthy", "expired"})
            self.assertEqual(row.leases, set())
            self.assertNotIn(chosen, exclude)
        else:
            self.assertFalse([row for row in table if row.free and number(row) not in exclude])
        killed = victim(table, exclude, load_balancing)
        if killed is not None:
            row = by_number[killed]
            self.assertFalse({"killed", "locked"} & set(row.tags))
            self.assertNotIn(killed, exclude)
            self.assertTrue(not row.leases or (row.expired and killed in conditions["linger"] - conditions["active"]))
