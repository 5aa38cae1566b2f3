"""Times to live: how long a state lives, from when on, and by which clock."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, Optional, Protocol

import msgspec

from headway.basics.times import Duration
from headway.errors import FlowError
from headway.operators.base import Context, Timer
from headway.operators.options import positive_ms

__all__ = ["TIMER", "Clock", "EventClock", "TimeToLive", "WallClock", "clock_of", "ttl"]

Migrate = Callable[[Any, int], Any]

TIMER: Final = "~ttl"
"""The name of the timer of a time to live; of timers due together it is almost always the last."""


@dataclass(frozen=True)
class TimeToLive:
    """How long a state lives, and from when on; made by `ttl`."""

    length_ms: int
    since: Literal["write", "read", "creation"]
    clock: Literal["event", "wall"] = "event"


def ttl(
    length: Duration,
    *,
    since: Literal["write", "read", "creation"] = "write",
    clock: Literal["event", "wall"] = "event",
) -> TimeToLive:
    """A time to live for `Expiring`.

    `since="write"`: from the last event or timer that changed the state; `"read"`: from the last event of the key,
    whatever it did; `"creation"`: from the event that made the state, come what may. To set, move or cancel a timer
    changes no state; but where there was nothing, a timer that is set is something, and its time to live begins.

    `clock="event"` counts in event time, and the same log gives the same. `clock="wall"` counts what passes on the
    clock of the machine, whatever time the events are of: for states that must not be kept longer than that. What a
    flow emits then depends on when it runs.

    Raises `FlowError` for what is none of these.

    >>> ttl("30d", since="read")
    TimeToLive(length_ms=2592000000, since='read', clock='event')
    """
    if since not in ("write", "read", "creation"):
        msg = f'ttl(since={since!r}) must be "write", "read" or "creation"'
        raise FlowError(msg)
    if clock not in ("event", "wall"):
        msg = f'ttl(clock={clock!r}) must be "event" or "wall"'
        raise FlowError(msg)
    return TimeToLive(positive_ms(length, "ttl"), since, clock)


class Clock(Protocol):
    """What a time to live is measured with."""

    state_type: Any
    """The state type of the wrapped operator, with what the clock keeps beside it."""

    def take(self, state: Any) -> int:
        """Take out what the clock keeps, so that the wrapped operator sees its own state; called before its handler."""

    def put(self, state: Any, kept: int) -> None:
        """Put back what was taken; called after the handler, unless the state was forgotten."""

    def passed(self, kept: int, ctx: Context[Any]) -> bool:
        """Whether the state that an event or a timer of the operator finds should be gone already."""

    def runs(self, kept: int, ctx: Context[Any]) -> bool:
        """Whether the time to live has begun."""

    def extend(self, ctx: Context[Any]) -> int:
        """The time to live begins now: arm the timer, and say what is kept."""

    def ended(self, kept: int, timer: Timer, ctx: Context[Any]) -> Optional[int]:
        """The timer fires: when the time to live ended, or None, with the timer armed again, when it has not."""

    def plain(self, state: Any) -> Any:
        """The state as the wrapped operator has it, of which the clock's part has been taken."""

    def migration(self, migrate: Migrate) -> Migrate:
        """What migrates states with the clock's part, where `migrate` does those of the wrapped operator."""


class EventClock:
    """Event time: the timer is all that there is, and fires before any event that is later."""

    def __init__(self, length_ms: int, state_type: Any) -> None:
        self.state_type = state_type
        self._length_ms = length_ms

    def take(self, state: Any) -> int:
        """Nothing is kept."""
        return 0

    def put(self, state: Any, kept: int) -> None:
        """Nothing is kept."""

    def passed(self, kept: int, ctx: Context[Any]) -> bool:
        """Never: the timer came before."""
        return False

    def runs(self, kept: int, ctx: Context[Any]) -> bool:
        """Whether the timer is armed."""
        return ctx.due(TIMER) is not None

    def extend(self, ctx: Context[Any]) -> int:
        """Put the timer off."""
        ctx.timer(TIMER, ctx.time + self._length_ms)
        return 0

    def ended(self, kept: int, timer: Timer, ctx: Context[Any]) -> Optional[int]:
        """When the timer was due."""
        return timer.at

    def plain(self, state: Any) -> Any:
        """The state itself."""
        return state

    def migration(self, migrate: Migrate) -> Migrate:
        """The same: nothing is kept."""
        return migrate


_FIELD: Final = "ttl_until_ms"


class WallClock:
    """The clock of the machine: the end is kept with the state, and looked at when there is a reason to.

    That is an event or a timer of the key, and a timer in event time that comes after as much time as is left. How
    fast event time goes is not known: one that comes too early is armed again, one that comes late finds out late.
    """

    def __init__(self, length_ms: int, state_type: Any) -> None:
        self._length_ms = length_ms
        self._plain_type = state_type
        self.state_type = state_type if state_type is dict else _with_end(state_type)

    def take(self, state: Any) -> int:
        """The end of the time to live; 0 for a state that is new."""
        if isinstance(state, dict):
            return int(state.pop(_FIELD, 0))
        until_ms: int = state.ttl_until_ms
        state.ttl_until_ms = 0
        return until_ms

    def put(self, state: Any, kept: int) -> None:
        """Keep the end with the state."""
        if not isinstance(state, dict):
            state.ttl_until_ms = kept
        elif kept:
            state[_FIELD] = kept

    def passed(self, kept: int, ctx: Context[Any]) -> bool:
        """Whether the end has passed; what comes exactly then still finds the state."""
        return 0 < kept < ctx.wall

    def runs(self, kept: int, ctx: Context[Any]) -> bool:
        """Whether there is an end, and a timer to look at it."""
        return kept > 0 and ctx.due(TIMER) is not None

    def extend(self, ctx: Context[Any]) -> int:
        """Put the timer and the end off."""
        ctx.timer(TIMER, ctx.time + self._length_ms)
        return ctx.wall + self._length_ms

    def ended(self, kept: int, timer: Timer, ctx: Context[Any]) -> Optional[int]:
        """The end, when it has come."""
        if not kept:  # The timer is of a time to live in event time, which the operator had before.
            return timer.at
        left_ms = kept - ctx.wall
        if left_ms <= 0:
            return kept
        ctx.timer(TIMER, ctx.time + left_ms)
        return None

    def plain(self, state: Any) -> Any:
        """The state without the field that is the clock's."""
        if isinstance(state, dict):
            return state
        return self._plain_type(**{name: getattr(state, name) for name in self._plain_type.__struct_fields__})

    def migration(self, migrate: Migrate) -> Migrate:
        """Takes the end out of what is stored, and puts it back into what is made of it."""
        if self._plain_type is not dict and self._plain_type.__struct_config__.array_like:
            name = self._plain_type.__name__
            msg = f'ttl(clock="wall"): {name} is stored without names of fields (array_like), and cannot be migrated'
            raise FlowError(msg)

        def migrated(old: Any, version: int) -> Any:
            until_ms = self.take(old)
            made = msgspec.msgpack.decode(msgspec.msgpack.encode(migrate(old, version)))
            if isinstance(made, dict):
                self.put(made, until_ms)
            return made

        return migrated


def _with_end(state_type: Any) -> Any:
    """A state type with one more field: rows that were stored without it can still be read."""
    if not (isinstance(state_type, type) and issubclass(state_type, msgspec.Struct)):
        msg = f'ttl(clock="wall"): {state_type!r} cannot keep when it ends; derive the state from hw.State'
        raise FlowError(msg)
    if _FIELD in state_type.__struct_fields__:
        msg = f'ttl(clock="wall"): {state_type.__name__} has a field {_FIELD!r} of its own; give it another name'
        raise FlowError(msg)
    return msgspec.defstruct(
        state_type.__name__, [(_FIELD, int, 0)], bases=(state_type,), module=state_type.__module__, kw_only=True
    )


def clock_of(time_to_live: TimeToLive, state_type: Any) -> Clock:
    """The clock that a time to live is measured with."""
    kinds: dict[str, Callable[[int, Any], Clock]] = {"event": EventClock, "wall": WallClock}
    return kinds[time_to_live.clock](time_to_live.length_ms, state_type)
