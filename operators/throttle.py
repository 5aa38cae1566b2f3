"""Throttle: of the events of a period, only the first, the last, or both."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, Optional

import msgspec
from typing_extensions import TypeVar

from headway.basics.times import Duration
from headway.errors import FlowError
from headway.operators.base import Context, Operator, Timer
from headway.operators.options import positive_ms
from headway.types.schema import State

__all__ = ["Throttle"]

E = TypeVar("E", default=Any)


@cache
def _state_of(event_type: Any) -> Any:
    """The state for events of one type: whether a period runs, and what is to be emitted at its end."""
    return msgspec.defstruct(
        "ThrottleState",
        [("running", bool, False), ("last", Optional[event_type], None)],
        bases=(State,),
        module=__name__,
        gc=False,
    )


class Throttle(Operator[E, Any, E]):
    """Passes one event of each period: the `first` at once, or the `last` at the period's end; `both`: up to two.

    A period begins with the first event after the one before it, so periods differ from key to key. It is over
    when its length has passed: an event exactly `per` after its first one begins the next. The last event carries the
    time of the period's last millisecond; with `both` it is left out when it is the first one too.
    Keeps one row and one timer for each key while its period runs.

    >>> Throttle(per="1m", emit="last").per_ms
    60000
    """

    shares_values = True

    def __init__(self, *, per: Duration, emit: Literal["first", "last", "both"] = "first") -> None:
        if emit not in ("first", "last", "both"):
            msg = f'emit={emit!r} must be "first", "last" or "both"'
            raise FlowError(msg)
        self.per_ms = positive_ms(per, "throttle")
        self._first = emit != "last"
        self._last = emit != "first"

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        self.output_type = event_type
        self.state_type = _state_of(event_type)

    def on_event(self, state: Any, event: E, ctx: Context[E], /) -> None:
        """Begin a period, or keep the event for the end of the one that runs."""
        begins = not state.running
        if begins:
            state.running = True
            ctx.timer("over", ctx.time + self.per_ms - 1)
        if begins and self._first:
            ctx.emit(event)
        elif self._last:
            state.last = event

    def on_timer(self, state: Any, timer: Timer, ctx: Context[E], /) -> None:
        """The period is over."""
        if state.last is not None:
            ctx.emit(state.last)
        ctx.forget()
