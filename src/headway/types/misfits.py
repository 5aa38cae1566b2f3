"""Words for values that are not of their type: which part of them it is, and what to write instead."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any, Optional

import msgspec

from headway.types.shapes import Shape, fits_64_bits

__all__ = ["innermost", "misfit_of", "set_in", "shown", "wants_float"]


def misfit_of(shape: Shape, value: Any, whole: str) -> str:
    """Why a value does not fit: the place, what is there and what should be. `whole` names the value.

    For values that `shape.fits(value, set())` refuses, after that: costs a walk through it.

    >>> from headway.types.values import shape_of
    >>> misfit_of(shape_of(dict[str, int], "x"), {"a": 1, "b": 1.5}, "state.items")
    "state.items['b'] is 1.5 (float), expected an int of 64 bits"
    """
    if shape.fits(value, None):
        return _repeated(shape, value, whole)
    place, part, expected = innermost(shape, value, whole)
    return (
        f"{place} is {shown(part):.200} ({type(part).__name__}), expected {expected.expects}{_advice(part, expected)}"
    )


def innermost(shape: Shape, value: Any, place: str) -> tuple[str, Any, Shape]:
    """The innermost part of a value that does not fit: where it is, what it is, and what it should be."""
    for label, part_shape, part in shape.parts(value) or ():
        if not part_shape.fits(part, None):
            return innermost(part_shape, part, place + label)
    return place, value, shape


def _advice(value: Any, shape: Shape) -> str:
    if isinstance(value, (set, frozenset)):
        return ": a set has no order that survives, keep a list, or a dict with None as values"
    if isinstance(value, tuple):
        return ": a tuple comes back as a list, write a list"
    if isinstance(value, datetime) and value.tzinfo is not None:
        return ": write .astimezone(timezone.utc)"
    if type(value) is int and wants_float(shape):
        return ": write float(...)"
    if type(value) is int and not fits_64_bits(value):
        return ": keep what may be greater as text"
    if isinstance(value, (datetime, date, time)):
        return ": declare the field's type, or keep text"
    return ""


def wants_float(shape: Shape) -> bool:
    """Whether a float would fit, as far as the words for the shape tell."""
    return "float" in re.findall(r"\w+", shape.expects)


def _repeated(shape: Shape, value: Any, whole: str) -> str:
    places: dict[int, str] = {}
    for place, part in _containers(shape, value, whole):
        first = places.setdefault(id(part), place)
        if first != place:
            return (
                f"{first} and {place} are one and the same {type(part).__name__}, which they will not be once they "
                f"have been stored and read: {shown(part):.200}; keep a copy in one of them"
            )
    return f"{whole} cannot be stored as it is: {shown(value):.200}"


def _containers(shape: Shape, value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """All containers that can be changed, each as often as it is met."""
    if _is_frozen(value):
        return  # What is in it counts as a value that nobody changes.
    if isinstance(value, (list, dict, msgspec.Struct)) or dataclasses.is_dataclass(value):
        yield place, value
    for label, part_shape, part in shape.parts(value) or ():
        yield from _containers(part_shape, part, place + label)


def shown(value: Any) -> str:
    """The value as Python shows it, also where it cannot, such as an object with a field that was deleted."""
    try:
        return repr(value)
    except AttributeError as error:
        return f"<{type(value).__name__}: {error}>"


def _is_frozen(value: Any) -> bool:
    if isinstance(value, msgspec.Struct):
        return value.__struct_config__.frozen
    if dataclasses.is_dataclass(value):
        return bool(getattr(value, "__dataclass_params__").frozen)  # noqa: B009 - type checkers do not know it.
    return isinstance(value, tuple) and hasattr(value, "_fields")


def set_in(value: Any) -> Optional[Any]:
    """A set somewhere in a value, None where there is none; for values that have been encoded, and so have an end."""
    if isinstance(value, (set, frozenset)):
        return value
    for part in _parts(value):
        found = set_in(part)
        if found is not None:
            return found
    return None


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    elif isinstance(value, (list, tuple)):
        yield from value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield getattr(value, name)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from vars(value).values() if hasattr(value, "__dict__") else _slots(value)


def _slots(value: Any) -> Iterator[Any]:
    for field in dataclasses.fields(value):
        yield getattr(value, field.name)
