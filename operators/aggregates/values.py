"""The values that aggregates take: which of them are numbers, and how they are told apart."""

from __future__ import annotations

import typing
from collections.abc import Callable
from decimal import Decimal
from types import UnionType
from typing import Annotated, Any, Literal, Union

import msgspec

from headway.errors import FlowError
from headway.types.schema import type_label

__all__ = ["hashable", "number_type", "restorer"]


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
