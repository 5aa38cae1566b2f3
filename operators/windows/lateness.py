"""Late events of windows: how long they still count, and what time they are of."""

from collections.abc import Callable
from operator import attrgetter, itemgetter
from typing import Any, Union

from headway.basics.times import parse_time
from headway.errors import FlowError
from headway.types.schema import Json, field_names, type_label

__all__ = ["TOO_LATE", "LateTime", "time_reader"]

TOO_LATE = "too_late"
"""The side output of late events that change no window any more."""

LateTime = Union[str, Callable[[Any], Any]]
"""The field or function that gives an event's own time."""


def time_reader(late_time: LateTime, event_type: Any) -> Callable[[Any], int]:
    """The function that gives the time of a late event, in epoch milliseconds. Raises `FlowError` for what gives none.

    >>> time_reader("at", dict)({"at": "1970-01-01T00:00:01Z"})
    1000
    """
    if callable(late_time):
        function = late_time
        return lambda event: parse_time(function(event))
    if not isinstance(late_time, str):
        msg = f"late_time={late_time!r}: expected the name of a field or a function of the event"
        raise FlowError(msg)
    fields = field_names(event_type)
    if fields is not None and late_time not in fields:
        msg = f"late_time={late_time!r}: {type_label(event_type)} has no such field, its fields are {', '.join(fields)}"
        raise FlowError(msg)
    get: Callable[[Any], Any] = itemgetter(late_time) if event_type in (Json, dict) else attrgetter(late_time)
    return lambda event: parse_time(get(event))
