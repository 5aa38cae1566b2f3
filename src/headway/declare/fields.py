"""What a declared type says about the values of a stream before there are any: which fields can hold a key or a time.

A type that says nothing, such as `Json`, leaves everything possible. Where no value of a declared type could ever be a
key or a time, or where nothing could ever be decoded, the declaration itself is wrong, and is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Optional

from msgspec import inspect

from headway.errors import FlowError
from headway.formats.base import Format
from headway.types.schema import returned_type, type_label
from headway.types.values import options_of

__all__ = ["check_decodable", "check_key", "check_time"]

_KEY_IS: Final = "a key is text or an integer"
_TIME_IS: Final = "a time is epoch milliseconds (hw.Time), RFC 3339 text (str) or a datetime with a zone"
_OPEN: Final = (inspect.AnyType, inspect.RawType, inspect.CustomType)
"""Types that leave open what their values are."""
_WITH_FIELDS: Final = (inspect.StructType, inspect.DataclassType, inspect.TypedDictType, inspect.NamedTupleType)


def check_decodable(event_type: Any, form: Format, what: str) -> None:
    """Raise `FlowError`, beginning with `what`, for a type of which no value can be decoded from a format."""
    try:
        form.decoder(event_type)
    except (TypeError, NameError, ValueError) as error:
        named = "JSON" if form.name == "json" else form.name
        msg = f"{what}: {type_label(event_type)} cannot be decoded from {named}: {error}"
        raise FlowError(msg) from None


def check_key(key: Any, event_type: Any) -> None:
    """Raise `FlowError` for a field or a function that never gives a key, and for what is neither."""
    if not isinstance(key, str) and not callable(key):
        msg = f"key_by() needs the name of a field or a function of the event, not {key!r}"
        raise FlowError(msg)
    _check(key, event_type, f"key_by({_shown(key)})", _can_be_key, f"{_KEY_IS}: declare it so, or make one of it")


def check_time(time: Any, event_type: Any, source: str) -> None:
    """Raise `FlowError` for a field or a function that never gives a time."""
    _check(time, event_type, f"source {source!r}, time={_shown(time)}", _can_be_time, _TIME_IS)


def _shown(spec: Any) -> str:
    return repr(spec) if isinstance(spec, str) else getattr(spec, "__name__", repr(spec))


def _check(spec: Any, event_type: Any, what: str, fits: Callable[[inspect.Type], bool], wanted: str) -> None:
    if callable(spec):
        result = _described(returned_type(spec))
        if result is not None and not fits(result):
            msg = f"{what} returns {_name(result)}, and {wanted}"
            raise FlowError(msg)
        return
    for option in options_of(event_type):
        info = _described(option)
        if info is None or isinstance(info, (*_OPEN, inspect.NoneType)):
            continue
        label = type_label(option)
        found = _field(info, spec)
        if found is None:
            known = [field.name for field in info.fields] if isinstance(info, _WITH_FIELDS) else []
            fields = f"its fields are {', '.join(known)}" if known else "nor any other"
            msg = f"{what}: {label} has no field {spec!r}, {fields}"
            raise FlowError(msg)
        if not fits(found):
            msg = f"{what}: the field {spec!r} of {label} is of type {_name(found)}, and {wanted}"
            raise FlowError(msg)


def _described(value_type: Any) -> Optional[inspect.Type]:
    """What is known of a type; None where nothing is."""
    try:
        return inspect.type_info(value_type)
    except (TypeError, NameError, ValueError):
        return None


def _field(info: inspect.Type, name: str) -> Optional[inspect.Type]:
    if isinstance(info, inspect.DictType):
        return info.value_type
    if isinstance(info, _WITH_FIELDS):
        return next((field.type for field in info.fields if field.name == name), None)
    return None


def _can_be_key(info: inspect.Type) -> bool:
    if isinstance(info, inspect.UnionType):
        return any(map(_can_be_key, info.types))
    if isinstance(info, inspect.LiteralType):
        return any(type(value) in (str, int) for value in info.values)
    if isinstance(info, inspect.EnumType):
        return issubclass(info.cls, (str, int))
    return isinstance(_plain(info), (inspect.StrType, inspect.IntType, *_OPEN))


def _can_be_time(info: inspect.Type) -> bool:
    if isinstance(info, inspect.UnionType):
        return any(map(_can_be_time, info.types))
    if isinstance(info, inspect.DateTimeType):
        return info.tz is not False
    return _can_be_key(info) or isinstance(_plain(info), inspect.FloatType)


def _plain(info: inspect.Type) -> inspect.Type:
    """A type without what was noted about it."""
    return info.type if isinstance(info, inspect.Metadata) else info


def _name(info: inspect.Type) -> str:
    """What a type is called in Python.

    >>> _name(inspect.type_info(Optional[float])), _name(inspect.type_info(list[int]))
    ('float | None', 'list')
    """
    if isinstance(info, inspect.UnionType):
        return " | ".join(map(_name, info.types))
    cls = getattr(info, "cls", None)
    if cls is not None:
        return type_label(cls)
    return "None" if isinstance(info, inspect.NoneType) else type(info).__name__.removesuffix("Type").lower()
