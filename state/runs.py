"""Records of one channel that wait for the watermark, kept nearly sorted at a low price."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from operator import itemgetter
from typing import Any, Final

from headway.basics.scanning import sort_by_time

__all__ = ["RECORD_TIME", "Runs"]

RECORD_TIME: Final = itemgetter(0)


class Runs:
    """Records `(time_ms, …)` in a few runs, each sorted by (time, arrival).

    The runs are merged like the levels of a log-structured store, neighbours of similar size first, so that a record
    takes part in O(log n) merges at most, however small the steps of arrival and release are; records that arrive in
    order extend the last run and take part in none.

    >>> runs = Runs()
    >>> runs.add([(1, "a"), (4, "b"), (2, "c")]), runs.add([(3, "d"), (2, "e")])
    (1, 2)
    >>> runs.take(2), runs.take(9), len(runs)
    ([(1, 'a'), (2, 'c'), (2, 'e')], [(3, 'd'), (4, 'b')], 0)
    """

    __slots__ = ("_heads", "_runs", "_size")

    def __init__(self) -> None:
        self._runs: list[list[Any]] = []
        # Where each run begins: taking from the front only moves this, until it is worth a copy.
        self._heads: list[int] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, records: list[Any]) -> int:
        """Take `records`, of which there is one at least and which arrived in this order after all others.

        The list is no longer the caller's. Returns the earliest time of them.
        """
        sort_by_time(records)
        first_ms: int = records[0][0]
        runs = self._runs
        self._size += len(records)
        if runs and runs[-1][-1][0] <= first_ms:
            runs[-1].extend(records)
        else:
            runs.append(records)
            self._heads.append(0)
        while len(runs) > 1 and 2 * self._length(-1) >= self._length(-2):
            self._merge_last()
        return first_ms

    def take(self, until_ms: int) -> list[Any]:
        """Remove and return the records with time <= `until_ms`, in order. The list is the caller's."""
        parts = []
        emptied = False
        for index, run in enumerate(self._runs):
            head = self._heads[index]
            if run[head][0] > until_ms:
                continue
            if run[-1][0] <= until_ms:
                parts.append(run[head:] if head else run)
                self._heads[index] = len(run)
                emptied = True
                continue
            stop = bisect_right(run, until_ms, head, key=RECORD_TIME)
            parts.append(run[head:stop])
            if 2 * stop > len(run):
                del run[:stop]
                stop = 0
            self._heads[index] = stop
        if emptied:
            self._drop_empty()
        return self._gather(parts)

    def take_from(self, from_ms: int) -> list[Any]:
        """Remove and return the records with time >= `from_ms`, in order."""
        parts = []
        for index, run in enumerate(self._runs):
            start = bisect_left(run, from_ms, self._heads[index], key=RECORD_TIME)
            parts.append(run[start:])
            del run[start:]
        self._drop_empty()
        return self._gather(parts)

    def records(self) -> list[Any]:
        """All records in order; not a copy."""
        while len(self._runs) > 1:
            self._merge_last()
        if not self._runs:
            return []
        if self._heads[0]:
            del self._runs[0][: self._heads[0]]
            self._heads[0] = 0
        return self._runs[0]

    def times(self) -> list[int]:
        """The times of all records in no particular order."""
        return [record[0] for run, head in zip(self._runs, self._heads) for record in run[head:]]

    def first_ms(self) -> int:
        """The earliest time, of one record at least."""
        first: int = min(run[head][0] for run, head in zip(self._runs, self._heads))
        return first

    def _length(self, index: int) -> int:
        return len(self._runs[index]) - self._heads[index]

    def _merge_last(self) -> None:
        newer, newer_head = self._runs.pop(), self._heads.pop()
        older, older_head = self._runs[-1], self._heads[-1]
        merged = older[older_head:] + newer[newer_head:]
        # Stable, and Timsort finds the two runs: this is one merge.
        merged.sort(key=RECORD_TIME)
        self._runs[-1], self._heads[-1] = merged, 0

    def _drop_empty(self) -> None:
        """Forget the runs of which nothing is left."""
        kept = [(run, head) for run, head in zip(self._runs, self._heads) if head < len(run)]
        self._runs = [run for run, _ in kept]
        self._heads = [head for _, head in kept]

    def _gather(self, parts: list[list[Any]]) -> list[Any]:
        """The parts, which were taken, as one list in order."""
        if len(parts) == 1:
            taken = parts[0]
        else:
            taken = [record for part in parts for record in part]
            taken.sort(key=RECORD_TIME)
        self._size -= len(taken)
        return taken
