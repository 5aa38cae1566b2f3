"""On change: an event whose value differs from that of the one before it."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Generic, Optional

import msgspec
from typing_extensions import TypeVar

from headway.basics.times import Duration
from headway.operators.base import Context, Operator, Timer
from headway.operators.equality import differ
from headway.operators.options import By, optional_ms, value_of
from headway.types.schema import Event, State

__all__ = ["Changed", "OnChange"]

E = TypeVar("E", default=Any)


class Changed(Event, Generic[E]):
    """What `on_change` emits: the first event with the new value, and the last one with the old."""

    previous: Optional[E]
    """The event right before; None for the first one of a key."""
    current: E
    since: Optional[int]
    """Event time of the first event with the old value, in epoch milliseconds; None for the first one of a key."""


@cache
def _state_of(event_type: Any) -> Any:
    """The state for events of one type: the last event, and since when its value has been so."""
    return msgspec.defstruct(
        "OnChangeState",
        [("previous", Optional[event_type], None), ("since", Optional[int], None)],
        bases=(State,),
        module=__name__,
        gc=False,
    )


class OnChange(Operator[E, Any, Changed[E]]):
    """Emits a `Changed` when the value of an event differs from that of the key's previous event.

    `by` is a field, several, or a function; None compares whole events. NaN is the same as NaN. `first` says whether a
    key's first event counts as a change. Keeps one row for each key for ever, or until nothing has come for
    `expire_after`; an event that comes then is a first one.

    >>> OnChange(by="status", first=False).first
    False
    """

    shares_values = True

    def __init__(
        self,
        *,
        by: Optional[By] = None,
        first: bool = True,
        expire_after: Optional[Duration] = None,
    ) -> None:
        self.by = by
        self.first = first
        self.expire_ms = optional_ms(expire_after, "expire_after")

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        self.output_type = Changed[event_type]
        self.state_type = _state_of(event_type)
        self._value_of = value_of(self.by, event_type, "on_change")

    def on_event(self, state: Any, event: E, ctx: Context[Changed[E]], /) -> None:
        """Compare the event with the one before it, and remember it."""
        begins = state.since is None
        if begins or differ(self._value_of(event), self._value_of(state.previous)):
            if self.first or not begins:
                ctx.emit(Changed(previous=state.previous, current=event, since=state.since))
            state.since = ctx.time
        state.previous = event
        if self.expire_ms is not None:
            ctx.timer("expire", ctx.time + self.expire_ms)

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Changed[E]], /) -> None:
        """Nothing has come for long."""
        ctx.forget()
