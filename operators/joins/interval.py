"""Interval join: events of two streams that lie within a distance in time of each other."""

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, Optional

from headway.basics.times import Duration
from headway.errors import FlowError
from headway.operators.base import Context, Operator, Timer
from headway.operators.joins.results import (
    How,
    Joined,
    Select,
    between,
    check_how,
    emitter,
    joined_type,
    offset_ms,
    passed,
    selected_type,
    sides_state,
)
from headway.types.schema import State

__all__ = ["IntervalJoin"]


class _Met(State):
    """Whether each event of a side that may stand alone has found a partner."""

    left_met: list[bool] = []
    right_met: list[bool] = []


class IntervalJoin(Operator[Any, Any, Any]):
    """Joins a left event with each right one whose time is from `lower` to `upper` after its own.

    Both bounds are included unless made exclusive. A pair is emitted when the later of the two comes, at its time.
    In outer joins an event without a partner is emitted once none can come any more: at the end of its interval, or at
    once where its interval lies in the past.

    Keeps the events of a key that may still find partners: of the left side those of the last `upper`, of the right
    side those of the last `-lower`. An event costs O(log kept + partners). The events of a key are one row, which is
    encoded whole in each epoch in which it changes, some 0.15 µs for each event that is kept. Nothing remains of a key
    of which nothing came for one and a half times the longer of the two.

    >>> IntervalJoin(lower="-5m", upper="10m").lower_ms
    -300000
    """

    shares_values = True
    inputs = {"right": Any}

    def __init__(
        self,
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
        self.how = how
        self.select = select
        self.into = into
        self._emit = emitter(select)
        self._left_outer = how in ("left", "full")
        self._right_outer = how in ("right", "full")
        self._spare_ms = max(self.upper_ms, -self.lower_ms) // 2

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        right_type: Any = inputs["right"]
        self.inputs = {"right": right_type}
        joined = joined_type(Joined, event_type, right_type, self.how)
        self.output_type = selected_type(self.select, self.into, joined)
        kept = State if self.how == "inner" else _Met
        self.state_type = sides_state("IntervalJoinState", event_type, right_type, kept)

    def on_event(self, state: Any, event: Any, ctx: Context[Any], /) -> None:
        """Join a left event with the right ones that have come, and keep it for those that will."""
        now_ms, matched = ctx.time, False
        rows = state.rights
        if rows:
            if rows[0][0] < now_ms + self.lower_ms:
                self._drop_rights(state, passed(rows, now_ms + self.lower_ms))
            if rows:
                found = between(rows, now_ms + self.lower_ms, now_ms + self.upper_ms)
                for _, right in rows[found]:
                    matched = True
                    self._emit(ctx, event, right)
                if matched and self._right_outer:
                    state.right_met[found] = [True] * (found.stop - found.start)
        if self.upper_ms >= 0:  # At 0 too: where a stream joins itself, right events of this time may still come.
            rows = state.lefts
            if rows and rows[0][0] < now_ms - self.upper_ms:
                self._drop_lefts(state, passed(rows, now_ms - self.upper_ms))
            rows.append((now_ms, event))
            if self._left_outer:
                state.left_met.append(matched)
            self._arm(now_ms + self.upper_ms, self._left_outer and not matched, ctx)
        elif self._left_outer and not matched:
            self._emit(ctx, event, None)

    def on_right(self, state: Any, event: Any, ctx: Context[Any], /) -> None:
        """Join a right event with the left ones that have come, and keep it for those that will."""
        now_ms, matched = ctx.time, False
        rows = state.lefts
        if rows:
            if rows[0][0] < now_ms - self.upper_ms:
                self._drop_lefts(state, passed(rows, now_ms - self.upper_ms))
            if rows:
                found = between(rows, now_ms - self.upper_ms, now_ms - self.lower_ms)
                for _, left in rows[found]:
                    matched = True
                    self._emit(ctx, left, event)
                if matched and self._left_outer:
                    state.left_met[found] = [True] * (found.stop - found.start)
        if self.lower_ms <= 0:
            rows = state.rights
            if rows and rows[0][0] < now_ms + self.lower_ms:
                self._drop_rights(state, passed(rows, now_ms + self.lower_ms))
            rows.append((now_ms, event))
            if self._right_outer:
                state.right_met.append(matched)
            self._arm(now_ms - self.lower_ms, self._right_outer and not matched, ctx)
        elif self._right_outer and not matched:
            self._emit(ctx, None, event)

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Any], /) -> None:
        """Drop the key when all intervals have passed; emit what has found no partner in its interval."""
        if timer.name == "until":
            ctx.forget()
            return
        lefts = bisect_left(state.lefts, (timer.at - self.upper_ms + 1,))
        rights = bisect_left(state.rights, (timer.at + self.lower_ms + 1,))
        for (_, left), met in zip(state.lefts[:lefts], state.left_met):
            if not met:
                self._emit(ctx, left, None)
        for (_, right), met in zip(state.rights[:rights], state.right_met):
            if not met:
                self._emit(ctx, None, right)
        self._drop_lefts(state, lefts)
        self._drop_rights(state, rights)
        due = self._next_unmatched(state)
        if due is not None:
            ctx.timer("unmatched", due)

    def _arm(self, until: int, must_emit: bool, ctx: Context[Any]) -> None:
        """An event is kept until `until`; with `must_emit` it is emitted then, unless a partner comes."""
        last = ctx.due("until")
        if last is None or last < until:
            # Later than need be, so that the next event finds it late enough.
            ctx.timer("until", until + self._spare_ms)
        # While an event is kept it meets all that come on the other side, so those without a partner are of one side,
        # and a timer that is set is not that of a later one.
        if must_emit and ctx.due("unmatched") is None:
            ctx.timer("unmatched", until)

    def _next_unmatched(self, state: Any) -> Optional[int]:
        """When the first event is to be emitted that has no partner yet."""
        if False in state.left_met:
            return int(state.lefts[state.left_met.index(False)][0] + self.upper_ms)
        if False in state.right_met:
            return int(state.rights[state.right_met.index(False)][0] - self.lower_ms)
        return None

    def _drop_lefts(self, state: Any, count: int) -> None:
        del state.lefts[:count]
        if self._left_outer:
            del state.left_met[:count]

    def _drop_rights(self, state: Any, count: int) -> None:
        del state.rights[:count]
        if self._right_outer:
            del state.right_met[:count]
