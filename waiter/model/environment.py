"""The small mappings of a description: environment variables, metadata, and the names of parameters set per request."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from waiter.model.checks import shown, unusable_characters, wrong
from waiter.model.frozen import FrozenDict

_FEWER_THAN = 100
_LONGEST_VARIABLE = 512
_LONGEST_METADATA = 999

_VARIABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_METADATA_KEY = re.compile(r"[a-z][a-z0-9-]*")
_RESERVED = re.compile(r"HOME|LOGNAME|USER|PORT[0-9]*|(MARATHON_|MESOS_|WAITER_(?!CONFIG_)).*", re.DOTALL)


def reserved(name: str) -> bool:
    """Whether Waiter or its scheduler sets this environment variable."""
    return _RESERVED.fullmatch(name) is not None


def _is_variable(name: str) -> bool:
    return len(name) <= _LONGEST_VARIABLE and _VARIABLE.fullmatch(name) is not None


def _is_metadata_key(key: str) -> bool:
    return len(key) <= _LONGEST_METADATA and _METADATA_KEY.fullmatch(key) is not None


def _listed(names: Iterable[object]) -> str:
    return ", ".join(sorted(shown(name) for name in names))


def _complaints(
    value: Mapping[Any, Any], *, what: str, is_key: Callable[[str], bool], key_rule: str, longest: int, controls: str
) -> list[str]:
    """What is wrong with a mapping of words, a sentence each."""
    sentences = []
    if len(value) >= _FEWER_THAN:
        sentences.append(f"{what} must have fewer than {_FEWER_THAN} entries, not {len(value)}.")
    if bad := [key for key in value if not isinstance(key, str) or not is_key(key)]:
        sentences.append(f"The following {what} keys are invalid: {_listed(bad)}. {key_rule}")
    if bad := [key for key, word in value.items() if not isinstance(word, str)]:
        sentences.append(
            f"The following {what} keys did not have string values: {_listed(bad)}. Values must be strings."
        )
    texts = {key: word for key, word in value.items() if isinstance(word, str)}
    if bad := [key for key, word in texts.items() if not 1 <= len(word) <= longest]:
        sentences.append(
            f"The values of the following {what} keys must have 1 to {longest} characters: {_listed(bad)}."
        )
    if bad := [key for key, word in texts.items() if unusable_characters(word, allowed=controls)]:
        sentences.append(f"The values of the following {what} keys contain control characters: {_listed(bad)}.")
    return sentences


def _environment(value: Any) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise wrong("env must be a map from the names of environment variables to strings.")
    sentences = _complaints(
        value,
        what="env",
        is_key=_is_variable,
        key_rule="Keys must be made up of letters, numbers, and underscores, must start with a letter and have at most "
        f"{_LONGEST_VARIABLE} characters.",
        longest=_LONGEST_VARIABLE,
        controls="\n\t",
    )
    if bad := [key for key in value if isinstance(key, str) and reserved(key)]:
        sentences.append(f"The following env keys are reserved: {_listed(bad)}. Waiter sets them itself.")
    if sentences:
        raise wrong("\n".join(sentences))
    return value


def _metadata(value: Any) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise wrong("metadata must be a map from keys to strings.")
    lowered = {key.lower() if isinstance(key, str) else key: word for key, word in value.items()}
    sentences = _complaints(
        lowered,
        what="metadata",
        is_key=_is_metadata_key,
        key_rule="Keys must be made up of lower-case letters, numbers, and hyphens, must start with a letter and have at "
        f"most {_LONGEST_METADATA} characters.",
        longest=_LONGEST_METADATA,
        controls="",
    )
    if len(lowered) != len(value):
        sentences.append("The metadata keys must differ in more than the case of their letters.")
    if sentences:
        raise wrong("\n".join(sentences))
    return lowered


def _names(value: Any) -> tuple[str, ...]:
    begin = "allowed-params is invalid."
    if isinstance(value, str) or not isinstance(value, list | tuple | set | frozenset):
        raise wrong(f"{begin} It must be a list of names of environment variables.")
    if not all(isinstance(name, str) and name for name in value):
        raise wrong(f"{begin} Each name must be a non-empty string.")
    if bad := [name for name in value if not _is_variable(name)]:
        raise wrong(
            f"{begin} Names must be made up of letters, numbers, and underscores, and must start with a letter: {_listed(bad)}."
        )
    if bad := [name for name in value if reserved(name)]:
        raise wrong(f"{begin} The following names are reserved: {_listed(bad)}.")
    if len(set(value)) >= _FEWER_THAN:
        raise wrong(f"{begin} There must be fewer than {_FEWER_THAN} names.")
    return tuple(sorted(set(value)))


def _frozen(value: Mapping[str, str]) -> Mapping[str, str]:
    return FrozenDict({key: value[key] for key in sorted(value)})


#: Environment variables of an instance, in the order of their names.
Environment = Annotated[Mapping[str, str], BeforeValidator(_environment), AfterValidator(_frozen)]

#: Free words about a service; the case of keys does not matter.
Metadata = Annotated[Mapping[str, str], BeforeValidator(_metadata), AfterValidator(_frozen)]

#: A set of names of environment variables, sorted.
VariableNames = Annotated[tuple[str, ...], BeforeValidator(_names)]
