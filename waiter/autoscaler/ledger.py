"""What was asked of the scheduler and cannot be seen in its answers yet."""

from collections.abc import Callable

import attrs


@attrs.frozen(kw_only=True)
class _Expectation:
    requested: int | None
    at_least: bool
    since: float

    def is_met_by(self, observed: int | None) -> bool:
        if self.requested is None or observed is None:
            return observed is self.requested
        return observed >= self.requested if self.at_least else observed == self.requested


class Ledger:
    """
    Remembers how many instances of each service were requested last, until what the collector brings shows it.

    The view the autoscaler works on is a little older than what it did last. Without a memory it would do it twice: kill
    another instance because the one just killed is still counted, create a service again, replace an expired one once
    more. A number is the requested number of instances, C{None} that the scheduler does not know the service.

    An expectation that is not met within C{settle_secs} is dropped, because somebody else may have changed the number.
    """

    def __init__(self, *, settle_secs: float = 10.0) -> None:
        """@param settle_secs: at least two intervals of the collector."""
        self._settle_secs = settle_secs
        self._expected: dict[str, _Expectation] = {}

    def created(self, service_id: str, now: float) -> None:
        """The scheduler took the service; it may have known it already, with any number of instances."""
        self._expected[service_id] = _Expectation(requested=1, at_least=True, since=now)

    def scaled(self, service_id: str, requested: int, now: float) -> None:
        """The scheduler was given this number, or lowered it itself to it while killing."""
        self._expected[service_id] = _Expectation(requested=requested, at_least=False, since=now)

    def deleted(self, service_id: str, now: float) -> None:
        """The scheduler has forgotten the service."""
        self._expected[service_id] = _Expectation(requested=None, at_least=False, since=now)

    def forget(self, service_id: str) -> None:
        """Trust what is observed."""
        self._expected.pop(service_id, None)

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
