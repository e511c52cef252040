"""What holds for a service in the end: what was given, over a profile, over defaults."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeGuard

from waiter.model.checks import Says
from waiter.model.description import ServiceDescription, outside_name

_FIELDS = {outside_name(name): field for name, field in ServiceDescription.model_fields.items()}

#: Parameters of a description, under their outside names.
PARAMETERS = frozenset(_FIELDS)

#: Those without which there is no service.
REQUIRED = frozenset(name for name, field in _FIELDS.items() if field.is_required())

#: Those that may be overridden on a running service, which does not change its id.
OVERRIDABLE = frozenset(
    name
    for name, field in _FIELDS.items()
    if any(isinstance(note, Says) and note.overridable for note in field.metadata)
)

#: Those whose layers are merged key by key.
MERGED = ("env", "metadata")

#: The defaults of parameters that nobody gives.
BUILT_IN: Mapping[str, Any] = MappingProxyType(
    {
        name: field.get_default(call_default_factory=True)
        for name, field in _FIELDS.items()
        if not field.is_required() and field.get_default(call_default_factory=True) is not None
    }
)

#: Parameters of the liveness check, and those of the health check that they are alike where nothing else is said.
ALIKE = {name: name.replace("liveness", "health", 1) for name in PARAMETERS if name.startswith("liveness-check-")}


def effective(
    defaults: Mapping[str, Any],
    profile: Mapping[str, Any],
    core: Mapping[str, Any],
    overrides: Mapping[str, Any],
) -> dict[str, Any]:
    """
    All that is said about a service, not validated: the later layers win, C{env} and C{metadata} are merged key by key.

    What nobody says is not in it and has its built-in default. Where only C{max-instances} is given, and less than the C{min-instances}
    of the defaults, that is lowered. A liveness check is like the health check where it is not said otherwise.

    @param core: what was given; the case of the keys of its metadata does not matter, as in the layers below.
    """
    below = _over(defaults, profile)
    above = {**core, **overrides}
    result = _over(below, above)
    most, least = above.get("max-instances"), result.get("min-instances")
    if "min-instances" not in above and is_number(most) and is_number(least) and 1 <= most < least:
        result["min-instances"] = most
    for name, alike in ALIKE.items():
        if result.get(name) is None and result.get(alike) is not None:
            result[name] = result[alike]
    return result


def lowered(mapping: Mapping[Any, Any]) -> frozenset[str]:
    """The keys in lower case."""
    return frozenset(key.lower() for key in mapping if isinstance(key, str))


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a number; truths are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = {**below, **above}
    for name in MERGED:
        low, high = below.get(name), above.get(name)
        if isinstance(low, Mapping) and isinstance(high, Mapping):
            covered = lowered(high) if name == "metadata" else high
            kept = {key: word for key, word in low.items() if not _is_in(key, covered, name)}
            result[name] = {**kept, **high}
    return result


def _is_in(key: Any, covered: Any, name: str) -> bool:
    return (key.lower() if name == "metadata" and isinstance(key, str) else key) in covered
