"""Expiring: any operator with a time to live for the state of each key."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, Optional, TypeVar

import msgspec

from headway.errors import FlowError
from headway.operators.base import Context, Operator, Timer
from headway.operators.options import positive_ms
from headway.schema import Event
from headway.times import Duration

__all__ = ["Expired", "Expiring", "TimeToLive", "ttl"]

S = TypeVar("S")

_TIMER = "~ttl"
"""The name of the wrapper's own timer; of timers due together it is almost always the last."""


class Expired(Event, Generic[S]):
    """What goes to the side output `expired`: a state that has been forgotten."""

    state: S
    due: int
    """Event time at which it was, in epoch milliseconds."""


@dataclass(frozen=True)
class TimeToLive:
    """How long a state lives, and from when on; made by `ttl`."""

    length_ms: int
    since: Literal["write", "read", "creation"]


def ttl(length: Duration, *, since: Literal["write", "read", "creation"] = "write") -> TimeToLive:
    """A time to live, in event time, for `Expiring`.

    `since="write"`: from the last event or timer that changed the state; `"read"`: from the last event of the key,
    whatever it did; `"creation"`: from the event that made the state, come what may. Raises `FlowError`.

    >>> ttl("30d", since="read")
    TimeToLive(length_ms=2592000000, since='read')
    """
    if since not in ("write", "read", "creation"):
        msg = f'ttl(since={since!r}) must be "write", "read" or "creation"'
        raise FlowError(msg)
    return TimeToLive(positive_ms(length, "ttl"), since)


class Expiring(Operator[Any, Any, Any]):
    """Runs another operator, and forgets the state and the timers of a key whose time to live is over.

    What was forgotten goes to the side output `expired`. An event exactly at the end of the time comes before it, and
    finds the state. Time is event time: it moves with the events of all keys, and with the clock only where the
    source says so (`idle_after`, `INGESTION_TIME`).
    Everything else is as the wrapped operator has it, its state type too: an operator that runs already can be
    wrapped, and its old rows begin to live with their next event. Costs an encoding of the state for each event,
    two of them with `since="write"`, and a timer for each key.

    >>> from headway.operators.on_change import OnChange
    >>> sorted(Expiring(OnChange(dict, by="status"), ttl("30d")).sides)
    ['expired']
    """

    def __init__(self, operator: Operator[Any, Any, Any], time_to_live: TimeToLive) -> None:
        if not isinstance(operator, Operator) or isinstance(operator, Expiring):
            msg = f"Expiring({operator!r}, ...) needs an operator that does not expire yet"
            raise FlowError(msg)
        if not isinstance(time_to_live, TimeToLive):
            msg = f'Expiring(..., {time_to_live!r}) needs a time to live, such as hw.ttl("30d")'
            raise FlowError(msg)
        if "expired" in operator.sides:
            msg = f"{type(operator).__name__} has a side output 'expired' of its own; it cannot be wrapped"
            raise FlowError(msg)
        self.wrapped = operator
        self.time_to_live = time_to_live
        self.event_type = operator.event_type
        self.state_type = operator.state_type
        self.output_type = operator.output_type
        state_type: Any = operator.state_type
        self.sides = {**operator.sides, "expired": Expired[state_type]}
        self.inputs = operator.inputs
        self.broadcasts = operator.broadcasts
        self.shared_type = operator.shared_type
        self._encode = msgspec.msgpack.Encoder().encode
        self._fresh = self._encode(operator.state_type())
        self._compares = time_to_live.since == "write"
        for name in operator.inputs:
            setattr(self, f"on_{name}", self._handler(getattr(operator, f"on_{name}")))
        for name in operator.broadcasts:
            setattr(self, f"on_{name}", getattr(operator, f"on_{name}"))

    def on_event(self, state: Any, event: Any, ctx: Context[Any], /) -> None:
        """Hand the event on, and see to the time to live."""
        self._run(self.wrapped.on_event, state, event, ctx)

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Any], /) -> None:
        """Forget the key, or hand the timer on."""
        if timer.name == _TIMER:
            ctx.emit_to("expired", Expired(state=state, due=timer.at))
            ctx.forget()
        else:
            self._run(self.wrapped.on_timer, state, timer, ctx, is_timer=True)

    def _handler(self, handler: Callable[[Any, Any, Any], None]) -> Callable[[Any, Any, Any], None]:
        return lambda state, event, ctx: self._run(handler, state, event, ctx)

    def _run(
        self,
        handler: Callable[[Any, Any, Any], None],
        state: Any,
        subject: Any,
        ctx: Context[Any],
        *,
        is_timer: bool = False,
    ) -> None:
        before = self._encode(state) if self._compares else b""
        watched = _Watched(ctx)
        handler(state, subject, watched)
        # The state of a key that was forgotten is a fresh one, which handlers do not hold.
        after = self._fresh if watched.forgotten else self._encode(state)
        if after == self._fresh and not watched.armed:
            ctx.cancel(_TIMER)  # Else an empty row would be kept for it.
        elif self._is_extended(before, after, is_timer=is_timer) or ctx.due(_TIMER) is None:
            ctx.timer(_TIMER, ctx.time + self.time_to_live.length_ms)

    def _is_extended(self, before: bytes, after: bytes, *, is_timer: bool) -> bool:
        if self._compares:
            return before != after
        return self.time_to_live.since == "read" and not is_timer


class _Watched:
    """The context of the wrapped operator: tells what has been done with it."""

    def __init__(self, ctx: Context[Any]) -> None:
        self._ctx = ctx
        self.key = ctx.key
        self.time = ctx.time
        self.emit = ctx.emit
        self.emit_to = ctx.emit_to
        self.forgotten = False
        self.armed = False

    @property
    def shared(self) -> Any:
        """See `Context.shared`."""
        return self._ctx.shared

    def timer(self, name: str, at: int, /) -> None:
        """See `Context.timer`."""
        if name == _TIMER:
            msg = f"the timer {_TIMER!r} belongs to the time to live: give yours another name"
            raise ValueError(msg)
        self.armed = True
        self._ctx.timer(name, at)

    def cancel(self, name: str, /) -> None:
        """See `Context.cancel`."""
        if name != _TIMER:
            self._ctx.cancel(name)

    def due(self, name: str, /) -> Optional[int]:
        """See `Context.due`."""
        return self._ctx.due(name)

    def forget(self) -> None:
        """See `Context.forget`."""
        self.forgotten, self.armed = True, False
        self._ctx.forget()
