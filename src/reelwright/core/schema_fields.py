"""What a form, a node or a page of reference needs to know of each field of a schema."""

import inspect
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

from reelwright.core.config import field_docs

FieldKind = Literal["text", "number", "integer", "switch", "choice", "path", "list", "group"]

_KINDS: dict[object, FieldKind] = {str: "text", float: "number", int: "integer", bool: "switch", Path: "path"}


@dataclass(frozen=True, kw_only=True)
class FieldFacts:
    """One field of a schema. `minimum`, `maximum` and `choices` of a list are those of its items."""

    name: str
    dotted: str
    """Its place from the top: `execution.device`."""
    group: str
    """The dotted place of the group that it is in; empty at the top."""
    kind: FieldKind
    about: str
    """The docstring under the field; of a group without one, that of its schema."""
    default: Any = None
    """A value of the field's own type; None for a field that must be given, and for a group."""
    required: bool = False
    optional: bool = False
    """Whether it may be None: nothing is chosen."""
    minimum: float | None = None
    maximum: float | None = None
    above_minimum: bool = False
    """Whether the minimum itself is not legal."""
    below_maximum: bool = False
    """Whether the maximum itself is not legal."""
    choices: tuple[str, ...] = ()
    items: FieldKind | None = None
    """Of a list: what each of its items is."""
    schema: type | None = None
    """Of a group, and of a list of tables: the schema of each."""


def describe(schema: type) -> tuple[FieldFacts, ...]:
    """Every field of a schema in its order; a group comes before the fields in it.

    The fields of a list's tables are not among them: `describe(facts.schema)` gives those.
    """
    return _described(schema)


@cache
def _described(schema: type) -> tuple[FieldFacts, ...]:
    return tuple(_fields_in(schema, None, ""))


def _fields_in(schema: type, instance: object | None, group: str) -> Iterator[FieldFacts]:
    """`instance` has the defaults, where a group has others than its schema."""
    docs = field_docs(schema)
    hints: dict[str, Any] = get_type_hints(schema, include_extras=True)
    for field in fields(schema):
        dotted = f"{group}.{field.name}" if group else field.name
        default = _default(field) if instance is None else getattr(instance, field.name)
        found = _of_hint(hints[field.name])
        inner = found.get("schema") if found["kind"] == "group" else None
        yield FieldFacts(
            name=field.name,
            dotted=dotted,
            group=group,
            about=docs.get(field.name) or inspect.getdoc(inner) or "",
            default=None if inner or default is MISSING else default,
            required=default is MISSING,
            **found,
        )
        if inner is not None:
            yield from _fields_in(inner, None if default is MISSING else default, dotted)


def _default(field: Field[Any]) -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _of_hint(hint: Any) -> dict[str, Any]:  # noqa: ANN401 - a type is no type's instance
    """What a type says: kind, bounds, choices, whether None is legal, and of a list what its items are."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _of_hint(arguments[0]) | _bounds(arguments[1:])
    if origin in (Union, UnionType):
        return _of_union(arguments)
    if origin is Literal:
        return {"kind": "choice", "choices": arguments}
    if origin is tuple:
        item = _of_hint(arguments[0])
        return item | {"kind": "list", "items": item["kind"]}
    if is_dataclass(hint):
        return {"kind": "group", "schema": hint}
    return {"kind": _KINDS[hint]}


def _of_union(members: tuple[Any, ...]) -> dict[str, Any]:
    """Several choices are one; None beside anything makes it optional."""
    found = [_of_hint(member) for member in members if member is not NoneType]
    facts = found[0] | ({"optional": True} if NoneType in members else {})
    choices = tuple(choice for each in found for choice in each.get("choices", ()))
    return facts | ({"choices": choices} if choices else {})


def _bounds(metadata: tuple[Any, ...]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for bound in metadata:
        match bound:
            case Ge(ge=limit):
                facts["minimum"] = limit
            case Gt(gt=limit):
                facts |= {"minimum": limit, "above_minimum": True}
            case Le(le=limit):
                facts["maximum"] = limit
            case Lt(lt=limit):
                facts |= {"maximum": limit, "below_maximum": True}
            case _:  # words for a command line
                pass
    return facts
