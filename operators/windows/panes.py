"""Panes: the pieces of time whose accumulators windows are merged from, in three ways of keeping them.

The three have the same methods over a state that has the fields they name. A pane is one object, with its start and
the accumulators of the aggregates, and is stored as an array. What there is none of is None in the state and takes
no space in its row: a key with a single event stores a single pane.
"""

from __future__ import annotations

from bisect import bisect_left
from operator import attrgetter
from typing import Any, Final, Optional

import msgspec

from headway.operators.aggregates.base import Bundle, held_struct
from headway.types.values import ENCODED

__all__ = ["GrowingPanes", "KeptPanes", "Panes", "SlidingPanes", "pane_type"]

Accumulators = Any
Field = tuple[str, Any, Any]

_start_of: Final = attrgetter("start")
_PACKED_TOGETHER: Final = 8
"""Panes that are packed as one."""


class _Pane(msgspec.Struct, array_like=True, gc=False):
    start: int = 0


def pane_type(bundle: Bundle) -> Any:
    """The class of panes: accumulators with the `start` of the pane, which comes first."""
    return held_struct("Pane", bundle.held_fields, _Pane)


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
    """Panes of windows that only grow until all of it is dropped: `total` merges all but the newest.

    The start of `total` is that of the newest pane in it.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._merge = bundle.merge
        self._add = bundle.add
        self._new = pane = pane_type(bundle)
        self.fields = [("newest", Optional[pane], None), ("total", Optional[pane], None)]

    def add(self, state: Any, pane: int, event: Any, time_ms: int) -> bool:
        """See `Panes.add`. O(1)."""
        newest = state.newest
        if newest is not None and newest.start == pane:
            self._add(newest, event, time_ms)
            return False
        self._fold(state)
        newest = state.newest = self._new(pane)
        self._add(newest, event, time_ms)
        return True

    def close(self, state: Any, start: int, keep_from: int) -> Accumulators:
        """See `Panes.close`. One merge."""
        total = self.peek(state, start)
        if total.start < keep_from:
            state.total = None
        return total

    def peek(self, state: Any, start: int) -> Accumulators:
        """See `Panes.peek`. One merge; the pane then goes on with accumulators of its own."""
        self._fold(state)
        return state.total

    def is_empty(self, state: Any) -> bool:
        """See `Panes.is_empty`."""
        return state.total is None and state.newest is None

    def _fold(self, state: Any) -> None:
        newest, total = state.newest, state.total
        if newest is None:
            return
        if total is None:
            state.total = newest
        else:
            total = state.total = self._merge(total, newest)
            total.start = newest.start
        state.newest = None


class _Stacks:
    """Stacks of panes, as part of a state: `loose` holds the top as objects, `packed` what lies below as it is stored.

    A row is stored whole whenever something in it has changed. What is packed is copied into it and taken from it as
    it is, and needs an eighth of the memory. There is something loose unless a stack is empty.
    """

    def __init__(self, pane: Any, run: int) -> None:
        loose: Any = list[pane]
        encoded: Any = ENCODED
        self.stored = msgspec.defstruct(
            "Stack",
            [
                ("loose", loose, msgspec.field(default_factory=list)),
                ("packed", list[encoded], msgspec.field(default_factory=list)),
            ],
            module=__name__,
            array_like=True,
            gc=False,
        )
        self._run = run
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(loose).decode

    def push(self, stack: Any, pane: Any) -> None:
        """Put a pane on top."""
        loose, run = stack.loose, self._run
        loose.append(pane)
        if len(loose) == 2 * run:
            stack.packed.append(msgspec.Raw(self._encode(loose[:run])))
            del loose[:run]

    def pop(self, stack: Any) -> Any:
        """Take the pane that is on top."""
        pane = stack.loose.pop()
        if not stack.loose and stack.packed:
            stack.loose = self._decode(stack.packed.pop())
        return pane


class SlidingPanes(Panes):
    """Panes of windows that slide: a window costs O(1) merges on average, however many panes it has.

    Two stacks make a queue: `front` holds, for each of the older panes, the merge of it with all after it in `front`,
    the oldest on top; `panes` holds the newer ones as they are, since `since`, and `total` the merge of those where
    there are several. A window is the top of `front` merged with `total`. When `front` is used up, `panes` become the
    new one, which costs one merge each. A pane that is alone stays `newest`, and its windows cost no merge at all.
    """

    def __init__(self, bundle: Bundle, *, run: int = _PACKED_TOGETHER) -> None:
        self._absorb = bundle.absorb
        self._combine = bundle.combine
        self._add = bundle.add
        self._new = pane = pane_type(bundle)
        self._stacks = _Stacks(pane, run)
        stack: Any = self._stacks.stored
        self.fields = [
            ("newest", Optional[pane], None),
            ("total", Optional[bundle.accumulator_type], None),
            ("since", int, 0),
            ("panes", Optional[stack], None),
            ("front", Optional[stack], None),
        ]

    def add(self, state: Any, pane: int, event: Any, time_ms: int) -> bool:
        """See `Panes.add`. O(1)."""
        newest = state.newest
        if newest is not None:
            if newest.start == pane:
                self._add(newest, event, time_ms)
                return False
            self._fold(state, newest)
        newest = state.newest = self._new(pane)
        self._add(newest, event, time_ms)
        return True

    def close(self, state: Any, start: int, keep_from: int) -> Accumulators:
        """See `Panes.close`. Three merges on average, as many as there are panes at worst."""
        front, newest = state.front, state.newest
        if newest is not None:
            if state.panes is None and front is None:
                if newest.start < keep_from:
                    state.newest = None
                return newest
            self._fold(state, newest)
        if front is None:
            found = self._total(state)
        else:
            found = front.loose[-1]
            if state.panes is not None:
                found = self._combine(found, self._total(state))
            while front.loose and front.loose[-1].start < keep_from:
                self._stacks.pop(front)
            if not front.loose:
                state.front = front = None
        if front is None and state.panes is not None and state.since < keep_from:
            self._turn(state, keep_from)
        return found

    def peek(self, state: Any, start: int) -> Accumulators:
        """See `Panes.peek`. Two merges."""
        parts = [state.front.loose[-1]] if state.front is not None else []
        if state.panes is not None:
            parts.append(self._total(state))
        if state.newest is not None:
            parts.append(state.newest)
        if len(parts) == 1:
            return parts[0]
        found = self._combine(parts[0], parts[1])
        return found if len(parts) == 2 else self._absorb(found, parts[2])

    def is_empty(self, state: Any) -> bool:
        """See `Panes.is_empty`."""
        return state.newest is None and state.panes is None and state.front is None

    def _total(self, state: Any) -> Accumulators:
        """The merge of `panes`."""
        return state.panes.loose[0] if state.total is None else state.total

    def _fold(self, state: Any, newest: Any) -> None:
        """Make the newest pane one of `panes`."""
        panes = state.panes
        if panes is None:
            panes = state.panes = self._stacks.stored()
            state.since = newest.start
        else:
            total = state.total
            state.total = self._combine(panes.loose[0], newest) if total is None else self._absorb(total, newest)
        self._stacks.push(panes, newest)
        state.newest = None

    def _turn(self, state: Any, keep_from: int) -> None:
        """Make the panes from `keep_from` on the front."""
        panes, front = state.panes, self._stacks.stored()
        newer: Optional[Any] = None
        while panes.loose:
            pane = self._stacks.pop(panes)
            if pane.start < keep_from:
                break
            newer = pane if newer is None else self._absorb(pane, newer)
            self._stacks.push(front, newer)
        state.front = None if newer is None else front
        state.panes, state.total, state.since = None, None, 0


class KeptPanes(Panes):
    """Panes that stay as they are, so that late events can be added to them: a window costs a merge for each pane.

    Also the way for accumulators that grow with what is in them, which would be kept many times over otherwise.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._absorb = bundle.absorb
        self._combine = bundle.combine
        self._add = bundle.add
        self._new = pane = pane_type(bundle)
        self.fields = [("panes", list[pane], msgspec.field(default_factory=list))]  # type: ignore[valid-type]

    def add(self, state: Any, pane: int, event: Any, time_ms: int) -> bool:
        """See `Panes.add`; here panes may be added to in any order. O(1) for the newest, O(log panes) for others."""
        panes = state.panes
        index, is_new = -1, False
        if not panes or panes[-1].start < pane:
            panes.append(self._new(pane))
            is_new = True
        elif panes[-1].start != pane:
            index = bisect_left(panes, pane, key=_start_of)
            is_new = panes[index].start != pane
            if is_new:
                panes.insert(index, self._new(pane))
        self._add(panes[index], event, time_ms)
        return is_new

    def close(self, state: Any, start: int, keep_from: int) -> Accumulators:
        """See `Panes.close`. As many merges as the window has panes."""
        merged = self.peek(state, start)
        self.drop(state, keep_from)
        return merged

    def peek(self, state: Any, start: int, end: Optional[int] = None) -> Accumulators:
        """See `Panes.peek`; here `end` may bound the panes."""
        first, last = self._run(state, start, end)
        panes = state.panes
        if last - first == 1:
            return panes[first]
        merged = self._combine(panes[first], panes[first + 1])
        for pane in panes[first + 2 : last]:
            merged = self._absorb(merged, pane)
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
