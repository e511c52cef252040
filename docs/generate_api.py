"""Writes docs/api.md from the description of the API. Run it after changing that."""

import json
from pathlib import Path
from textwrap import fill
from typing import Any

from waiter.admin.openapi.document import document

TARGET = Path(__file__).parent / "api.md"

_INTRODUCTION = """\
# The API

<!-- Written by docs/generate_api.py; edit waiter/admin/openapi instead. -->

{description}

Any operation may fail for reasons that are not listed: 400 where a request is malformed, 405 for other methods, 500 where
Waiter is at fault, 503 where what it needs is out of reach.
"""


_FOR_PROGRAMS = "`GET /openapi.json` says the same to programs (OpenAPI 3.1)."


def text(document: dict[str, Any]) -> str:
    """The whole of docs/api.md."""
    introduction = f"{document['info']['description']} {_FOR_PROGRAMS}"
    parts = [_INTRODUCTION.format(description=fill(introduction, 125, break_on_hyphens=False))]
    for tag in document["tags"]:
        parts.append(f"## {tag['description'].removesuffix('.')}\n")
        for path, operations in document["paths"].items():
            parts += [
                operation_text(method, path, operation)
                for method, operation in operations.items()
                if tag["name"] in operation["tags"]
            ]
    parts.append("## Shapes\n")
    parts += [shape_text(name, schema) for name, schema in document["components"]["schemas"].items()]
    return "\n".join(parts)


def operation_text(method: str, path: str, operation: dict[str, Any]) -> str:
    """One operation."""
    lines = [f"### `{method.upper()} {path}`", "", f"{operation['summary']}."]
    if "description" in operation:
        lines += ["", fill(operation["description"], 125, break_on_hyphens=False)]
    rows = [
        f"| `{parameter['name']}` | {parameter['in']} | {kind(parameter['schema'])} | {parameter['description']} |"
        for parameter in operation.get("parameters", ())
    ]
    if rows:
        lines += ["", "| parameter | in | values | meaning |", "|---|---|---|---|", *rows]
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]
        lines += ["", f"The body is {', '.join(kind(media['schema']) for media in content.values())}, as JSON."]
    lines += ["", "| status | meaning | content |", "|---|---|---|"]
    for status, reply in operation["responses"].items():
        if status != "default":
            failed = int(status) >= 400
            contents = ", ".join(
                f"`{media}`: {kind(each['schema'])}" for media, each in reply.get("content", {}).items()
            )
            lines.append(f"| {status} | {reply['description']} | {'an error' if failed else contents} |")
            lines += [
                f"| | header `{name}` | {each['description']} |" for name, each in reply.get("headers", {}).items()
            ]
    return "\n".join([*lines, ""])


def shape_text(name: str, schema: dict[str, Any]) -> str:
    """One schema."""
    lines = [f"### {name}", ""]
    if name == "EffectiveParameters":
        return "\n".join([*lines, "All parameters of a service, see [configuration](configuration.md).", ""])
    lines += [schema.get("description", "").replace("\n", " "), ""]
    if name in {"ServiceParameters", "Overrides"}:
        return "\n".join([*lines, ", ".join(f"`{key}`" for key in schema["properties"]), ""])
    lines += ["| key | values | meaning |", "|---|---|---|"]
    lines += [
        f"| `{key}` | {kind(each)} | {each.get('description', '')} |"
        for key, each in schema.get("properties", {}).items()
    ]
    return "\n".join([*lines, ""])


def kind(schema: dict[str, Any]) -> str:
    """What values a schema allows, in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema:
        return "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(kind(each) for each in schema["anyOf"])
    kinds = schema.get("type", "anything")
    if kinds == "array":
        return f"list of {kind(schema.get('items', {}))}"
    return " or ".join(kinds) if isinstance(kinds, list) else str(kinds)


if __name__ == "__main__":
    TARGET.write_text(text(json.loads(json.dumps(document()))))
