"""The rules for descriptions and tokens, from the settings."""

import os

from waiter.catalog import validation
from waiter.catalog.resolver import user_of
from waiter.catalog.rules import Constraints, Rules
from waiter.catalog.token_rules import Entitlements, TokenRules
from waiter.model.token import USER_METADATA
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
