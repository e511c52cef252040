"""The OpenAPI document, made from the declarations of the endpoints."""

import re
from collections.abc import Iterable
from typing import Any

from waiter.admin.openapi.control import CONTROL
from waiter.admin.openapi.operation import JSON, Operation, Parameter, Reply, Schema
from waiter.admin.openapi.router import ROUTER
from waiter.admin.openapi.schemas import ref, schemas
from waiter.admin.openapi.services import SERVICES
from waiter.admin.openapi.tokens import TOKENS
from waiter.version import __version__

#: All endpoints.
OPERATIONS: tuple[Operation, ...] = (*ROUTER, *SERVICES, *CONTROL, *TOKENS)

_TAGS = {
    "requests": "What a request for a service would be for.",
    "services": "Services and their instances.",
    "tokens": "Names for services.",
    "router": "This router: its health, its numbers, its inside.",
}

_VARIABLES = {
    "service-id": "The id of a service.",
    "instance-id": "The id of an instance.",
    "asked-path": "The path that was asked for; it may contain slashes.",
    "path": "The path of a file below the instance's log directory; it may contain slashes.",
    "name": "A component, as /state lists them, or the id of a service.",
}

_DESCRIPTION = (
    "Waiter's own API. It is answered at Waiter's own host names, without x-waiter-* headers; all else is for services "
    "and not described here. Every answer carries x-cid, the id by which logs know the request. Errors come as JSON, HTML "
    "or text, as Accept asks."
)


def document() -> dict[str, Any]:
    """The whole of it, as OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    used = {operation.tag for operation in OPERATIONS}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Waiter", "version": __version__, "description": _DESCRIPTION},
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items() if name in used],
        "paths": {path: paths[path] for path in sorted(paths)},
        "components": {
            "schemas": schemas(),
            "responses": {
                "Error": {
                    "description": "Any other failure.",
                    "content": {JSON: {"schema": ref("Error")}},
                }
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _operation_id(operation),
        "tags": [operation.tag],
        "summary": operation.summary,
    }
    if operation.description:
        described["description"] = operation.description
    if parameters := [*_variables(operation.path), *map(_parameter, operation.parameters)]:
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": _schema(operation.body)}}}
    described["responses"] = {
        **{str(reply.status): _reply(reply) for reply in operation.replies},
        **{
            str(status): {"description": why, "content": {JSON: {"schema": ref("Error")}}}
            for status, why in sorted(operation.errors.items())
        },
        "default": {"$ref": "#/components/responses/Error"},
    }
    return described


def _operation_id(operation: Operation) -> str:
    words = re.findall(r"[A-Za-z0-9]+", operation.path)
    return "-".join([operation.method, *words])


def _variables(path: str) -> Iterable[dict[str, Any]]:
    for name in re.findall(r"\{([^}]+)\}", path):
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": _VARIABLES[name],
            "schema": {"type": "string"},
        }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema = _schema(parameter.schema)
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required,
        "description": parameter.description,
        "schema": {"type": "array", "items": schema} if parameter.repeated else schema,
    }


def _reply(reply: Reply) -> dict[str, Any]:
    described: dict[str, Any] = {"description": reply.description}
    if reply.content:
        described["content"] = {kind: {"schema": _schema(schema)} for kind, schema in reply.content.items()}
    if reply.headers:
        described["headers"] = {
            name: {"description": meaning, "schema": {"type": "string"}} for name, meaning in reply.headers.items()
        }
    return described


def _schema(schema: Schema) -> dict[str, Any]:
    return ref(schema) if isinstance(schema, str) else dict(schema)
