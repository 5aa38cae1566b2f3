"""Late events of windows: how long they still count, and what time they are of."""

from collections.abc import Callable
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple, Optional, Union

from headway.errors import FlowError
from headway.schema import Json, field_names, type_label
from headway.times import Duration, duration_ms, parse_time

__all__ = ["TOO_LATE", "LateTime", "Lateness", "lateness_of"]

TOO_LATE = "too_late"
"""The side output of late events that change no window any more."""

LateTime = Union[str, Callable[[Any], Any]]
"""The field or function that gives an event's own time."""


class Lateness(NamedTuple):
    """How late events are taken."""

    allowed_ms: int
    """How long after its end a window still takes late events."""
    time_of: Callable[[Any], int]
    """The time of a late event, in epoch milliseconds."""


def lateness_of(allowed: Duration, late_time: Optional[LateTime], event_type: Any) -> Lateness:
    """What the options `allowed_lateness` and `late_time` mean. Raises `FlowError` where they mean nothing."""
    if late_time is None:
        msg = 'late= needs late_time=, the field or function that gives the time of an event, such as late_time="at"'
        raise FlowError(msg)
    return Lateness(duration_ms(allowed, what="allowed_lateness"), _time_reader(late_time, event_type))


def _time_reader(late_time: LateTime, event_type: Any) -> Callable[[Any], int]:
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
