"""Interval join: events of two streams that lie within a distance in time of each other."""

from bisect import bisect_left, bisect_right
from operator import attrgetter
from typing import Any, Final, Optional

from headway.errors import FlowError
from headway.operators.base import Context, Operator, Timer
from headway.operators.joins.results import (
    How,
    Joined,
    Kept,
    Select,
    between,
    check_how,
    joined_type,
    offset_ms,
    selected_type,
    sides_state,
)
from headway.times import Duration

__all__ = ["IntervalJoin"]

_time_of: Final = attrgetter("time")


class IntervalJoin(Operator[Any, Any, Any]):
    """Joins a left event with each right one whose time is from `lower` to `upper` after its own.

    Both bounds are included unless made exclusive. A pair is emitted when the later of the two comes, at its time.
    In outer joins an event without a partner is emitted once none can come any more: at the end of its interval, or at
    once where its interval lies in the past.

    Keeps the events of a key that may still find partners: of the left side those of the last `upper`, of the right
    side those of the last `-lower`. They are one row, stored whole with each change: keep the interval times the rate
    of one key below some hundred events. An event costs O(log kept + partners), and nothing remains of a key once
    its intervals have passed.

    >>> IntervalJoin(dict, dict, lower="-5m", upper="10m").lower_ms
    -300000
    """

    def __init__(
        self,
        left_type: Any,
        right_type: Any,
        *,
        lower: Duration,
        upper: Duration,
        how: How = "inner",
        lower_exclusive: bool = False,
        upper_exclusive: bool = False,
        select: Optional[Select] = None,
        into: Any = None,
    ) -> None:
        self.lower_ms = offset_ms(lower, "lower") + bool(lower_exclusive)
        """The first millisecond that counts, from the left event on."""
        self.upper_ms = offset_ms(upper, "upper") - bool(upper_exclusive)
        """The last millisecond that counts."""
        if self.lower_ms > self.upper_ms:
            msg = (
                f"lower={lower!r}, upper={upper!r}: no time is in this interval; lower must not be above upper, "
                "and with exclusive bounds there must be a millisecond between them"
            )
            raise FlowError(msg)
        check_how(how)
        self.event_type = left_type
        self.inputs = {"right": right_type}
        self.output_type = selected_type(select, into, joined_type(Joined, left_type, right_type, how))
        self.state_type = sides_state("IntervalJoinState", left_type, right_type)
        self._result: Select = Joined if select is None else select
        self._left_outer = how in ("left", "full")
        self._right_outer = how in ("right", "full")

    def on_event(self, state: Any, event: Any, ctx: Context[Any], /) -> None:
        """Join a left event with the right ones that have come, and keep it for those that will."""
        self._drop_passed(state, ctx.time)
        result, matched = self._result, False
        for right in between(state.rights, ctx.time + self.lower_ms, ctx.time + self.upper_ms):
            right.matched = matched = True
            ctx.emit(result(event, right.event))
        if self.upper_ms >= 0:
            state.lefts.append(Kept(ctx.time, event, matched))
            self._arm(ctx.time + self.upper_ms, self._left_outer and not matched, ctx)
        elif self._left_outer and not matched:
            ctx.emit(result(event, None))

    def on_right(self, state: Any, event: Any, ctx: Context[Any], /) -> None:
        """Join a right event with the left ones that have come, and keep it for those that will."""
        self._drop_passed(state, ctx.time)
        result, matched = self._result, False
        for left in between(state.lefts, ctx.time - self.upper_ms, ctx.time - self.lower_ms):
            left.matched = matched = True
            ctx.emit(result(left.event, event))
        if self.lower_ms <= 0:
            state.rights.append(Kept(ctx.time, event, matched))
            self._arm(ctx.time - self.lower_ms, self._right_outer and not matched, ctx)
        elif self._right_outer and not matched:
            ctx.emit(result(None, event))

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Any], /) -> None:
        """Emit what has found no partner in its interval; drop the key when all intervals have passed."""
        lefts = bisect_right(state.lefts, timer.at - self.upper_ms, key=_time_of)
        rights = bisect_right(state.rights, timer.at + self.lower_ms, key=_time_of)
        if self._left_outer:
            for left in state.lefts[:lefts]:
                if not left.matched:
                    ctx.emit(self._result(left.event, None))
        if self._right_outer:
            for right in state.rights[:rights]:
                if not right.matched:
                    ctx.emit(self._result(None, right.event))
        del state.lefts[:lefts], state.rights[:rights]
        if not state.lefts and not state.rights:
            ctx.forget()
            return
        due = self._next_unmatched(state)
        if due is not None:
            ctx.timer("unmatched", due)

    def _drop_passed(self, state: Any, now_ms: int) -> None:
        """Drop the events whose interval has passed; those of them that had to be emitted have been."""
        lefts, rights = state.lefts, state.rights
        if lefts and lefts[0].time < now_ms - self.upper_ms:
            del lefts[: bisect_left(lefts, now_ms - self.upper_ms, key=_time_of)]
        if rights and rights[0].time < now_ms + self.lower_ms:
            del rights[: bisect_left(rights, now_ms + self.lower_ms, key=_time_of)]

    def _arm(self, until: int, must_emit: bool, ctx: Context[Any]) -> None:
        """An event is kept until `until`; with `must_emit` it is emitted then, unless a partner comes."""
        last = ctx.due("until")
        if last is None or last < until:
            # A drain lets time go to the last timer: this one says how far.
            ctx.timer("until", until)
        # While an event is kept it meets all that come on the other side, so those without a partner are of one side,
        # and a timer that is set is not that of a later one.
        if must_emit and ctx.due("unmatched") is None:
            ctx.timer("unmatched", until)

    def _next_unmatched(self, state: Any) -> Optional[int]:
        """When the first event is to be emitted that has no partner yet."""
        if self._left_outer:
            for row in state.lefts:
                if not row.matched:
                    return int(row.time + self.upper_ms)
        if self._right_outer:
            for row in state.rights:
                if not row.matched:
                    return int(row.time - self.lower_ms)
        return None
