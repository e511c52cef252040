"""What everybody in the router needs."""

from collections.abc import Callable, Iterator
from itertools import count
from secrets import token_hex

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Site

from waiter.catalog.resolver import Resolver
from waiter.model.identity import Identity
from waiter.reservation.manager import ReserverManager
from waiter.router.backend import BackendPool
from waiter.router.door import Door
from waiter.router.first_lines import FirstLines
from waiter.router.forwarding import Forwardings
from waiter.router.interstitials import Interstitials
from waiter.router.known_heads import KnownHeads
from waiter.router.limits import Limits
from waiter.router.retries import RetryBudgets
from waiter.telemetry.metrics import Metrics
from waiter.telemetry.request_log import RequestLog


@attrs.define(kw_only=True, eq=False)
class RouterParts:
    """
    What connections and those who answer on them share.

    @ivar wall: seconds since the epoch.
    @ivar api: Waiter's own resources.
    @ivar own_hosts: the hosts that are Waiter itself, from C{waiter.catalog.hosts.own_hosts}.
    @ivar is_token: whether a host, in lower case, is the name of a token.
    @ivar door: how many clients there are.
    @ivar interstitials: for which services browsers wait on a page.
    @ivar password: what proves to the instances of a service that Waiter asks; C{None} for nothing.
    @ivar draining: no new requests are wanted, and answers say so.
    @ivar first_lines: of requests that clients have sent before.
    @ivar forwardings: the ways that requests have come.
    @ivar known_heads: headers that clients have sent before.
    @ivar product: Waiter's name in C{Via} and C{Server}.
    """

    clock: IReactorTime
    wall: Callable[[], float]
    resolver: Resolver
    reservers: ReserverManager
    backends: BackendPool
    api: Site
    metrics: Metrics
    request_log: RequestLog
    identity: Identity
    limits: Limits
    door: Door
    interstitials: Interstitials
    own_hosts: frozenset[str]
    password: Callable[[str], str | None]
    is_token: Callable[[str], bool]
    draining: bool = False
    first_lines: FirstLines = attrs.field(init=False, factory=FirstLines)
    forwardings: Forwardings = attrs.field(init=False, factory=Forwardings)
    known_heads: KnownHeads = attrs.field(init=False, factory=KnownHeads)
    product: bytes = attrs.field(init=False)
    retries: RetryBudgets = attrs.field(init=False)
    _prefix: bytes = attrs.field(init=False, factory=lambda: token_hex(5).encode())
    _counter: Iterator[int] = attrs.field(init=False, factory=count)

    @product.default
    def _default_product(self) -> bytes:
        return self.identity.product.encode()

    @retries.default
    def _default_retries(self) -> RetryBudgets:
        return RetryBudgets(self.clock.seconds)

    def unique_id(self) -> bytes:
        """An id that no other request has, here or at another router."""
        return b"%b-%x" % (self._prefix, next(self._counter))
