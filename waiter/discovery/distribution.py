"""Which router may use how many slots of which instance: a pure rule that every router computes alike."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import md5

from waiter.model.instance import Instance

Ranks = Mapping[str, Sequence[Sequence[str]]]
"""Router id to lists of instance ids: the k-th list holds those for which the router has rank k, in instance order."""

Shares = dict[str, dict[str, int]]
"""Router id to instance id to slots."""


def distribute(router_ids: Iterable[str], instances: Iterable[Instance], concurrency_level: int, scheme: str) -> Shares:
    """
    Share the slots of a service's healthy instances among all routers.

    The outcome depends on the sets given, not on their order. With one instance or more, C{balanced} gives every router
    at least one slot, so that there may be more slots than C{instances x concurrency_level}; C{simple} gives all slots of
    an instance to the router that owns it.

    @param concurrency_level: the slots of one instance.
    @param scheme: C{balanced} or C{simple}.
    @return: a share for every router; empty ones are there too.
    @raise ValueError: there is no such scheme.
    """
    if scheme not in {"balanced", "simple"}:
        raise ValueError(f"unknown distribution scheme {scheme!r}")
    routers = sorted(set(router_ids))
    instance_ids = [instance.id for instance in sorted(instances, key=lambda instance: instance.order)]
    if len(routers) <= 1:
        # Both schemes come to this; no need to rank anything.
        return {router: dict.fromkeys(instance_ids, concurrency_level) for router in routers}
    ranks = rank(routers, instance_ids)
    if scheme == "simple":
        return simple(ranks, concurrency_level)
    return balanced(ranks, instance_ids, concurrency_level)


def rank(router_ids: Iterable[str], instance_ids: Sequence[str]) -> dict[str, list[list[str]]]:
    """
    Rendezvous hashing: order the routers of each instance by the MD5 of both ids.

    A router that comes or goes changes only the places it takes or leaves.
    """
    routers = [(router, router.encode()) for router in router_ids]
    ranks: dict[str, list[list[str]]] = {router: [[] for _ in routers] for router, _ in routers}
    for instance_id in instance_ids:
        encoded = instance_id.encode()
        by_hash = sorted(routers, key=lambda router: md5(router[1] + encoded, usedforsecurity=False).digest())
        for place, (router, _) in enumerate(by_hash):
            ranks[router][place].append(instance_id)
    return ranks


def simple(ranks: Ranks, concurrency_level: int) -> Shares:
    """Give each instance, whole, to the router of rank 0."""
    return {router: dict.fromkeys(lists[0], concurrency_level) for router, lists in ranks.items()}


def balanced(ranks: Ranks, instance_ids: Sequence[str], concurrency_level: int) -> Shares:
    """
    Give every router the same number of slots, on the instances it ranks highest for.

    The routers choose one after the other, those that own most first.
    """
    available = dict.fromkeys(instance_ids, concurrency_level)
    left = concurrency_level * len(available)
    queue = sorted(ranks, key=lambda router: (-_score(ranks[router], len(available)), router))
    shares: Shares = {}
    for turn, router in enumerate(queue):
        target = max(1, -(-left // (len(queue) - turn)))
        preference = [
            instance_id
            for row in ranks[router]
            if row
            for instance_id in (*row[turn % len(row) :], *row[: turn % len(row)])
        ]
        share = allocate(target, available, preference)
        for instance_id, slots in share.items():
            rest = max(0, available[instance_id] - slots)
            left -= available[instance_id] - rest
            available[instance_id] = rest
        shares[router] = share
    return shares


def allocate(target: int, available: Mapping[str, int], preference: Sequence[str]) -> dict[str, int]:
    """
    Choose C{target} slots: evenly over the instances that have some, the rest one by one in the order of C{preference}.

    When nothing is available any more, the most preferred instances without a slot in this choice get one each beyond
    what they have, as many as are still missing.

    @return: instance id to slots, without zeroes, in the order of C{available}.
    """
    remaining = {instance_id: slots for instance_id, slots in available.items() if slots > 0}
    base = target // len(remaining) if remaining else 0
    chosen = dict.fromkeys(available, 0)
    for instance_id, slots in remaining.items():
        chosen[instance_id] = min(slots, base)
        remaining[instance_id] = slots - chosen[instance_id]
    missing = target - sum(chosen.values())
    while missing > 0:
        takers = [instance_id for instance_id in preference if remaining.get(instance_id, 0) > 0]
        if not takers:
            for instance_id in preference[:missing]:
                chosen[instance_id] = chosen[instance_id] or 1
            break
        # As many whole walks along the preference as change nothing but the numbers, or what is left of the last walk.
        walks = min(missing // len(takers), *(remaining[instance_id] for instance_id in takers))
        for instance_id in takers if walks else takers[:missing]:
            chosen[instance_id] += walks or 1
            remaining[instance_id] -= walks or 1
            missing -= walks or 1
    return {instance_id: slots for instance_id, slots in chosen.items() if slots > 0}


def _score(lists: Sequence[Sequence[str]], instances: int) -> int:
    score = 0
    for row in lists:
        score = score * instances + len(row)
    return score
