"""Aligned windows: tumbling, sliding, cumulative and calendar windows."""

from collections.abc import Mapping
from typing import Any, Optional, Union

from headway.basics.times import Duration
from headway.operators.aggregates.base import Aggregate, Bundle
from headway.operators.base import Context, Operator, Timer
from headway.operators.windows.accumulators import grows
from headway.operators.windows.early import Every, early_fields, early_of
from headway.operators.windows.panes import GrowingPanes, KeptPanes, Panes, SlidingPanes, pane_type
from headway.operators.windows.results import bundle_of, result_maker, result_type, state_type
from headway.operators.windows.windowers import Aligned

__all__ = ["AlignedWindow", "SingleWindow"]


class _Windows(Operator[Any, Any, Any]):
    """What the operators of aligned windows share."""

    def __init__(
        self,
        windower: Aligned,
        aggregates: Mapping[str, Aggregate[Any, Any]],
        *,
        early: Union[Duration, Every, None] = None,
        into: Any = None,
    ) -> None:
        self.windower = windower
        self.aggregates = aggregates
        self.into = into
        self._early = early_of(early)
        self._pane_of = windower.pane

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        bundle = bundle_of(self.aggregates, event_type)
        self.shares_values = bundle.shares_values
        self.output_type = result_type(bundle.fields, self.into)
        self._result = result_maker(bundle, self.output_type)
        fields = self._prepare(self.windower, bundle)
        self.state_type = state_type("WindowState", [*fields, *([] if self._early is None else early_fields)])

    def _prepare(self, windower: Aligned, bundle: Bundle) -> list[tuple[str, Any, Any]]:
        """Get ready to keep what comes in windows; the fields of the state, as `msgspec.defstruct` takes them."""
        raise NotImplementedError

    def _emit(self, held: Any, start: int, end: int, revision: int, final: bool, ctx: Context[Any]) -> None:
        ctx.emit(self._result(held, min(ctx.time, end - 1), ctx.key, start, end, revision, final))


class SingleWindow(_Windows):
    """Windows of which a time is in one only: tumbling ones, and those of a calendar.

    Emits a `WindowResult` for each window of a key that has events, at the last millisecond of the window. An event
    costs what it takes to add it, and a window one timer. State: one row and one timer for each key whose window is
    open, with its start and the accumulators, and nothing for the others.

    With `early` there are results before the end too, marked `final=False`. A period is counted from the first event,
    and what nothing has changed in is not repeated.

    >>> from headway.operators.aggregates.basic import count
    >>> from headway.operators.windows.windowers import tumbling
    >>> operator = SingleWindow(tumbling("1h"), {"carts": count(kind="cart")}).bind(dict)
    >>> operator.output_type.__struct_fields__
    ('key', 'start', 'end', 'revision', 'final', 'carts')
    """

    def _prepare(self, windower: Aligned, bundle: Bundle) -> list[tuple[str, Any, Any]]:
        self._add = bundle.add
        self._end_of = windower.first_end
        self._new_pane = pane = pane_type(bundle)
        return [("held", Optional[pane], None)]

    def on_event(self, state: Any, event: Any, ctx: Context[Any], /) -> None:
        """Add the event to the window, which it may open."""
        time_ms = ctx.time
        held = state.held
        if held is None:
            start = self._pane_of(time_ms)
            held = state.held = self._new_pane(start)
            ctx.timer("end", self._end_of(start) - 1)
        self._add(held, event, time_ms)
        if self._early is not None and self._early.is_due(state, self._end_of(held.start), ctx):
            self._emit_early(state, ctx)

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Any], /) -> None:
        """Emit the window that ends, or what it has so far."""
        if timer.name == "end":
            revision = 0 if self._early is None else self._early.close(state, ctx)
            held = state.held
            self._emit(held, held.start, timer.at + 1, revision, True, ctx)
            ctx.forget()
        elif timer.at < self._end_of(state.held.start) - 1:
            self._emit_early(state, ctx)

    def _emit_early(self, state: Any, ctx: Context[Any]) -> None:
        assert self._early is not None
        held = state.held
        self._emit(held, held.start, self._end_of(held.start), self._early.done(state), False, ctx)


class AlignedWindow(_Windows):
    """Windows that overlap: sliding and cumulative ones.

    Emits a `WindowResult` for each window of a key that has events, at the last millisecond of the window.

    An event changes one pane, in however many windows it is. A window costs O(1) merges of accumulators on average;
    as many as it has panes where accumulators grow with what is in them. State: one row a key, with the panes of the
    last window length; nothing once the last window with events is over. Windows without events cost nothing.
    A key has two timers: for the window that ends next, and for the last one, so that a drain sees how far to go.

    With `early` there are results before the end too, marked `final=False`: only of the window that ends next.
    A period is counted from the first event, and what nothing has changed in is not repeated.

    >>> from headway.operators.aggregates.basic import count
    >>> from headway.operators.windows.windowers import sliding
    >>> operator = AlignedWindow(sliding("1h", every="5m"), {"carts": count(kind="cart")}).bind(dict)
    >>> operator.output_type.__struct_fields__
    ('key', 'start', 'end', 'revision', 'final', 'carts')
    """

    def _prepare(self, windower: Aligned, bundle: Bundle) -> list[tuple[str, Any, Any]]:
        self._panes = self._make_panes(bundle)
        self._add = self._panes.add
        self._pane_ms = windower.pane_ms
        self._start_of = windower.start
        self._next_end = windower.next_end
        return [("end", Optional[int], None), *self._panes.fields]

    def _make_panes(self, bundle: Bundle) -> Panes:
        if not self.windower.sliding:
            return GrowingPanes(bundle)
        return KeptPanes(bundle) if grows(bundle) else SlidingPanes(bundle)

    def on_event(self, state: Any, event: Any, ctx: Context[Any], /) -> None:
        """Add the event to its pane."""
        time_ms = ctx.time
        end = state.end
        if end is None:
            pane = self._pane_of(time_ms)
            state.end = end = self.windower.first_end(pane)
            ctx.timer("end", end - 1)
        else:
            # The window that ends next is not over yet: where each pane ends with a window, this is its last one.
            pane = self._pane_of(time_ms) if self._pane_ms is None else end - self._pane_ms
        if self._add(state, pane, event, time_ms):
            # There is no window after this: set now, it lets a drain see how far time has to go.
            ctx.timer("until", self.windower.last_end(pane) - 1)
        if self._early is not None and self._early.is_due(state, state.end, ctx):
            self._emit_early(state, ctx)

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Any], /) -> None:
        """Emit the window that ends, or what it has so far."""
        if self._early is not None and timer.name == "early":
            if timer.at < state.end - 1:
                self._emit_early(state, ctx)
            return
        end = timer.at + 1
        start, next_end = self._start_of(end), self._next_end(end)
        revision = 0 if self._early is None else self._early.close(state, ctx)
        self._emit(self._panes.close(state, start, self._start_of(next_end)), start, end, revision, True, ctx)
        if self._panes.is_empty(state):
            ctx.forget()
        else:
            state.end = next_end
            ctx.timer("end", next_end - 1)

    def _emit_early(self, state: Any, ctx: Context[Any]) -> None:
        assert self._early is not None
        start = self.windower.start(state.end)
        self._emit(self._panes.peek(state, start), start, state.end, self._early.done(state), False, ctx)
