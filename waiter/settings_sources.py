"""Where settings come from: waiter.toml, the environment and the command line."""

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from waiter.model.description import outside_name
from waiter.settings import Section, Settings, SettingsError

ENVIRONMENT_PREFIX = "WAITER_"
SETTINGS_VARIABLE = "WAITER_SETTINGS"


def settings_path(option: str | None, environment: Mapping[str, str]) -> Path | None:
    """The settings file: what the command line says, or else the environment; C{None} if there is none."""
    path = option or environment.get(SETTINGS_VARIABLE)
    return Path(path) if path else None


def read_settings(
    *,
    path: Path | None = None,
    environment: Mapping[str, str],
    http: Sequence[str] = (),
    state_dir: str | None = None,
) -> tuple[Settings, list[str]]:
    """
    Read the settings: defaults, then the file, then the environment, then what the command line said. An empty variable
    counts as none.

    @return: the settings, and the names of C{WAITER_*} variables that mean nothing.
    @raise SettingsError: a file cannot be read, or something in it or in the environment does not hold.
    """
    tables: dict[str, Any] = {} if path is None else _read_toml(path)
    unknown = _apply_environment(tables, environment)
    if http:
        _table(tables, "listen", "--http")["http"] = list(http)
    if state_dir is not None:
        tables["state-dir"] = state_dir
    try:
        return Settings.model_validate(tables), unknown
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(error))) from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: is not TOML: {error}") from None


def environment_names() -> dict[str, tuple[str, ...]]:
    """The C{WAITER_*} variable of every setting, and the path of keys it sets."""
    names: dict[str, tuple[str, ...]] = {}
    for section_name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            for key in section.model_fields:
                names[f"{ENVIRONMENT_PREFIX}{section_name}_{key}".upper()] = (
                    outside_name(section_name),
                    outside_name(key),
                )
        else:
            names[f"{ENVIRONMENT_PREFIX}{section_name}".upper()] = (outside_name(section_name),)
    return names


def _apply_environment(tables: dict[str, Any], environment: Mapping[str, str]) -> list[str]:
    names = environment_names()
    unknown = []
    for variable, text in sorted(environment.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable == SETTINGS_VARIABLE:
            continue
        path = names.get(variable)
        if path is None:
            unknown.append(variable)
            continue
        if not text:
            # What a script or a unit file passes on that was not given to it.
            continue
        table = tables
        for key in path[:-1]:
            table = _table(table, key, variable)
        table[path[-1]] = _environment_value(text)
    return unknown


def _table(tables: dict[str, Any], key: str, because: str) -> dict[str, Any]:
    """
    The table under C{key}, a new one if there is none.

    @param because: what sets a key of it.
    @raise SettingsError: there is something else.
    """
    table = tables.setdefault(key, {})
    if not isinstance(table, dict):
        raise SettingsError(f"{key}: must be a table, because {because} sets a key of it")
    return table


def _environment_value(text: str) -> Any:
    """A JSON list or object is taken as such; numbers and booleans are made of texts where the setting is one."""
    if text.lstrip().startswith(("[", "{")):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _explain(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors():
        where = [str(part) for part in problem["loc"]]
        path = ".".join(where)
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(where[-1], _known_keys(where[:-1]), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            lines.append(f"{path}: there is no such setting{hint}")
        else:
            is_no_list = problem["type"] == "tuple_type"
            message = (
                "must be a list; in a variable, one in JSON"
                if is_no_list
                else problem["msg"].removeprefix("Value error, ")
            )
            lines.append(f"{path}: {message} (it is {problem['input']!r})" if path else message)
    return lines


def _known_keys(path: Sequence[str]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in path:
        field = model.model_fields.get(part.replace("-", "_"))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return []
        model = field.annotation
    return [outside_name(name) for name in model.model_fields]
