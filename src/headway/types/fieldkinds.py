"""What the fields of an event's class take from columns: of which kinds, whether nulls, and how events are made.

Kinds are named as in `headway.formats.arrays`.
"""

from __future__ import annotations

import inspect as python
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Optional, cast, get_args, get_origin

import msgspec
from msgspec import inspect

from headway.types.timefields import TIME_MARK

__all__ = ["FieldKind", "field_kinds", "is_time", "maker_of"]

_ANYTHING: Final = (inspect.AnyType, inspect.RawType, inspect.CustomType)
_KINDS: Final[dict[type[inspect.Type], frozenset[str]]] = {
    inspect.IntType: frozenset({"integer"}),
    inspect.FloatType: frozenset({"float", "integer"}),
    inspect.StrType: frozenset({"text"}),
    inspect.BoolType: frozenset({"boolean"}),
    inspect.BytesType: frozenset({"bytes", "text"}),
    inspect.ByteArrayType: frozenset({"bytes", "text"}),
    inspect.DateTimeType: frozenset({"instant", "text"}),
    inspect.DateType: frozenset({"date", "text"}),
    inspect.TimeType: frozenset({"time", "text"}),
    inspect.TimeDeltaType: frozenset({"duration", "text"}),
    inspect.DecimalType: frozenset({"decimal", "text", "integer", "float"}),
    inspect.UUIDType: frozenset({"text", "bytes"}),
    inspect.EnumType: frozenset({"text", "integer"}),
    inspect.LiteralType: frozenset({"text", "integer", "boolean"}),
    inspect.ListType: frozenset({"list"}),
    inspect.SetType: frozenset({"list"}),
    inspect.FrozenSetType: frozenset({"list"}),
    inspect.VarTupleType: frozenset({"list"}),
    inspect.TupleType: frozenset({"list"}),
    inspect.NamedTupleType: frozenset({"list"}),
    inspect.DictType: frozenset({"record", "map"}),
    inspect.StructType: frozenset({"record", "map"}),
    inspect.DataclassType: frozenset({"record", "map"}),
    inspect.TypedDictType: frozenset({"record", "map"}),
    inspect.NoneType: frozenset({"null"}),
}
_EXACTLY: Final[dict[type[inspect.Type], str]] = {
    inspect.IntType: "integer",
    inspect.FloatType: "float",
    inspect.StrType: "text",
    inspect.BoolType: "boolean",
}
_PLAIN: Final = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class FieldKind:
    """A field of an event's class."""

    name: str
    column: str
    """The name of its column: that under which the field is encoded."""
    type: Any
    kinds: Optional[frozenset[str]]
    """The kinds of columns that have values for it; None where any may have."""
    exactly: Optional[str]
    """The kind of which every value fits."""
    is_time: bool
    """Whether it is declared as `Time`: instants, days and RFC 3339 text become epoch milliseconds in it."""
    takes_none: bool
    is_required: bool
    default: Any = None
    has_plain_default: bool = False
    """Whether its default is a value that events may share."""

    def takes(self, kind: str) -> bool:
        """Whether values of a kind of column may fit."""
        if kind == "null":
            return self.takes_none or not self.is_required
        return self.kinds is None or kind in self.kinds or (self.is_time and kind in ("instant", "date", "text"))


def field_kinds(event_type: Any) -> Optional[Mapping[str, FieldKind]]:
    """The fields of a class by the names of their columns; None for types that are not made from columns.

    >>> from headway.types.schema import Event
    >>> class Click(Event):
    ...     cents: int
    ...     user: Optional[str] = None
    >>> found = field_kinds(Click)
    >>> found["cents"].takes("integer"), found["user"].takes("integer"), found["user"].exactly, found["user"].takes_none
    (True, False, 'text', True)
    """
    if not (isinstance(event_type, type) and issubclass(event_type, msgspec.Struct)):
        return None
    config = event_type.__struct_config__
    if config.tag is not None or config.forbid_unknown_fields:
        return None
    info = inspect.type_info(event_type)
    assert isinstance(info, inspect.StructType)
    annotations = {field.name: field.type for field in msgspec.structs.fields(event_type)}
    return {field.encode_name: _kind_of(field, annotations[field.name]) for field in info.fields}


def _kind_of(field: inspect.Field, annotation: Any) -> FieldKind:
    options = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
    present = [_plain(option) for option in options if not isinstance(option, inspect.NoneType)]
    is_open = any(isinstance(option, _ANYTHING) for option in present)
    kinds = None if is_open else frozenset().union(*(_KINDS.get(type(option), frozenset()) for option in present))
    exactly = None
    if len(present) == 1 and not isinstance(options[0], inspect.Metadata) and _is_free(present[0]):
        exactly = _EXACTLY.get(type(present[0]))
    has_default = field.default is not msgspec.NODEFAULT
    return FieldKind(
        name=field.name,
        column=field.encode_name,
        type=annotation,
        kinds=kinds,
        exactly=exactly,
        is_time=exactly == "integer" and is_time(annotation),
        takes_none=is_open or len(present) < len(options),
        is_required=field.required,
        default=field.default if has_default else None,
        has_plain_default=has_default and isinstance(field.default, _PLAIN),
    )


def _plain(info: inspect.Type) -> inspect.Type:
    return info.type if isinstance(info, inspect.Metadata) else info


def _is_free(info: inspect.Type) -> bool:
    """Whether a type has no limits, such as a least number or a pattern."""
    return all(getattr(info, name) is None for name in getattr(info, "__struct_fields__", ()))


def is_time(annotation: Any) -> bool:
    """Whether an annotation is `Time`, or takes it among others."""
    if get_origin(annotation) is Annotated:
        return TIME_MARK in annotation.__metadata__
    return any(is_time(option) for option in get_args(annotation))


def maker_of(event_type: Any, fields: Sequence[str]) -> Callable[..., list[Any]]:
    """A function from the columns of these fields to events; some 25 ns a field, twice that where names are needed.

    >>> from headway.types.schema import Event
    >>> class Click(Event):
    ...     user: str
    ...     cents: int = 0
    ...     page: str = "/"
    >>> maker_of(Click, ["page", "user"])(["/buy"], ["ann"])
    [Click(user='ann', cents=0, page='/buy')]
    """
    positional = [
        name
        for name, parameter in python.signature(event_type).parameters.items()
        if parameter.kind is not python.Parameter.KEYWORD_ONLY
    ]
    if list(fields) == positional[: len(fields)] and fields:
        return lambda *columns: list(map(event_type, *columns))
    # By names: a function is compiled, as `map` passes none.
    names = [f"_{number}" for number in range(len(fields))]
    given = ", ".join(f"{field}={name}" for field, name in zip(fields, names))
    made = eval(f"lambda {', '.join(names)}: made({given})", {"made": event_type})
    return lambda *columns: list(map(cast(Callable[..., Any], made), *columns))
