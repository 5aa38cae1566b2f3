"""Deadline: something started, and which of its possible ends came, in time or not."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cache
from typing import Any, Generic, Literal, Optional, Union

import msgspec
from typing_extensions import TypeVar

from headway.basics.times import Duration, duration_ms
from headway.errors import FlowError, UsageError
from headway.operators.base import Context, Operator, Timer
from headway.operators.conditions import Predicate, resolve
from headway.operators.options import positive_ms, reader, told_apart
from headway.types.schema import Event, State

__all__ = ["Deadline", "DeadlineResult", "Within"]

E = TypeVar("E", default=Any)

Within = Union[Duration, Callable[[Any], Duration]]
"""A duration, the name of a field that holds one, or a function of the start event that returns one."""


class DeadlineResult(Event, Generic[E]):
    """What `deadline` emits: how the wait that `start` began came to its end."""

    outcome: Literal["met", "missed"]
    start: E
    """The event that the duration counted from."""
    since: int
    """Event time of `start`, in epoch milliseconds."""
    due: int
    """Event time up to which an end was in time, in epoch milliseconds."""
    end: Optional[str] = None
    """The name of the end that came; None for a deadline that was missed."""
    ended_by: Optional[E] = None
    """The event that was the end; None for a deadline that was missed."""
    took_ms: Optional[int] = None
    """How long it took from `start` to the end; None for a deadline that was missed."""


@cache
def _state_of(event_type: Any) -> Any:
    """The state for events of one type: since when a key waits, and the event that it waits from."""
    return msgspec.defstruct(
        "DeadlineState",
        [("since", Optional[int], None), ("start", Optional[event_type], None)],
        bases=(State,),
        module=__name__,
        gc=False,
    )


class Deadline(Operator[E, Any, DeadlineResult[E]]):
    """Emits a `DeadlineResult` when one of `ends` follows `start`, or when none has come within a duration.

    `ends` names the possible ends: of several that an event is, the first counts. An end exactly at the due time
    is in time. An event that ends a wait and meets `start` too begins the next one. `emit` chooses the outcomes that
    are told. With `rearm` each further start begins the wait anew: the duration counts from the last start. Without
    it (the default) the first start counts, until it ends or fires.
    `within` may differ from start to start: the name of a field of the start event, or a function of it.
    Keeps one row and one timer for each key that waits, and nothing for the others.

    >>> from headway.operators.conditions import where
    >>> ends = {"paid": where(kind="paid"), "cancelled": where(kind="cancelled")}
    >>> Deadline(start=where(kind="order"), ends=ends, within="2d").sides
    {}
    """

    shares_values = True

    def __init__(
        self,
        *,
        start: Predicate[E],
        ends: Mapping[str, Predicate[E]],
        within: Within,
        emit: Literal["all", "met", "missed"] = "all",
        rearm: bool = False,
    ) -> None:
        if not isinstance(ends, Mapping) or not ends:
            msg = f'ends={ends!r} must name at least one end, such as ends={{"paid": where(kind="paid")}}'
            raise FlowError(msg)
        if emit not in ("all", "met", "missed"):
            msg = f'emit={emit!r} must be "all", "met" or "missed"'
            raise FlowError(msg)
        self.start = start
        self.ends = ends
        self.within = within
        self.rearm = rearm
        self._tells_met = emit != "missed"
        self._tells_missed = emit != "met"

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        self.output_type = DeadlineResult[event_type]
        self.state_type = _state_of(event_type)
        self._starts = resolve(self.start, event_type)
        self._ends = [(name, resolve(condition, event_type)) for name, condition in self.ends.items()]
        self._within_ms = _length_of(self.within, event_type)
        self.concerns = told_apart([self._starts, *(test for _, test in self._ends)])

    def on_event(self, state: Any, event: E, ctx: Context[DeadlineResult[E]], /) -> None:
        """End the wait, begin it, or begin it anew."""
        if state.since is not None:
            for name, test in self._ends:
                if test(event):
                    self._end(name, state, event, ctx)
                    break
        if (state.since is None or self.rearm) and self._starts(event):
            state.since, state.start = ctx.time, event
            ctx.timer("due", ctx.time + self._within_ms(event))

    def on_timer(self, state: Any, timer: Timer, ctx: Context[DeadlineResult[E]], /) -> None:
        """Nothing came in time; the key is then done."""
        if self._tells_missed:
            ctx.emit(DeadlineResult(outcome="missed", start=state.start, since=state.since, due=timer.at))
        ctx.forget()

    def _end(self, name: str, state: Any, event: E, ctx: Context[DeadlineResult[E]]) -> None:
        if self._tells_met:
            result = DeadlineResult(
                outcome="met",
                start=state.start,
                since=state.since,
                due=ctx.due("due") or 0,
                end=name,
                ended_by=event,
                took_ms=ctx.time - state.since,
            )
            ctx.emit(result)
        state.since = state.start = None
        ctx.cancel("due")


def _length_of(within: Within, event_type: Any) -> Callable[[Any], int]:
    """The function from a start event to how long its wait may take, in milliseconds."""
    if not callable(within) and not (isinstance(within, str) and within.isidentifier()):
        fixed_ms = positive_ms(within, "within")
        return lambda event: fixed_ms
    get, _ = reader(within, event_type, "deadline(within)")

    def length_ms(event: Any) -> int:
        length = get(event)
        try:
            if isinstance(length, (str, int, timedelta)):
                return duration_ms(length, what="within")
        except UsageError as error:
            raise ValueError(str(error)) from None
        msg = f"within gave {length!r} for this event, which is not a duration"
        raise TypeError(msg)

    return length_ms
