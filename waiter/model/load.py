"""How much is asked of a service."""

import attrs


@attrs.frozen(kw_only=True)
class ServiceLoad:
    """
    The requests of one service.

    @ivar outstanding: requests that wait for a slot or use one.
    @ivar waiting: those of them that wait.
    @ivar last_request_at: when the last one came, in the clock's seconds (not since the epoch); C{None} if none came.
    """

    outstanding: int = 0
    waiting: int = 0
    last_request_at: float | None = None
