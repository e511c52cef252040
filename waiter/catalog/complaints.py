"""Words about a description that does not hold."""

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from waiter.catalog.effective import ALIKE, is_number
from waiter.catalog.rules import Constraints
from waiter.errors import ServiceMisconfigured
from waiter.model.checks import OWN_WORDS, Says, shown
from waiter.model.description import ServiceDescription, outside_name

IMPROPER = "Service description using waiter headers/token improperly configured"

_FIELDS = {outside_name(name): field for name, field in ServiceDescription.model_fields.items()}
_EXACT_INTEGERS = 2**53


class Complaints:
    """
    What is wrong with a description: first about single parameters, then about the limits of the installation, then about
    parameters that do not go together.

    @ivar issue: a sentence for each parameter that something is wrong with.
    """

    def __init__(self) -> None:
        self.issue: dict[str, str] = {}
        self._sentences: list[str] = []

    def add(self, names: Iterable[str], sentence: str) -> None:
        """Complain about parameters together."""
        for name in names:
            self.issue.setdefault(name, sentence)
        if sentence not in self._sentences:
            self._sentences.append(sentence)

    def add_found(self, error: ValidationError | None, values: Mapping[str, Any], exceeded: Mapping[str, str]) -> None:
        """
        @param error: what the declaration of parameters found wrong.
        @param values: in which it found it.
        @param exceeded: from L{exceeded}.
        """
        found = [] if error is None else error.errors(include_url=False, include_input=False)
        found = [wrong for wrong in found if not (wrong["loc"] and _is_copy(str(wrong["loc"][0]), values))]
        single = [wrong for wrong in found if wrong["loc"] and wrong["loc"][0] != "cmd-type"]
        for wrong in single:
            name = str(wrong["loc"][0])
            self.add([name], wrong["msg"] if wrong["type"] == OWN_WORDS else _says(name, wrong["msg"]))
        if exceeded:
            parts = ", ".join(exceeded[name] for name in sorted(exceeded))
            for name, sentence in exceeded.items():
                self.issue.setdefault(name, sentence)
            self._sentences.append(f"The following fields exceed their allowed limits: {parts}")
        for wrong in found:
            if wrong not in single:
                names = wrong["loc"][:1] or wrong["ctx"]["parameters"]
                self.add(map(str, names), wrong["msg"])

    def error(self) -> ServiceMisconfigured:
        """All of it."""
        friendly = "\n".join(self._sentences)
        return ServiceMisconfigured(
            f"{IMPROPER}\n{friendly}", details={"issue": dict(self.issue), "friendly-error-message": friendly}
        )


def exceeded(given: Mapping[str, Any], constraints: Constraints) -> Mapping[str, str]:
    """A sentence for each parameter that is over the limit; values that are no numbers are not."""
    found = {}
    command = given.get("cmd")
    if isinstance(command, str) and len(command) > constraints.cmd_length:
        found["cmd"] = f"cmd must be at most {constraints.cmd_length} characters"
    for name, most in (("cpus", constraints.cpus), ("mem", constraints.mem)):
        value = given.get(name)
        if is_number(value) and most < value <= sys.float_info.max:
            found[name] = f"{name} is {shown(plain(value))} but the max allowed is {plain(most)}"
    return found


def plain(value: Any) -> Any:
    """A whole number without its fraction, as JSON has but one kind of number."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_INTEGERS:
        return int(value)
    return value


def _says(name: str, otherwise: str) -> str:
    notes = _FIELDS[name].metadata if name in _FIELDS else ()
    return next((note.text for note in notes if isinstance(note, Says)), otherwise)


def _is_copy(name: str, values: Mapping[str, Any]) -> bool:
    """Whether this is a parameter of the liveness check that was taken over from the health check."""
    return name in ALIKE and name in values and values[name] is values.get(ALIKE[name])
