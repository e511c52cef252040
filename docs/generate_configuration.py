"""Writes docs/configuration.md from the settings and the service description. Run it after changing either."""

import json
from pathlib import Path
from typing import get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from waiter.model.description import outside_name
from waiter.model.reference import parameter_rows
from waiter.settings import Settings
from waiter.settings_sources import environment_names

TARGET = Path(__file__).parent / "configuration.md"


def cell(value: object) -> str:
    """A value as TOML would have it, safe in a table."""
    text = "" if value is None else json.dumps(value if not isinstance(value, tuple) else list(value))
    return f"`{text}`".replace("|", "\\|") if text else "-"


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The table a field stands for, if it is one."""
    annotation = field.annotation
    if get_origin(annotation) is None and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None


def settings_rows(model: type[BaseModel], variables: dict[tuple[str, ...], str], path: tuple[str, ...]) -> list[str]:
    """One table row per key of a section."""
    rows = []
    for name, field in model.model_fields.items():
        if section_of(field) is None:
            key = (*path, outside_name(name))
            default = cell(field.get_default(call_default_factory=True))
            rows.append(f"| `{key[-1]}` | {default} | `{variables[key]}` | {field.description}{choices(field)} |")
    return rows


def choices(field: FieldInfo) -> str:
    """The words a field may have, if they are counted."""
    words = [word for word in get_args(field.annotation) if isinstance(word, str)]
    return f" One of {', '.join(words)}." if len(words) > 1 else ""


def document() -> str:
    """The whole of docs/configuration.md."""
    variables = {path: variable for variable, path in environment_names().items()}
    header = ["| key | default | variable | meaning |", "|---|---|---|---|"]
    parts = [
        "# Configuration",
        "",
        "<!-- Written by docs/generate_configuration.py; edit waiter/settings.py or waiter/model/description.py instead. -->",
        "",
        "Waiter needs no configuration. What is set is taken from, the later beating the earlier: the defaults, the TOML file",
        "named by `--settings` or `WAITER_SETTINGS`, environment variables, the command line (`--http`, `--state-dir`).",
        "A variable holds a number, `true`, `false` or a text as it is; lists and tables are JSON",
        '(`["unix:/run/waiter"]`). An empty variable counts as none. Unknown keys are refused; unknown `WAITER_*`',
        "variables are named in the log and ignored.",
        "`GET /settings` shows what is in force.",
        "",
        "## Top level",
        "",
        *header,
        *settings_rows(Settings, variables, ()),
        "",
    ]
    for name, field in Settings.model_fields.items():
        section = section_of(field)
        if section is not None:
            table = outside_name(name)
            parts += [f"## [{table}]", "", (section.__doc__ or "").strip(), "", *header]
            parts += [*settings_rows(section, variables, (table,)), ""]
    parts += [
        "## Service parameters",
        "",
        "What a request may say about its service, as headers `x-waiter-<parameter>`. The table `[defaults]` of the settings",
        "file gives other defaults than these. `x-waiter-env-<name>` sets one environment variable,",
        "`x-waiter-metadata-<key>` one entry of the metadata. The first five are required (`run-as-user` is the caller if not given).",
        "Unknown `x-waiter-` headers are ignored. Those that can be overridden can be set to something else while the service runs",
        "(`/apps/<service-id>/override`), which does not make it another service.",
        "",
        "| parameter | values | default | can be overridden | meaning |",
        "|---|---|---|---|---|",
        *(
            f"| `{row.name}` | {row.type} | {row.default and f'`{row.default}`'} | {'yes' if row.overridable else ''} "
            f"| {row.description} |"
            for row in parameter_rows()
        ),
        "",
        "## Headers for one request",
        "",
        "| header | meaning |",
        "|---|---|",
        "| `x-waiter-queue-timeout` | milliseconds to wait for an instance, at most an hour |",
        "| `x-waiter-timeout` | milliseconds an instance may be silent, at most an hour |",
        "| `x-waiter-streaming-timeout` | milliseconds a peer may take nothing of a body, at most an hour |",
        "| `x-waiter-debug` | any value: the answer tells the service, the instance, times and time-outs |",
        "| `x-cid` | a correlation id, passed to the instance, echoed in the answer and in errors and the request log |",
        "",
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    TARGET.write_text(document())
