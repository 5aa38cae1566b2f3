"""Window functions: the events of each window themselves, handed to a function of the user's."""

from collections.abc import Callable, Mapping
from typing import Any, Generic, Optional, TypeVar

from headway.operators.aggregates.base import Aggregate
from headway.operators.aggregates.written import Written
from headway.operators.base import Context, Operator
from headway.operators.windows.aligned import AlignedWindow, SingleWindow
from headway.operators.windows.counted import CountWindows
from headway.operators.windows.sessions import SessionWindow
from headway.operators.windows.windowers import Aligned, CountWindow, Session, Windower
from headway.types.schema import Event

__all__ = ["WindowContents", "WindowFunction", "window_function"]

E = TypeVar("E")
U = TypeVar("U")


class WindowContents(Event, Generic[E]):
    """What a window function is called with."""

    key: str
    """The key of the events."""
    start: int
    """Start of the window in epoch milliseconds; of a count window the time of its first event."""
    end: int
    """End of the window, which is not in it; of a count window the time of its last event."""
    events: list[E]
    """The events of the window, in the order of event time."""


WindowFunction = Callable[[WindowContents[Any]], Any]
"""Makes a value of the events of a window, or None to emit nothing."""


class _Events(Aggregate[list[Any], list[Any]]):
    """The events themselves."""

    shares_values = True

    def _bind(self, event_type: Any) -> None:
        self.accumulator_type = self.result_type = list[event_type]

    def written(self) -> Written:
        return Written(merge="[*{earlier}, *{later}]", result="{held}", merge_is_pure=True)

    def init(self) -> list[Any]:
        return []

    def add(self, accumulator: list[Any], event: Any, time_ms: int) -> list[Any]:
        accumulator.append(event)
        return accumulator

    def merge(self, earlier: list[Any], later: list[Any]) -> list[Any]:
        return [*earlier, *later]

    def result(self, accumulator: list[Any], at_ms: int) -> list[Any]:
        return accumulator


class _Applied:
    """Makes a window operator call a function instead of emitting results."""

    _function: WindowFunction
    _result_type: Any

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        made: Any = super()
        made._bind(event_type, inputs)
        self.output_type = self._result_type

    def arguments(self) -> dict[str, Any]:
        """See `Given.arguments`: with the function in the place of what collects the events for it."""
        made: Any = super()
        return {**made.arguments(), "aggregates": None, "function": self._function}

    def _emit(self, held: Any, start: int, end: int, revision: int, final: bool, ctx: Context[Any]) -> None:
        value = self._function(WindowContents(ctx.key, start, end, list(held.events)))
        if value is not None:
            ctx.emit(value)


class _AppliedAligned(_Applied, AlignedWindow):
    """Aligned windows that overlap."""


class _AppliedSingle(_Applied, SingleWindow):
    """Aligned windows that do not overlap."""


class _AppliedSession(_Applied, SessionWindow):
    """Session windows."""


class _AppliedCount(_Applied, CountWindows):
    """Count windows."""


def window_function(
    windower: Windower, function: Callable[[WindowContents[E]], Optional[U]], output_type: Any
) -> Operator[E, Any, U]:
    """An operator that collects the events of each window and emits what `function` makes of them at its end.

    Keeps all events of the windows that are open: state is bounded only by what comes in a window, is stored whole
    with each change, and should stay below some hundred events a key. Windows that overlap keep each event once.

    >>> from headway.operators.windows.windowers import tumbling
    >>> operator = window_function(tumbling("1m"), lambda window: len(window.events), int)
    >>> operator.bind(dict).output_type
    <class 'int'>
    """
    operator: Any
    aggregates = {"events": _Events()}
    if isinstance(windower, Aligned):
        kind = _AppliedAligned if windower.overlapping else _AppliedSingle
        operator = kind(windower, aggregates)
    elif isinstance(windower, Session):
        operator = _AppliedSession(windower, aggregates)
    else:
        assert isinstance(windower, CountWindow)
        operator = _AppliedCount(windower, aggregates)
    operator._result_type = output_type
    operator._function = function
    made: Operator[E, Any, U] = operator
    return made
