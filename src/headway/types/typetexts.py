"""Types as short texts: what values are made of, to be stored and compared."""

from __future__ import annotations

from hashlib import blake2b
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from headway.types.schema import Json, type_label

__all__ = ["checksum", "type_mark", "type_text"]


def type_text(value_type: Any) -> str:
    """A type with all that it is made of.

    >>> type_text(dict[str, list[int]]), type_text(Literal["a", "b"] | None)
    ('dict[str, list[int]]', "'a' | 'b' | None")
    """
    if value_type is dict or value_type == Json:
        return "Json"
    origin, given = get_origin(value_type), get_args(value_type)
    if origin is Annotated:
        return type_text(given[0])
    if origin in (Union, UnionType):
        return " | ".join(map(type_text, given))
    if origin is Literal:
        return " | ".join(map(repr, given))
    if origin is not None and given:
        name = "dict" if origin is dict else type_text(origin)
        return f"{name}[{', '.join(map(type_text, given))}]"
    if value_type is Ellipsis or isinstance(value_type, (list, str, TypeVar)):
        return "..." if value_type is Ellipsis else str(value_type)
    return type_label(value_type)


def type_mark(value_type: Any) -> str:
    """A type, and a checksum of its fields and of those of the types in it, where it has any.

    >>> type_mark(dict), type_mark(int)
    ('Json', 'int')
    """
    label = type_text(value_type)
    try:
        schema = msgspec.json.schema(value_type)
    except (TypeError, ValueError, RuntimeError):  # Nothing that JSON could say: its name has to do.
        return label
    if not schema.get("$defs"):
        return label
    return f"{label} {checksum(msgspec.json.encode(_undocumented(schema), order='sorted').decode())}"


def _undocumented(schema: Any) -> Any:
    """A schema without the docstrings of its classes; a field of the name `description` has a schema, and stays."""
    if isinstance(schema, list):
        return [_undocumented(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: _undocumented(part) for name, part in schema.items() if name != "description" or type(part) is dict}


def checksum(text: str) -> str:
    """A few digits that are others for another text."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
