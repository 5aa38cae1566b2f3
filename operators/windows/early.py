"""Early results: what a window holds so far, before it ends."""

from dataclasses import dataclass
from typing import Any, Optional, Union

from headway.basics.times import Duration, duration_ms
from headway.errors import FlowError
from headway.operators.base import Context

__all__ = ["Early", "Every", "early_fields", "early_of", "every"]


@dataclass(frozen=True)
class Every:
    """Every so many events; see `every`."""

    events: int


def every(events: int) -> Every:
    """For `early=` of a window: a result at each so many events of it.

    >>> every(100)
    Every(events=100)
    """
    if type(events) is not int or events < 1:
        msg = f"every({events!r}) needs a number of events, such as hw.every(100)"
        raise FlowError(msg)
    return Every(events)


class Early:
    """When results are due before the end of a window. Keeps three small fields in the state, one timer at most."""

    def __init__(self, period_ms: Optional[int], events: Optional[int]) -> None:
        self._period_ms = period_ms
        self._events = events

    def is_due(self, state: Any, end: int, ctx: Context[Any]) -> bool:
        """Count an event of the window that ends at `end`; whether a result is due now. May set the timer `early`.

        None is in the last millisecond of a window, which has its final result.
        """
        state.fresh += 1
        if self._events is not None:
            return bool(state.fresh >= self._events and ctx.time < end - 1)
        assert self._period_ms is not None
        if state.first is None:
            state.first = ctx.time
        if state.fresh == 1:
            periods = -((state.first - ctx.time) // self._period_ms) or 1
            ctx.timer("early", state.first + periods * self._period_ms)
        return False

    def done(self, state: Any) -> int:
        """A result was due and goes out; returns its revision."""
        revision: int = state.revision
        state.revision = revision + 1
        state.fresh = 0
        return revision

    def close(self, state: Any, ctx: Context[Any]) -> int:
        """The window has ended; returns the revision of its result."""
        revision: int = state.revision
        state.revision = 0
        state.first = None
        if state.fresh:
            state.fresh = 0
            ctx.cancel("early")
        return revision


early_fields: list[tuple[str, Any, Any]] = [("first", Optional[int], None), ("fresh", int, 0), ("revision", int, 0)]
"""What `Early` keeps in the state, as `msgspec.defstruct` takes it."""


def early_of(option: Union[Duration, Every, None]) -> Optional[Early]:
    """What the option `early` of a window means. Raises `FlowError` for what is neither a duration nor `every(n)`."""
    if option is None:
        return None
    if isinstance(option, Every):
        return Early(None, option.events)
    period_ms = duration_ms(option, what="early")
    if period_ms == 0:
        msg = f'early={option!r}: expected a time between two results, such as "10s", or hw.every(100) events'
        raise FlowError(msg)
    return Early(period_ms, None)
