"""Lag: each event with the one that came some places before it."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Generic, Optional

import msgspec
from typing_extensions import TypeVar

from headway.basics.times import Duration
from headway.operators.base import Context, Operator, Timer
from headway.operators.options import optional_ms, positive_int
from headway.types.schema import Event, State

__all__ = ["Lag", "Lagged"]

E = TypeVar("E", default=Any)


class Lagged(Event, Generic[E]):
    """What `lag` emits for each event: it and the n-th one before it."""

    current: E
    previous: Optional[E]
    """None for the first n events of a key."""


@cache
def _state_of(event_type: Any) -> Any:
    """The state for events of one type: the last n of them, the oldest first."""
    return msgspec.defstruct(
        "LagState",
        [("recent", list[event_type], msgspec.field(default_factory=list))],
        bases=(State,),
        module=__name__,
        gc=False,
    )


class Lag(Operator[E, Any, Lagged[E]]):
    """Emits each event of a key with the n-th one before it.

    SQL's `LAG(event, n) OVER (PARTITION BY key ORDER BY time)`; with `n=1` the previous event.
    Keeps one row with `n` events for each key for ever, or until nothing has come for `expire_after`.

    >>> Lag(n=2).n
    2
    """

    shares_values = True

    def __init__(self, *, n: int = 1, expire_after: Optional[Duration] = None) -> None:
        self.n = positive_int(n, "n")
        self.expire_ms = optional_ms(expire_after, "expire_after")

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        self.output_type = Lagged[event_type]
        self.state_type = _state_of(event_type)

    def on_event(self, state: Any, event: E, ctx: Context[Lagged[E]], /) -> None:
        """Emit the event with the earlier one, and remember it."""
        recent = state.recent
        ctx.emit(Lagged(current=event, previous=recent.pop(0) if len(recent) == self.n else None))
        recent.append(event)
        if self.expire_ms is not None:
            ctx.timer("expire", ctx.time + self.expire_ms)

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Lagged[E]], /) -> None:
        """Nothing has come for long."""
        ctx.forget()
