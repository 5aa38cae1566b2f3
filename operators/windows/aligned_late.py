"""Aligned windows that late events still change."""

from collections.abc import Mapping
from typing import Any, Optional, Union

from headway.basics.times import Duration, duration_ms
from headway.operators.aggregates.base import Aggregate, Bundle
from headway.operators.base import Context, Timer
from headway.operators.windows.aligned import AlignedWindow
from headway.operators.windows.early import Every
from headway.operators.windows.lateness import TOO_LATE, LateTime, time_reader
from headway.operators.windows.panes import KeptPanes, Panes
from headway.operators.windows.windowers import Aligned

__all__ = ["LateAlignedWindow"]


class LateAlignedWindow(AlignedWindow):
    """An `AlignedWindow` with a further input `late`: its events are added to windows that have ended not long ago.

    Each window that a late event changes after its end is emitted once more, with the next revision, at the time at
    which the event was found to be late. An event none of whose windows takes it any more goes to the side output
    `too_late`. Within a pane late events come after the others, which matters to aggregates that ask for an order.

    Keeps the panes of a key for the allowed lateness beyond the windows that they are in. Each window costs as many
    merges as it has panes with events, and so does each window that a late event changes.

    >>> from headway.operators.aggregates.basic import count
    >>> from headway.operators.windows.windowers import tumbling
    >>> sorted(LateAlignedWindow(tumbling("1m"), {"n": count()}, late_time="at", allowed_lateness="1h").inputs)
    ['late']
    """

    inputs = {"late": Any}
    sides = {TOO_LATE: Any}

    def __init__(
        self,
        windower: Aligned,
        aggregates: Mapping[str, Aggregate[Any, Any]],
        *,
        late_time: LateTime,
        allowed_lateness: Duration = 0,
        early: Union[Duration, Every, None] = None,
        into: Any = None,
    ) -> None:
        super().__init__(windower, aggregates, early=early, into=into)
        self.late_time = late_time
        self._allowed_ms = duration_ms(allowed_lateness, what="allowed_lateness")

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        super()._bind(event_type, inputs)
        self.inputs = {"late": event_type}
        self.sides = {TOO_LATE: event_type}
        self._time_of = time_reader(self.late_time, event_type)

    def _make_panes(self, bundle: Bundle) -> Panes:
        self._kept = KeptPanes(bundle)
        return self._kept

    def _prepare(self, windower: Aligned, bundle: Bundle) -> list[tuple[str, Any, Any]]:
        return [*super()._prepare(windower, bundle), ("revised", dict[int, int], {})]

    def on_event(self, state: Any, event: Any, ctx: Context[Any], /) -> None:
        """Add the event to its pane."""
        time_ms = ctx.time
        pane = self._pane_of(time_ms)
        if state.end is None:
            self._open(state, self.windower.first_end(pane), ctx)
        if self._add(state, pane, event, time_ms):
            self._keep(pane, ctx)
        if self._early is not None and self._early.is_due(state, state.end, ctx):
            self._emit_early(state, ctx)

    def on_late(self, state: Any, event: Any, ctx: Context[Any], /) -> None:
        """Add a late event to the windows that still take it; emit those that have ended."""
        # A time that has not come yet counts as now: panes are never ahead of time.
        time_ms = min(self._time_of(event), ctx.time)
        pane = self._pane_of(time_ms)
        first_alive = ctx.time + 1 - self._allowed_ms
        last_end = self.windower.last_end(pane)
        if last_end < first_alive:
            ctx.emit_to(TOO_LATE, event)
            return
        ends = self._ends(pane, last_end)
        ended = [end for end in ends if first_alive <= end <= ctx.time]
        revisions = [self._next_revision(state, end) for end in ended]
        if self._add(state, pane, event, time_ms):
            self._keep(pane, ctx)
        for end, revision in zip(ended, revisions):
            self._emit_again(state, end, revision, ctx)
        self._add_to_open(state, next((end for end in ends if end > ctx.time), None), ctx)

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Any], /) -> None:
        """Emit the window that ends, or what it has so far; or drop what no late event can change any more."""
        if timer.name == "until":
            ctx.forget()
        elif timer.name == "early":
            if timer.at < state.end - 1:
                self._emit_early(state, ctx)
        else:
            self._close(state, timer.at + 1, ctx)

    def _close(self, state: Any, end: int, ctx: Context[Any]) -> None:
        start = self.windower.start(end)
        revision = 0 if self._early is None else self._early.close(state, ctx)
        if revision:
            state.revised[end] = revision
        self._emit(self._kept.peek(state, start, end), start, end, revision, True, ctx)
        next_end = self.windower.next_end(end)
        state.end = None
        if self._kept.has(state, self.windower.start(next_end), next_end):
            self._open(state, next_end, ctx)
        self._drop(state, end)

    def _drop(self, state: Any, end: int) -> None:
        """Drop what lies too far back, as of the window that just ended."""
        first_alive = end - self._allowed_ms
        panes = state.panes
        while panes and self.windower.last_end(panes[0].start) < first_alive:
            del panes[0]
        if state.revised:
            state.revised = {end: revision for end, revision in state.revised.items() if end >= first_alive}

    def _ends(self, pane: int, last_end: int) -> list[int]:
        """The ends of all windows that have the pane."""
        ends = [self.windower.first_end(pane)]
        while ends[-1] < last_end:
            ends.append(self.windower.next_end(ends[-1]))
        return ends

    def _next_revision(self, state: Any, end: int) -> int:
        """The revision of the next result of a window that has ended: 0 when it had no events and so no result."""
        if not self._kept.has(state, self.windower.start(end), end):
            return 0
        revised: int = state.revised.get(end, 0)
        return revised + 1

    def _emit_again(self, state: Any, end: int, revision: int, ctx: Context[Any]) -> None:
        if revision:
            state.revised[end] = revision
        start = self.windower.start(end)
        self._emit(self._kept.peek(state, start, end), start, end, revision, True, ctx)

    def _add_to_open(self, state: Any, end: Optional[int], ctx: Context[Any]) -> None:
        """A late event came into the window that ends next for all keys, at `end`; or, with None, it did not."""
        if end is None:
            return
        if state.end is None:
            self._open(state, end, ctx)
        if self._early is not None and self._early.is_due(state, end, ctx):
            self._emit_early(state, ctx)

    def _open(self, state: Any, end: int, ctx: Context[Any]) -> None:
        state.end = end
        ctx.timer("end", end - 1)

    def _keep(self, pane: int, ctx: Context[Any]) -> None:
        """Let the state end when no late event can change the pane any more, or later if it has a newer one."""
        until = self.windower.last_end(pane) - 1 + self._allowed_ms
        due = ctx.due("until")
        if due is None or due < until:
            ctx.timer("until", until)
