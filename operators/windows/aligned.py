"""Aligned windows: tumbling, sliding, cumulative and calendar windows, on panes."""

from collections.abc import Mapping
from typing import Any, Optional, Union

from headway.operators.aggregates.base import Aggregate, Bundle
from headway.operators.base import Context, Operator, Timer
from headway.operators.windows.accumulators import grows
from headway.operators.windows.early import Every, early_fields, early_of
from headway.operators.windows.panes import GrowingPanes, KeptPanes, Panes, SlidingPanes
from headway.operators.windows.results import bundle_of, result_type, state_type
from headway.operators.windows.windowers import Aligned
from headway.times import Duration

__all__ = ["AlignedWindow"]


class AlignedWindow(Operator[Any, Any, Any]):
    """Emits a `WindowResult` for each window of a key that has events, at the last millisecond of the window.

    An event changes one pane, in however many windows it is. A window costs O(1) merges of accumulators on average;
    as many as it has panes where accumulators grow with what is in them. State: one row a key, with the panes of the
    last window length; nothing once the last window with events is over. Windows without events cost nothing.

    With `early` there are results before the end too, marked `final=False`: of windows that overlap, only of the one
    that ends next. A period is counted from the first event, and what nothing has changed in is not repeated.

    >>> from headway.operators.aggregates.basic import count
    >>> from headway.operators.windows.windowers import sliding
    >>> operator = AlignedWindow(dict, sliding("1h", every="5m"), {"carts": count(kind="cart")})
    >>> operator.output_type.__struct_fields__
    ('start', 'end', 'revision', 'final', 'carts')
    """

    def __init__(
        self,
        event_type: Any,
        windower: Aligned,
        aggregates: Mapping[str, Aggregate[Any, Any]],
        *,
        early: Union[Duration, Every, None] = None,
    ) -> None:
        self.event_type = event_type
        self.windower = windower
        self._bundle = bundle_of(aggregates, event_type)
        self._early = early_of(early)
        self._panes = self._make_panes(self._bundle, windower)
        self._overlapping = windower.overlapping
        self._pane_of = windower.pane
        self._add = self._panes.add
        self.output_type = result_type(self._bundle.fields)
        self.state_type = state_type("WindowState", self._fields())

    def _make_panes(self, bundle: Bundle, windower: Aligned) -> Panes:
        if not windower.sliding:
            return GrowingPanes(bundle)
        return KeptPanes(bundle) if grows(bundle) else SlidingPanes(bundle)

    def _fields(self) -> list[tuple[str, Any, Any]]:
        early = [] if self._early is None else early_fields
        return [("end", Optional[int], None), *self._panes.fields, *early]

    def on_event(self, state: Any, event: Any, ctx: Context[Any], /) -> None:
        """Add the event to its pane."""
        time_ms = ctx.time
        end = state.end
        if end is None:
            pane = self._pane_of(time_ms)
            state.end = end = self.windower.first_end(pane)
            ctx.timer("end", end - 1)
        else:
            # Where windows do not overlap, the one that is open is the one.
            pane = self._pane_of(time_ms) if self._overlapping else state.pane
        if self._add(state, pane, event, time_ms) and self._overlapping:
            # There is no window after this: set now, it lets a drain see how far time has to go.
            ctx.timer("until", self.windower.last_end(pane) - 1)
        if self._early is not None and self._early.is_due(state, state.end, ctx):
            self._emit_early(state, ctx)

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Any], /) -> None:
        """Emit the window that ends, or what it has so far."""
        if timer.name == "early":
            if timer.at < state.end - 1:
                self._emit_early(state, ctx)
            return
        end = timer.at + 1
        start, revision = self.windower.start(end), 0
        if self._early is not None:
            revision = self._early.close(state, ctx)
        if not self._overlapping:
            self._emit(self._panes.peek(state, start), start, end, revision, True, ctx)
            ctx.forget()
            return
        next_end = self.windower.next_end(end)
        self._emit(self._panes.close(state, start, self.windower.start(next_end)), start, end, revision, True, ctx)
        if self._panes.is_empty(state):
            ctx.forget()
        else:
            state.end = next_end
            ctx.timer("end", next_end - 1)

    def _emit_early(self, state: Any, ctx: Context[Any]) -> None:
        assert self._early is not None
        start = self.windower.start(state.end)
        self._emit(self._panes.peek(state, start), start, state.end, self._early.done(state), False, ctx)

    def _emit(self, accumulators: Any, start: int, end: int, revision: int, final: bool, ctx: Context[Any]) -> None:
        results = self._bundle.results(accumulators, min(ctx.time, end - 1))
        ctx.emit(self.output_type(start, end, revision, final, *results.values()))
