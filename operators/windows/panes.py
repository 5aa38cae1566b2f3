"""Panes: the pieces of time whose accumulators windows are merged from, in three ways of keeping them.

The three have the same methods over a state that has the fields they name. Accumulators of the newest pane are a
list, which events are added to in place; all others are only merged. What an epoch stored comes back as tuples.
"""

from __future__ import annotations

from bisect import bisect_left
from operator import itemgetter
from typing import Any, Final, Optional

import msgspec

from headway.operators.aggregates.base import Bundle
from headway.operators.windows.accumulators import copier

__all__ = ["GrowingPanes", "KeptPanes", "Panes", "SlidingPanes"]

Accumulators = Any
Field = tuple[str, Any, Any]

_start_of: Final = itemgetter(0)


class Panes:
    """How the panes of a key are kept. `fields` are those of its state, as `msgspec.defstruct` takes them."""

    fields: list[Field]

    def add(self, state: Any, pane: int, event: Any, time_ms: int) -> bool:
        """Add an event to the pane that starts at `pane`, which is not before any other; whether the pane is new."""
        raise NotImplementedError

    def close(self, state: Any, start: int, keep_from: int) -> Accumulators:
        """The accumulators of all panes from `start` on; then those before `keep_from` are dropped.

        There must be one. What is given is to be read only, and before the next call.
        """
        raise NotImplementedError

    def peek(self, state: Any, start: int) -> Accumulators:
        """As `close`, but nothing is dropped."""
        raise NotImplementedError

    def is_empty(self, state: Any) -> bool:
        """Whether there is no pane."""
        raise NotImplementedError


class GrowingPanes(Panes):
    """Panes of windows that only grow until all of it is dropped: one accumulator of them all, besides the newest."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._add = bundle.add
        accumulators: Any = Optional[bundle.accumulator_type]
        self.fields = [("pane", int, 0), ("newest", accumulators, None), ("total", accumulators, None)]

    def add(self, state: Any, pane: int, event: Any, time_ms: int) -> bool:
        """See `Panes.add`. O(1)."""
        newest = state.newest
        if newest is not None and state.pane == pane:
            if type(newest) is tuple:
                newest = state.newest = list(newest)
            self._add(newest, event, time_ms)
            return False
        if newest is not None:
            self._fold(state)
        state.pane = pane
        newest = state.newest = self._bundle.init()
        self._add(newest, event, time_ms)
        return True

    def close(self, state: Any, start: int, keep_from: int) -> Accumulators:
        """See `Panes.close`. One merge."""
        total = self.peek(state, start)
        if state.pane < keep_from:
            state.total = None
        return total

    def peek(self, state: Any, start: int) -> Accumulators:
        """See `Panes.peek`. One merge; the pane then goes on with accumulators of its own."""
        if state.newest is not None:
            self._fold(state)
        return state.total

    def is_empty(self, state: Any) -> bool:
        """See `Panes.is_empty`."""
        return state.total is None and state.newest is None

    def _fold(self, state: Any) -> None:
        state.total = state.newest if state.total is None else self._bundle.merge(state.total, state.newest)
        state.newest = None


class SlidingPanes(Panes):
    """Panes of windows that slide: a window costs O(1) merges on average, however many panes it has.

    Two stacks make a queue: `front` holds, for each of the older panes, the merge of it with all after it in `front`,
    the oldest last; `panes` holds the newer ones as they are and `total` the merge of those. A window is the last of
    `front` merged with `total`. When `front` is used up, `panes` become the new one, which costs one merge each.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._merge = bundle.merge
        self._add = bundle.add
        self._copy = copier(bundle)
        pane_list = _list_of_panes(bundle)
        self.fields = [
            ("pane", int, 0),
            ("newest", Optional[bundle.accumulator_type], None),
            ("total", Optional[bundle.accumulator_type], None),
            ("panes", pane_list, msgspec.field(default_factory=list)),
            ("front", pane_list, msgspec.field(default_factory=list)),
        ]

    def add(self, state: Any, pane: int, event: Any, time_ms: int) -> bool:
        """See `Panes.add`. O(1)."""
        newest = state.newest
        if newest is not None and state.pane == pane:
            if type(newest) is tuple:
                newest = state.newest = list(newest)
            self._add(newest, event, time_ms)
            return False
        if newest is not None:
            self._fold(state)
        state.pane = pane
        newest = state.newest = self._bundle.init()
        self._add(newest, event, time_ms)
        return True

    def close(self, state: Any, start: int, keep_from: int) -> Accumulators:
        """See `Panes.close`. Three merges on average, as many as there are panes at worst."""
        if state.newest is not None:
            self._fold(state)
        front = state.front
        if front:
            oldest, merged = front[-1]
            if state.total is not None:
                earlier = merged if oldest < keep_from else self._copy(merged)
                merged = self._merge(earlier, self._copy(state.total))
            while front and front[-1][0] < keep_from:
                front.pop()
        else:
            merged = state.total
        if not front and state.panes and state.panes[0][0] < keep_from:
            self._turn(state, keep_from)
        return merged

    def peek(self, state: Any, start: int) -> Accumulators:
        """See `Panes.peek`. Two merges."""
        parts = [state.front[-1][1]] if state.front else []
        parts += [part for part in (state.total, state.newest) if part is not None]
        merged = self._copy(parts[0])
        for part in parts[1:]:
            merged = self._merge(merged, self._copy(part))
        return merged

    def is_empty(self, state: Any) -> bool:
        """See `Panes.is_empty`."""
        return state.newest is None and not state.panes and not state.front

    def _fold(self, state: Any) -> None:
        newest = state.newest
        state.panes.append((state.pane, newest))
        state.total = self._copy(newest) if state.total is None else self._merge(state.total, self._copy(newest))
        state.newest = None

    def _turn(self, state: Any, keep_from: int) -> None:
        """Make the panes from `keep_from` on the front."""
        front = state.front
        merged: Optional[Accumulators] = None
        for start, pane in reversed(state.panes):
            if start < keep_from:
                break
            merged = pane if merged is None else self._merge(pane, self._copy(merged))
            front.append((start, merged))
        state.panes = []
        state.total = None


class KeptPanes(Panes):
    """Panes that stay as they are, so that late events can be added to them: a window costs a merge for each pane.

    Also the way for accumulators that grow with what is in them, which would be kept many times over otherwise.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._copy = copier(bundle)
        pane_list = _list_of_panes(bundle)
        self.fields = [("panes", pane_list, msgspec.field(default_factory=list))]

    def add(self, state: Any, pane: int, event: Any, time_ms: int) -> bool:
        """See `Panes.add`; here panes may be added to in any order. O(1) for the newest, O(log panes) for others."""
        panes = state.panes
        index, is_new = -1, False
        if not panes or panes[-1][0] < pane:
            panes.append((pane, self._bundle.init()))
            is_new = True
        elif panes[-1][0] != pane:
            index = bisect_left(panes, pane, key=_start_of)
            is_new = panes[index][0] != pane
            if is_new:
                panes.insert(index, (pane, self._bundle.init()))
        accumulators = panes[index][1]
        if type(accumulators) is tuple:
            accumulators = list(accumulators)
            panes[index] = (pane, accumulators)
        self._bundle.add(accumulators, event, time_ms)
        return is_new

    def close(self, state: Any, start: int, keep_from: int) -> Accumulators:
        """See `Panes.close`. As many merges as the window has panes."""
        merged = self.peek(state, start)
        self.drop(state, keep_from)
        return merged

    def peek(self, state: Any, start: int, end: Optional[int] = None) -> Accumulators:
        """See `Panes.peek`; here `end` may bound the panes."""
        first, last = self._run(state, start, end)
        merged = state.panes[first][1]
        if last - first > 1:
            merged = self._copy(merged)
            for _, accumulators in state.panes[first + 1 : last]:
                merged = self._bundle.merge(merged, self._copy(accumulators))
        return merged

    def has(self, state: Any, start: int, end: int) -> bool:
        """Whether there is a pane that starts within `[start, end)`."""
        first, last = self._run(state, start, end)
        return first < last

    def drop(self, state: Any, keep_from: int) -> None:
        """Drop the panes before `keep_from`."""
        del state.panes[: bisect_left(state.panes, keep_from, key=_start_of)]

    def is_empty(self, state: Any) -> bool:
        """See `Panes.is_empty`."""
        return not state.panes

    def _run(self, state: Any, start: int, end: Optional[int]) -> tuple[int, int]:
        panes = state.panes
        first = bisect_left(panes, start, key=_start_of)
        return first, len(panes) if end is None else bisect_left(panes, end, key=_start_of)


def _list_of_panes(bundle: Bundle) -> Any:
    accumulators: Any = bundle.accumulator_type
    return list[tuple[int, accumulators]]
