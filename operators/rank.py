"""Rank: the top k events of a key, whenever they change."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Generic, Optional, Union

import msgspec
from typing_extensions import TypeVar

from headway.basics.times import Duration
from headway.errors import FlowError
from headway.operators.base import Context, Operator, Timer
from headway.operators.options import optional_ms, positive_int, reader
from headway.types.schema import Event, State

__all__ = ["Rank", "Ranking"]

E = TypeVar("E", default=Any)


class Ranking(Event, Generic[E]):
    """What `rank` emits when the top k of a key has changed."""

    top: list[E]
    """The events from rank 1 on, at most k."""
    rank: Optional[int]
    """The rank of the event that changed it, from 1; None when one has left the horizon."""


@cache
def _state_of(event_type: Any) -> Any:
    """The state for events of one type: those that are or may yet come into the top k, best first, with their times."""
    return msgspec.defstruct(
        "RankState",
        [("ranked", list[tuple[int, event_type]], msgspec.field(default_factory=list))],
        bases=(State,),
        module=__name__,
        gc=False,
    )


class Rank(Operator[E, Any, Ranking[E]]):
    """Emits a `Ranking` when the top `k` events of a key, by a value, change.

    SQL's `ROW_NUMBER() OVER (PARTITION BY key ORDER BY value DESC, time) <= k`: of equal values the earlier event ranks
    higher. Events without a value (None) do not take part. `within` ranks only the events of that horizon, inclusive:
    one leaves after all events that are exactly `within` younger.
    Keeps one row for each key: without `within` the top k, for ever or until nothing has come into it for
    `expire_after`; with it also those that would rise when better ones leave: what k younger and better events stand
    before is dropped, so that of n events in random order some `k * ln(n / k)` are kept, and all when they only fall.

    >>> Rank(by="price", k=3).k
    3
    """

    shares_values = True
    _ordered_by = ("by", "descending")

    def __init__(
        self,
        *,
        by: Union[str, Callable[[E], Any]],
        k: int = 1,
        descending: bool = True,
        within: Optional[Duration] = None,
        expire_after: Optional[Duration] = None,
    ) -> None:
        if by is None:
            msg = 'rank(by=None): say what to rank by, a field such as by="price" or a function of the event'
            raise FlowError(msg)
        self.by = by
        self.k = positive_int(k, "k")
        self.descending = descending
        self.within_ms = optional_ms(within, "within")
        self.expire_ms = optional_ms(expire_after, "expire_after")

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        self.output_type = Ranking[event_type]
        self.state_type = _state_of(event_type)
        self._value_of = reader(self.by, event_type, "rank")[0]

    def on_event(self, state: Any, event: E, ctx: Context[Ranking[E]], /) -> None:
        """Give the event its place, and drop what can never come up any more."""
        value = self._value_of(event)
        if value is None:
            return
        ranked = state.ranked
        place = self._place(ranked, value)
        if self.within_ms is None:
            if place >= self.k:
                return
            ranked.insert(place, (ctx.time, event))
            del ranked[self.k :]
            if self.expire_ms is not None:
                ctx.timer("expire", ctx.time + self.expire_ms)
        else:
            ranked.insert(place, (ctx.time, event))
            state.ranked = self._lasting(ranked)
            if ctx.due("leave") is None:
                ctx.timer("leave", ctx.time + self.within_ms)
            ctx.timer("over", ctx.time + self.within_ms)  # By its name the last of the timers that are due then.
        if place < self.k:
            self._emit(state, place + 1, ctx)

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Ranking[E]], /) -> None:
        """Let go of what has left the horizon, or of everything."""
        if timer.name == "expire":
            ctx.forget()
        elif self.within_ms is not None:  # Else they are of a horizon that it no longer has.
            if timer.name == "leave":
                self._leave(state, timer.at - self.within_ms, ctx)
            else:
                ctx.forget()

    def _place(self, ranked: list[tuple[int, E]], value: Any) -> int:
        """Behind all that are better or equal; O(log n), and O(1) behind the last one."""
        value_of, descending = self._value_of, self.descending
        low, high = 0, len(ranked)
        middle = high - 1  # Most events are no better than the last of the best: look there first.
        while low < high:
            other = value_of(ranked[middle][1])
            if (other < value) if descending else (value < other):
                high = middle
            else:
                low = middle + 1
            middle = (low + high) // 2
        return low

    def _lasting(self, ranked: list[tuple[int, E]]) -> list[tuple[int, E]]:
        """Without those that k events which stay longer stand before."""
        kept: list[tuple[int, E]] = []
        for at, event in ranked:
            if sum(1 for other, _ in kept if other >= at) < self.k:
                kept.append((at, event))
        return kept

    def _leave(self, state: Any, gone_ms: int, ctx: Context[Ranking[E]]) -> None:
        before = state.ranked[: self.k]
        state.ranked = [entry for entry in state.ranked if entry[0] > gone_ms]
        if state.ranked:
            ctx.timer("leave", min(at for at, _ in state.ranked) + (self.within_ms or 0))
        if len(before) != len(state.ranked[: self.k]) or any(at <= gone_ms for at, _ in before):
            self._emit(state, None, ctx)

    def _emit(self, state: Any, rank: Optional[int], ctx: Context[Ranking[E]]) -> None:
        ctx.emit(Ranking(top=[event for _, event in state.ranked[: self.k]], rank=rank))
