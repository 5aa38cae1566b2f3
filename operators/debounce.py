"""Debounce: the last event of a burst, once it is over."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Optional

import msgspec
from typing_extensions import TypeVar

from headway.basics.times import Duration, format_duration
from headway.errors import FlowError
from headway.operators.base import Context, Operator, Timer
from headway.operators.options import optional_ms, positive_ms
from headway.types.schema import State

__all__ = ["Debounce"]

E = TypeVar("E", default=Any)


@cache
def _state_of(event_type: Any) -> Any:
    """The state for events of one type: when the burst began, and its last event."""
    return msgspec.defstruct(
        "DebounceState",
        [("first_at", Optional[int], None), ("last", Optional[event_type], None)],
        bases=(State,),
        module=__name__,
        gc=False,
    )


class Debounce(Operator[E, Any, E]):
    """Emits the last event of a key when no other has followed it for a duration, at the time when that is so.

    An event exactly `quiet` after the last one still belongs to the burst. `max_wait` bounds the wait from a burst's
    first event: then its last event so far is emitted, and the next event begins another burst.
    Keeps one row and one timer for each key in a burst.

    >>> Debounce(quiet="5s", max_wait="1m").max_wait_ms
    60000
    """

    shares_values = True

    def __init__(self, *, quiet: Duration, max_wait: Optional[Duration] = None) -> None:
        self.quiet_ms = positive_ms(quiet, "debounce")
        self.max_wait_ms = optional_ms(max_wait, "max_wait")
        if self.max_wait_ms is not None and self.max_wait_ms < self.quiet_ms:
            msg = (
                f"max_wait {max_wait!r} is shorter than {format_duration(self.quiet_ms)}, "
                "the time that a burst must be quiet for: make it at least as long"
            )
            raise FlowError(msg)

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        self.output_type = event_type
        self.state_type = _state_of(event_type)

    def on_event(self, state: Any, event: E, ctx: Context[E], /) -> None:
        """Wait anew, with this event."""
        if state.first_at is None:
            state.first_at = ctx.time
        state.last = event
        due = ctx.time + self.quiet_ms
        ctx.timer("quiet", due if self.max_wait_ms is None else min(due, state.first_at + self.max_wait_ms))

    def on_timer(self, state: Any, timer: Timer, ctx: Context[E], /) -> None:
        """The burst is over."""
        ctx.emit(state.last)
        ctx.forget()
