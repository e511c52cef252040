"""The part of the composition that knows what requests may be for."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from waiter.autoscaler.collection import Rule, idle_too_long
from waiter.autoscaler.going import Broken, Replaced
from waiter.autoscaler.renewal import Renewal
from waiter.catalog import validation
from waiter.catalog.consent import Consents
from waiter.catalog.interface import IStore
from waiter.catalog.overrides import Overrides
from waiter.catalog.references import ReferenceCatalog
from waiter.catalog.resolver import Resolver, user_of
from waiter.catalog.rules import Constraints, Rules
from waiter.catalog.services import ServiceCatalog
from waiter.catalog.succession import Succession
from waiter.catalog.suspensions import Suspensions
from waiter.catalog.timeouts import Timeouts
from waiter.catalog.token_rules import Entitlements, TokenRules
from waiter.catalog.tokens import TokenCatalog
from waiter.errors import WaiterError
from waiter.model.description import ServiceDescription
from waiter.model.load import ServiceLoad
from waiter.model.staleness import Staleness, only_token, staleness
from waiter.model.token import USER_METADATA, Token
from waiter.model.token_metadata import metadata_complaints
from waiter.settings import Settings, meaning
from waiter.support.users import find_user, own_user


def make_rules(settings: Settings) -> Rules:
    """
    @raise SettingsError: no description could hold with them.
    """
    limits = settings.constraints
    constraints = Constraints(cmd_length=limits.cmd_length, cpus=limits.cpus, mem=limits.mem)
    with meaning("defaults"):
        validation.make_rules(constraints=constraints, defaults=settings.defaults)
    with meaning("metric-groups"):
        validation.make_rules(metric_groups=settings.metric_groups)
    with meaning("profiles"):
        for name, profile in settings.profiles.items():
            said = {key: value for key, value in profile.defaults.items() if key in USER_METADATA}
            if complaints := metadata_complaints(said):
                raise ValueError(f"the profile {name!r} does not hold: {'; '.join(complaints)}")
        return validation.make_rules(
            constraints=constraints,
            defaults=settings.defaults,
            profiles={name: profile.defaults for name, profile in settings.profiles.items()},
            token_metadata=USER_METADATA,
            metric_groups=settings.metric_groups,
        )


def make_token_rules(settings: Settings, rules: Rules, own_hosts: frozenset[str]) -> TokenRules:
    """
    The rules for tokens where everybody is the one user, who may do all that can be done.

    @param rules: for descriptions.
    @param own_hosts: the hosts that are Waiter.
    """
    administrator = user_of(settings.authenticator.principal)

    def may_run_as(user: str, other: str) -> bool:
        return user == other or (user == administrator and _can_run_as(settings, other))

    return TokenRules(
        cluster=settings.cluster.name,
        own_hosts=own_hosts,
        descriptions=rules,
        entitlements=Entitlements(
            may_run_as=may_run_as, may_manage=lambda user, owner: user == owner, is_admin=administrator.__eq__
        ),
        history_length=settings.tokens.history_length,
        limit_per_owner=settings.tokens.limit_per_owner,
    )


def _can_run_as(settings: Settings, user: str) -> bool:
    if settings.scheduler.kind != "local":
        return settings.marathon.any_user
    return user == own_user() or (os.geteuid() == 0 and find_user(user) is not None)


@attrs.frozen(kw_only=True)
class Catalog:
    """
    All that is known by name: services, tokens, and what was said of them.

    @ivar rules: for descriptions.
    """

    rules: Rules
    overrides: Overrides
    services: ServiceCatalog
    tokens: TokenCatalog
    suspensions: Suspensions
    references: ReferenceCatalog
    consents: Consents

    @property
    def parts(self) -> tuple[IService, ...]:
        """To be started in this order."""
        return self.overrides, self.services, self.tokens, self.suspensions, self.references

    def staleness(self, service_id: str) -> Staleness | None:
        """Whether the tokens that a service comes from have become others."""
        return staleness(self.references.get(service_id), self.tokens.find, self._metadata)

    def _metadata(self, token: Token) -> Mapping[str, Any]:
        """What a token says, over what its profile says."""
        return {**self.rules.profile(token.data.get("profile")).metadata, **token.data}

    def token_of(self, service_id: str) -> str | None:
        """The one token that a service comes from; C{None} if there are none or several."""
        return only_token(self.references.get(service_id))


def make_catalog(
    reactor: Any, settings: Settings, store: IStore, secret: Callable[[], bytes], *, wall: Callable[[], float]
) -> Catalog:
    """
    Build it; nothing is read yet.

    @param secret: known to routers alone.
    @raise SettingsError: no description could hold with the settings.
    """
    rules = make_rules(settings)
    overrides = Overrides(store, wall=wall)
    services = ServiceCatalog(
        store,
        prefix=settings.cluster.service_prefix,
        rules=rules,
        overrides=overrides.parameters,
        keep_unused_secs=settings.catalog.keep_unused_days * 86400,
        wall=wall,
    )
    overrides.changes.subscribe(services.reconsider)
    return Catalog(
        rules=rules,
        overrides=overrides,
        services=services,
        tokens=TokenCatalog(reactor, store),
        suspensions=Suspensions(store, wall=wall),
        references=ReferenceCatalog(store),
        consents=Consents(
            secret,
            principal=settings.authenticator.principal,
            wall=wall,
            life_secs=settings.authenticator.consent_expiry_days * 86400,
        ),
    )


def make_resolver(
    settings: Settings,
    catalog: Catalog,
    *,
    own_hosts: frozenset[str],
    validate: Callable[[ServiceDescription], object],
    may_run_as: Callable[[str, str], bool],
    succession: Succession,
    wall: Callable[[], float],
) -> Resolver:
    """The way from requests to services, told of whatever changes in the catalog."""
    services = catalog.services
    resolver = Resolver(
        services,
        own_hosts=own_hosts,
        principal=settings.authenticator.principal,
        timeouts=Timeouts(
            queue_timeout_secs=settings.request.queue_timeout_ms / 1000,
            socket_timeout_secs=settings.request.socket_timeout_ms / 1000,
            streaming_timeout_secs=settings.request.streaming_timeout_ms / 1000,
        ),
        validate=validate,
        may_run_as=may_run_as,
        tokens=catalog.tokens.get,
        consented=catalog.consents.given,
        suspended=catalog.suspensions.get,
        note=catalog.references.note,
        succession=succession,
        wall=wall,
    )
    services.forgotten.subscribe(resolver.forget)
    services.forgotten.subscribe(catalog.references.forget)
    services.forgotten.subscribe(catalog.suspensions.forget)
    services.redescribed.subscribe(lambda service: resolver.forget([service.id]))
    catalog.tokens.changes.subscribe(resolver.forget_token)
    catalog.suspensions.changes.subscribe(lambda service_id: resolver.forget([service_id]))
    return resolver


def rules_for_going(
    clock: IReactorTime, settings: Settings, catalog: Catalog, *, hosts: int, wall: Callable[[], float]
) -> Sequence[Rule]:
    """
    Why services are deleted.

    @param hosts: on how many hosts a broken service has to have failed, if the settings do not say.
    """
    given = settings.autoscaler
    return (
        idle_too_long,
        Replaced(catalog.staleness, wall),
        Broken(
            clock.seconds,
            min_hosts=given.broken_service_min_hosts or hosts,
            timeout_secs=given.broken_service_timeout_mins * 60,
        ),
    )


def make_renewal(
    clock: IReactorTime,
    catalog: Catalog,
    resolver: Resolver,
    succession: Succession,
    *,
    loads: Callable[[], Mapping[str, ServiceLoad]],
    wall: Callable[[], float],
) -> Renewal:
    """What starts the services that come after those that are replaced."""

    async def start(name: str) -> None:
        token = catalog.tokens.get(name)
        if token is None or resolver.service_id_of(token) is None:
            # It depends on who asks and for what.
            return
        try:
            found = resolver.resolve_newest(b"localhost", ((b"x-waiter-token", name.encode()),))
            service = (await found if isinstance(found, Deferred) else found).service
        except WaiterError:
            # Whoever asks for it is told.
            return
        if not succession.exists(service.id):
            succession.start(service)

    return Renewal(clock, loads=loads, staleness=catalog.staleness, token_of=catalog.token_of, start=start, wall=wall)
