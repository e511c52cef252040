"""From a request's host and headers to the service it is for."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from waiter.catalog import headers
from waiter.catalog.admission import check_described_at
from waiter.catalog.consent import Question
from waiter.catalog.cors import cors_rules
from waiter.catalog.descriptor import Conditions, Descriptor
from waiter.catalog.merging import TokenData, token_data, versions, wish
from waiter.catalog.rules import Rules
from waiter.catalog.succession import Choice, Succession
from waiter.catalog.suspensions import SuspendedState
from waiter.catalog.timeouts import Timeouts, asked_secs, token_secs, whole_secs
from waiter.errors import Maintenance, NotFound, ServiceForbidden, ServiceUnknown, WaiterError
from waiter.model.checks import shown
from waiter.model.description import ServiceDescription
from waiter.model.service import Service
from waiter.model.source import Sources, SourceToken
from waiter.model.token import Token

__all__ = ["Resolver", "Timeouts", "same_user", "user_of"]

#: Before the id of a service it stands for that very service where a token would be named.
SERVICE_ID = "^SERVICE-ID#"

DEFAULT_FALLBACK_SECS = 300

# Longer headers are read anew each time, or a client that makes them up could fill the memory with them.
_MOST_CACHED_BYTES = 8192
_MOST_VERSIONS = 5

_Key = tuple[bytes, tuple[tuple[bytes, bytes], ...]]


class IServices(Protocol):
    """What is used of L{waiter.catalog.services.ServiceCatalog}."""

    @property
    def rules(self) -> Rules: ...

    def get(self, service_id: str) -> Service | None: ...

    def describe(self, core: Mapping[str, Any]) -> Service: ...

    def remember(self, service: Service) -> Deferred[Service]: ...


def user_of(principal: str) -> str:
    """The user part of a principal: what is before its C{@} or C{/}."""
    return principal.partition("@")[0].partition("/")[0]


def same_user(user: str, run_as_user: str) -> bool:
    """The rule of who may run a service as whom that holds if no other is given."""
    return user == run_as_user


def no_token(_name: str) -> None:
    """What is asked for tokens where there are none."""
    return


def always_consented(_question: Question, _cookies: Iterable[bytes]) -> bool:
    """What is asked whether somebody agrees where all do."""
    return True


def never_suspended(_service_id: str) -> None:
    """What is asked whether a service is suspended where none can be."""
    return


def not_noted(_service_id: str, _sources: Sources) -> None:
    """What is told by which tokens services are asked for where nobody wants to know."""
    return


class Resolver:
    """
    Finds out what a request asks for, and remembers the answers of the requests that were seen last.

    The memory is in two halves: the young one is looked into first, an answer found in the old one moves to the young
    one, and when the young one is full it becomes the old one. So a hit is one look-up, and what is in use stays.

    Shortly after a token was edited a request for it may be for the version before, as long as that one alone can answer.
    What is to be chosen from is remembered apart, until that time is over.
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
        tokens: Callable[[str], Token | None] = no_token,
        consented: Callable[[Question, Iterable[bytes]], bool] = always_consented,
        suspended: Callable[[str], SuspendedState | None] = never_suspended,
        note: Callable[[str, Sources], object] = not_noted,
        succession: Succession | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """
        @param own_hosts: from L{waiter.catalog.hosts.own_hosts}.
        @param principal: who everybody is.
        @param validate: raises a L{waiter.errors.WaiterError} for a description that cannot run here; asked before a
            service becomes known.
        @param cache_size: how many different requests are remembered at most.
        @param may_run_as: whether the first user may run services as the second.
        @param tokens: a token as it is now, by its name. L{forget_token} has to be told of each change.
        @param consented: whether the values of C{Cookie} headers say that their sender agrees.
        @param suspended: whether a service is suspended, by its id. L{forget} has to be told of each change.
        @param note: told the id of each service that is asked for, and by which tokens; not each time.
        @param wall: seconds since the epoch.
        """
        self._services = services
        self._own_hosts = own_hosts
        self._principal = principal
        self._user = user_of(principal)
        self._timeouts = timeouts
        self._validate = validate
        self._may_run_as = may_run_as
        self._tokens = tokens
        self._consented = consented
        self._suspended = suspended
        self._note = note
        self._succession = succession or Succession()
        self._wall = wall
        self._half = max(1, cache_size // 2)
        self._young: dict[_Key, Descriptor] = {}
        self._old: dict[_Key, Descriptor] = {}
        self._choices: dict[_Key, Choice] = {}
        # Which of what is remembered names which token; perhaps also what is not remembered any more.
        self._by_token: dict[str, set[_Key]] = {}
        # Grows whenever something is forgotten: what was found out before is not remembered then.
        self._age = 0

    def resolve(
        self, host: bytes, waiter_headers: tuple[tuple[bytes, bytes], ...]
    ) -> Descriptor | Deferred[Descriptor]:
        """
        What a request with this C{Host} and these C{x-waiter-*} headers is for.

        The answer is a Deferred only if the service was not known and has to be stored; cancelling that ends the wait and
        nothing else. Whether the request may come from where it comes from is not looked at, see
        L{waiter.catalog.admission.check_service_request}; nor are the descriptor's conditions.

        @param waiter_headers: lower-case names and values, in the order they came.
        @raise ServiceUnknown: it names and describes none.
        @raise ServiceMisconfigured: what it describes does not hold.
        @raise ServiceForbidden: the caller may not run or use it.
        @raise Maintenance: a token it names is out of service.
        @raise WaiterError: another reason; each may also come in the Deferred.
        """
        key = (host, waiter_headers)
        descriptor = self._young.get(key)
        if descriptor is not None:
            return descriptor
        descriptor = self._old.get(key)
        if descriptor is not None:
            return self._keep(key, descriptor)
        choice = self._choices.get(key)
        if choice is not None:
            if self._wall() < choice.until:
                return self._succession.choose(choice)
            del self._choices[key]
        return self._find_out(key)

    def resolve_newest(
        self, host: bytes, waiter_headers: tuple[tuple[bytes, bytes], ...]
    ) -> Descriptor | Deferred[Descriptor]:
        """The same without any fallback to what a token was before."""
        kept = tuple(header for header in waiter_headers if header[0] != headers.FALLBACK_PERIOD)
        return self.resolve(host, (*kept, (headers.FALLBACK_PERIOD, b"0")))

    def service_id_of(self, token: Token) -> str | None:
        """The service that a token alone stands for, whoever asks; C{None} if it needs more for that."""
        try:
            data = token_data((token,), self._services.rules)
            # An earlier version may say anything, as an administrator may write it.
            if data.parameters.get("run-as-user") in (None, "*"):
                return None
            env, names = data.parameters.get("env"), data.parameters.get("allowed-params")
            given = env if isinstance(env, Mapping) else {}
            if isinstance(names, list) and any(name not in given for name in map(str, names)):
                return None
            wanted = wish(data, headers.understand(()), user=self._user, tokens=1, allowed_params=())
            return self._services.describe(wanted.core).id
        except WaiterError:
            return None

    def fallback_of(self, token: Token) -> str | None:
        """The service that requests by a token alone go to as long as its own one is not healthy; C{None} if none does."""
        asked = headers.understand(())
        try:
            data = token_data((token,), self._services.rules)
            newest = self._service(data, asked, 1).id
        except WaiterError:
            return None
        if self._succession.healthy(newest) or self._wall() >= token.updated_at + _fallback_secs(data, asked):
            return None
        before = (descriptor.service.id for descriptor in self._before(newest, (token,), asked))
        return next(filter(self._succession.healthy, before), None)

    def forget(self, service_ids: Collection[str]) -> None:
        """These services are not known any more, or not as they were: find out anew what requests for them are for."""
        self._age += 1

        def known(descriptor: Descriptor) -> bool:
            return descriptor.service.id not in service_ids

        self._young = {key: each for key, each in self._young.items() if known(each)}
        self._old = {key: each for key, each in self._old.items() if known(each)}
        self._choices = {
            key: choice for key, choice in self._choices.items() if all(map(known, (choice.newest, *choice.others)))
        }

    def forget_token(self, name: str) -> None:
        """The token has changed: find out anew what requests that name it are for."""
        self._age += 1
        for key in self._by_token.pop(name, ()):
            self._young.pop(key, None)
            self._old.pop(key, None)
            self._choices.pop(key, None)

    def state(self) -> dict[str, int]:
        """How many answers are remembered, for C{/state}."""
        return {"cached": len(self._young.keys() | self._old.keys()), "choices": len(self._choices)}

    def _find_out(self, key: _Key) -> Descriptor | Deferred[Descriptor]:
        host, waiter_headers = key
        asked = headers.understand(waiter_headers)
        if len(asked.tokens) == 1 and asked.tokens[0].startswith(SERVICE_ID):
            return self._that_service(key, asked)
        of_host = self._token_of_host(host)
        tokens = tuple(map(self._token, asked.tokens)) or (() if of_host is None else (of_host,))
        if not tokens and not asked.describes_service:
            raise ServiceUnknown("Unable to identify service using waiter headers/token")
        if of_host is None:
            check_described_at(host, self._own_hosts)
        _refuse_in_maintenance(tokens)
        data = token_data(tokens, self._services.rules)
        service = self._service(data, asked, len(tokens))
        known = self._services.get(service.id)
        if known is not None:
            return self._found(key, known, tokens, data, asked)
        self._validate(service.description)
        age = self._age

        def stored(service: Service) -> Descriptor:
            if self._age == age:
                return self._found(key, service, tokens, data, asked)
            return self._descriptor(service, asked, tokens, data)

        return self._services.remember(service).addCallback(stored)

    def _that_service(self, key: _Key, asked: headers.Asked) -> Descriptor:
        """For a request that names a service by its id."""
        host, _ = key
        service = self._services.get(asked.tokens[0].removeprefix(SERVICE_ID))
        if service is None:
            raise NotFound(f"Token not found: {shown(asked.tokens[0])}")
        if self._token_of_host(host) is None:
            check_described_at(host, self._own_hosts)
        if asked.describes_service:
            raise ServiceUnknown(f"{SERVICE_ID} names a service as it is: leave the x-waiter-* parameters out.")
        self._authorise(service.description, preauthorised=False)
        return self._keep(key, self._descriptor(service, asked, (), TokenData(parameters={}, metadata={})))

    def _found(
        self, key: _Key, service: Service, tokens: tuple[Token, ...], data: TokenData, asked: headers.Asked
    ) -> Descriptor:
        descriptor = self._descriptor(service, asked, tokens, data)
        self._note(service.id, descriptor.sources)
        if descriptor.conditions is not None and descriptor.conditions.consented is not None:
            # Nothing is started, and nothing of before used, that nobody was asked about.
            return self._keep(key, descriptor)
        until = max((token.updated_at for token in tokens), default=0.0) + _fallback_secs(data, asked)
        if self._wall() < until and (others := self._before(service.id, tokens, asked)):
            choice = Choice(newest=descriptor, others=others, until=until)
            if len(self._choices) >= self._half:
                self._choices.clear()
                self._tidy_index()
            if _size(key) <= _MOST_CACHED_BYTES:
                self._choices[key] = choice
                self._index(key, descriptor)
            return self._succession.choose(choice)
        return self._keep(key, descriptor)

    def _before(self, newest_id: str, tokens: tuple[Token, ...], asked: headers.Asked) -> tuple[Descriptor, ...]:
        """What the request would have been for before; what does not hold any more is passed over."""
        found: dict[str, Descriptor] = {}
        for each in versions(tokens, _MOST_VERSIONS):
            try:
                data = token_data(each, self._services.rules)
                service = self._services.get(self._service(data, asked, len(each)).id)
            except WaiterError:
                continue
            if service is not None and service.id != newest_id:
                found.setdefault(service.id, self._descriptor(service, asked, each, data))
        return tuple(found.values())

    def _service(self, data: TokenData, asked: headers.Asked, tokens: int) -> Service:
        profile = asked.parameters.get("profile", data.parameters.get("profile"))
        allowed = self._services.rules.default("allowed-params", profile) or ()
        wanted = wish(data, asked, user=self._user, tokens=tokens, allowed_params=allowed)
        service = self._services.describe(wanted.core)
        self._authorise(service.description, preauthorised=wanted.preauthorised)
        return service

    def _token(self, name: str) -> Token:
        token = self._tokens(name)
        if token is None or token.deleted:
            raise NotFound(f"Token not found: {shown(name)}")
        return token

    def _token_of_host(self, host: bytes) -> Token | None:
        name = host.partition(b":")[0].strip(b" \t").decode("latin-1")
        for spelled in (name, name.lower()):
            token = self._tokens(spelled)
            if token is not None and not token.deleted:
                return token
        return None

    def _authorise(self, description: ServiceDescription, *, preauthorised: bool) -> None:
        if not preauthorised and not self._may_run_as(self._user, description.run_as_user):
            raise ServiceForbidden(
                f"{self._user} cannot run as user '{shown(description.run_as_user)}'",
                details={"run-as-user": shown(description.run_as_user), "authenticated-user": self._user},
            )
        if description.permitted_user not in {"*", self._user}:
            raise ServiceForbidden(
                "This user isn't allowed to invoke this service",
                details={"permitted-user": shown(description.permitted_user), "authenticated-user": self._user},
            )

    def _descriptor(
        self, service: Service, asked: headers.Asked, tokens: tuple[Token, ...], data: TokenData
    ) -> Descriptor:
        said = asked.per_request
        usual = token_secs(data.metadata, self._timeouts)
        return Descriptor(
            service=service,
            queue_timeout_secs=asked_secs(said.get(headers.QUEUE_TIMEOUT), usual.queue_timeout_secs),
            socket_timeout_secs=asked_secs(said.get(headers.TIMEOUT), usual.socket_timeout_secs),
            streaming_timeout_secs=asked_secs(said.get(headers.STREAMING_TIMEOUT), usual.streaming_timeout_secs),
            principal=self._principal,
            debug=headers.DEBUG in said,
            sources=tuple(SourceToken(token.name, token.etag) for token in tokens),
            conditions=self._conditions(service, asked, tokens, data),
        )

    def _conditions(
        self, service: Service, asked: headers.Asked, tokens: tuple[Token, ...], data: TokenData
    ) -> Conditions | None:
        suspended = self._suspended(service.id)
        if suspended is not None and not suspended.suspended:
            suspended = None
        if suspended is None and not tokens:
            return None
        consented = None
        by_host = bool(tokens) and not asked.tokens and not asked.describes_service
        if by_host and data.parameters.get("run-as-user") in {None, "*"}:
            question = Question(token=tokens[0].name, owner=tokens[0].owner, service_id=service.id)
            consented = partial(self._consented, question)
        return Conditions(
            suspended=suspended,
            https_only=data.metadata.get("https-redirect") is True,
            cors_rules=cors_rules(data.metadata.get("cors-rules")) if tokens else None,
            consented=consented,
            interstitial_secs=service.description.interstitial_secs if tokens else 0,
        )

    def _keep(self, key: _Key, descriptor: Descriptor) -> Descriptor:
        if _size(key) <= _MOST_CACHED_BYTES:
            if len(self._young) >= self._half:
                self._old, self._young = self._young, {}
                self._tidy_index()
            self._young[key] = descriptor
            if descriptor.sources:
                self._index(key, descriptor)
        return descriptor

    def _index(self, key: _Key, descriptor: Descriptor) -> None:
        for source in descriptor.sources:
            self._by_token.setdefault(source.token, set()).add(key)

    def _tidy_index(self) -> None:
        """Forget what is not remembered any more. As this is done once in a while, it costs little for each request."""
        remembered = self._young.keys() | self._old.keys() | self._choices.keys()
        kept = {name: keys & remembered for name, keys in self._by_token.items()}
        self._by_token = {name: keys for name, keys in kept.items() if keys}


def _size(key: _Key) -> int:
    host, waiter_headers = key
    return len(host) + sum(len(name) + len(value) for name, value in waiter_headers)


def _fallback_secs(data: TokenData, asked: headers.Asked) -> float:
    given = data.metadata.get("fallback-period-secs", DEFAULT_FALLBACK_SECS)
    return whole_secs(asked.per_request.get(headers.FALLBACK_PERIOD), given)


def _refuse_in_maintenance(tokens: Collection[Token]) -> None:
    for token in tokens:
        maintenance = token.data.get("maintenance")
        if isinstance(maintenance, Mapping):
            name = token.data.get("name")
            error = Maintenance(str(maintenance.get("message", "")), details={"token": token.name})
            error.members = {"name": name, "token": token.name, "token-owner": token.owner}
            raise error
