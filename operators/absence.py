"""Absence: something started, and what should have followed did not come in time."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Generic, Optional, Union

import msgspec
from typing_extensions import TypeVar

from headway.basics.times import Duration, duration_ms
from headway.operators.base import Context, Operator, Timer
from headway.operators.conditions import Predicate, resolve
from headway.operators.options import any_of, told_apart
from headway.types.schema import Event, State

__all__ = ["Absence", "Absent"]

E = TypeVar("E", default=Any)


class Absent(Event, Generic[E]):
    """What `absence` emits: the event that started the wait, since when, and when it ran out."""

    start: E
    """The event that the duration counted from."""
    since: int
    """Event time of `start`, in epoch milliseconds."""
    due: int
    """Event time at which the wait ran out, in epoch milliseconds."""


@cache
def _state_of(event_type: Any) -> Any:
    """The state for events of one type: since when a key waits, and the event that it waits from."""
    return msgspec.defstruct(
        "AbsenceState",
        [("since", Optional[int], None), ("start", Optional[event_type], None)],
        bases=(State,),
        module=__name__,
        gc=False,
    )


class Absence(Operator[E, Any, Absent[E]]):
    """Emits an `Absent` when `end` does not follow `start` within a duration.

    `end` is a condition or a list of them, of which any will do.
    An event that meets `end` ends the wait, even when it meets `start` too: it then begins the next one.
    An end exactly at the due time still counts. With `rearm` each further start begins the wait anew: the duration
    counts from the last start. Without it (the default) the first start counts, until it ends or fires.
    Keeps one row and one timer for each key that waits, and nothing for the others.

    >>> from headway.operators.conditions import where
    >>> Absence(start=where(kind="add"), end=where(kind="checkout"), within="1h").within_ms
    3600000
    """

    shares_values = True

    def __init__(
        self,
        *,
        start: Predicate[E],
        end: Union[Predicate[E], Sequence[Predicate[E]]],
        within: Duration,
        rearm: bool = False,
    ) -> None:
        self.within_ms = duration_ms(within, what="within")
        self.rearm = rearm
        self.start = start
        self.end = end

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        self.output_type = Absent[event_type]
        self.state_type = _state_of(event_type)
        self._starts = resolve(self.start, event_type)
        self._ends = any_of(self.end, event_type)
        self.concerns = told_apart([self._starts, self._ends])

    def on_event(self, state: Any, event: E, ctx: Context[Absent[E]], /) -> None:
        """End the wait, begin it, or begin it anew."""
        waits = state.since is not None
        # A start that begins the wait anew ends the former one as well: whether it meets `end` makes no difference.
        if waits and not self.rearm and not self._ends(event):
            return
        if self._starts(event):
            state.since = ctx.time
            state.start = event
            ctx.timer("end", ctx.time + self.within_ms)
        elif waits and (not self.rearm or self._ends(event)):
            state.since = state.start = None
            ctx.cancel("end")

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Absent[E]], /) -> None:
        """Report the wait that ran out; the key is then done."""
        ctx.emit(Absent(start=state.start, since=state.since, due=timer.at))
        ctx.forget()
