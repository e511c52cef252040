"""What a request turned out to ask for."""

import attrs

from waiter.model.service import Service


@attrs.frozen(kw_only=True)
class Descriptor:
    """
    A resolved request: immutable, shared by all requests that say the same.

    @ivar queue_timeout_secs: how long a request may wait for a slot.
    @ivar socket_timeout_secs: how long an instance may be silent before its answer begins and while it is idle.
    @ivar streaming_timeout_secs: how long a peer that is being sent a body may take nothing of it.
    @ivar principal: who asks.
    @ivar debug: whether the answer carries the debug headers.
    """

    service: Service
    queue_timeout_secs: float
    socket_timeout_secs: float
    streaming_timeout_secs: float
    principal: str
    debug: bool = False
