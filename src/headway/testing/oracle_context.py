"""What a handler may do in the oracle during one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from headway.basics.times import LAST_TIMER_MS, Duration, known_duration_ms
from headway.errors import UserCodeError
from headway.graph import MAIN
from headway.operators.base import name_of, no_loss, no_shared_state, no_tally, no_wall_clock, two_times

if TYPE_CHECKING:
    from headway.testing.oracle_stage import StageOracle

__all__ = ["OracleContext"]


def _check_name(name: Any) -> None:
    """Raise for what cannot be the name of a timer."""
    if not isinstance(name, str):
        msg = f"timer {name!r}: the name of a timer is text"
        raise TypeError(msg)
    name.encode()


class OracleContext:
    """What a handler may do during one call: `headway.operators.base.Context`."""

    def __init__(self, stage: StageOracle, rank: int, key: str, time: int, *, after_ms: int) -> None:
        self.key = key
        self.time = time
        self.rank = rank
        self._stage = stage
        self._after_ms = after_ms

    @property
    def shared(self) -> Any:
        """See `Context.shared`."""
        operator = self._stage.operators[self.rank].operator
        if not operator.broadcasts:
            raise no_shared_state(operator)
        return self._stage.shared[self.rank]

    @property
    def wall(self) -> int:
        """See `Context.wall`."""
        operator = self._stage.operators[self.rank].operator
        if not operator.wall_clock:
            raise no_wall_clock(operator)
        return self._stage.now_ms()

    def emit(self, value: Any, /) -> None:
        """See `Context.emit`."""
        self._stage.emit(self, MAIN, value)

    def emit_to(self, side: str, value: Any, /) -> None:
        """See `Context.emit_to`."""
        operator = self._stage.operators[self.rank].operator
        if side not in operator.sides:
            known = ", ".join(operator.sides) or "none"
            msg = f"{name_of(operator)} has no side output {side!r}; its sides are: {known}"
            raise KeyError(msg)
        self._stage.emit(self, side, value)

    def is_read(self, side: str, /) -> bool:
        """See `Context.is_read`."""
        return self._stage.is_read(self.rank, side)

    def lose(self, side: str, count: int, /) -> None:
        """See `Context.lose`."""
        losses = self._stage.losses[self.rank]
        if side not in losses:
            raise no_loss(self._stage.operators[self.rank].operator, side)
        losses[side] += count

    def tally(self, name: str, by: int, /) -> None:
        """See `Context.tally`."""
        operator = self._stage.operators[self.rank].operator
        if not operator.tallies:
            raise no_tally(operator, name)
        tallies = self._stage.tallies[self.rank]
        tallies[name] = tallies.get(name, 0) + by

    def timer(self, name: str, at: Optional[int] = None, /, *, after: Optional[Duration] = None) -> None:
        """See `Context.timer`."""
        if not isinstance(name, str) or not name.isprintable():
            _check_name(name)
        name = str.__str__(name)
        if (at is None) == (after is None):
            raise TypeError(two_times(name))
        if after is not None:
            at = self.time + known_duration_ms(after)
        if type(at) is not int:
            msg = f"timer {name!r}: {at!r} is not a time in epoch milliseconds (an int)"
            raise TypeError(msg)
        due = at if at > self.time else self.time + self._after_ms
        if due > LAST_TIMER_MS:
            msg = f"timer {name!r} is set to {due}, which is after the year 9999"
            raise UserCodeError(msg)
        self._stage.arm(self.rank, self.key, name, due)

    def cancel(self, name: str, /) -> None:
        """See `Context.cancel`."""
        self._stage.disarm(self.rank, self.key, name)

    def due(self, name: str, /) -> Optional[int]:
        """See `Context.due`."""
        return self._stage.row(self.rank, self.key).timers.get(name)

    @property
    def timers(self) -> dict[str, int]:
        """See `Context.timers`."""
        return dict(self._stage.row(self.rank, self.key).timers)

    def forget(self) -> Any:
        """See `Context.forget`."""
        return self._stage.forget(self.rank, self.key)
