"""Where an aggregate takes its values from: a field of the event or a function of it, and of which type they are."""

from __future__ import annotations

import typing
from collections.abc import Callable
from decimal import Decimal
from operator import attrgetter
from types import UnionType
from typing import Annotated, Any, Literal, Optional, Union

import msgspec

from headway.errors import FlowError, UsageError
from headway.schema import Json, field_names, type_label
from headway.times import Duration, duration_ms

__all__ = ["Value", "hashable", "number_type", "positive_int", "positive_ms", "reader", "restorer", "returned_type"]

Value = Union[str, Callable[[Any], Any]]
"""The name of a field, or a function of the event. A value of None is skipped by every aggregate."""

Get = Callable[[Any], Any]


def reader(value: Optional[Value], event_type: Any, what: str) -> tuple[Get, Any]:
    """A function from an event to its value, and the type of the values without None (`Any` where it is not known).

    None as `value` means the event itself. `what` names the aggregate in errors. Raises `FlowError` for a field that
    the type does not have, and for what is neither a name nor a function.
    """
    if value is None:
        return _itself, Any if event_type in (Json, dict) else event_type
    if isinstance(value, str):
        return _field_reader(value, event_type, what)
    if callable(value):
        return value, _without_none(returned_type(value))
    msg = f"{what}({value!r}) needs the name of a field or a function of the event"
    raise FlowError(msg)


def _itself(event: Any) -> Any:
    return event


def _field_reader(name: str, event_type: Any, what: str) -> tuple[Get, Any]:
    fields = field_names(event_type)
    if fields is None:
        return (_key_getter(name) if event_type in (Json, dict) else _either_getter(name)), Any
    if name not in fields:
        msg = f"{what}({name!r}): {type_label(event_type)} has no field {name!r}, its fields are {', '.join(fields)}"
        raise FlowError(msg)
    types = {field.name: field.type for field in msgspec.structs.fields(event_type)}
    return attrgetter(name), _without_none(types[name])


def _key_getter(name: str) -> Get:
    return lambda event: event.get(name)


def _either_getter(name: str) -> Get:
    return lambda event: event.get(name) if isinstance(event, dict) else getattr(event, name, None)


def returned_type(function: Callable[..., Any]) -> Any:
    """The annotation of what a function returns, or `Any`; whatever the rest of its annotations are."""
    annotation = getattr(function, "__annotations__", {}).get("return", Any)
    holder = type("Holder", (), {"__annotations__": {"found": annotation}})
    try:
        return typing.get_type_hints(holder, globalns=getattr(function, "__globals__", {}))["found"]
    except (NameError, TypeError):
        return Any


def _without_none(annotation: Any) -> Any:
    if typing.get_origin(annotation) not in (Union, UnionType):
        return Any if annotation is type(None) else annotation
    options = tuple(option for option in typing.get_args(annotation) if option is not type(None))
    return Union[options]


def number_type(annotation: Any, value: Any, what: str) -> Any:
    """`int`, `float` or `Decimal` where all values are of it; `Any` where they may be mixed, or nothing is known.

    Raises `FlowError` when the values are certainly no numbers.
    """
    found = {_number_type(option) for option in _options(annotation)}
    if None in found:
        msg = f"{what}({value!r}) needs numbers, but {value!r} is of type {type_label(annotation)}"
        raise FlowError(msg)
    return found.pop() if len(found) == 1 else Any


def _options(annotation: Any) -> list[Any]:
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return _options(typing.get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [inner for option in typing.get_args(annotation) for inner in _options(option)]
    if origin is Literal:
        return [type(option) for option in typing.get_args(annotation)]
    return [annotation]


def _number_type(annotation: Any) -> Any:
    if annotation in (Any, object):
        return Any
    if not isinstance(annotation, type):
        return Any if typing.get_origin(annotation) is None else None
    if issubclass(annotation, int):
        return int
    for kind in (float, Decimal):
        if issubclass(annotation, kind):
            return kind
    return None


def hashable(value_type: Any) -> Callable[[Any], Any]:
    """A function from a value to a key that stands for it in dicts, and survives storage.

    Text and numbers stand for themselves, so 1 and 1.0 are the same value, as in SQL; true and 1 are not the same.
    What else MessagePack can hold stands as its bytes. NaN has no key: the function returns None.
    """
    return _same if value_type in (str, int) else _key_of


def _same(value: Any) -> Any:
    return value


def _key_of(value: Any) -> Any:
    kind = type(value)
    if kind is str or kind is int:
        return value
    if kind is float:
        return value if value == value else None  # noqa: PLR0124 - NaN is not equal to itself
    return msgspec.msgpack.encode(value, order="deterministic")


def restorer(value_type: Any) -> Callable[[Any], Any]:
    """The way back from a key of `hashable` to the value."""
    if value_type in (str, int):
        return _same
    decode = msgspec.msgpack.Decoder(value_type).decode

    def restore(key: Any) -> Any:
        return decode(key) if type(key) is bytes else key

    return restore


def positive_ms(length: Duration, what: str) -> int:
    """The length of a duration in milliseconds, at least 1. Raises `FlowError` that names the option."""
    try:
        length_ms = duration_ms(length, what=what)
    except UsageError as error:
        raise FlowError(str(error)) from None
    if length_ms == 0:
        msg = f'{what} {length!r} is no time at all: write a duration such as "1h" or "30s"'
        raise FlowError(msg)
    return length_ms


def positive_int(value: Any, what: str) -> int:
    """`value`, when it is an integer of at least 1. Raises `FlowError` that names the option."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        msg = f"{what}={value!r} must be an integer of at least 1"
        raise FlowError(msg)
    return value
