"""The sharing of slots among routers: the original's golden vectors, and what must hold for all inputs."""

from hashlib import md5

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.discovery import distribution
from waiter.discovery.distribution import allocate, balanced, distribute, rank, simple
from waiter.model.instance import Instance

SCHEMES = ("balanced", "simple")

ids = st.text("abcdefgh0123456789-", min_size=1, max_size=8)
routers = st.sets(ids, min_size=1, max_size=6)
levels = st.integers(1, 12)


def instance(name: str, started_at: float | None = None) -> Instance:
    return Instance(id=name, service_id="s", started_at=started_at)


instances = st.lists(
    st.builds(instance, ids, st.none() | st.integers(0, 5).map(float)), max_size=19, unique_by=lambda one: one.id
)


def totals(shares):
    """Slots per instance, over all routers."""
    sums = {}
    for share in shares.values():
        for name, slots in share.items():
            sums[name] = sums.get(name, 0) + slots
    return sums


def walked(target, available, preference):
    """The original's allocation, one slot at a time."""
    remaining = dict(available)
    chosen = dict.fromkeys(available, 0)
    some = [name for name in available if available[name] > 0]
    base = target // len(some) if some else 0
    for name in some:
        chosen[name] = min(available[name], base)
        remaining[name] -= chosen[name]
    left = target - sum(chosen.values())
    while left > 0 and any(slots > 0 for slots in remaining.values()):
        for name in preference:
            if left > 0 and remaining[name] > 0:
                chosen[name] += 1
                remaining[name] -= 1
                left -= 1
    if left > 0:
        for name in preference[:left]:
            if chosen[name] == 0:
                chosen[name] = 1
    return {name: slots for name, slots in chosen.items() if slots > 0}


class GoldenAllocationTests(SynchronousTestCase):
    """The original's vectors for one router's choice."""

    def check(self, target, available, expected, preference=None):
        self.assertEqual(allocate(target, available, preference or list(available)), expected)

    def test_slots_come_evenly_and_then_by_preference(self):
        self.check(
            12,
            {"a": 2, "b": 5, "c": 0, "d": 3, "e": 2, "f": 4, "g": 0},
            {"a": 2, "b": 3, "d": 3, "e": 2, "f": 2},
        )
        self.check(7, {"a1": 4, "a2": 1, "a3": 4}, {"a1": 3, "a2": 1, "a3": 3})
        self.check(7, {"a1": 4, "a2": 0, "a3": 4}, {"a1": 4, "a3": 3})

    def test_what_is_missing_is_taken_from_the_most_preferred_without_a_slot(self):
        self.check(7, {"a1": 0, "a2": 1, "a3": 4}, {"a1": 1, "a2": 1, "a3": 4})
        self.check(2, {"a1": 0, "a2": 0, "a3": 1}, {"a1": 1, "a3": 1})
        self.check(2, {"a1": 0, "a2": 0, "a3": 1}, {"a2": 1, "a3": 1}, ["a2", "a1", "a3"])
        self.check(3, {"a1": 1}, {"a1": 1})

    def test_nothing_comes_of_nothing(self):
        self.check(2, {}, {})

    @given(st.integers(0, 60), st.lists(st.integers(0, 12), max_size=8), st.randoms())
    def test_it_equals_a_walk_slot_by_slot(self, target, slots, random):
        available = {f"i{number}": count for number, count in enumerate(slots)}
        preference = list(available)
        random.shuffle(preference)
        self.assertEqual(allocate(target, available, preference), walked(target, available, preference))


class GoldenBalanceTests(SynchronousTestCase):
    """The original's vectors for all routers, with the ranks given."""

    def check(self, ranks, instance_ids, concurrency_level, expected):
        shares = balanced(ranks, instance_ids.split(), concurrency_level)
        self.assertEqual(shares, {router: dict.fromkeys(names.split(), 1) for router, names in expected.items()})

    def test_three_routers_share_two_instances_of_one_router(self):
        ranks = {
            "a": [["a1", "a2"], [], []],
            "b": [[], ["a1", "a2"], []],
            "c": [[], [], ["a1", "a2"]],
        }
        self.check(ranks, "a1 a2", 1, {"a": "a1", "b": "a2", "c": "a1"})
        self.check(ranks, "a1 a2", 2, {"a": "a1 a2", "b": "a2", "c": "a1"})
        self.check(ranks, "a1 a2", 3, {"a": "a1 a2", "b": "a1 a2", "c": "a1 a2"})

    def test_three_routers_share_one_instance(self):
        ranks = {"a": [["a1"], [], []], "b": [[], ["a1"], []], "c": [[], [], ["a1"]]}
        for concurrency_level in (1, 2):
            self.check(ranks, "a1", concurrency_level, {"a": "a1", "b": "a1", "c": "a1"})

    def test_five_instances(self):
        ranks = {
            "a": [["a1", "a2", "a3"], ["b1"], ["c1"]],
            "b": [["b1"], ["a1", "a3", "c1"], ["a2"]],
            "c": [["c1"], ["a2"], ["a1", "a3", "b1"]],
        }
        self.check(ranks, "a1 a2 a3 b1 c1", 2, {"a": "a1 a2 a3 b1", "b": "b1 a3 c1", "c": "c1 a1 a2"})

    def test_ten_instances(self):
        ranks = {
            "a": [["a1", "a2", "a3", "a4", "a5"], ["b3", "c2"], ["b1", "b2", "c1"]],
            "b": [["b1", "b2", "b3"], ["a1", "a3", "a4", "a5", "c1"], ["a2", "c2"]],
            "c": [["c1", "c2"], ["a2", "b1", "b2"], ["a1", "a3", "a4", "a5", "b3"]],
        }
        self.check(ranks, "a1 a2 a3 a4 a5 b1 b2 b3 c1 c2", 1, {"a": "a1 a2 a3 a4", "b": "b1 b2 b3", "c": "c1 c2 a5"})


class GoldenDistributionTests(SynchronousTestCase):
    """The original's vectors from end to end, hashes included."""

    routers = ("r1", "r2", "r3")
    instances = tuple(instance(name, 1.0) for name in ("i1", "i2", "i3", "i4"))

    def check(self, instances, concurrency_level, scheme, expected):
        self.assertEqual(distribute(self.routers, instances, concurrency_level, scheme), expected)

    def test_ranks(self):
        self.assertEqual(
            rank(self.routers, ["i1", "i2", "i3", "i4"]),
            {
                "r1": [["i2"], ["i4"], ["i1", "i3"]],
                "r2": [["i3"], ["i1", "i2"], ["i4"]],
                "r3": [["i1", "i4"], ["i3"], ["i2"]],
            },
        )

    def test_balanced(self):
        self.check(self.instances, 1, "balanced", {"r1": {"i2": 1}, "r2": {"i3": 1}, "r3": {"i1": 1, "i4": 1}})
        self.check(
            self.instances,
            2,
            "balanced",
            {"r1": {"i2": 1, "i4": 1}, "r2": {"i1": 1, "i2": 1, "i3": 1}, "r3": {"i1": 1, "i3": 1, "i4": 1}},
        )
        self.check(
            self.instances,
            10,
            "balanced",
            {
                "r1": {"i1": 3, "i2": 4, "i3": 3, "i4": 3},
                "r2": {"i1": 3, "i2": 3, "i3": 4, "i4": 3},
                "r3": {"i1": 4, "i2": 3, "i3": 3, "i4": 4},
            },
        )

    def test_simple(self):
        self.check(self.instances, 2, "simple", {"r1": {"i2": 2}, "r2": {"i3": 2}, "r3": {"i1": 2, "i4": 2}})

    def test_when_there_is_one_instance_balanced_does_not_favour_its_owner(self):
        only = self.instances[:1]
        self.check(only, 10, "balanced", {"r1": {"i1": 4}, "r2": {"i1": 3}, "r3": {"i1": 3}})
        self.check(only, 10, "simple", {"r1": {}, "r2": {}, "r3": {"i1": 10}})


class DistributionTests(SynchronousTestCase):
    """What holds for all routers and instances."""

    @given(routers, instances, levels, st.sampled_from(SCHEMES), st.randoms())
    def test_every_router_computes_the_same_whatever_order_it_learnt_things_in(
        self, router_ids, found, level, scheme, random
    ):
        shuffled_routers, shuffled = list(router_ids), list(found)
        random.shuffle(shuffled_routers)
        random.shuffle(shuffled)
        self.assertEqual(
            distribute(router_ids, found, level, scheme), distribute(shuffled_routers, shuffled, level, scheme)
        )

    @given(routers, instances, levels, st.sampled_from(SCHEMES))
    def test_every_router_has_a_share_of_positive_slots_on_known_instances(self, router_ids, found, level, scheme):
        shares = distribute(router_ids, found, level, scheme)
        self.assertEqual(set(shares), router_ids)
        self.assertLessEqual(set(totals(shares)), {one.id for one in found})
        self.assertTrue(all(slots >= 1 for share in shares.values() for slots in share.values()))

    @given(routers, instances, levels)
    def test_when_there_is_an_instance_balanced_gives_every_router_a_slot(self, router_ids, found, level):
        shares = distribute(router_ids, found, level, "balanced")
        for share in shares.values():
            self.assertEqual(bool(share), bool(found))

    @given(routers, instances, levels)
    def test_when_there_are_slots_enough_balanced_hands_out_each_of_them_once_and_evenly(
        self, router_ids, found, level
    ):
        shares = distribute(router_ids, found, level, "balanced")
        if len(found) * level < len(router_ids):
            return
        self.assertEqual(totals(shares), {one.id: level for one in found})
        sums = [sum(share.values()) for share in shares.values()]
        self.assertLessEqual(max(sums) - min(sums), 1)

    @given(routers, instances, levels)
    def test_simple_gives_each_instance_whole_to_one_router(self, router_ids, found, level):
        shares = distribute(router_ids, found, level, "simple")
        self.assertEqual(totals(shares), {one.id: level for one in found})
        self.assertEqual(sum(len(share) for share in shares.values()), len(found))

    @given(routers, ids, instances, levels)
    def test_when_a_router_joins_simple_moves_only_what_it_wins(self, router_ids, newcomer, found, level):
        before = distribute(router_ids, found, level, "simple")
        after = distribute(router_ids | {newcomer}, found, level, "simple")
        for router, share in before.items():
            if router != newcomer:
                self.assertEqual(
                    after[router].items() | after[newcomer].items(), share.items() | after[newcomer].items()
                )

    @given(routers, instances)
    def test_ranks_are_the_order_of_the_hexadecimal_hashes(self, router_ids, found):
        ranks = rank(router_ids, [one.id for one in found])
        for one in found:
            order = sorted(router_ids, key=lambda router: md5((router + one.id).encode()).hexdigest())
            for place, router in enumerate(order):
                self.assertIn(one.id, ranks[router][place])

    @given(instances, levels)
    def test_when_there_is_one_router_the_short_way_equals_the_long_one(self, found, level):
        names = [one.id for one in sorted(found, key=lambda one: one.order)]
        ranks = rank(["r"], names)
        self.assertEqual(distribute(["r"], found, level, "balanced"), balanced(ranks, names, level))
        self.assertEqual(distribute(["r"], found, level, "simple"), simple(ranks, level))

    def test_when_there_is_no_router_nobody_gets_anything(self):
        self.assertEqual(distribute([], [instance("i")], 1, "balanced"), {})

    def test_when_there_is_no_instance_every_share_is_empty(self):
        for scheme in SCHEMES:
            self.assertEqual(distribute(["r1", "r2"], [], 5, scheme), {"r1": {}, "r2": {}})

    def test_when_the_scheme_is_unknown_it_is_refused(self):
        self.assertRaises(ValueError, distribute, ["r"], [], 1, "fair")

    def test_when_there_is_one_router_nothing_is_ranked(self):
        self.patch(distribution, "rank", self.fail)
        self.assertEqual(distribute(["r"], [instance("i")], 3, "balanced"), {"r": {"i": 3}})
