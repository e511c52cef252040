"""The parameters of a service description as a table for people."""

import json
from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import attrs
from pydantic.fields import FieldInfo

from waiter.model.checks import Says
from waiter.model.description import ServiceDescription, outside_name

_KINDS: Mapping[Any, str] = {
    str: "text",
    bool: "true or false",
    int: "integer",
    float: "number",
    tuple: "list of texts",
    Mapping: "map of texts",
}


@attrs.frozen(kw_only=True)
class ParameterRow:
    """
    One parameter, in words.

    @ivar type: its type and range, such as C{integer, 1 to 10000} or C{one of balanced, simple}.
    @ivar default: as JSON would have it; empty if the parameter is required.
    @ivar overridable: whether it may be overridden on a running service.
    """

    name: str
    type: str
    default: str
    description: str
    required: bool
    overridable: bool


def parameter_rows() -> Iterator[ParameterRow]:
    """All parameters, the required ones first, then by name."""
    fields = ServiceDescription.model_fields
    for name in sorted(fields, key=lambda name: (not fields[name].is_required(), name)):
        field = fields[name]
        yield ParameterRow(
            name=outside_name(name),
            type=", ".join(part for part in (_kind(field.annotation), _range(field)) if part),
            default=_default(field),
            description=field.description or "",
            required=field.is_required(),
            overridable=any(isinstance(note, Says) and note.overridable for note in field.metadata),
        )


def _kind(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin is Union or origin is UnionType:
        return _kind(next(argument for argument in arguments if argument is not NoneType))
    if origin is Literal:
        return arguments[0] if len(arguments) == 1 else f"one of {', '.join(arguments)}"
    return _KINDS[origin or annotation]


def _range(field: FieldInfo) -> str:
    low = high = ""
    for note in (*field.metadata, *_inner(field.annotation)):
        match note:
            case annotated_types.Ge(ge):
                low = f"{ge}"
            case annotated_types.Gt(gt):
                low = f"more than {gt}"
            case annotated_types.Le(le):
                high = f"{le}"
            case annotated_types.Lt(lt):
                high = f"less than {lt}"
    return f"{low} to {high}" if low and high else low


def _inner(annotation: Any) -> Iterator[Any]:
    """What is said of the types inside one that may be left out."""
    if get_origin(annotation) is Union or isinstance(annotation, UnionType):
        for argument in get_args(annotation):
            for note in getattr(argument, "__metadata__", ()):
                yield from note.metadata if isinstance(note, FieldInfo) else (note,)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    default = field.get_default(call_default_factory=True)
    return "" if default is None else json.dumps(default)
