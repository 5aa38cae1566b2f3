"""Session windows that late events still change."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Optional, Union

import msgspec

from headway.basics.times import Duration, duration_ms
from headway.errors import FlowError
from headway.operators.aggregates.base import Aggregate
from headway.operators.base import Context, Timer
from headway.operators.windows.early import Every
from headway.operators.windows.lateness import TOO_LATE, LateTime, time_reader
from headway.operators.windows.sessions import SessionWindow
from headway.operators.windows.windowers import Session
from headway.types.schema import State

__all__ = ["REPLACED", "LateSessionWindow"]

REPLACED = "replaced"
"""The side output of results that no longer hold, since their sessions became parts of others."""


@cache
def _span_type(accumulator_type: Any) -> Any:
    """A session: of which events, which result comes next, and whether a result has gone out."""
    return msgspec.defstruct(
        "Span",
        [("start", int, 0), ("last", int, 0), ("held", Optional[accumulator_type], None), ("revision", int, 0)],
        bases=(State,),
        module=__name__,
        gc=False,
        array_like=True,
    )


class LateSessionWindow(SessionWindow):
    """A `SessionWindow` with a further input `late`: its events extend or join sessions that ended not long ago.

    A session that a late event changes after its end is emitted once more, at the time at which the event was found
    to be late: with the next revision if its start is the same. Where its start became earlier, or two became one,
    the sessions that are no more go to the side output `replaced`, as they were, with their next revision. An event
    that is in no session that still takes it, and whose own would have ended too long ago, goes to `too_late`.

    Keeps the sessions of a key for the allowed lateness beyond their ends.

    >>> from headway.operators.aggregates.basic import count
    >>> from headway.operators.windows.windowers import session
    >>> sorted(LateSessionWindow(session("30m"), {"pages": count()}, late_time="at", allowed_lateness="1h").sides)
    ['replaced', 'too_late']
    """

    inputs = {"late": Any}
    sides = {TOO_LATE: Any, REPLACED: Any}

    def __init__(
        self,
        windower: Session,
        aggregates: Mapping[str, Aggregate[Any, Any]],
        *,
        late_time: LateTime,
        allowed_lateness: Duration = 0,
        early: Union[Duration, Every, None] = None,
        into: Any = None,
    ) -> None:
        if windower.max_length_ms is not None:
            msg = "sessions with max_length take no late events: leave out late=, or max_length"
            raise FlowError(msg)
        super().__init__(windower, aggregates, early=early, into=into)
        self.late_time = late_time
        self._allowed_ms = duration_ms(allowed_lateness, what="allowed_lateness")

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        super()._bind(event_type, inputs)
        self.inputs = {"late": event_type}
        self.sides = {TOO_LATE: event_type, REPLACED: self.output_type}
        self._time_of = time_reader(self.late_time, event_type)

    def _fields(self) -> list[tuple[str, Any, Any]]:
        span: Any = _span_type(self._bundle.accumulator_type)
        self._span = span
        fields = [field for field in super()._fields() if field[0] != "revision"]
        # `ended` holds the sessions that are over, by start; `revision` is that of the next result of the open one.
        return [*fields, ("revision", int, 0), ("ended", list[span], msgspec.field(default_factory=list))]

    def on_event(self, state: Any, event: Any, ctx: Context[Any], /) -> None:
        """Begin a session, or go on with it."""
        super().on_event(state, event, ctx)
        ctx.timer("until", self._end(state) - 1 + self._allowed_ms)

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Any], /) -> None:
        """Emit the session, or what it has so far; or drop those that no late event can change any more."""
        if timer.name == "until":
            ctx.forget()
        elif timer.name == "end":
            self._close(state, ctx)
        else:
            super().on_timer(state, timer, ctx)

    def on_late(self, state: Any, event: Any, ctx: Context[Any], /) -> None:
        """Put a late event into the sessions that are less than a gap away from it, which become one."""
        # A time that has not come yet counts as now: sessions are never ahead of time.
        time_ms = min(self._time_of(event), ctx.time)
        self._drop(state, ctx.time)
        near = [span for span in state.ended if span.start - self._gap_ms < time_ms < span.last + self._gap_ms]
        joins_open = state.start is not None and state.start - self._gap_ms < time_ms
        end = time_ms + self._gap_ms
        if not near and not joins_open and end - 1 + self._allowed_ms < ctx.time:
            ctx.emit_to(TOO_LATE, event)
            return
        state.ended = [span for span in state.ended if span not in near]
        if joins_open:
            near.append(self._span(state.start, state.last, state.held, state.revision))
        merged = self._merged(near, event, time_ms, ctx)
        if merged.last + self._gap_ms > ctx.time:
            self._reopen(state, merged, ctx)
        else:
            self._emit_span(merged, ctx)
            self._put(state, merged)
            self._keep(merged, ctx)

    def _merged(self, near: list[Any], event: Any, time_ms: int, ctx: Context[Any]) -> Any:
        """One session of some that are near a late event, in their order, and the event; reports those replaced."""
        start = min([time_ms, *(span.start for span in near)])
        for span in near:
            if span.start != start and span.revision:
                ctx.emit_to(REPLACED, self._replaced(span, span.last + self._gap_ms, ctx))
        if not near or near[0].start > time_ms:
            near = [self._span(time_ms, time_ms, self._bundle.init()), *near]
        first = near[0]
        held = first.held
        self._add(held, event, time_ms)
        for span in near[1:]:
            held = self._bundle.merge(held, span.held)
        last = max(time_ms, near[-1].last)
        return self._span(start, last, held, first.revision)

    def _reopen(self, state: Any, merged: Any, ctx: Context[Any]) -> None:
        """Make a session the one that is open."""
        state.start, state.last, state.held, state.revision = merged.start, merged.last, merged.held, merged.revision
        ctx.timer("end", self._end(state) - 1)
        self._keep(merged, ctx)
        if self._early is not None and self._early.is_due(state, self._end(state), ctx):
            self._emit_open(state, self._early.done(state), False, ctx)

    def _close(self, state: Any, ctx: Context[Any]) -> None:
        revision = state.revision
        if self._early is not None:
            self._early.close(state, ctx)
        span = self._span(state.start, state.last, state.held, revision)
        state.start, state.last, state.held, state.revision = None, 0, None, 0
        self._emit_span(span, ctx)
        self._drop(state, ctx.time)
        self._put(state, span)

    def _emit_span(self, span: Any, ctx: Context[Any]) -> None:
        end = span.last + self._gap_ms
        self._emit(span.held, span.start, end, span.revision, True, ctx)
        span.revision += 1

    def _replaced(self, span: Any, end: int, ctx: Context[Any]) -> Any:
        return self._result(span.held, min(ctx.time, end - 1), ctx.key, span.start, end, span.revision, True)

    def _put(self, state: Any, span: Any) -> None:
        """Put a session among those that have ended."""
        index = sum(other.start < span.start for other in state.ended)
        state.ended.insert(index, span)

    def _keep(self, span: Any, ctx: Context[Any]) -> None:
        """Let the state last for as long as late events may change a session, or longer if another asks for it."""
        until = span.last + self._gap_ms - 1 + self._allowed_ms
        due = ctx.due("until")
        if due is None or due < until:
            ctx.timer("until", until)

    def _drop(self, state: Any, time_ms: int) -> None:
        """Drop the sessions that late events at `time_ms` cannot change any more."""
        ended = state.ended
        while ended and ended[0].last + self._gap_ms - 1 + self._allowed_ms < time_ms:
            del ended[0]
