"""The schema of a stored type, as the manifest keeps it: JSON Schema, so that people and tools can read it.

msgspec makes schemas too, but of JSON: in those an instant is a text like any other, the keys of a dict are not
described, and nothing says that a struct leaves out what is as its default. What is compared with what is stored needs
all of it. So these schemas say more, in keywords that other tools ignore (`omitsDefaults`, `timezone`), or use where
JSON has no type (`contentEncoding` for bytes).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from typing import Any, Final, get_origin

import msgspec
from msgspec import inspect

from headway.errors import FlowError
from headway.types.logtypes import log_fields
from headway.types.values import KEPT_FOR

__all__ = ["LOG_TYPE", "state_schema"]

Schema = dict[str, Any]

LOG_TYPE: Final = "application/vnd.headway.log"
"""Tells a log from a list, which is stored as part of the state."""
_ANY: Final = (inspect.AnyType, inspect.CustomType)
_PLAIN: Final[dict[type[inspect.Type], Schema]] = {
    inspect.NoneType: {"type": "null"},
    inspect.BoolType: {"type": "boolean"},
    inspect.IntType: {"type": "integer"},
    inspect.FloatType: {"type": "number"},
    inspect.StrType: {"type": "string"},
    inspect.BytesType: {"type": "string", "contentEncoding": "base64"},
    inspect.RawType: {"contentMediaType": "application/msgpack"},
    inspect.DateTimeType: {"type": "string", "format": "date-time"},
    inspect.DateType: {"type": "string", "format": "date"},
    inspect.TimeType: {"type": "string", "format": "time"},
    inspect.TimeDeltaType: {"type": "string", "format": "duration"},
    inspect.DecimalType: {"type": "string", "format": "decimal"},
    inspect.UUIDType: {"type": "string", "format": "uuid"},
}
_NUMBER_BOUNDS: Final = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}
_OTHER_BOUNDS: Final = {"pattern": "pattern", "tz": "timezone"}
_LENGTHS: Final = {"string": "Length", "array": "Items", "object": "Properties"}


def state_schema(state_type: type[Any]) -> Schema:
    """The schema of a state type; raises `FlowError` for one that cannot be described.

    >>> class Cart(msgspec.Struct):
    ...     total: float = 0.0
    >>> state_schema(Cart)["$defs"]["Cart"]["properties"]
    {'total': {'type': 'number', 'default': 0.0}}
    """
    try:
        info = inspect.type_info(state_type)
    except (TypeError, NameError) as error:
        msg = f"{state_type!r} cannot be a state ({error}): expected a msgspec struct of storable types, or dict"
        raise FlowError(msg) from error
    if isinstance(info, _ANY):
        msg = f"{state_type!r} cannot be a state: expected a msgspec struct of storable types, or dict"
        raise FlowError(msg)
    writer = _Writer()
    schema = writer.schema(info)
    for field in log_fields(state_type):
        entries = writer.schema(inspect.type_info(field.entry_type))
        properties = writer.definitions[schema["$ref"].rpartition("/")[2]]["properties"]
        properties[field.key] = {"type": "array", "items": entries, "contentMediaType": LOG_TYPE}
    return {**schema, "$defs": writer.definitions} if writer.definitions else schema


class _Writer:
    """Describes one type, and the classes in it as definitions, which may refer to themselves."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}
        self._named: list[tuple[inspect.Type, str]] = []

    def schema(self, info: Any) -> Schema:
        """What describes a type where it is used."""
        if isinstance(info, inspect.Metadata):
            kept_for = (info.extra or {}).get(KEPT_FOR)
            return {**self.schema(info.type), **({} if kept_for is None else {"$comment": kept_for})}
        kind = type(info)
        if kind in _ANY:
            return {}
        if kind in _PLAIN:
            found = dict(_PLAIN[kind])
            return {**found, **_bounds(info, found.get("type", ""))}
        if kind is inspect.LiteralType:
            return {"enum": _ordered(info.values)}
        if kind is inspect.UnionType:
            return {"anyOf": [self.schema(option) for option in info.types]}
        if kind in (inspect.ListType, inspect.VarTupleType):
            return {"type": "array", "items": self.schema(info.item_type), **_bounds(info, "array")}
        if kind is inspect.TupleType:
            items = [self.schema(item) for item in info.item_types]
            return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
        if kind is inspect.DictType:
            keys = self.schema(info.key_type)
            named = {} if keys == {"type": "string"} else {"propertyNames": keys}
            return {
                "type": "object",
                **named,
                "additionalProperties": self.schema(info.value_type),
                **_bounds(info, "object"),
            }
        return {"$ref": f"#/$defs/{self._definition(info)}"}

    def _definition(self, info: Any) -> str:
        """The name of the definition of a class."""
        for known, name in self._named:
            if known is info:
                return name
        cls = getattr(info, "cls", None)
        if cls is None:
            msg = f"{type(info).__name__} cannot be stored, sent and written as the same value"
            raise FlowError(msg)
        plain = re.sub(r"\W+", "_", getattr(cls, "__name__", "") if get_origin(cls) is None else str(cls)).strip("_")
        taken = self.definitions
        name = next(name for name in _spellings(plain) if name not in taken)
        self._named.append((info, name))
        self.definitions[name] = {}  # Its place, before those of the classes in it.
        self.definitions[name] = {"title": plain, **self._class(info)}
        return name

    def _class(self, info: Any) -> Schema:
        if isinstance(info, inspect.EnumType):
            return {"enum": _ordered([member.value for member in info.cls])}
        if isinstance(info, inspect.NamedTupleType):
            return self._array(info, None)
        if isinstance(info, inspect.StructType) and info.array_like:
            return self._array(info, info.tag)
        if isinstance(info, (inspect.StructType, inspect.DataclassType, inspect.TypedDictType)):
            return self._object(info)
        msg = f"{info.cls!r} cannot be stored, sent and written as the same value"
        raise FlowError(msg)

    def _object(self, info: Any) -> Schema:
        properties = {}
        required = []
        is_struct = isinstance(info, inspect.StructType)
        if is_struct and info.tag is not None:
            properties[info.tag_field] = {"enum": [info.tag]}
            required.append(info.tag_field)
        for field in info.fields:
            properties[field.encode_name] = {**self.schema(field.type), **_default(field)}
            if field.required:
                required.append(field.encode_name)
        found: Schema = {"type": "object", "properties": properties, "required": required}
        if is_struct and info.forbid_unknown_fields:
            found["additionalProperties"] = False
        if is_struct and (get_origin(info.cls) or info.cls).__struct_config__.omit_defaults:
            found["omitsDefaults"] = True
        return found

    def _array(self, info: Any, tag: Any) -> Schema:
        """A class that is stored as the row of its values, whose names are told as titles."""
        items: list[Schema] = [] if tag is None else [{"enum": [tag]}]
        required = len(items)
        for field in info.fields:
            items.append({**self.schema(field.type), "title": field.encode_name, **_default(field)})
            if field.required:
                required = len(items)
        found = {"type": "array", "prefixItems": items, "minItems": required}
        if isinstance(info, inspect.NamedTupleType) or info.forbid_unknown_fields:
            found["maxItems"] = len(items)
        return found


def _spellings(plain: str) -> Iterator[str]:
    yield plain
    number = 2
    while True:
        yield f"{plain}_{number}"
        number += 1


def _ordered(values: Any) -> list[Any]:
    return sorted(values, key=lambda value: (value is not None, isinstance(value, str), value))


def _bounds(info: Any, kind: str) -> Schema:
    """What `msgspec.Meta` demands of values beyond their type."""
    names = {**_NUMBER_BOUNDS, **_OTHER_BOUNDS}
    if kind in _LENGTHS:
        names |= {"min_length": f"min{_LENGTHS[kind]}", "max_length": f"max{_LENGTHS[kind]}"}
    given = {keyword: getattr(info, name, None) for name, keyword in names.items()}
    return {keyword: bound for keyword, bound in given.items() if bound is not None}


def _default(field: Any) -> Schema:
    """The default of a field, as JSON has it, or as Python writes it where JSON cannot."""
    if field.default is not msgspec.NODEFAULT:
        default = field.default
    elif field.default_factory is not msgspec.NODEFAULT:
        default = field.default_factory()
    else:
        return {}
    if isinstance(default, enum.Enum):
        default = default.value
    try:
        return {"default": msgspec.json.decode(msgspec.json.encode(default))}
    except (TypeError, ValueError):
        return {"default": repr(default)}
