"""What this installation says about descriptions: defaults, profiles, limits."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from waiter.model.frozen import FrozenDict

#: The metric group of services that no mapping names one for.
OTHER_GROUP = "other"


@attrs.frozen(kw_only=True)
class Constraints:
    """
    The most that a description may ask for on this installation.

    @ivar cmd_length: characters of the command line.
    @ivar mem: MiB.
    """

    cmd_length: int = 1200
    cpus: float = 32
    mem: float = 131072


@attrs.frozen(kw_only=True)
class Profile:
    """
    Values under a name, which descriptions and tokens may take as their defaults.

    @ivar parameters: of services, in the form of a core.
    @ivar metadata: of tokens, such as C{fallback-period-secs}.
    """

    parameters: Mapping[str, Any] = FrozenDict()
    metadata: Mapping[str, Any] = FrozenDict()

    @property
    def defaults(self) -> dict[str, Any]:
        """All of it, as it was set."""
        return {**self.parameters, **self.metadata}


@attrs.frozen(kw_only=True)
class Rules:
    """
    How descriptions are made whole and judged. Make them by L{waiter.catalog.validation.make_rules}, which checks them.

    @ivar defaults: parameters for descriptions that do not give them, before the built-in ones, in the form of a core.
    @ivar profiles: by name.
    @ivar metric_groups: regular expressions for the whole name of a service, and the metric group of those that match;
        the first that matches counts.
    """

    constraints: Constraints = Constraints()
    defaults: Mapping[str, Any] = FrozenDict()
    profiles: Mapping[str, Profile] = FrozenDict()
    metric_groups: Sequence[tuple[re.Pattern[str], str]] = ()

    def profile(self, name: Any) -> Profile:
        """The profile of this name; an empty one if there is none."""
        return self.profiles.get(name, _NO_PROFILE) if isinstance(name, str) else _NO_PROFILE

    def default(self, parameter: str, profile: Any = None) -> Any:
        """
        What stands for a parameter that is not given, before the built-in defaults; C{None} if nothing does.

        @param profile: the name of one, if that is given.
        """
        own = self.profile(profile).parameters
        return own[parameter] if parameter in own else self.defaults.get(parameter)

    def metric_group(self, name: Any) -> str:
        """The metric group of services of this name that do not say one."""
        if isinstance(name, str):
            for pattern, group in self.metric_groups:
                if pattern.fullmatch(name):
                    return group
        return OTHER_GROUP


_NO_PROFILE = Profile()
