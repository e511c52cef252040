"""From the parameters somebody gave to a description that holds, or to words about why it does not."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import attrs
from pydantic import ValidationError

from waiter.errors import ServiceMisconfigured
from waiter.model.checks import OWN_WORDS, Says, shown
from waiter.model.description import ServiceDescription, outside_name
from waiter.model.frozen import FrozenDict

IMPROPER = "Service description using waiter headers/token improperly configured"

#: Parameters of a description, under their outside names.
PARAMETERS = frozenset(outside_name(name) for name in ServiceDescription.model_fields)

_LIVENESS = "the health check alone decides whether an instance lives; use the health-check parameters."

#: Parameters that other installations know and this one refuses, with the sentence that says so.
NOT_SUPPORTED: Mapping[str, str] = {
    "image": "image is not supported: instances are processes started from cmd, not containers.",
    "scheduler": "scheduler is not supported: there is one scheduler here; leave it out.",
    **{
        name: f"{name} is not supported: {_LIVENESS}"
        for name in (
            "liveness-check-authentication",
            "liveness-check-interval-secs",
            "liveness-check-max-consecutive-failures",
            "liveness-check-port-index",
            "liveness-check-proto",
            "liveness-check-url",
        )
    },
}

_FIELDS = {outside_name(name): field for name, field in ServiceDescription.model_fields.items()}
_MERGED = ("env", "metadata")
_EXACT_INTEGERS = 2**53


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


def describe(
    given: Mapping[str, Any], *, defaults: Mapping[str, Any], constraints: Constraints
) -> tuple[Mapping[str, Any], ServiceDescription]:
    """
    The core of a service and its effective description.

    The core holds the given parameters in one form for each meaning: 1.0 is 1, sets are sorted, C{null} is not given. It
    is made of JSON's types and cannot be changed.

    @param given: parameters under their outside names.
    @param defaults: what stands for parameters that are not given, before the built-in defaults; the keys of its
        metadata are in lower case, as from L{coerced_defaults}.
    @raise ServiceMisconfigured: with a sentence for each thing that is wrong, and in C{details["issue"]} the parameters
        it is about.
    """
    given = {name: value for name, value in given.items() if value is not None}
    complaints = _Complaints()
    for name in given:
        if name == "profile":
            complaints.add(name, f"Unsupported profile: {shown(given[name])}, there are no supported profiles.")
        elif name in NOT_SUPPORTED:
            complaints.add(name, NOT_SUPPORTED[name])
        elif name not in PARAMETERS:
            complaints.add(shown(name), f"{shown(name)} is not a parameter of a service.")
    complaints.add_exceeded(_exceeded(given, constraints))
    known = {name: value for name, value in given.items() if name in PARAMETERS}
    description = None
    try:
        description = ServiceDescription.model_validate(_with_defaults(known, defaults))
    except ValidationError as error:
        complaints.add_all(error)
    if description is None or complaints.issue:
        raise complaints.error()
    return _core(known, description), description


def coerced_defaults(defaults: Mapping[str, Any], constraints: Constraints) -> Mapping[str, Any]:
    """
    Defaults that any description may be laid over, in the form of a core.

    @raise ValueError: no description could hold with them.
    """
    stand_ins = {"cmd": "true", "cpus": 1e-6, "mem": 1e-6, "run-as-user": "nobody", "version": "1"}
    try:
        core, _ = describe({**stand_ins, **defaults}, defaults={}, constraints=constraints)
    except ServiceMisconfigured as error:
        raise ValueError(f"the defaults for services do not hold: {error.details['friendly-error-message']}") from None
    return FrozenDict({name: value for name, value in core.items() if name in defaults})


class _Complaints:
    """What is wrong with a description, in the order it was found."""

    def __init__(self) -> None:
        self.issue: dict[str, str] = {}
        self._sentences: list[str] = []

    def add(self, name: str, sentence: str) -> None:
        self.issue[name] = sentence
        if sentence not in self._sentences:
            self._sentences.append(sentence)

    def add_exceeded(self, exceeded: Mapping[str, str]) -> None:
        if exceeded:
            self.issue.update(exceeded)
            parts = ", ".join(exceeded[name] for name in sorted(exceeded))
            self._sentences.append(f"The following fields exceed their allowed limits: {parts}")

    def add_all(self, error: ValidationError) -> None:
        for wrong in error.errors(include_url=False, include_input=False):
            names = wrong["loc"][:1] or wrong["ctx"]["parameters"]
            for name in map(str, names):
                self.add(name, wrong["msg"] if wrong["type"] == OWN_WORDS else _says(name, wrong["msg"]))

    def error(self) -> ServiceMisconfigured:
        friendly = "\n".join(self._sentences)
        return ServiceMisconfigured(
            f"{IMPROPER}\n{friendly}", details={"issue": dict(self.issue), "friendly-error-message": friendly}
        )


def _says(name: str, otherwise: str) -> str:
    notes = _FIELDS[name].metadata if name in _FIELDS else ()
    return next((note.text for note in notes if isinstance(note, Says)), otherwise)


def _exceeded(given: Mapping[str, Any], constraints: Constraints) -> Mapping[str, str]:
    exceeded = {}
    command = given.get("cmd")
    if isinstance(command, str) and len(command) > constraints.cmd_length:
        exceeded["cmd"] = f"cmd must be at most {constraints.cmd_length} characters"
    for name, most in (("cpus", constraints.cpus), ("mem", constraints.mem)):
        value = given.get(name)
        if _is_number(value) and most < value <= sys.float_info.max:
            exceeded[name] = f"{name} is {shown(_plain(value))} but the max allowed is {_plain(most)}"
    return exceeded


def _with_defaults(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    effective = {**defaults, **given}
    for name in _MERGED:
        below, above = defaults.get(name), given.get(name)
        if isinstance(below, Mapping) and isinstance(above, Mapping):
            covered = _lowered(above) if name == "metadata" else above
            effective[name] = {**{key: word for key, word in below.items() if key not in covered}, **above}
    most = given.get("max-instances")
    least = defaults.get("min-instances")
    if "min-instances" not in given and _is_number(most) and _is_number(least) and 1 <= most < least:
        effective["min-instances"] = most
    return effective


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _core(given: Mapping[str, Any], description: ServiceDescription) -> Mapping[str, Any]:
    core: dict[str, Any] = {}
    for name in sorted(given):
        value = getattr(description, name.replace("-", "_"))
        if name in _MERGED:
            own = _lowered(given[name]) if name == "metadata" else given[name]
            core[name] = FrozenDict({key: word for key, word in value.items() if key in own})
        elif isinstance(value, Sequence) and not isinstance(value, str):
            core[name] = tuple(value)
        else:
            core[name] = _plain(value)
    return FrozenDict(core)


def _lowered(mapping: Mapping[Any, Any]) -> frozenset[str]:
    return frozenset(key.lower() for key in mapping if isinstance(key, str))


def _plain(value: Any) -> Any:
    """A whole number without its fraction, as JSON has but one kind of number."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_INTEGERS:
        return int(value)
    return value
