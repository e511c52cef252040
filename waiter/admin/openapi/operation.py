"""The values that an endpoint is described by."""

from collections.abc import Mapping
from typing import Any

import attrs

#: A schema: the name of one of L{waiter.admin.openapi.schemas}, or JSON Schema.
Schema = str | Mapping[str, Any]

TEXT: Schema = {"type": "string"}
TRUTH: Schema = {"type": "boolean"}
INTEGER: Schema = {"type": "integer", "minimum": 0}

JSON = "application/json"
PLAIN = "text/plain"


@attrs.frozen(kw_only=True)
class Parameter:
    """
    A query parameter, or a header of a request.

    @ivar repeated: whether it may be given several times.
    """

    name: str
    description: str
    schema: Schema = attrs.field(factory=lambda: TEXT)
    place: str = "query"
    repeated: bool = False
    required: bool = False


@attrs.frozen(kw_only=True)
class Reply:
    """
    An answer that is no error.

    @ivar content: schemas by content type; empty for an answer without a body.
    @ivar headers: what they mean, by their names.
    """

    description: str
    status: int = 200
    content: Mapping[str, Schema] = attrs.field(factory=dict)
    headers: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Operation:
    """
    One method of one path.

    @ivar path: with variables in braces, as OpenAPI has it.
    @ivar method: in lower case.
    @ivar tag: the group it is listed in.
    @ivar summary: one line.
    @ivar description: more, if there is more to say.
    @ivar body: the schema of the JSON that is sent, if any is.
    @ivar errors: why it may fail, by status.
    """

    path: str
    tag: str
    summary: str
    method: str = "get"
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Schema | None = None
    replies: tuple[Reply, ...] = ()
    errors: Mapping[int, str] = attrs.field(factory=dict)


def include(*names: str) -> Parameter:
    """The parameter that asks for more than is usual."""
    return Parameter(
        name="include",
        description="What else to show; may be given several times.",
        schema={"type": "string", "enum": list(names)},
        repeated=True,
    )


def json_reply(description: str, schema: Schema, **more: Any) -> Reply:
    """An answer in JSON."""
    return Reply(description=description, content={JSON: schema}, **more)
