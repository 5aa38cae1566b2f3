"""What is told from a type itself, besides the shape that its values have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Optional, get_origin

from msgspec import inspect

from headway.types.shapes import Floats

__all__ = ["OBJECT", "can_repeat", "floats_of", "kinds_in"]

OBJECT: Final = inspect.CustomType(object)
"""How `object` is described."""


def kinds_in(value_type: Any) -> set[type[inspect.Type]]:
    """The kinds of all types that a type is made of, as msgspec describes them; none for one that it does not know."""
    try:
        info = inspect.type_info(value_type)
    except TypeError:
        return set()
    kinds: set[type[inspect.Type]] = set()
    met: list[inspect.Type] = []
    waiting = [info]
    while waiting:
        found = waiting.pop()
        if not any(found is other for other in met):
            met.append(found)
            kinds.add(inspect.AnyType if found == OBJECT else type(found))
            waiting += _inner(found)
    return kinds


def _inner(info: Any) -> Iterator[inspect.Type]:
    for name in ("types", "item_types"):
        yield from getattr(info, name, ())
    for name in ("item_type", "key_type", "value_type", "type"):
        if hasattr(info, name):
            yield getattr(info, name)
    for field in getattr(info, "fields", ()):
        yield field.type


def can_repeat(state_type: Any) -> bool:
    """Whether one list, dict or struct could stand in two places of a state: not where there is one at most.

    >>> can_repeat(dict[str, int]), can_repeat(dict[str, list[int]])
    (False, True)
    """
    return _containers(inspect.type_info(state_type), ()) > 2


def _containers(info: Any, outer: tuple[Any, ...]) -> int:
    """How many containers that can be changed a value holds: itself one, if it is; 3 for more than 2."""
    if isinstance(info, inspect.AnyType) or info == OBJECT or any(info is other for other in outer):
        return 3
    if isinstance(info, inspect.UnionType):
        return max(_containers(option, outer) for option in info.types)
    if isinstance(info, inspect.StructType) and (get_origin(info.cls) or info.cls).__struct_config__.frozen:
        return 0
    many = isinstance(info, (inspect.ListType, inspect.DictType, inspect.VarTupleType))
    inner = sum(_containers(part, (*outer, info)) for part in _inner(info))
    own = isinstance(
        info, (inspect.ListType, inspect.DictType, inspect.TypedDictType, inspect.StructType, inspect.DataclassType)
    )
    return min(3, own + inner * (2 if many else 1))


def floats_of(state_type: Any) -> Optional[Floats]:
    """What makes floats of the integers that handlers leave in a state's own fields; None where it has no floats."""
    info = inspect.type_info(state_type)
    if not isinstance(info, inspect.StructType) or state_type.__struct_config__.frozen:
        return None
    names = tuple(field.name for field in info.fields if _is_float(field.type))
    return Floats(names) if names else None


def _is_float(info: inspect.Type) -> bool:
    if isinstance(info, inspect.Metadata):
        return _is_float(info.type)
    kinds = {type(option) for option in (info.types if isinstance(info, inspect.UnionType) else (info,))}
    return inspect.FloatType in kinds and kinds <= {inspect.FloatType, inspect.NoneType, inspect.StrType}
