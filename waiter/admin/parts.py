"""What the API reads of the other parts."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IRequest

from waiter.admin.health_request import HealthAnswer
from waiter.catalog.consent import Consents
from waiter.catalog.descriptor import Descriptor
from waiter.catalog.overrides import Override
from waiter.catalog.rules import Rules
from waiter.catalog.suspensions import SuspendedState
from waiter.catalog.token_editor import TokenEditor
from waiter.catalog.tokens import TokenCatalog
from waiter.model.description import ServiceDescription
from waiter.model.identity import Identity
from waiter.model.instance import Instance
from waiter.model.load import ServiceLoad
from waiter.model.routing import RoutingState
from waiter.model.service import Service
from waiter.model.source import References
from waiter.model.token import Token
from waiter.reservation.lease import Lease
from waiter.scheduler.interface import IScheduler
from waiter.support.topic import Topic
from waiter.telemetry.gauges import ReserverReading
from waiter.telemetry.metrics import Metrics


class ShownReserver(ReserverReading, Protocol):
    """A reserver that can be looked into."""

    @property
    def queued_reason(self) -> str | None:
        """Why instances that are requested are not started yet, if they are held back."""

    def state(self) -> dict[str, Any]:
        """Everything about it, JSON-able."""

    def reserve(self, *, timeout_secs: float, priority: int = 0) -> Lease | Deferred[Lease]:
        """Take a slot, or wait for one, before those with a lower priority."""


class ShownReservers(Protocol):
    """All reservers."""

    def reserver(self, service: Service) -> ShownReserver:
        """The reserver of a service, which is made if there is none."""

    def find(self, service_id: str) -> ShownReserver | None:
        """The reserver of a service, if there is one."""

    def loads(self) -> Mapping[str, ServiceLoad]:
        """How much is asked of each service."""

    def failing(self, service_id: str) -> frozenset[str]:
        """The instances that are to be replaced because they fail."""

    def state(self) -> dict[str, Any]:
        """The slots and numbers of all, JSON-able."""


class ShownAggregator(Protocol):
    """The view of the world."""

    @property
    def state(self) -> RoutingState:
        """The latest one."""

    @property
    def states(self) -> Topic[RoutingState]:
        """Each new one."""

    def view(self) -> dict[str, Any]:
        """The latest one, JSON-able."""

    def stopping(self, instance: Instance) -> Callable[[], None]:
        """The instance is about to be killed; what is returned is called when that is over."""

    def killed(self, instance: Instance) -> None:
        """The instance has been killed."""


class ShownAutoscaler(Protocol):
    """What decides on the number of instances."""

    def state(self) -> Mapping[str, Any]:
        """Everything about it, JSON-able."""

    def scaling_state(self, service_id: str) -> str | None:
        """C{stable}, C{scale-up} or C{scale-down}; C{None} if it does not know the service."""


class ShownCatalog(Protocol):
    """All services that were ever described."""

    rules: Rules

    def get(self, service_id: str) -> Service | None:
        """One of them."""

    def check_overrides(self, service: Service, overrides: Mapping[str, Any]) -> Mapping[str, Any]:
        """
        Overrides in the form in which they are stored.

        @raise waiter.errors.WaiterError: they cannot be, or do not hold.
        """


class ShownOverrides(Protocol):
    """What holds for services instead of what was asked for."""

    def get(self, service_id: str) -> Override | None:
        """What was said last; C{None} if nothing ever was."""

    async def set(self, service_id: str, parameters: Mapping[str, Any], *, by: str) -> None:
        """Replace all overrides of a service; done when that is stored."""

    def refresh(self, service_id: str) -> Deferred[None]:
        """Read anew what is stored."""


class RequestResolver(Protocol):
    """The way from a request to its service."""

    def resolve(
        self, host: bytes, waiter_headers: tuple[tuple[bytes, bytes], ...]
    ) -> Descriptor | Deferred[Descriptor]:
        """
        @param waiter_headers: the C{x-waiter-*} headers, names in lower case.
        @raise waiter.errors.WaiterError: (also in the Deferred) there is no such service, or it may not be used.
        """

    def resolve_newest(
        self, host: bytes, waiter_headers: tuple[tuple[bytes, bytes], ...]
    ) -> Descriptor | Deferred[Descriptor]:
        """The same without any fallback to what a token was before."""


class ShownSuspensions(Protocol):
    """Which services are suspended."""

    def get(self, service_id: str) -> SuspendedState | None:
        """What was said last; C{None} if the service was never suspended."""

    async def set(self, service_id: str, *, suspended: bool, by: str) -> None:
        """Suspend a service, or resume it; done when that is stored."""

    def refresh(self, service_id: str) -> Deferred[None]:
        """Read anew what is stored."""


class ShownReferences(Protocol):
    """By which tokens services were asked for."""

    def get(self, service_id: str) -> References:
        """All that is known of one."""


class AskedInstances(Protocol):
    """Instances that answer what a health check asks."""

    def ask(self, instance: Instance, description: ServiceDescription, cid: bytes) -> Deferred[HealthAnswer]:
        """@raise waiter.errors.InstanceUnreachable: (in the Deferred) it did not answer."""


def _never() -> bool:
    return False


def _unknown(_token: Token) -> None:
    return None


def _always(_principal: str, _service_id: str) -> bool:
    return True


@attrs.frozen(kw_only=True)
class Parts:
    """
    Everything that the API reads or acts on.

    @ivar clock: for waiting, and the clock that C{ServiceLoad.last_request_at} is in.
    @ivar wall: seconds since the epoch.
    @ivar settings_view: the settings in force under their outside names, secrets hidden.
    @ivar principal: who asks.
    @ivar is_leader: whether this router scales the services.
    @ivar leader_id: who does; C{None} if that is this router or nobody.
    @ivar is_draining: whether load balancers should send nothing more here.
    @ivar may_manage: whether a principal may see the logs of a service and delete it.
    @ivar service_id_of: the service that a token alone stands for; C{None} if it needs more for that.
    @ivar fallback_of: the service that requests by a token alone go to as long as its own one is not healthy.
    @ivar components: further parts that C{/state/<name>} shows, each by a function that gives a JSON-able value.
    @ivar support_info: links for people who need help: C{{"label", "link": {"type": "url", "value"}}} each.
    """

    clock: IReactorTime
    wall: Callable[[], float]
    identity: Identity
    aggregator: ShownAggregator
    reservers: ShownReservers
    autoscaler: ShownAutoscaler
    scheduler: IScheduler
    services: ShownCatalog
    overrides: ShownOverrides
    resolver: RequestResolver
    tokens: TokenCatalog
    token_editor: TokenEditor
    consents: Consents
    suspensions: ShownSuspensions
    references: ShownReferences
    health_requests: AskedInstances
    metrics: Metrics
    settings_view: Callable[[], Mapping[str, Any]]
    principal: Callable[[IRequest], str]
    is_leader: Callable[[], bool]
    leader_id: Callable[[], str | None] | None = None
    is_draining: Callable[[], bool] = _never
    may_manage: Callable[[str, str], bool] = _always
    service_id_of: Callable[[Token], str | None] = _unknown
    fallback_of: Callable[[Token], str | None] = _unknown
    components: Mapping[str, Callable[[], object]] = attrs.field(factory=dict)
    support_info: tuple[Mapping[str, Any], ...] = ()

    def last_request_at(self, load: ServiceLoad | None) -> float | None:
        """When the last request of a service came, in seconds since the epoch; C{None} if none came."""
        if load is None or load.last_request_at is None:
            return None
        return self.wall() - (self.clock.seconds() - load.last_request_at)
