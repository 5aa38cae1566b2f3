"""The near timers: a priority queue that is quick where entries come in order, as those of equal delays do."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Final

from headway.state.keys import TimerEntry
from headway.times import MAX_TIME_MS

__all__ = ["EntryQueue"]

_TRIM_ENTRIES: Final = 256


class EntryQueue:
    """Entries, the earliest first. What comes in order is appended and popped in O(1); the rest goes to a heap.

    `first` is the earliest entry. It is always there, because an end mark, which is later than all others, is among
    the entries until `replace` brings another one. `first_ms` is its time, or `MAX_TIME_MS` when that is later still:
    numbers are compared at a tenth of the price of entries, and mostly tell.

    >>> queue = EntryQueue((9, "end", 0, ""))
    >>> queue.push((5, "b", 0, "idle")), queue.push((7, "c", 0, "idle")), queue.push((6, "a", 0, "idle"))
    (None, None, None)
    >>> queue.pop(), queue.first, len(queue)
    (None, (6, 'a', 0, 'idle'), 3)
    """

    __slots__ = ("_head", "_heap", "_last_ms", "_run", "first", "first_ms")

    def __init__(self, end: TimerEntry) -> None:
        self._run: list[TimerEntry] = []
        # Where the run begins: popping only moves this, until it is worth a copy.
        self._head = 0
        self._last_ms = 0
        self._heap = [end]
        self.first = end
        self.first_ms = 0
        self._find_first()

    def __len__(self) -> int:
        return len(self._heap) + len(self._run) - self._head

    def push(self, entry: TimerEntry) -> None:
        """Add an entry that is earlier than the end mark."""
        at_ms = entry[0]
        if not self._run or self._last_ms < at_ms or (self._last_ms == at_ms and self._run[-1] < entry):
            self._run.append(entry)
            self._last_ms = at_ms
        else:
            heappush(self._heap, entry)
        if at_ms < self.first_ms or (at_ms == self.first_ms and entry < self.first):
            self.first = entry
            self.first_ms = at_ms

    def pop(self) -> None:
        """Remove `first`, which must not be the end mark."""
        run, head = self._run, self._head
        if head < len(run) and run[head] is self.first:
            head += 1
            if head == len(run) or (head >= _TRIM_ENTRIES and 2 * head >= len(run)):
                del run[:head]
                head = 0
            self._head = head
        else:
            heappop(self._heap)
        self._find_first()

    def entries(self) -> list[TimerEntry]:
        """All entries, the end mark included, in no particular order."""
        return self._run[self._head :] + self._heap

    def replace(self, entries: list[TimerEntry], end: TimerEntry) -> None:
        """Have these entries, which are in order, and this end mark instead."""
        self._run = entries
        self._head = 0
        self._last_ms = entries[-1][0] if entries else 0
        self._heap = [end]
        self._find_first()

    def check_valid(self) -> None:
        """Assert that the parts are as they should be; O(n log n), for tests."""
        living = self._run[self._head :]
        assert living == sorted(living)
        assert self.first is min(self.entries()), "first is not the earliest"
        assert self.first_ms == min(self.first[0], MAX_TIME_MS), "first_ms is not its time"
        assert not living or self._last_ms == living[-1][0], "_last_ms is not the time of the last one"

    def _find_first(self) -> None:
        first = self._heap[0]
        first_ms = MAX_TIME_MS if first[0] > MAX_TIME_MS else first[0]
        if self._head < len(self._run):
            entry = self._run[self._head]
            at_ms = entry[0]
            if at_ms < first_ms or (at_ms == first_ms and entry < first):
                first, first_ms = entry, at_ms
        self.first = first
        self.first_ms = first_ms
