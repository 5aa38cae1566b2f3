"""Count windows: a number of events of a key."""

from collections.abc import Mapping
from typing import Any, Optional

from headway.operators.aggregates.base import Aggregate
from headway.operators.base import Context, Operator, Timer
from headway.operators.windows.accumulators import grows
from headway.operators.windows.panes import GrowingPanes, KeptPanes, Panes, SlidingPanes
from headway.operators.windows.results import bundle_of, result_maker, result_type, state_type
from headway.operators.windows.windowers import CountWindow, Sliding

__all__ = ["CountWindows"]


class _FirstTime(Aggregate[Optional[int], int]):
    """The time of the first event."""

    accumulator_type = Optional[int]
    result_type = int

    def init(self) -> Optional[int]:
        return None

    def add(self, accumulator: Optional[int], event: Any, time_ms: int) -> Optional[int]:
        return time_ms if accumulator is None else accumulator

    def merge(self, earlier: Optional[int], later: Optional[int]) -> Optional[int]:
        return earlier

    def result(self, accumulator: Optional[int], at_ms: int) -> int:
        assert accumulator is not None
        return accumulator


class CountWindows(Operator[Any, Any, Any]):
    """Emits a `WindowResult` at each so many events of a key, of the last so many; `start` and `end` are their times.

    An event costs O(1), and so does a result: panes are runs of events here. State: one row for each key that has had
    events, which stays; but without `every` a key has none between two windows, and with a `timeout` none after it.

    >>> from headway.operators.aggregates.basic import count
    >>> from headway.operators.windows.windowers import count_window
    >>> operator = CountWindows(count_window(10, every=2), {"carts": count(kind="cart")}).bind(dict)
    >>> operator.output_type.__struct_fields__
    ('key', 'start', 'end', 'revision', 'final', 'carts')
    """

    def __init__(
        self,
        windower: CountWindow,
        aggregates: Mapping[str, Aggregate[Any, Any]],
        *,
        into: Any = None,
    ) -> None:
        self.windower = windower
        self.aggregates = aggregates
        self.into = into
        # As sliding windows of time, with the number of an event in the place of its time.
        self._windows = Sliding(windower.size, windower.every, -windower.size % windower.every)
        self._every = windower.every
        self._tumbling = windower.size == windower.every
        self._timeout_ms = windower.timeout_ms

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        results = bundle_of(self.aggregates, event_type)
        self.output_type = result_type(results.fields, self.into)
        self._result = result_maker(results, self.output_type)
        self._bundle = bundle_of({"first_time_": _FirstTime(), **self.aggregates}, event_type)
        self.shares_values = self._bundle.shares_values
        self._panes = self._make_panes()
        self.state_type = state_type("CountWindowState", [("seen", int, 0), ("last", int, 0), *self._panes.fields])

    def _make_panes(self) -> Panes:
        if self._tumbling:
            return GrowingPanes(self._bundle)
        return KeptPanes(self._bundle) if grows(self._bundle) else SlidingPanes(self._bundle)

    def on_event(self, state: Any, event: Any, ctx: Context[Any], /) -> None:
        """Add the event; emit the window that it completes."""
        self._panes.add(state, self._windows.pane(state.seen), event, ctx.time)
        state.seen += 1
        state.last = ctx.time
        if state.seen % self._every == 0:
            keep_from = self._windows.start(state.seen + self._every)
            held = self._panes.close(state, self._windows.start(state.seen), keep_from)
            self._emit(held, held.first_time_, ctx.time, 0, True, ctx)
            if self._tumbling:
                ctx.forget()
        elif self._timeout_ms is not None and state.seen == 1:
            ctx.timer("end", ctx.time + self._timeout_ms)

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Any], /) -> None:
        """Emit the window that did not get full in time."""
        held = self._panes.peek(state, 0)
        self._emit(held, held.first_time_, state.last, 0, True, ctx)
        ctx.forget()

    def _emit(self, held: Any, start: int, end: int, revision: int, final: bool, ctx: Context[Any]) -> None:
        ctx.emit(self._result(held, ctx.time, ctx.key, start, end, revision, final))
