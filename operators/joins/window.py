"""Window joins and cogroups: events of two streams that are in the same window."""

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, Optional, Union

from headway.errors import FlowError
from headway.operators.base import Context, Operator, Timer
from headway.operators.joins.results import (
    Cogrouped,
    How,
    Rows,
    WindowJoined,
    check_how,
    joined_type,
    sides_state,
)
from headway.operators.windows.windowers import Aligned, Session, Windower
from headway.types.schema import State

__all__ = ["Cogroup", "WindowJoin"]


class _Start(State):
    """When the session began."""

    start: Optional[int] = None


class Cogroup(Operator[Any, Any, Any]):
    """Emits a `Cogrouped` for each window of a key that has events of either side, at its last millisecond.

    Windows are aligned ones or sessions; a session is one of the events of both sides together.

    Keeps all events of the windows that are open, each once however many windows it is in. They are one row, stored
    whole with each change: keep what a window of one key holds below some hundred events. Nothing remains of a key
    once its windows are over.

    >>> from headway.operators.windows.windowers import tumbling
    >>> sorted(Cogroup(tumbling("1m")).inputs)
    ['right']
    """

    shares_values = True
    inputs = {"right": Any}

    def __init__(self, windower: Windower) -> None:
        self.windower = windower
        self._frames = _frames(windower)

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        right_type: Any = inputs["right"]
        self.inputs = {"right": right_type}
        self.output_type = Cogrouped[event_type, right_type]
        self.state_type = sides_state("WindowJoinState", event_type, right_type, _Start)

    def on_event(self, state: Any, event: Any, ctx: Context[Any], /) -> None:
        """Keep an event of the left side."""
        state.lefts.append((ctx.time, event))
        self._frames.extend(state, ctx)

    def on_right(self, state: Any, event: Any, ctx: Context[Any], /) -> None:
        """Keep an event of the right side."""
        state.rights.append((ctx.time, event))
        self._frames.extend(state, ctx)

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Any], /) -> None:
        """Emit the window that ends, and drop the events that are in no other."""
        end = timer.at + 1
        start = self._frames.start(state, end)
        # All that is kept is in the window that ends next: what was in windows before it alone is dropped.
        self._emit(start, end, _events(state.lefts), _events(state.rights), ctx)
        self._frames.close(state, end, ctx)

    def _emit(self, start: int, end: int, lefts: list[Any], rights: list[Any], ctx: Context[Any]) -> None:
        ctx.emit(Cogrouped(ctx.key, start, end, lefts, rights))


class WindowJoin(Cogroup):
    """Joins each left event with each right one of the same window: a `WindowJoined` at its last millisecond.

    In outer joins an event for which the window has none of the other side is emitted alone. Windows that overlap
    each emit their pairs. A window costs as much as it has pairs; state is that of `Cogroup`.

    >>> from headway.operators.windows.windowers import session
    >>> WindowJoin(session("30m"), how="left").bind(dict, right=dict).output_type.__origin__.__name__
    'WindowJoined'
    """

    def __init__(self, windower: Windower, *, how: How = "inner") -> None:
        super().__init__(windower)
        check_how(how)
        self.how = how
        self._left_outer = how in ("left", "full")
        self._right_outer = how in ("right", "full")

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        super()._bind(event_type, inputs)
        self.output_type = joined_type(WindowJoined, event_type, inputs["right"], self.how)

    def _emit(self, start: int, end: int, lefts: list[Any], rights: list[Any], ctx: Context[Any]) -> None:
        if lefts and rights:
            for left in lefts:
                for right in rights:
                    ctx.emit(WindowJoined(ctx.key, start, end, left, right))
        elif self._left_outer and lefts:
            for left in lefts:
                ctx.emit(WindowJoined(ctx.key, start, end, left, None))
        elif self._right_outer:
            for right in rights:
                ctx.emit(WindowJoined(ctx.key, start, end, None, right))


def _events(rows: Rows) -> list[Any]:
    return [event for _, event in rows]


class _AlignedFrames:
    """Says when the windows end that are the same for all keys. The timer `end` is that of the next one."""

    def __init__(self, windower: Aligned) -> None:
        self._windower = windower

    def extend(self, state: Any, ctx: Context[Any]) -> None:
        """An event has come."""
        pane = self._windower.pane(ctx.time)
        if ctx.due("end") is None:
            ctx.timer("end", self._windower.first_end(pane) - 1)
        if self._windower.overlapping:
            last = self._windower.last_end(pane) - 1
            if ctx.due("until") != last:
                # A drain lets time go to the last timer: this one, which the last window cancels, says how far.
                ctx.timer("until", last)

    def start(self, state: Any, end: int) -> int:
        """The start of the window that ends at `end`."""
        return self._windower.start(end)

    def close(self, state: Any, end: int, ctx: Context[Any]) -> None:
        """A window has ended."""
        for rows in (state.lefts, state.rights):
            del rows[: self._done(rows, end)]
        if state.lefts or state.rights:
            ctx.timer("end", self._windower.next_end(end) - 1)
        else:
            ctx.forget()

    def _done(self, rows: Rows, end: int) -> int:
        """How many events are in no window after the one that ends at `end`."""
        windower = self._windower
        return bisect_right(rows, end, key=lambda row: windower.last_end(windower.pane(row[0])))


class _SessionFrames:
    """Says when sessions end."""

    def __init__(self, windower: Session) -> None:
        self._gap_ms = windower.gap_ms
        self._max_length_ms = windower.max_length_ms

    def extend(self, state: Any, ctx: Context[Any]) -> None:
        """An event has come."""
        if state.start is None:
            state.start = ctx.time
        end = ctx.time + self._gap_ms
        if self._max_length_ms is not None:
            end = min(end, state.start + self._max_length_ms)
        ctx.timer("end", end - 1)

    def start(self, state: Any, end: int) -> int:
        """The time of the first event."""
        start: int = state.start
        return start

    def close(self, state: Any, end: int, ctx: Context[Any]) -> None:
        """The session has ended."""
        ctx.forget()


def _frames(windower: Windower) -> Union[_AlignedFrames, _SessionFrames]:
    if isinstance(windower, Session):
        return _SessionFrames(windower)
    if isinstance(windower, Aligned):
        return _AlignedFrames(windower)
    msg = (
        f"{windower!r} does not say which windows two streams have in common: use hw.tumbling, hw.sliding, "
        "hw.cumulative, hw.session, hw.daily, hw.weekly or hw.monthly"
    )
    raise FlowError(msg)
