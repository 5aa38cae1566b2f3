"""The matcher of chains: what an event or time does to the partial matches of a key."""

from __future__ import annotations

from typing import Any, Final

from headway.basics.times import MIN_TIME_MS
from headway.operators.base import Context, Timer
from headway.operators.patterns.buffer import LAST, NEVER, NEXT
from headway.operators.patterns.chain import Chain, reactions_of
from headway.operators.patterns.links import drop, first_waiting, taken_by, waiting
from headway.operators.patterns.results import Match, MatcherOptions, PartialMatch

__all__ = ["ChainMatcher"]

_Steps = list[list[Any]]
_FOREVER_MS: Final = 2 * (NEVER + 1)
"""From whatever time on, this is later than `NEVER`."""


class ChainMatcher:
    """Moves the partial matches of one state along a chain; one object serves all keys.

    Gives what the general matcher gives, in the same order, for a fraction of the cost: an event costs a look at
    the steps whose conditions it meets, however many partial matches wait there.
    """

    def __init__(self, chain: Chain, event_type: Any, taken_type: Any, options: MatcherOptions) -> None:
        self._names = chain.names
        self._react = reactions_of(chain, event_type)
        self._taken = taken_type
        self._keep = options.keep.of
        self._within_ms = options.within_ms
        self._gaps = [link.gap_ms for link in chain.links]
        self._gapped = chain.gapped
        self._final = len(chain.names) - 1
        self._absent = chain.absent
        self._skips_all = options.after.kind == "skip_past_last"
        self._max = options.bound
        self._select = options.select
        times = [time for time in (options.within_ms, *self._gaps[:1]) if time is not None]
        self._timed = self._gapped or options.within_ms is not None
        self._patience_ms = min(times, default=_FOREVER_MS)
        """How long those wait that have come no further than to the first step."""
        self._may_be_lazy = not (chain.gapped or chain.absent)

    def on_event(self, state: Any, event: Any, ctx: Context[Any]) -> None:
        """Move the partial matches on that the event fits, end those that it breaks, begin a new one."""
        steps: _Steps = state.steps
        depth = before = len(steps)
        begins, moves = self._react(event, depth)
        moved = False
        if not depth:
            if not begins:
                return
        elif self._timed:
            straight = depth == 1 or not self._gapped
            due = steps[0][0].at + self._patience_ms if straight else self._first_due(steps)
            if due <= ctx.time:
                self._expire(steps, ctx)
                moved = True
                depth = len(steps)
        for step, kills in moves:
            if step < depth:
                ahead = steps[step + 1][-1].last if step + 1 < depth else steps[0][0].last - 1
                last = steps[step][-1].last
                if last == ahead:
                    continue
                moved = True
                if kills and depth == 1:
                    steps.clear()  # All of them wait here.
                elif kills:
                    drop(steps, ahead, last)
                elif step + 1 < self._final or self._absent:
                    self._take(steps, step + 1, last, event, ctx)
                elif self._complete(steps, ahead, last, event, ctx):
                    begins = False
                depth = len(steps)
        if begins:
            self._begin(steps, event, ctx)
            depth = len(steps)
        elif not moved:
            return
        if not depth:
            if before:
                ctx.forget()
        elif not self._is_lazy(ctx):
            self._arm(steps, ctx)
        elif begins and self._within_ms is not None:
            ctx.timer(LAST, ctx.time + self._within_ms)

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Any]) -> None:
        """End what time ends."""
        steps = state.steps
        if steps:
            self._expire(steps, ctx)
        if not steps:
            ctx.forget()
        elif not self._is_lazy(ctx):
            self._arm(steps, ctx)
        elif self._within_ms is not None:  # It has become longer since the timer was set.
            ctx.timer(LAST, steps[0][-1].at + self._within_ms)

    # -- Events -------------------------------------------------------------------------------------------

    def _begin(self, steps: _Steps, event: Any, ctx: Context[Any]) -> None:
        if not steps:
            if self._final or self._absent:
                steps.append([self._taken(0, ctx.time, self._keep(event))])
            else:
                self._emit([self._keep(event)], ctx.time, ctx)
            return
        firsts = steps[0]
        firsts.append(self._taken(firsts[-1].last + 1, ctx.time, self._keep(event)))
        oldest = steps[0][0].last
        excess = steps[0][-1].last - oldest + 1 - self._max
        if excess > 0:
            if ctx.is_read("overflow"):
                for number in range(oldest, oldest + excess):
                    ctx.emit_to("overflow", self._partial(steps, number))
            drop(steps, oldest - 1, oldest - 1 + excess)
            ctx.lose("overflow", excess)

    def _take(self, steps: _Steps, step: int, last: int, event: Any, ctx: Context[Any]) -> None:
        taken = self._taken(last, ctx.time, self._keep(event))
        if step == len(steps):
            steps.append([taken])
        else:
            steps[step].append(taken)

    def _complete(self, steps: _Steps, ahead: int, last: int, event: Any, ctx: Context[Any]) -> bool:
        """Tell the matches that the event completes; returns whether it ends what it begins itself, too."""
        event = self._keep(event)
        if self._skips_all:
            self._emit([*[column[0].event for column in steps], event], steps[0][0].at, ctx)
            steps.clear()
            return True
        for number in range(ahead + 1, last + 1):
            taken = taken_by(steps, number)
            self._emit([*[one.event for one in taken], event], taken[0].at, ctx)
        drop(steps, ahead, last)
        return False

    # -- Time ---------------------------------------------------------------------------------------------

    def _is_lazy(self, ctx: Context[Any]) -> bool:
        """Whether nobody sees when a partial match ends, so that it may do so with the next event or the last timer."""
        return self._may_be_lazy and not ctx.is_read("timed_out")

    def _arm(self, steps: _Steps, ctx: Context[Any]) -> None:
        """A timer for what ends next, and one for the last: draining goes as far as timers are set."""
        if not self._timed:
            return
        if not self._gapped or len(steps) == 1:
            due, last = steps[0][0].at + self._patience_ms, steps[0][-1].at + self._patience_ms
        else:
            due, last = self._first_due(steps), self._last_due(steps)
        if due < NEVER:
            ctx.timer(NEXT, due)
            if last > due:
                ctx.timer(LAST, last)

    def _first_due(self, steps: _Steps) -> int:
        """When time first ends a partial match, where links have times of their own."""
        due = NEVER if self._within_ms is None else steps[0][0].at + self._within_ms
        for step, gap in enumerate(self._gaps[: len(steps)]):
            if gap is not None:
                ahead, last = waiting(steps, step)
                if last > ahead:
                    due = min(due, first_waiting(steps, step, ahead).at + gap)
        return due

    def _last_due(self, steps: _Steps) -> int:
        """When time has ended them all, if no event comes; what never ends counts for nothing."""
        if self._within_ms is not None:
            last: int = steps[0][-1].at + self._within_ms
            return last
        ends = []
        for step, gap in enumerate(self._gaps[: len(steps)]):
            ahead, behind = waiting(steps, step)
            if gap is not None and behind > ahead:
                ends.append(steps[step][-1].at + gap)
        return max(ends, default=MIN_TIME_MS)

    def _expire(self, steps: _Steps, ctx: Context[Any]) -> None:
        """End what may not go on at this time, those that began first before the others."""
        if self._within_ms is not None and not self._gapped and not self._absent:
            latest_ms = ctx.time - self._within_ms
            number = before = steps[0][0].last - 1
            is_read = ctx.is_read("timed_out")
            for first in steps[0]:
                if first.at > latest_ms:
                    break
                number = first.last
                if is_read:
                    self._end(steps, 0, number, ctx)
            if number > before:
                drop(steps, before, number)
            return
        for step in range(len(steps) - 1, -1, -1):
            if step < len(steps):
                ahead, last = waiting(steps, step)
                number = ahead
                while number < last and self._ends(steps, step, number + 1, ctx.time):
                    number += 1
                    self._end(steps, step, number, ctx)
                if number > ahead:
                    drop(steps, ahead, number)

    def _ends(self, steps: _Steps, step: int, number: int, now: int) -> bool:
        within_ms, gap = self._within_ms, self._gaps[step]
        if within_ms is not None and steps[0][number - steps[0][0].last].at + within_ms <= now:
            return True
        return gap is not None and bool(first_waiting(steps, step, number - 1).at + gap <= now)

    def _end(self, steps: _Steps, step: int, number: int, ctx: Context[Any]) -> None:
        if step == self._final:
            taken = taken_by(steps, number)
            self._emit([one.event for one in taken], taken[0].at, ctx)
        elif ctx.is_read("timed_out"):
            ctx.emit_to("timed_out", self._partial(steps, number))

    # -- Results ------------------------------------------------------------------------------------------

    def _matched(self, events: list[Any]) -> dict[str, list[Any]]:
        """The events by the names of their steps, in the order of the pattern."""
        matched: dict[str, list[Any]] = {}
        for name, event in zip(self._names, events):
            if name in matched:
                matched[name].append(event)
            else:
                matched[name] = [event]
        return matched

    def _partial(self, steps: _Steps, number: int) -> PartialMatch[Any]:
        taken = taken_by(steps, number)
        return PartialMatch(matched=self._matched([one.event for one in taken]), start=taken[0].at, end=taken[-1].at)

    def _emit(self, events: list[Any], start: int, ctx: Context[Any]) -> None:
        match = Match(matched=self._matched(events), start=start, end=ctx.time)
        ctx.emit(match if self._select is None else self._select(match))
