"""What was asked of the scheduler and cannot be seen in its answers yet."""

import math
from collections.abc import Callable

import attrs


@attrs.frozen(kw_only=True, eq=False)
class Expectation:
    """
    Which number of instances will be observed some time.

    @ivar requested: the number; C{None} if the service is to be gone.
    @ivar since: from when on C{settle_secs} count, in the clock's seconds.
    @ivar is_new: whether the service has just been created. Then any number will do; of another one it is known that it
        existed, so if it cannot be observed it is gone.
    """

    requested: int | None
    since: float
    is_new: bool = False

    def is_met_by(self, observed: int | None) -> bool:
        """Whether nothing else than C{observed} is to be expected."""
        if self.is_new:
            return observed is not None
        return observed is None or observed == self.requested


@attrs.frozen(kw_only=True)
class Change:
    """
    A change of the requested number that is under way.

    @ivar expectation: what is expected from now on.
    @ivar before: what was expected until now.
    """

    service_id: str
    expectation: Expectation
    before: Expectation | None


class Ledger:
    """
    Remembers how many instances of each service were requested last, until what the collector brings shows it.

    The view the autoscaler works on is a little older than what it did last. Without a memory it would do it twice: kill
    another instance because the one just killed is still counted, create a service again, replace an expired one once
    more. A number is the requested number of instances, C{None} that the scheduler does not know the service.

    Of several changes the latest counts. An expectation that is not met within C{settle_secs} after the end of the change is
    dropped, because somebody else may have changed the number.
    """

    def __init__(self, *, settle_secs: float = 10.0) -> None:
        """@param settle_secs: at least two intervals of the collector."""
        self._settle_secs = settle_secs
        self._expected: dict[str, Expectation] = {}

    def begin(self, service_id: str, requested: int) -> Change:
        """
        The scheduler is being given this number, or is killing instances, which lowers it to this sooner or later. L{end}
        must follow.
        """
        before = self._expected.get(service_id)
        expectation = self._expected[service_id] = Expectation(requested=requested, since=math.inf)
        return Change(service_id=service_id, expectation=expectation, before=before)

    def end(self, change: Change, requested: int | None, now: float) -> None:
        """
        A change is over; C{requested} is what came of it, C{None} if nothing did. Nothing happens if it is observed already
        or another change came after it.
        """
        if self._expected.get(change.service_id) is not change.expectation:
            return
        if requested is not None:
            self._expected[change.service_id] = Expectation(requested=requested, since=now)
        elif change.before is not None:
            self._expected[change.service_id] = attrs.evolve(change.before, since=min(change.before.since, now))
        else:
            del self._expected[change.service_id]

    def created(self, service_id: str, now: float) -> None:
        """The scheduler took the service; it may have known it already, with any number of instances."""
        self._expected[service_id] = Expectation(requested=1, since=now, is_new=True)

    def deleted(self, service_id: str, now: float) -> None:
        """The scheduler has forgotten the service."""
        self._expected[service_id] = Expectation(requested=None, since=now)

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
