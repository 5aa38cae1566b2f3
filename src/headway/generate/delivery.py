"""How events reach the log: each after a delay of its own, which puts partitions out of order; some too late.

An event of time t is delivered at `t + delay` with a delay below the disorder, and lines are written in the
order of delivery. Whatever stands before an event was therefore delivered no later, and is newer by less than
the disorder. A late event is held back until its partition really holds an event that makes it late.
"""

from __future__ import annotations

from bisect import bisect_left
from heapq import heappop, heappush
from operator import itemgetter
from random import Random
from typing import Final

from headway.basics.times import MAX_TIME_MS, MIN_TIME_MS
from headway.generate.files import LineFile
from headway.generate.lines import corrupt_line
from headway.generate.options import ShopOptions
from headway.generate.story import Shopper

__all__ = ["Delivery", "Partition"]

_COUNTS: Final = 0
_LATE: Final = 1
_CORRUPT: Final = 2

_Entry = tuple[int, int, "Shopper[Partition]", str, int]
"""Delivery time, event time, who, line, and one of the fates above."""

_delivery_ms = itemgetter(0)


class Partition:
    """One partition: its file, its newest time, and the late events that wait for it."""

    __slots__ = ("file", "lines", "newest_ms", "oldest_ms", "waiting")

    def __init__(self, file: LineFile) -> None:
        self.file: Final = file
        self.lines: list[str] = []
        self.oldest_ms = MAX_TIME_MS
        """The least time of an event in it, late ones included."""
        self.newest_ms = MIN_TIME_MS
        """The greatest time of an event in it: with it, the watermark moves."""
        self.waiting: list[tuple[int, str, int]] = []
        """Heap of late events: time, line, user's number."""

    def flush(self) -> None:
        """Write the lines collected so far."""
        if self.lines:
            self.file.write("".join(self.lines))
            self.lines.clear()


class Delivery:
    """Decides what happens to each event on its way, and writes the partitions.

    Memory: the events of the last `2 * disorder_ms`, the late ones that wait, and one byte per user.
    """

    def __init__(self, options: ShopOptions, partitions: list[Partition]) -> None:
        self._partitions = partitions
        self._disorder_ms = options.disorder_ms
        self._rng = Random(3 * options.seed + 2)
        self._late_below = options.late
        self._duplicate_below = self._late_below + options.duplicates
        self._corrupt_below = self._duplicate_below + options.corrupt
        self._seen = bytearray(options.users)
        self._underway: list[_Entry] = []
        self.missing = options.events
        """Number of events that are still to come until there are as many as wanted."""
        self.late = 0
        self.duplicates = 0
        self.corrupt = 0

    @property
    def users(self) -> int:
        """Number of users of whom an event was written; counting costs a moment."""
        return self._seen.count(1)

    @property
    def underway(self) -> int:
        """Number of lines accepted and not written yet."""
        return len(self._underway)

    def accept(self, at_ms: int, shopper: Shopper[Partition], line: str) -> int:
        """Send one event on its way; times never go back. Tells how often it counts: a late one 0 times."""
        random = self._rng.random
        fate = random()
        if fate < self._late_below:
            delivery_ms = at_ms + self._disorder_ms + 1 + int(random() * (self._disorder_ms + 1))
            self._underway.append((delivery_ms, at_ms, shopper, line, _LATE))
            return 0
        self.missing -= 1
        delivery_ms = at_ms + int(random() * self._disorder_ms)
        self._underway.append((delivery_ms, at_ms, shopper, line, _COUNTS))
        if fate >= self._corrupt_below:
            return 1
        if fate >= self._duplicate_below:
            self.corrupt += 1
            self._underway.append((delivery_ms, at_ms, shopper, corrupt_line(line, self._rng), _CORRUPT))
            return 1
        self.duplicates += 1
        if random() < 0.5:
            delivery_ms += int(random() * (at_ms + self._disorder_ms - delivery_ms))
        self._underway.append((delivery_ms, at_ms, shopper, line, _COUNTS))
        return 2

    def deliver_before(self, time_ms: int) -> None:
        """Write all lines with a delivery time below `time_ms`; no event before that time may follow."""
        # Sorting is stable and finds most of the list in order already, which beats a heap here.
        self._underway.sort(key=_delivery_ms)
        count = bisect_left(self._underway, time_ms, key=_delivery_ms)
        for entry in self._underway[:count]:
            self._deliver(entry)
        del self._underway[:count]
        for partition in self._partitions:
            partition.flush()

    def close(self) -> None:
        """Write what is still on its way, except late events that nothing has made late."""
        self.deliver_before(MAX_TIME_MS)

    def _deliver(self, entry: _Entry) -> None:
        _, at_ms, shopper, line, fate = entry
        partition = shopper.partition
        if fate == _LATE:
            heappush(partition.waiting, (at_ms, line, shopper.number))
        else:
            partition.lines.append(line)
            if fate == _CORRUPT:
                return
            self._seen[shopper.number] = 1
            # Each event comes by here, and calls of max and min would take twice as long.
            if at_ms > partition.newest_ms:  # noqa: PLR1730
                partition.newest_ms = at_ms
            if at_ms < partition.oldest_ms:  # noqa: PLR1730
                partition.oldest_ms = at_ms
        if partition.waiting:
            self._deliver_overtaken(partition)

    def _deliver_overtaken(self, partition: Partition) -> None:
        waiting = partition.waiting
        while waiting and self.missing and waiting[0][0] < partition.newest_ms - self._disorder_ms:
            at_ms, line, number = heappop(waiting)
            partition.lines.append(line)
            partition.oldest_ms = min(partition.oldest_ms, at_ms)
            self._seen[number] = 1
            self.missing -= 1
            self.late += 1
