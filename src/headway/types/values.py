"""Which types values may have, and how it is told whether a value is of its type.

What a flow emits must not depend on where a value has been: it may stay in the process, wait in RocksDB, cross to
another worker or be written as JSON, and must be the same value everywhere, in the same order. Handlers cannot see
which of these happened. So a type is accepted only if all its values survive all of it, and every other one is refused
where it is declared, with what to use instead:

* Accepted: JSON's types, `bytes`, `datetime`, `date`, `time`, `timedelta`, `Decimal`, `UUID`, enums of texts or of
  integers, `Literal`, lists, tuples, dicts, structs, dataclasses, named tuples, `TypedDict`, unions whose options can
  be told apart, `Any`.
* Refused: sets, for their order is another one in each process; `bytearray` and `memoryview`; classes that
  only Python knows, such as `Counter` or `deque`, since what comes back from storage would be of another class.

Some values of accepted types are still not what comes back. They are made so at the one place where they come in, or
refused there:

* Integers are those of MessagePack, -2**63 to 2**64 - 1. An instant is kept in UTC, in the years 1 to 9999. A record
  with another one becomes a dead letter; an operator that makes one has failed.
* An instant that is read is converted to UTC, whatever zone it was written in; fractions of seconds beyond microseconds
  are cut off.
* Python lets an `int` pass where a `float` is declared. In what is emitted it becomes a float, and so in the fields of
  a state; as a default it is refused.
* `Any` holds what MessagePack gives back without being told a type: JSON's values, `bytes`, instants. In what is
  emitted a tuple that is part of a value becomes a list, and others what JSON makes of them; a value that is a tuple
  itself is refused but at an output. In a state, which is not copied, all of these are refused.
* NaN and the infinities are kept, and written as `null`, since JSON has none. Zeros keep their sign.

`shape_of` looks at a type once, when the flow is declared, and gives a `Shape`, which is asked of each value.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache, partial
from types import UnionType
from typing import Annotated, Any, Final, NoReturn, Optional, Union, get_args, get_origin
from uuid import UUID

import msgspec
from msgspec import inspect

from headway.errors import FlowError
from headway.types.containers import DictShape, FieldsShape, FixedTupleShape, SequenceShape, TypedDictShape
from headway.types.logtypes import LOG_SHAPE, is_log, no_log
from headway.types.misfits import misfit_of, wants_float
from headway.types.shapes import (
    AnyShape,
    ClockShape,
    ExactShape,
    IntShape,
    LimitedShape,
    LiteralShape,
    MomentShape,
    Shape,
    TextShape,
    UnionShape,
)
from headway.types.typekinds import OBJECT

__all__ = ["ENCODED", "KEPT_FOR", "options_of", "shape_of"]

ENCODED: Final = Annotated[msgspec.Raw, msgspec.Meta(extra={"headway": "encoded"})]
"""Values that an operator of Headway has encoded itself, in MessagePack: for states only."""

KEPT_FOR: Final = "kept for"
"""A field of a state with `msgspec.Meta(extra={KEPT_FOR: text})` is read back for the same text only."""

_PLAIN: Final[dict[Any, type]] = {
    inspect.NoneType: type(None),
    inspect.BoolType: bool,
    inspect.FloatType: float,
    inspect.BytesType: bytes,
    inspect.DateType: date,
    inspect.TimeDeltaType: timedelta,
    inspect.DecimalType: Decimal,
    inspect.UUIDType: UUID,
}
"""Types all of whose values are the same everywhere."""

_REFUSED: Final[dict[str, str]] = {
    "SetType": "a set, whose order is another one in each process: use list, or dict[str, None]",
    "FrozenSetType": "a set, whose order is another one in each process: use list, tuple, or dict[str, None]",
    "ByteArrayType": "a bytearray, which comes back as bytes where no type is told: use bytes",
    "MemoryViewType": "a view of other bytes: use bytes",
    "RawType": "undecoded bytes of one encoding: use Any, or bytes",
    "ExtType": "an extension of MessagePack, which JSON does not have: use bytes",
    "FrozenDictType": "a frozen dict: use dict",
}
"""Types that are refused, by the names that msgspec has for their descriptions."""

_CUSTOM: Final = {"Counter": "dict", "OrderedDict": "dict", "defaultdict": "dict", "deque": "list", "complex": "tuple"}
_KEYS: Final = (
    *(kind for kind in _PLAIN if kind not in (inspect.NoneType, inspect.BoolType)),
    inspect.AnyType,
    inspect.StrType,
    inspect.IntType,
    inspect.DateTimeType,
    inspect.TimeType,
    inspect.EnumType,
    inspect.LiteralType,
)
"""What keys of dicts may be where JSON is written."""

_KNOWN_TYPES: Final = 500

_STORED_KEYS: Final = (inspect.NoneType, inspect.BoolType, inspect.TupleType, inspect.VarTupleType)
"""What they may be besides, where they are only stored."""


def shape_of(
    value_type: Any, what: str, *, encoded: bool = True, written: bool = False, has_logs: bool = False
) -> Shape:
    """What values of a type must look like. `what` names them in the message, such as `the state of 'carts'`.

    `encoded` says that values have been encoded before they are asked, so that text is known to have an encoding;
    `written`, that they are written as JSON; `has_logs`, that fields of its own may be logs. Some 0.2 ms for a type
    that is asked about for the first time, next to nothing afterwards. Raises `FlowError`, which names class, field and
    type, for values that do not survive, and for a default of another type.
    """
    try:
        return _known_shape(value_type, encoded, written, has_logs)
    except (FlowError, TypeError):  # It is refused, which is said with what it is; or cannot be hashed.
        return _built_shape(value_type, what, encoded, written, has_logs)


@lru_cache(_KNOWN_TYPES)
def _known_shape(value_type: Any, encoded: bool, written: bool, has_logs: bool) -> Shape:
    """Each key group asks for the same types: they are looked at once."""
    return _built_shape(value_type, "", encoded, written, has_logs)


def _built_shape(value_type: Any, what: str, encoded: bool, written: bool, has_logs: bool) -> Shape:
    try:
        info = inspect.type_info(Any if value_type is object else value_type)
    except (TypeError, NameError) as error:
        raise FlowError(_undescribed(value_type, what, error)) from None
    has_logs = has_logs and isinstance(info, inspect.StructType)
    builder = _Builder(what, info if has_logs else None, encoded=encoded, written=written)
    shape = builder.shape(info, _label(value_type))
    builder.check_defaults()
    return shape


def _undescribed(value_type: Any, what: str, error: Exception) -> str:
    if "union" not in str(error):
        return f"{what}: {_label(value_type)} is no type whose values can be stored: {error}"
    return (
        f"{what}: they cannot be told apart as bytes ({error}): map them into one Event class first, or give the "
        "classes tags (class A(hw.Event, tag=True))"
    )


def options_of(value_type: Any) -> tuple[Any, ...]:
    """The types that a union is made of; another type by itself.

    >>> options_of(Optional[int]), options_of(int)
    ((<class 'int'>, <class 'NoneType'>), (<class 'int'>,))
    """
    return get_args(value_type) if get_origin(value_type) in (Union, UnionType) else (value_type,)


class _Builder:
    """Builds the shape of one type; structs may hold themselves."""

    def __init__(self, what: str, state: Optional[inspect.Type], *, encoded: bool, written: bool) -> None:
        self._what, self._state = what, state
        self._encoded = encoded
        self._written = written
        self._made: list[tuple[inspect.Type, Shape]] = []
        self._defaults: list[tuple[str, Shape, Callable[[], Any]]] = []

    def shape(self, info: inspect.Type, path: str) -> Shape:
        """The shape of a described type, which stands at `path`, such as `Cart.items`."""
        if isinstance(info, inspect.Metadata):
            if info.extra == {"headway": "encoded"} and not self._written:
                return ExactShape("encoded", msgspec.Raw)
            return self.shape(info.type, path)
        for made, shape in self._made:
            if made is info:
                return shape
        limit = _limit(info)
        if limit is None:
            return self._unlimited(info, path)
        inner = self._unlimited(info, path)
        text, passes = limit
        return LimitedShape(f"{inner.expects} {text}", inner, passes)

    def _unlimited(self, info: Any, path: str) -> Shape:
        kind = type(info)
        if kind in _PLAIN:
            cls = _PLAIN[kind]
            return ExactShape("None" if cls is type(None) else cls.__name__, cls)
        if kind is inspect.StrType:
            return ExactShape("str", str) if self._encoded else TextShape("str")
        if kind is inspect.IntType:
            return IntShape("an int of 64 bits")
        if kind is inspect.AnyType:
            return AnyShape("a value of JSON, bytes, or a datetime in UTC")
        if kind is inspect.DateTimeType:
            return MomentShape("a datetime in UTC, or one without a zone")
        if kind is inspect.TimeType:
            return ClockShape("a time of day, without a zone or with an offset of whole minutes")
        if kind is inspect.LiteralType:
            return LiteralShape(f"one of {', '.join(map(repr, info.values))}", info.values)
        if kind is inspect.EnumType:
            if issubclass(info.cls, enum.Flag):
                self._refuse(path, info, "flags, whose combinations cannot be read back: use int, or a list of an Enum")
            return ExactShape(info.cls.__name__, info.cls)
        if kind is inspect.UnionType:
            options = tuple(self.shape(option, path) for option in info.types)
            return UnionShape(" or ".join(option.expects for option in options), options)
        return self._container(info, path)

    def _container(self, info: Any, path: str) -> Shape:
        kind = type(info)
        if kind is inspect.ListType:
            return SequenceShape("a list", list, self.shape(info.item_type, f"{path}[]"))
        if kind is inspect.VarTupleType:
            return SequenceShape("a tuple", tuple, self.shape(info.item_type, f"{path}[]"))
        if kind is inspect.TupleType:
            items = tuple(self.shape(item, f"{path}[{number}]") for number, item in enumerate(info.item_types))
            return FixedTupleShape(f"a tuple of {len(items)}", items)
        if kind is inspect.DictType:
            self._check_key(info.key_type, path)
            key = self.shape(info.key_type, f"{path} (its keys)")
            return DictShape("a dict", key, self.shape(info.value_type, f"{path}[]"))
        if kind is inspect.TypedDictType:
            return self._typed_dict(info)
        if kind in (inspect.StructType, inspect.DataclassType, inspect.NamedTupleType):
            return self._fields(info)
        if info == OBJECT:
            return AnyShape("a value of JSON, bytes, or a datetime in UTC")
        name = kind.__name__
        if name in _REFUSED:
            self._refuse(path, info, _REFUSED[name])
        instead = _CUSTOM.get(getattr(info.cls, "__name__", ""), "a struct (hw.State, hw.Event), or Any")
        self._refuse(path, info, no_log(info) or f"a class that is read back as something else: use {instead}")

    def _check_key(self, info: inspect.Type, path: str) -> None:
        if isinstance(info, inspect.Metadata):
            info = info.type
        for option in info.types if isinstance(info, inspect.UnionType) else (info,):
            if isinstance(option, _KEYS):
                continue
            if self._written or not isinstance(option, _STORED_KEYS):
                self._refuse(path, info, "no key of a dict that JSON has: use text, numbers, times, or an Enum")

    def _typed_dict(self, info: Any) -> Shape:
        name = info.cls.__name__
        shape = TypedDictShape(f"a dict as {name} says")
        self._made.append((info, shape))
        shape.shapes = {field.name: self.shape(field.type, f"{name}.{field.name}") for field in info.fields}
        shape.required = frozenset(field.name for field in info.fields if field.required)
        return shape

    def _fields(self, info: Any) -> Shape:
        cls = get_origin(info.cls) or info.cls
        name = cls.__name__
        is_struct = isinstance(info, inspect.StructType)
        shape = FieldsShape(name, cls, frozen=_is_frozen(info, cls), strays=isinstance(info, inspect.DataclassType))
        self._made.append((info, shape))
        if dataclasses.is_dataclass(cls):
            unset = {field.name for field in dataclasses.fields(cls) if not field.init}
            if unset:
                self._refuse(f"{name}.{min(unset)}", info, "a field with init=False, which is not read back")
        may_lack = _unset_fields(cls) if is_struct else set()
        shapes = []
        for field in info.fields:
            is_own_log = info is self._state and is_log(field.type)
            found = LOG_SHAPE if is_own_log else self.shape(field.type, f"{name}.{field.name}")
            self._note_default(f"{name}.{field.name}", field, found)
            if field.name in may_lack:
                found = UnionShape(found.expects, (found, ExactShape("UNSET", msgspec.UnsetType)))
            shapes.append(found)
        shape.fill(tuple(field.name for field in info.fields), tuple(shapes))
        return shape

    def _note_default(self, path: str, field: Any, shape: Shape) -> None:
        if field.default is not msgspec.NODEFAULT:
            default = field.default
            self._defaults.append((path, shape, lambda: default))
        elif field.default_factory is not msgspec.NODEFAULT:
            self._defaults.append((path, shape, field.default_factory))

    def check_defaults(self) -> None:
        """Raise `FlowError` for a default that is not of its field's type; called once all shapes are complete."""
        for path, shape, make in self._defaults:
            default = make()
            if not shape.fits(default, None):
                instead = f", {float(default)!r}" if type(default) is int and wants_float(shape) else ""
                msg = f"{self._what}: {misfit_of(shape, default, f'the default of {path}')}{instead}"
                raise FlowError(msg)

    def _refuse(self, path: str, info: inspect.Type, reason: str) -> NoReturn:
        cls = getattr(info, "cls", None)
        label = "" if cls is None or _label(cls) == path else f" ({_label(cls)})"
        msg = f"{self._what}: {path}{label} cannot be kept, sent and written as the same value: it is {reason}"
        raise FlowError(msg)


def _label(value_type: Any) -> str:
    return getattr(value_type, "__name__", None) or str(value_type)


def _is_frozen(info: Any, cls: Any) -> bool:
    if isinstance(info, inspect.NamedTupleType):
        return True
    if isinstance(info, inspect.StructType):
        return bool(cls.__struct_config__.frozen)
    return bool(getattr(getattr(cls, "__dataclass_params__", None), "frozen", False))


def _unset_fields(cls: Any) -> set[str]:
    """The fields of a struct that may have no value at all."""
    return {field.name for field in msgspec.structs.fields(cls) if msgspec.UnsetType in get_args(field.type)}


def _limit(info: Any) -> Optional[tuple[str, Callable[[Any], bool]]]:
    """What `msgspec.Meta` demands of values beyond their type: in words, and as a test."""
    tests: list[tuple[str, Callable[[Any], bool]]] = []
    given = {name: getattr(info, name, None) for name in _BOUNDS}
    for name, bound in given.items():
        if bound is not None:
            tests.append((f"{name}={bound!r}", partial(_BOUNDS[name], bound)))
    if not tests:
        return None
    text = ", ".join(text for text, _ in tests)
    return f"({text})", lambda value: all(passes(value) for _, passes in tests)


_BOUNDS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "gt": lambda bound, value: value > bound,
    "ge": lambda bound, value: value >= bound,
    "lt": lambda bound, value: value < bound,
    "le": lambda bound, value: value <= bound,
    "multiple_of": lambda bound, value: value % bound == 0,
    "min_length": lambda bound, value: len(value) >= bound,
    "max_length": lambda bound, value: len(value) <= bound,
    "pattern": lambda bound, value: re.search(bound, value) is not None,
    "tz": lambda bound, value: (value.tzinfo is not None) is bound,
}
