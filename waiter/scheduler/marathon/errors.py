"""What can be wrong with Marathon itself. None of these is the service's fault, and all may pass."""

from typing import Any

from waiter.scheduler.interface import SchedulerUnavailable


class MarathonError(SchedulerUnavailable):
    """Marathon could not be asked, or its answer is of no use. The text is for the operator."""


class MarathonUnreachable(MarathonError):
    """No Marathon answered in time, or none of them knows a leader."""


class MarathonRefused(MarathonError):
    """
    Marathon answered with an error.

    @ivar status: the HTTP status.
    @ivar answer: the JSON that came with it, C{None} if there was none.
    """

    def __init__(self, message: str, *, status: int, answer: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.answer = answer
