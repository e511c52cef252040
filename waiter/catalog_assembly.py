"""The rules for descriptions, from the settings."""

from waiter.catalog import validation
from waiter.catalog.rules import Constraints, Rules
from waiter.model.token import USER_METADATA
from waiter.settings import Settings, meaning


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
