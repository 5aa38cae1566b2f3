"""What is kept of the events of a partial match, where that is less than all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Optional

import msgspec

from headway.errors import FlowError
from headway.types.schema import Event, Json, field_names

__all__ = ["Keep", "keep_fields"]


class Keep:
    """The type of what is kept of an event, and the function that makes it."""

    __slots__ = ("of", "type")

    def __init__(self, kept_type: Any, of: Callable[[Any], Any]) -> None:
        self.type = kept_type
        self.of = of


def keep_fields(event_type: Any, names: Optional[Sequence[str]]) -> Keep:
    """Keep these fields of events of a type; all of the event for None.

    Raises `FlowError` for fields that such events do not have, or a type that does not tell.

    >>> keep_fields(dict, ["user"]).of({"user": "ann", "kind": "add"})
    {'user': 'ann'}
    """
    if names is None:
        return Keep(event_type, _all)
    if isinstance(names, str) or not names or not all(isinstance(name, str) for name in names):
        msg = f'keep={names!r}: expected the names of fields, such as keep=["user", "at"]'
        raise FlowError(msg)
    if event_type in (Json, dict):
        return Keep(event_type, lambda event: {name: event[name] for name in names if name in event})
    known = field_names(event_type)
    missing = [name for name in names if name not in (known or ())]
    if missing:
        has = f"its fields are {', '.join(known)}" if known else "its fields are not known"
        msg = f"keep: {event_type!r} has no field {missing[0]!r}, {has}"
        raise FlowError(msg)
    types = {field.name: field.type for field in msgspec.structs.fields(event_type)}
    label = getattr(event_type, "__name__", "Event")
    kept_type: Any = msgspec.defstruct(
        f"{label}Kept", [(name, types[name]) for name in names], bases=(Event,), module=__name__
    )
    read = attrgetter(*names)
    if len(names) == 1:
        return Keep(kept_type, lambda event: kept_type(read(event)))
    return Keep(kept_type, lambda event: kept_type(*read(event)))


def _all(event: Any) -> Any:
    return event
