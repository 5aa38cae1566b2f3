"""What types tell about their values: which parts they are made of, and whether anybody can change them."""

from __future__ import annotations

from typing import Any, Final, Optional, get_origin

from msgspec import inspect

from headway.types.schema import Json

__all__ = ["ATOMS", "class_of", "is_immutable", "parts_are_immutable", "parts_of"]

ATOMS: Final = (
    inspect.NoneType,
    inspect.BoolType,
    inspect.IntType,
    inspect.FloatType,
    inspect.StrType,
    inspect.BytesType,
    inspect.DateTimeType,
    inspect.DateType,
    inspect.TimeType,
    inspect.TimeDeltaType,
    inspect.UUIDType,
    inspect.DecimalType,
    inspect.EnumType,
    inspect.LiteralType,
)
"""Types whose values have no parts and cannot be changed."""


def is_immutable(value_type: Any) -> bool:
    """Whether nobody can change a value of this type, nor anything in it.

    >>> is_immutable(tuple[int, str]), is_immutable(list[int]), is_immutable(Json)
    (True, False, False)
    """
    try:
        return parts_are_immutable(inspect.type_info(Any if value_type in (Json, dict) else value_type))
    except TypeError:
        return False


def parts_are_immutable(info: inspect.Type, outer: tuple[Any, ...] = ()) -> bool:
    """As `is_immutable`, for the description of a type; `outer` are those that it is a part of."""
    if isinstance(info, inspect.StructType):
        if not class_of(info).__struct_config__.frozen:
            return False
        if any(info is other for other in outer):
            return True  # It holds itself, and all else that it holds is looked at where it was met first.
    parts = parts_of(info, outer)
    return parts is not None and all(parts_are_immutable(part, (*outer, info)) for part in parts)


def class_of(info: inspect.StructType) -> Any:
    """The class that a struct type describes, also where it is one such as `Joined[Left, Right]`."""
    return get_origin(info.cls) or info.cls


def parts_of(info: inspect.Type, outer: tuple[Any, ...]) -> Optional[tuple[inspect.Type, ...]]:
    """The types that values of a type are made of, None where their number is not fixed: a struct may hold itself."""
    if isinstance(info, ATOMS):
        return ()
    if isinstance(info, inspect.UnionType):
        return info.types
    if isinstance(info, inspect.TupleType):
        return info.item_types
    if isinstance(info, inspect.StructType) and not any(info is other for other in outer):
        return tuple(field.type for field in info.fields)
    return None
