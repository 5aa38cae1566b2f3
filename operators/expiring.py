"""Expiring: any operator with a time to live for the state of each key."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, Generic, Optional, TypeVar

import msgspec
from typing_extensions import Self

from headway.basics.times import Duration
from headway.errors import FlowError
from headway.operators.base import Context, Operator, Timer, check_handlers, no_wall_clock
from headway.operators.lifetimes import TIMER, TimeToLive, clock_of
from headway.operators.versions import of_operator
from headway.types.logtypes import log_fields
from headway.types.schema import Event, type_label

__all__ = ["Expired", "Expiring"]

S = TypeVar("S")


class Expired(Event, Generic[S]):
    """What goes to the side output `expired`: a state that has been forgotten."""

    state: S
    due: int
    """When its time to live ended, in epoch milliseconds by the clock that it is measured with."""


class Expiring(Operator[Any, Any, Any]):
    """Runs another operator, and forgets the state and the timers of a key whose time to live is over.

    A key has something to forget from the event on that leaves a state other than a fresh one, or a timer, until
    neither is left; then its time to live is over as well. What was forgotten goes to the side output `expired`. An
    event exactly at the end of the time comes before it, and finds the state. Time is event time: it moves with the
    events of all keys, and with the clock only where the source says so (`idle_after`, `INGESTION_TIME`). With
    `ttl(..., clock="wall")` it is that of the machine: an event or a timer finds no state that has ended, and a key of
    which nothing is heard is forgotten when event time has gone on by as much, or later. A drain does not make that
    time pass.

    Everything else is as the wrapped operator has it, its state type too (by the wall clock with one more field): an
    operator that runs already can be wrapped, and its old rows begin to live with their next event. Costs an encoding
    of the state for each event, two of them with `since="write"`, and a timer for each key.

    >>> from headway.operators.lifetimes import ttl
    >>> from headway.operators.on_change import OnChange
    >>> sorted(Expiring(OnChange(by="status"), ttl("30d")).sides)
    ['expired']
    """

    wrapped: Operator[Any, Any, Any]

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
        check_handlers(operator)
        self.time_to_live = time_to_live
        self.wall_clock = operator.wall_clock or time_to_live.clock == "wall"
        self._compares = time_to_live.since == "write"
        self._encode = msgspec.msgpack.Encoder().encode
        self._wrap(operator)

    @property
    def is_bound(self) -> bool:
        """Whether the wrapped operator is."""
        return self.wrapped.is_bound

    def bind(self, event_type: Any, /, **inputs: Any) -> Self:
        """The same with the wrapped operator bound; see `Operator.bind`."""
        wrapped = self.wrapped.bind(event_type, **inputs)
        if wrapped is self.wrapped:
            return self
        bound = copy.copy(self)
        bound._wrap(wrapped)
        return bound

    def with_migration(self, version: int, migrate: Callable[[Any, int], Any]) -> Self:
        """The same with such states of the wrapped operator; see `Operator.with_migration`."""
        return type(self)(self.wrapped.with_migration(version, migrate), self.time_to_live)

    def _wrap(self, operator: Operator[Any, Any, Any]) -> None:
        """Take over what the wrapped operator is, as far as that is known: not its state before it is bound."""
        self.wrapped = operator
        self.event_type = operator.event_type
        self.output_type = operator.output_type
        self.losses = operator.losses
        self.inputs = operator.inputs
        self.broadcasts = operator.broadcasts
        self.shared_type = operator.shared_type
        self.shares_values = operator.shares_values
        self.sides = {**operator.sides, "expired": Expired}
        for name in operator.inputs:
            setattr(self, f"on_{name}", self._handler(getattr(operator, f"on_{name}")))
        for name in operator.broadcasts:
            setattr(self, f"on_{name}", getattr(operator, f"on_{name}"))
        if operator.is_bound:
            self._take_state_type()

    def on_event(self, state: Any, event: Any, ctx: Context[Any], /) -> Any:
        """Hand the event on, and see to the time to live."""
        return self._run(self.wrapped.on_event, state, event, ctx)

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Any], /) -> Any:
        """Forget the key, or hand the timer on."""
        if timer.name != TIMER:
            return self._run(self.wrapped.on_timer, state, timer, ctx, is_timer=True)
        kept = self._clock.take(state)
        due = self._clock.ended(kept, timer, ctx)
        if due is None:
            self._clock.put(state, kept)
        else:
            self._expire(state, due, ctx)
        return None

    def _take_state_type(self) -> None:
        """Prepare for the state of the wrapped operator, with what the clock keeps beside it."""
        state_type: Any = self.wrapped.state_type
        for field in log_fields(state_type):
            msg = (
                f"Expiring: {type_label(state_type)}.{field.name} is a log, which no expired state can be told with: "
                "set a timer of your own, and call ctx.forget() in on_timer"
            )
            raise FlowError(msg)
        self._clock = clock_of(self.time_to_live, state_type)
        self.state_type = self._clock.state_type
        self.sides = {**self.wrapped.sides, "expired": Expired[state_type]}
        self._fresh = self._encode(self.state_type())
        found = of_operator(self.wrapped)
        self.state_version = found.version
        self.migrate = None if found.migrate is None else self._clock.migration(found.migrate)

    def _handler(self, handler: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
        return lambda state, event, ctx: self._run(handler, state, event, ctx)

    def _run(
        self,
        handler: Callable[[Any, Any, Any], Any],
        state: Any,
        subject: Any,
        ctx: Context[Any],
        *,
        is_timer: bool = False,
    ) -> Any:
        """Run a handler of the wrapped operator; returns what it returned, for the engine to refuse."""
        clock = self._clock
        kept = clock.take(state)
        if clock.passed(kept, ctx):
            state, kept = self._expire(state, kept, ctx), 0
            if is_timer:  # It belonged to what is gone.
                return None
        before = self._encode(state) if self._compares else b""
        watched = _Watched(ctx, self.wrapped)
        returned = handler(state, subject, watched)
        if watched.forgotten:  # The state of the key is a fresh one now, which the handler does not hold.
            state, kept = watched.state, 0
        after = self._encode(state)
        # Which timers there are is asked of the row, whoever set them and when: a handler tells only what it did.
        if after == self._fresh and not watched.timers:
            ctx.cancel(TIMER)  # Else an empty row would be kept for it.
        elif self._is_extended(before, after, is_timer=is_timer) or not clock.runs(kept, ctx):
            clock.put(state, clock.extend(ctx))
        else:
            clock.put(state, kept)
        return returned

    def _is_extended(self, before: bytes, after: bytes, *, is_timer: bool) -> bool:
        if self._compares:
            return before != after
        return self.time_to_live.since == "read" and not is_timer

    def _expire(self, state: Any, due: int, ctx: Context[Any]) -> Any:
        """Tell of a state that has ended, and forget it; returns the fresh one."""
        ctx.emit_to("expired", Expired(state=self._clock.plain(state), due=due))
        return ctx.forget()


class _Watched:
    """The context of the wrapped operator: tells what has been done with it."""

    def __init__(self, ctx: Context[Any], operator: Operator[Any, Any, Any]) -> None:
        self._ctx = ctx
        self._operator = operator
        self.key = ctx.key
        self.time = ctx.time
        self.emit = ctx.emit
        self.emit_to = ctx.emit_to
        self.is_read = ctx.is_read
        self.lose = ctx.lose
        self.forgotten = False
        self.state: Any = None
        """The fresh state, once it was forgotten."""

    @property
    def shared(self) -> Any:
        """See `Context.shared`."""
        return self._ctx.shared

    @property
    def wall(self) -> int:
        """See `Context.wall`."""
        if not self._operator.wall_clock:
            raise no_wall_clock(self._operator)
        return self._ctx.wall

    def timer(self, name: str, at: Optional[int] = None, /, *, after: Optional[Duration] = None) -> None:
        """See `Context.timer`."""
        if name == TIMER:
            msg = f"the timer {TIMER!r} belongs to the time to live: give yours another name"
            raise ValueError(msg)
        set_timer: Callable[..., None] = self._ctx.timer
        set_timer(name, at, after=after)

    def cancel(self, name: str, /) -> None:
        """See `Context.cancel`."""
        if name != TIMER:
            self._ctx.cancel(name)

    def due(self, name: str, /) -> Optional[int]:
        """See `Context.due`."""
        return None if name == TIMER else self._ctx.due(name)

    @property
    def timers(self) -> Mapping[str, int]:
        """See `Context.timers`: those of the operator."""
        return {name: due for name, due in self._ctx.timers.items() if name != TIMER}

    def forget(self) -> Any:
        """See `Context.forget`."""
        self.forgotten = True
        self.state = self._ctx.forget()
        return self.state
