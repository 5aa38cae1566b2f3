"""Session windows: events that follow each other closely."""

from collections.abc import Mapping
from typing import Any, Optional, Union

from headway.basics.times import Duration
from headway.operators.aggregates.base import Aggregate
from headway.operators.base import Context, Operator, Timer
from headway.operators.windows.early import Every, early_fields, early_of
from headway.operators.windows.results import bundle_of, result_maker, result_type, state_type
from headway.operators.windows.windowers import Session

__all__ = ["SessionWindow"]


class SessionWindow(Operator[Any, Any, Any]):
    """Emits a `WindowResult` for each session of a key: `end` is a gap after its last event.

    An event costs O(1), and so does a session: its timer is only put off. State: one row and one timer for each key
    whose session is open, and nothing for the others. With `early` there are results before the end too, whose `end`
    is the one that is expected so far: it is `start` that says which session it is.

    >>> from headway.operators.aggregates.basic import count
    >>> from headway.operators.windows.windowers import session
    >>> operator = SessionWindow(session("30m"), {"pages": count()}).bind(dict)
    >>> operator.output_type.__struct_fields__
    ('key', 'start', 'end', 'revision', 'final', 'pages')
    """

    def __init__(
        self,
        windower: Session,
        aggregates: Mapping[str, Aggregate[Any, Any]],
        *,
        early: Union[Duration, Every, None] = None,
        into: Any = None,
    ) -> None:
        self.windower = windower
        self.aggregates = aggregates
        self.into = into
        self._early = early_of(early)
        self._gap_ms = windower.gap_ms
        self._max_length_ms = windower.max_length_ms

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        self._bundle = bundle_of(self.aggregates, event_type)
        self._add = self._bundle.add
        self.shares_values = self._bundle.shares_values
        self.output_type = result_type(self._bundle.fields, self.into)
        self._result = result_maker(self._bundle, self.output_type)
        self.state_type = state_type("SessionState", self._fields())

    def _fields(self) -> list[tuple[str, Any, Any]]:
        early = [] if self._early is None else early_fields
        open_fields: list[tuple[str, Any, Any]] = [
            ("start", Optional[int], None),
            ("last", int, 0),
            ("held", Optional[self._bundle.accumulator_type], None),
        ]
        return [*open_fields, *early]

    def on_event(self, state: Any, event: Any, ctx: Context[Any], /) -> None:
        """Begin a session, or go on with it."""
        time_ms = ctx.time
        if state.start is None:
            state.start = time_ms
            state.held = self._bundle.init()
        state.last = time_ms
        self._add(state.held, event, time_ms)
        end = time_ms + self._gap_ms if self._max_length_ms is None else self._end(state)
        ctx.timer("end", end - 1)
        if self._early is not None and self._early.is_due(state, end, ctx):
            self._emit_open(state, self._early.done(state), False, ctx)

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Any], /) -> None:
        """Emit the session, or what it has so far."""
        if timer.name == "end":
            revision = 0 if self._early is None else self._early.close(state, ctx)
            self._emit_open(state, revision, True, ctx)
            self._done(state, ctx)
        elif self._early is not None and timer.at < self._end(state) - 1:
            self._emit_open(state, self._early.done(state), False, ctx)

    def _end(self, state: Any) -> int:
        end: int = state.last + self._gap_ms
        return end if self._max_length_ms is None else min(end, state.start + self._max_length_ms)

    def _done(self, state: Any, ctx: Context[Any]) -> None:
        """The session has ended."""
        ctx.forget()

    def _emit_open(self, state: Any, revision: int, final: bool, ctx: Context[Any]) -> None:
        self._emit(state.held, state.start, self._end(state), revision, final, ctx)

    def _emit(self, held: Any, start: int, end: int, revision: int, final: bool, ctx: Context[Any]) -> None:
        ctx.emit(self._result(held, min(ctx.time, end - 1), ctx.key, start, end, revision, final))
