"""From a request's host and headers to the service it is for."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from waiter.catalog import headers
from waiter.catalog.admission import check_described_at
from waiter.catalog.descriptor import Descriptor
from waiter.catalog.timeouts import Timeouts, asked_secs
from waiter.errors import BadRequest, NotFound, ServiceForbidden, ServiceMisconfigured, ServiceUnknown
from waiter.model.checks import shown
from waiter.model.description import ServiceDescription
from waiter.model.service import Service

__all__ = ["Resolver", "Timeouts", "same_user", "user_of"]

# Longer headers are read anew each time, or a client that makes them up could fill the memory with them.
_MOST_CACHED_BYTES = 8192

_Key = tuple[bytes, tuple[tuple[bytes, bytes], ...]]


class IServices(Protocol):
    """What is used of L{waiter.catalog.services.ServiceCatalog}."""

    def get(self, service_id: str) -> Service | None: ...

    def default(self, parameter: str, profile: Any = None) -> Any: ...

    def describe(self, core: Mapping[str, Any]) -> Service: ...

    def remember(self, service: Service) -> Deferred[Service]: ...


def user_of(principal: str) -> str:
    """The user part of a principal: what is before its C{@} or C{/}."""
    return principal.partition("@")[0].partition("/")[0]


def same_user(user: str, run_as_user: str) -> bool:
    """The rule of who may run a service as whom that holds if no other is given."""
    return user == run_as_user


class Resolver:
    """
    Finds out what a request asks for, and remembers the answers of the requests that were seen last.

    The memory is in two halves: the young one is looked into first, an answer found in the old one moves to the young
    one, and when the young one is full it becomes the old one. So a hit is one look-up, and what is in use stays.
    """

    def __init__(
        self,
        services: IServices,
        *,
        own_hosts: frozenset[str],
        principal: str,
        timeouts: Timeouts,
        validate: Callable[[ServiceDescription], object],
        cache_size: int = 10000,
        may_run_as: Callable[[str, str], bool] = same_user,
    ) -> None:
        """
        @param own_hosts: from L{waiter.catalog.hosts.own_hosts}.
        @param principal: who everybody is.
        @param validate: raises a L{waiter.errors.WaiterError} for a description that cannot run here; asked before a
            service becomes known.
        @param cache_size: how many different requests are remembered at most.
        @param may_run_as: whether the first user may run services as the second.
        """
        self._services = services
        self._own_hosts = own_hosts
        self._principal = principal
        self._user = user_of(principal)
        self._timeouts = timeouts
        self._validate = validate
        self._may_run_as = may_run_as
        self._half = max(1, cache_size // 2)
        self._young: dict[_Key, Descriptor] = {}
        self._old: dict[_Key, Descriptor] = {}

    def resolve(
        self, host: bytes, waiter_headers: tuple[tuple[bytes, bytes], ...]
    ) -> Descriptor | Deferred[Descriptor]:
        """
        What a request with this C{Host} and these C{x-waiter-*} headers is for.

        The answer is a Deferred only if the service was not known and has to be stored; cancelling that ends the wait and
        nothing else. Whether the request may come from where it comes from is not looked at, see
        L{waiter.catalog.admission.check_service_request}.

        @param waiter_headers: lower-case names and values, in the order they came.
        @raise ServiceUnknown: it names and describes none.
        @raise ServiceMisconfigured: what it describes does not hold.
        @raise ServiceForbidden: the caller may not run or use it.
        @raise WaiterError: another reason; each may also come in the Deferred.
        """
        key = (host, waiter_headers)
        descriptor = self._young.get(key)
        if descriptor is not None:
            return descriptor
        descriptor = self._old.get(key)
        if descriptor is not None:
            return self._keep(key, descriptor)
        return self._find_out(key)

    def forget(self, service_ids: Collection[str]) -> None:
        """These services are not known any more: find out anew what requests for them are for."""
        self._young = {key: value for key, value in self._young.items() if value.service.id not in service_ids}
        self._old = {key: value for key, value in self._old.items() if value.service.id not in service_ids}

    def state(self) -> dict[str, int]:
        """How many answers are remembered, for C{/state}."""
        return {"cached": len(self._young.keys() | self._old.keys())}

    def _find_out(self, key: _Key) -> Descriptor | Deferred[Descriptor]:
        host, waiter_headers = key
        asked = headers.understand(waiter_headers)
        if asked.tokens:
            raise NotFound(f"Token not found: {shown(asked.tokens[0])}")
        if not asked.describes_service:
            raise ServiceUnknown("Unable to identify service using waiter headers/token")
        check_described_at(host, self._own_hosts)
        allowed = asked.parameters.get("allowed-params")
        if allowed is None:
            allowed = self._services.default("allowed-params", asked.parameters.get("profile")) or ()
        service = self._services.describe(_core(asked, self._user, allowed))
        self._authorise(service.description)
        known = self._services.get(service.id)
        if known is not None:
            return self._keep(key, self._descriptor(known, asked))
        self._validate(service.description)
        return self._services.remember(service).addCallback(
            lambda service: self._keep(key, self._descriptor(service, asked))
        )

    def _authorise(self, description: ServiceDescription) -> None:
        if not self._may_run_as(self._user, description.run_as_user):
            raise ServiceForbidden(
                f"{self._user} cannot run as user '{shown(description.run_as_user)}'",
                details={"run-as-user": shown(description.run_as_user), "authenticated-user": self._user},
            )
        if description.permitted_user not in {"*", self._user}:
            raise ServiceForbidden(
                "This user isn't allowed to invoke this service",
                details={"permitted-user": shown(description.permitted_user), "authenticated-user": self._user},
            )

    def _descriptor(self, service: Service, asked: headers.Asked) -> Descriptor:
        said = asked.per_request
        configured = self._timeouts
        return Descriptor(
            service=service,
            queue_timeout_secs=asked_secs(said.get(headers.QUEUE_TIMEOUT), configured.queue_timeout_secs),
            socket_timeout_secs=asked_secs(said.get(headers.TIMEOUT), configured.socket_timeout_secs),
            streaming_timeout_secs=asked_secs(said.get(headers.STREAMING_TIMEOUT), configured.streaming_timeout_secs),
            principal=self._principal,
            debug=headers.DEBUG in said,
        )

    def _keep(self, key: _Key, descriptor: Descriptor) -> Descriptor:
        host, waiter_headers = key
        if len(host) + sum(len(name) + len(value) for name, value in waiter_headers) <= _MOST_CACHED_BYTES:
            if len(self._young) >= self._half:
                self._old, self._young = self._young, {}
            self._young[key] = descriptor
        return descriptor


def _core(asked: headers.Asked, user: str, allowed_params: Collection[str]) -> Mapping[str, Any]:
    """The parameters of the service: what the headers say, and who asks where they do not say."""
    given = dict(asked.parameters)
    if asked.params:
        given["env"] = _with_params(given, asked.params, allowed_params)
    namespace = given.get("namespace")
    if given.get("run-as-user") == "*":
        if namespace not in {None, "*"}:
            raise ServiceMisconfigured("Cannot use run-as-requester with a specific namespace")
        del given["run-as-user"]
    if namespace == "*":
        given["namespace"] = user
    given.setdefault("run-as-user", user)
    given.setdefault("permitted-user", user)
    return given


def _with_params(given: Mapping[str, Any], params: Mapping[str, str], allowed: Collection[str]) -> Any:
    if refused := sorted(shown(name) for name in params if name not in allowed):
        raise BadRequest(
            "Some params cannot be configured", details={"params": refused, "allowed-params": sorted(allowed)}
        )
    env = given.get("env", {})
    return {**env, **params} if isinstance(env, dict) else env
