"""What the types of accumulators tell: whether they may grow."""

from __future__ import annotations

from typing import Any

from msgspec import inspect

from headway.operators.aggregates.base import Bundle
from headway.types.typeinfo import ATOMS, parts_of

__all__ = ["grows"]


def grows(bundle: Bundle) -> bool:
    """Whether an accumulator of the bundle takes more space the more is in it.

    Lists, dicts and sets do; but a list of floats that gives one number, as that of an exact sum, does not, and what
    may be anything is taken for a single value of an event.

    >>> from headway.operators.aggregates.basic import count
    >>> grows(Bundle({"events": count()}, dict))
    False
    """
    return any(
        _is_open(inspect.type_info(aggregate.accumulator_type), _is_atom(aggregate.result_type), ())
        for aggregate in bundle.aggregates.values()
    )


def _is_atom(result_type: Any) -> bool:
    info = inspect.type_info(result_type)
    options = info.types if isinstance(info, inspect.UnionType) else (info,)
    return all(isinstance(option, ATOMS) for option in options)


def _is_open(info: inspect.Type, gives_atom: bool, outer: tuple[Any, ...]) -> bool:
    if isinstance(info, inspect.ListType) and isinstance(info.item_type, inspect.FloatType) and gives_atom:
        return False
    if isinstance(info, inspect.AnyType):
        return False
    parts = parts_of(info, outer)
    return parts is None or any(_is_open(part, gives_atom, (*outer, info)) for part in parts)
