"""What was asked of the scheduler and cannot be seen in its answers yet."""

import math
from collections.abc import Callable

import attrs


@attrs.frozen(kw_only=True)
class Expectation:
    """
    Which number of instances will be observed some time.

    @ivar requested: the number, or the least of those it may be; C{None} if the service is to be gone.
    @ivar at_most: the greatest it may be.
    @ivar since: from when on C{settle_secs} count.
    """

    requested: int | None
    at_most: float
    since: float

    def is_met_by(self, observed: int | None) -> bool:
        """Whether C{observed} can be this number."""
        if self.requested is None or observed is None:
            return observed is self.requested
        return self.requested <= observed <= self.at_most


class Ledger:
    """
    Remembers how many instances of each service were requested last, until what the collector brings shows it.

    The view the autoscaler works on is a little older than what it did last. Without a memory it would do it twice: kill
    another instance because the one just killed is still counted, create a service again, replace an expired one once
    more. A number is the requested number of instances, C{None} that the scheduler does not know the service.

    An expectation that is not met within C{settle_secs} after the change is dropped, because somebody else may have changed
    the number.
    """

    def __init__(self, *, settle_secs: float = 10.0) -> None:
        """@param settle_secs: at least two intervals of the collector."""
        self._settle_secs = settle_secs
        self._expected: dict[str, Expectation] = {}

    def created(self, service_id: str, now: float) -> None:
        """The scheduler took the service; it may have known it already, with any number of instances."""
        self._expected[service_id] = Expectation(requested=1, at_most=math.inf, since=now)

    def scaled(self, service_id: str, requested: int, now: float, *, at_most: int | None = None) -> None:
        """
        The scheduler was given this number, or has lowered it to it by killing.

        @param at_most: if it is not known exactly, the greatest it may be.
        """
        self._expected[service_id] = Expectation(
            requested=requested, at_most=requested if at_most is None else at_most, since=now
        )

    def changing(self, service_id: str, requested: int) -> Expectation | None:
        """
        The scheduler is being given this number, or is killing instances, which lowers it to this sooner or later. L{scaled}
        or L{restore} follows.

        @return: what was expected before.
        """
        before = self._expected.get(service_id)
        self._expected[service_id] = Expectation(requested=requested, at_most=requested, since=math.inf)
        return before

    def restore(self, service_id: str, before: Expectation | None, now: float) -> None:
        """A change failed: expect what was expected before it."""
        if before is None:
            self._expected.pop(service_id, None)
        else:
            self._expected[service_id] = attrs.evolve(before, since=min(before.since, now))

    def deleted(self, service_id: str, now: float) -> None:
        """The scheduler has forgotten the service."""
        self._expected[service_id] = Expectation(requested=None, at_most=math.inf, since=now)

    def observe(self, requested: Callable[[str], int | None], now: float) -> None:
        """Compare with what the scheduler answered last; C{requested} says it for a service."""
        for service_id, expectation in tuple(self._expected.items()):
            if expectation.is_met_by(requested(service_id)) or now - expectation.since > self._settle_secs:
                del self._expected[service_id]

    def requested(self, service_id: str, observed: int | None) -> int | None:
        """The number to work with, given the observed one."""
        expectation = self._expected.get(service_id)
        if expectation is None or expectation.is_met_by(observed):
            return observed
        return expectation.requested

    def is_settled(self, service_id: str) -> bool:
        """Whether what is observed includes all that was asked for."""
        return service_id not in self._expected
