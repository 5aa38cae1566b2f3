"""Rate limit: a token bucket in event time."""

from collections.abc import Mapping
from typing import Any, Optional

from typing_extensions import TypeVar

from headway.basics.times import Duration
from headway.operators.base import Context, Operator, Timer
from headway.operators.options import positive_int, positive_ms
from headway.types.schema import State

__all__ = ["Bucket", "RateLimit"]

E = TypeVar("E", default=Any)


class Bucket(State):
    """What has been taken out of a token bucket and has not come back."""

    taken: int = 0
    """In parts of a token of which the period in milliseconds makes a whole one, so that nothing is ever rounded."""
    at: int = 0
    """Event time at which `taken` was so, in epoch milliseconds."""


class RateLimit(Operator[E, Bucket, E]):
    """Passes on average at most `limit` events per period; the others go to the side output `overflow`.

    A token bucket: it holds `burst` tokens (default: `limit`) and is full at first, each event that passes takes
    one, and they come back evenly, `limit` of them per period. So within any time `t`, `burst + limit * t / per`
    events may pass at most. Exact integers: no drift, and the same result on every machine.
    Keeps one row and one timer for each key until its bucket is full again, at most `burst / limit` periods.

    >>> RateLimit(limit=100, per="1m").burst
    100
    """

    shares_values = True
    sides = {"overflow": Any}

    def __init__(self, *, limit: int, per: Duration = "1m", burst: Optional[int] = None) -> None:
        self.limit = positive_int(limit, "limit")
        self.per_ms = positive_ms(per, "per")
        self.burst = self.limit if burst is None else positive_int(burst, "burst")
        self._full = self.burst * self.per_ms

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        self.output_type = event_type
        self.sides = {"overflow": event_type}

    def on_event(self, state: Bucket, event: E, ctx: Context[E], /) -> None:
        """Take a token, if there is one."""
        taken = max(0, state.taken - (ctx.time - state.at) * self.limit) if state.taken else 0
        if taken + self.per_ms > self._full:
            ctx.emit_to("overflow", event)
            return
        state.taken = taken + self.per_ms
        state.at = ctx.time
        refill_ms = -(-state.taken // self.limit)  # Rounded up.
        ctx.timer("full", ctx.time + refill_ms)
        ctx.emit(event)

    def on_timer(self, state: Bucket, timer: Timer, ctx: Context[E], /) -> None:
        """The bucket is full again: as if the key were new."""
        ctx.forget()
