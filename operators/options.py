"""Options that operators share: fields and functions of events, durations, numbers, several conditions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Optional, Union

import msgspec

from headway.basics.times import Duration, duration_ms
from headway.errors import FlowError, UsageError
from headway.operators.conditions import Condition, field_getter, is_columnar, one_of, resolve
from headway.types.schema import Json, field_names, returned_type, type_label, without_none

__all__ = ["By", "Value", "any_of", "optional_ms", "positive_int", "positive_ms", "reader", "told_apart", "value_of"]

Value = Union[str, Callable[[Any], Any]]
"""The name of a field, or a function of the event. Aggregates skip a value of None."""

By = Union[str, Sequence[str], Callable[[Any], Any]]
"""What events are compared by: a field, several fields, or a function of the event."""


def reader(value: Optional[Value], event_type: Any, what: str) -> tuple[Callable[[Any], Any], Any]:
    """A function from an event to its value, and the type of the values without None (`Any` where it is not known).

    None as `value` means the event itself. `what` names the aggregate in errors. Raises `FlowError` for a field that
    the type does not have, and for what is neither a name nor a function.
    """
    if value is None:
        return _itself, Any if event_type in (Json, dict) else event_type
    if isinstance(value, str):
        return _field_reader(value, event_type, what)
    if callable(value):
        return value, without_none(returned_type(value))
    msg = f"{what}({value!r}) needs the name of a field or a function of the event"
    raise FlowError(msg)


def _itself(event: Any) -> Any:
    return event


def _field_reader(name: str, event_type: Any, what: str) -> tuple[Callable[[Any], Any], Any]:
    fields = field_names(event_type)
    if fields is None:
        return field_getter(name, event_type), Any
    if name not in fields:
        msg = f"{what}({name!r}): {type_label(event_type)} has no field {name!r}, its fields are {', '.join(fields)}"
        raise FlowError(msg)
    types = {field.name: field.type for field in msgspec.structs.fields(event_type)}
    return field_getter(name, event_type), without_none(types[name])


def value_of(by: Optional[By], event_type: Any, what: str) -> Callable[[Any], Any]:
    """The function that `by` means for events of `event_type`; None means the event itself.

    Raises `FlowError` for a field that the type does not have, and for what is no selector at all.
    """
    if isinstance(by, (list, tuple)):
        if not by:
            msg = f"{what}({by!r}) needs at least one field"
            raise FlowError(msg)
        getters = [reader(name, event_type, what)[0] for name in by]
        return lambda event: [get(event) for get in getters]
    return reader(by, event_type, what)[0]  # type: ignore[arg-type]


def any_of(conditions: Union[Condition, Sequence[Condition]], event_type: Any) -> Callable[[Any], bool]:
    """The predicate that one condition means, or any of several."""
    if not isinstance(conditions, (list, tuple)):
        return resolve(conditions, event_type)  # type: ignore[arg-type]
    if not conditions:
        msg = "a list of conditions needs at least one of them"
        raise FlowError(msg)
    return one_of([resolve(condition, event_type) for condition in conditions], event_type)


def told_apart(tests: Sequence[Callable[[Any], bool]]) -> Optional[list[Callable[[Any], bool]]]:
    """`Operator.concerns` of an operator for which only events count that meet one of these tests.

    None where one of them is a function of the flow's: it would be called twice for each event.
    """
    return list(tests) if all(map(is_columnar, tests)) else None


def optional_ms(length: Optional[Duration], what: str) -> Optional[int]:
    """The length of a duration in milliseconds, at least 1, or None for none. Raises `FlowError`."""
    return None if length is None else positive_ms(length, what)


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
