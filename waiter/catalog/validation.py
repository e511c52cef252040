"""From the parameters somebody gave to a description that holds, or to words about why it does not."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from waiter.catalog.complaints import IMPROPER, Complaints, exceeded, plain
from waiter.catalog.effective import MERGED, OVERRIDABLE, PARAMETERS, REQUIRED, effective, lowered
from waiter.catalog.rules import Constraints, Profile, Rules
from waiter.errors import BadRequest, ServiceMisconfigured
from waiter.model.checks import shown
from waiter.model.description import ServiceDescription
from waiter.model.frozen import FrozenDict

__all__ = [
    "IMPROPER",
    "KNOWN",
    "NOT_SUPPORTED",
    "check_overrides",
    "check_token_parameters",
    "describe",
    "make_rules",
    "missing_parameters",
]

#: Parameters that other installations know and this one refuses, with the sentence that says so.
NOT_SUPPORTED: Mapping[str, str] = {
    "image": "image is not supported: instances are processes started from cmd, not containers.",
    "scheduler": "scheduler is not supported: there is one scheduler here; leave it out.",
}

#: All names that descriptions know, those that are refused included.
KNOWN = PARAMETERS | NOT_SUPPORTED.keys()

# They say nothing that could contradict anything. Who runs a service that does not say it is whoever asks for it.
_STAND_INS: Mapping[str, Any] = {"cmd": ":", "cpus": 1e-6, "mem": 1e-6, "run-as-user": "*", "version": "1"}


def describe(
    given: Mapping[str, Any], rules: Rules, *, overrides: Mapping[str, Any] | None = None
) -> tuple[Mapping[str, Any], ServiceDescription]:
    """
    The core of a service and its effective description.

    The core holds the given parameters in one form for each meaning: 1.0 is 1, sets are sorted, C{null} is not given. It
    is made of JSON's types and cannot be changed.

    @param given: parameters under their outside names.
    @param overrides: what holds instead of them, without being part of the core.
    @raise ServiceMisconfigured: with a sentence for each thing that is wrong, and in C{details["issue"]} the parameters
        it is about.
    """
    given = {name: value for name, value in given.items() if value is not None}
    description = _described(given, rules, {})
    core = _core({name: value for name, value in given.items() if name in PARAMETERS}, description)
    return core, _described(given, rules, overrides) if overrides else description


def _described(given: Mapping[str, Any], rules: Rules, overrides: Mapping[str, Any]) -> ServiceDescription:
    complaints = Complaints()
    for name in given:
        if name in NOT_SUPPORTED:
            complaints.add([name], NOT_SUPPORTED[name])
        elif name not in PARAMETERS:
            complaints.add([shown(name)], f"{shown(name)} is not a parameter of a service.")
    known = {name: value for name, value in given.items() if name in PARAMETERS}
    profile = known.get("profile")
    unknown_profile = isinstance(profile, str) and profile not in rules.profiles
    # What a profile would have given is not missed where there is none of this name.
    assumed = _STAND_INS if unknown_profile else rules.profile(profile).parameters
    whole = effective(rules.defaults, assumed, known, overrides)
    if whole.get("metric-group") is None:
        whole["metric-group"] = rules.metric_group(whole.get("name"))
    description, error = None, None
    try:
        description = ServiceDescription.model_validate(whole)
    except ValidationError as caught:
        error = caught
    complaints.add_found(error, whole, exceeded({**given, **overrides}, rules.constraints))
    if unknown_profile:
        complaints.add(["profile"], _no_such_profile(profile, rules))
    if description is None or complaints.issue:
        raise complaints.error()
    return description


def check_token_parameters(data: Mapping[str, Any], rules: Rules) -> Mapping[str, Any]:
    """
    The parameters of services among the data of a token, in the form of a core, when they hold as far as they go.

    What a complete description needs and the token leaves to others (headers, another token, a profile, who asks) may
    be missing: something that contradicts nothing stands for it. A run-as-user that is missing or C{*} is whoever asks.
    All keys that are no parameters are passed over, so a token's metadata may be in C{data}; whoever calls this refuses
    keys that mean nothing. L{KNOWN} are the names that may be left to this function.

    @param data: parameters under their outside names; C{null} is not given.
    @raise ServiceMisconfigured: with a sentence for each thing that is wrong, as from L{describe}.
    """
    given = {name: value for name, value in data.items() if name in KNOWN and value is not None}
    core, _ = describe({**_missing_stand_ins(given, rules), **given}, rules)
    return FrozenDict({name: value for name, value in core.items() if name in given})


def missing_parameters(data: Mapping[str, Any], rules: Rules) -> tuple[str, ...]:
    """
    The names of required parameters that neither the data of a token nor its profile nor the defaults supply, sorted.

    A run-as-user of C{*} is one that is supplied: that the caller runs the service.
    """
    return tuple(sorted(_missing_stand_ins(data, rules)))


def check_overrides(core: Mapping[str, Any], overrides: Mapping[str, Any], rules: Rules) -> Mapping[str, Any]:
    """
    Overrides for a service in the form of a core, when they and the service hold together.

    @param core: of the service.
    @raise BadRequest: some of the parameters cannot be overridden.
    @raise ServiceMisconfigured: as from L{describe}.
    """
    overrides = {name: value for name, value in overrides.items() if value is not None}
    if refused := sorted(shown(name) for name in overrides if name not in OVERRIDABLE):
        raise BadRequest(f"Cannot override the following parameter(s): {', '.join(refused)}")
    _, description = describe(core, rules, overrides=overrides)
    return _core(overrides, description)


def make_rules(
    *,
    constraints: Constraints | None = None,
    defaults: Mapping[str, Any] | None = None,
    profiles: Mapping[str, Mapping[str, Any]] | None = None,
    token_metadata: frozenset[str] = frozenset(),
    metric_groups: Sequence[tuple[str, str]] = (),
) -> Rules:
    """
    Rules that any description may be laid over.

    @param profiles: parameters of services and metadata of tokens, by the profile's name.
    @param token_metadata: the names of metadata that tokens may have; their values are for others to check.
    @param metric_groups: regular expressions and groups, see L{Rules}.
    @raise ValueError: no description could hold with them.
    """
    rules = Rules(constraints=constraints or Constraints())
    rules = Rules(
        constraints=rules.constraints,
        defaults=_coerced(defaults or {}, rules, "the defaults for services do not hold"),
        metric_groups=tuple((_pattern(pattern), _group(group)) for pattern, group in metric_groups),
    )
    made = {}
    for name, values in (profiles or {}).items():
        if not isinstance(name, str) or not name.strip():
            raise ValueError("profiles must have names")
        if "profile" in values:
            raise ValueError(f"the profile {name!r} cannot name a profile")
        made[name] = Profile(
            parameters=_coerced(
                {key: value for key, value in values.items() if key not in token_metadata},
                rules,
                f"the profile {name!r} does not hold",
            ),
            metadata=FrozenDict({key: value for key, value in values.items() if key in token_metadata}),
        )
    return Rules(
        constraints=rules.constraints,
        defaults=rules.defaults,
        metric_groups=rules.metric_groups,
        profiles=FrozenDict(made),
    )


def _coerced(values: Mapping[str, Any], rules: Rules, otherwise: str) -> Mapping[str, Any]:
    try:
        core, _ = describe({**_missing_stand_ins(values, rules), **values}, rules)
    except ServiceMisconfigured as error:
        raise ValueError(f"{otherwise}: {error.details['friendly-error-message']}") from None
    return FrozenDict({name: value for name, value in core.items() if name in values})


def _missing_stand_ins(data: Mapping[str, Any], rules: Rules) -> dict[str, Any]:
    supplied = {**rules.defaults, **rules.profile(data.get("profile")).parameters}
    return {
        name: _STAND_INS[name] for name in sorted(REQUIRED) if data.get(name) is None and supplied.get(name) is None
    }


def _no_such_profile(asked: Any, rules: Rules) -> str:
    there = f"supported profile(s) are {', '.join(sorted(rules.profiles))}" if rules.profiles else _NO_PROFILES
    return f"Unsupported profile: {shown(asked)}, {there}"


_NO_PROFILES = "there are no supported profiles"


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is not a regular expression: {error}") from None


def _group(group: str) -> str:
    stand_ins = {**_STAND_INS, "metric-group": group}
    try:
        describe(stand_ins, Rules())
    except ServiceMisconfigured as error:
        raise ValueError(error.details["friendly-error-message"]) from None
    return group


def _core(given: Mapping[str, Any], description: ServiceDescription) -> Mapping[str, Any]:
    core: dict[str, Any] = {}
    for name in sorted(given):
        value = getattr(description, name.replace("-", "_"))
        if name in MERGED:
            own = lowered(given[name]) if name == "metadata" else given[name]
            core[name] = FrozenDict({key: word for key, word in value.items() if key in own})
        elif isinstance(value, Sequence) and not isinstance(value, str):
            core[name] = tuple(value)
        else:
            core[name] = plain(value)
    return FrozenDict(core)
