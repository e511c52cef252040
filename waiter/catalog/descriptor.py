"""What a request turned out to ask for."""

from collections.abc import Callable, Iterable, Sequence

import attrs

from waiter.catalog.cors import CorsRule
from waiter.catalog.suspensions import SuspendedState
from waiter.model.service import Service
from waiter.model.source import Sources


@attrs.frozen(kw_only=True)
class Conditions:
    """
    What a request has to meet although it is clear what it asks for.

    @ivar suspended: that its service is suspended, if it is.
    @ivar https_only: whether it has to come by https.
    @ivar consented: whether the values of its C{Cookie} headers say that its sender agrees to what the service runs as;
        C{None} where nobody has to.
    @ivar interstitial_secs: for how long browsers are sent to a page while the service starts; 0 for not at all.
    @ivar cors_rules: which other sites' pages may ask for the service; C{None} where that was decided before.
    """

    suspended: SuspendedState | None = None
    https_only: bool = False
    consented: Callable[[Iterable[bytes]], bool] | None = None
    cors_rules: Sequence[CorsRule] | None = None
    interstitial_secs: int = 0


@attrs.frozen(kw_only=True)
class Descriptor:
    """
    A resolved request: immutable, shared by all requests that say the same.

    @ivar queue_timeout_secs: how long a request may wait for a slot.
    @ivar socket_timeout_secs: how long an instance may be silent before its answer begins and while it is idle.
    @ivar streaming_timeout_secs: how long a peer that is being sent a body may take nothing of it.
    @ivar principal: who asks.
    @ivar debug: whether the answer carries the debug headers.
    @ivar sources: the tokens that describe the service, in the versions that do.
    @ivar conditions: what else has to hold; C{None} for nothing.
    """

    service: Service
    queue_timeout_secs: float
    socket_timeout_secs: float
    streaming_timeout_secs: float
    principal: str
    debug: bool = False
    sources: Sources = ()
    conditions: Conditions | None = None

    @property
    def token(self) -> str | None:
        """The names of the tokens, as a request has them; C{None} if there are none."""
        return ",".join(source.token for source in self.sources) or None
