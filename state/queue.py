"""The near timers: a priority queue that is quick where entries come in order, as those of equal delays do."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Final

from headway.basics.times import MAX_TIME_MS
from headway.state.keys import TimerEntry

__all__ = ["EntryQueue", "is_before"]

_TRIM_ENTRIES: Final = 256


def is_before(one: TimerEntry, other: TimerEntry) -> bool:
    """Whether `one < other`, which their times mostly tell: comparing tuples costs twice as much or more.

    >>> is_before((5, "b", 0, "t"), (6, "a", 0, "t")), is_before((5, "b", 0, "t"), (5, "a", 0, "t"))
    (True, False)
    """
    one_ms, other_ms = one[0], other[0]
    return one_ms < other_ms or (one_ms == other_ms and one < other)


class EntryQueue:
    """Entries, the earliest first. What comes in order is appended and popped in O(1); the rest goes to a heap.

    `first` is the earliest entry. It is always there, because an end mark, which is later than all others, is among
    the entries until `replace` brings another one. `first_ms` is its time, or `MAX_TIME_MS` when that is later still:
    a number of C, which is looked at for each event.

    >>> queue = EntryQueue((9, "end", 0, ""))
    >>> queue.push((5, "b", 0, "idle")), queue.push((7, "c", 0, "idle")), queue.push((6, "a", 0, "idle"))
    (None, None, None)
    >>> queue.pop(), queue.first, len(queue)
    (None, (6, 'a', 0, 'idle'), 3)
    """

    __slots__ = ("_head", "_heap", "_run", "first", "first_ms")

    def __init__(self, end: TimerEntry) -> None:
        self._run: list[TimerEntry] = []
        # Where the run begins: popping only moves this, until it is worth a copy.
        self._head = 0
        self._heap = [end]
        self.first = end
        self.first_ms = 0
        self._find_first()

    def __len__(self) -> int:
        return len(self._heap) + len(self._run) - self._head

    def push(self, entry: TimerEntry) -> None:
        """Add an entry that is earlier than the end mark."""
        if not self._run or is_before(self._run[-1], entry):
            self._run.append(entry)
        else:
            heappush(self._heap, entry)
        if is_before(entry, self.first):
            self.first = entry
            self.first_ms = entry[0]

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
        self._heap = [end]
        self._find_first()

    def check_valid(self) -> None:
        """Assert that the parts are as they should be; O(n log n), for tests."""
        living = self._run[self._head :]
        assert living == sorted(living)
        assert self.first is min(self.entries()), "first is not the earliest"
        assert self.first_ms == min(self.first[0], MAX_TIME_MS), "first_ms is not its time"

    def _find_first(self) -> None:
        first = self._heap[0]
        if self._head < len(self._run) and is_before(self._run[self._head], first):
            first = self._run[self._head]
        self.first = first
        self.first_ms = MAX_TIME_MS if first[0] > MAX_TIME_MS else first[0]
