"""Results of aggregates as a class that the author of a flow has declared, so that type checkers know its fields."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Optional, TypeVar, get_args, get_origin

import msgspec

from headway.errors import FlowError
from headway.types.schema import type_label
from headway.types.timefields import plain_type
from headway.types.values import options_of

__all__ = ["declared_result", "in_order_of"]

A = TypeVar("A")


def in_order_of(into: Any, aggregates: Mapping[str, A]) -> Mapping[str, A]:
    """The aggregates in the order of the fields of `into`; those that it has no field for come last.

    >>> from headway.types.schema import Event
    >>> class Spend(Event):
    ...     orders: int
    ...     cents: int
    >>> in_order_of(Spend, {"cents": "sum", "orders": "count"})
    {'orders': 'count', 'cents': 'sum'}
    """
    places = {name: place for place, name in enumerate(getattr(into, "__struct_fields__", ()))}
    return dict(sorted(aggregates.items(), key=lambda item: places.get(item[0], len(places))))


def declared_result(into: Any, base: type[msgspec.Struct], fields: list[tuple[str, Any]]) -> Any:
    """`into`, when it is a class derived from `base` whose further fields are `fields`, with types that hold them.

    Raises `FlowError` that names the field which differs. Costs nothing when the flow runs.
    """
    if not (isinstance(into, type) and issubclass(into, base)):
        msg = f"into={into!r} is not a class derived from hw.{base.__name__}"
        raise FlowError(msg)
    if any(parameter.kind is parameter.KEYWORD_ONLY for parameter in inspect.signature(into).parameters.values()):
        msg = f"into={into.__name__}: its fields must not be keyword-only (kw_only=True)"
        raise FlowError(msg)
    declared = {field.name: field.type for field in msgspec.structs.fields(into)}
    for name in base.__struct_fields__:
        del declared[name]
    given = dict(fields)
    for name in declared.keys() ^ given.keys():
        missing = f"has a field {name!r} that no aggregate gives" if name in declared else f"has no field {name!r}"
        msg = f"into={into.__name__} {missing}: it must have one for each aggregate, {', '.join(given)}"
        raise FlowError(msg)
    for name, wanted in declared.items():
        if not _holds(wanted, given[name]):
            msg = (
                f"into={into.__name__}: the field {name!r} is declared as {_label(wanted)}, "
                f"but the aggregate gives {_label(given[name])}"
            )
            raise FlowError(msg)
    return into


def _holds(wanted: Any, given: Any) -> bool:
    """Whether every value of a type is of the other one, also after it was stored.

    Neither `bool` as `int` nor `int` as `float`, nor a class as the one that it is derived from: they would come back
    as something else, or not at all.
    """
    wanted, given = plain_type(wanted), plain_type(given)
    if wanted is Any or given is Any or wanted == given:
        return True
    if len(options_of(given)) > 1:
        return all(_holds(wanted, option) for option in options_of(given))
    if len(options_of(wanted)) > 1:
        return any(_holds(option, given) for option in options_of(wanted))
    if wanted is get_origin(given):
        return True
    wanted_parts, given_parts = get_args(wanted), get_args(given)
    same = get_origin(wanted) is not None and get_origin(wanted) is get_origin(given)
    return same and len(wanted_parts) == len(given_parts) and all(map(_holds, wanted_parts, given_parts))


def _label(kind: Optional[Any]) -> str:
    return type_label(kind) if get_origin(kind) is None or len(options_of(kind)) > 1 else str(kind)
