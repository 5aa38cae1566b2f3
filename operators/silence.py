"""Silence: a key from which nothing has come for a while, as from a device whose heartbeat stops."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Generic, Optional

import msgspec
from typing_extensions import TypeVar

from headway.basics.times import Duration
from headway.operators.base import Context, Operator, Timer
from headway.operators.options import optional_ms, positive_ms
from headway.types.schema import Event, State

__all__ = ["Resumed", "Silence", "Silent"]

E = TypeVar("E", default=Any)


class Silent(Event, Generic[E]):
    """What `silence` emits: the last event before the silence, and when it became one."""

    last: E
    since: int
    """Event time of `last`, in epoch milliseconds."""
    due: int
    """Event time at which the silence had lasted long enough, in epoch milliseconds."""


class Resumed(Event, Generic[E]):
    """What goes to the side output `resumed`: the first event after a silence that was reported."""

    event: E
    since: int
    """Event time of the last event before the silence, in epoch milliseconds."""
    silent_ms: int
    """How long the silence was, from that event to this one."""


@cache
def _state_of(event_type: Any) -> Any:
    """The state for events of one type. `since` alone means a silence that was reported."""
    return msgspec.defstruct(
        "SilenceState",
        [("since", Optional[int], None), ("last", Optional[event_type], None), ("silent", bool, False)],
        bases=(State,),
        module=__name__,
        gc=False,
    )


class Silence(Operator[E, Any, Silent[E]]):
    """Emits a `Silent` when a key that has sent something sends nothing for a duration: once for each silence.

    An event exactly `after` the last one still breaks the silence. With `resumed` the first event after a reported
    silence goes to the side output `resumed` too, and a silent key is remembered until then: for ever, or for
    `expire_after` from when it was reported.
    Keeps one row for each key that is not silent, with `resumed` also for each that is; and one timer, with
    `expire_after` two.

    >>> Silence(after="10m").after_ms
    600000
    """

    shares_values = True

    def __init__(self, *, after: Duration, resumed: bool = False, expire_after: Optional[Duration] = None) -> None:
        self.after_ms = positive_ms(after, "silence")
        self.resumed = resumed
        self.expire_ms = optional_ms(expire_after, "expire_after")
        self.sides = {"resumed": Resumed} if resumed else {}

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        self.output_type = Silent[event_type]
        self.state_type = _state_of(event_type)
        self.sides = {"resumed": Resumed[event_type]} if self.resumed else {}

    def on_event(self, state: Any, event: E, ctx: Context[Silent[E]], /) -> None:
        """Begin to wait anew; tell the end of a silence."""
        if state.silent:
            ctx.emit_to("resumed", Resumed(event=event, since=state.since, silent_ms=ctx.time - state.since))
            state.silent = False
        state.since, state.last = ctx.time, event
        ctx.timer("silence", ctx.time + self.after_ms)
        if self.resumed and self.expire_ms is not None:
            ctx.timer("expire", ctx.time + self.after_ms + self.expire_ms)

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Silent[E]], /) -> None:
        """Report the silence; forget the key, or remember that it is silent."""
        if timer.name == "silence":
            ctx.emit(Silent(last=state.last, since=state.since, due=timer.at))
            if self.resumed:
                state.silent, state.last = True, None
                return
        ctx.forget()
