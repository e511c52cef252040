"""Which requests may be sent again, and how many."""

from collections.abc import Callable

from waiter.telemetry.counters import ServiceMetrics

IDEMPOTENT = frozenset({b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PUT", b"TRACE"})
"""Methods with which doing it twice is as good as doing it once."""

_WINDOW_SECS = 10.0


class RetryBudget:
    """
    Keeps retries from multiplying the load on a service in trouble: 20 % of its requests and ten a second may be sent
    again, counted over ten seconds.
    """

    __slots__ = ("_since", "_spent", "_total")

    def __init__(self, now: float, total: int) -> None:
        self._since = now
        self._total = total
        self._spent = 0

    def spend(self, now: float, total: int) -> bool:
        """
        Take one retry out of the budget, if there is one left.

        @param now: the clock's seconds.
        @param total: how many requests of the service there were ever.
        """
        elapsed_secs = now - self._since
        if elapsed_secs > _WINDOW_SECS:
            self._since = now
            # The request in hand is one of the new window.
            self._total = total - 1
            self._spent = 0
            elapsed_secs = 0.0
        if self._spent + 1 > 10 * max(1.0, elapsed_secs) + 0.2 * (total - self._total):
            return False
        self._spent += 1
        return True


class RetryBudgets:
    """One L{RetryBudget} for each service that ever needed one."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        """
        @param seconds: the clock's.
        """
        self._seconds = seconds
        self._budgets: dict[str, RetryBudget] = {}

    def spend(self, service_id: str, numbers: ServiceMetrics) -> bool:
        """Whether one request of the service may be sent again; counts it if so."""
        now = self._seconds()
        budget = self._budgets.get(service_id)
        if budget is None:
            if len(self._budgets) >= 10000:
                self._budgets.clear()
            budget = self._budgets[service_id] = RetryBudget(now, numbers.total - 1)
        if not budget.spend(now, numbers.total):
            return False
        numbers.retries += 1
        return True
