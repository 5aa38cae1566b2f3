"""The timers of one stage in time order: the near ones in memory, the others in RocksDB."""

from __future__ import annotations

from typing import Tuple

__all__ = ["TimerEntry", "TimerIndex"]

TimerEntry = Tuple[int, str, int, str]
"""`(at_ms, key, rank, name)`: when to look at which timer; rank is the operator's position in its stage."""


class TimerIndex:
    """An ordered set of timer entries.

    `heap` is the same list for life and never empty: `heap[0][0] > limit_ms` means that nothing is due by `limit_ms`;
    otherwise `pop_due` tells. Iterating over `heap` tells nothing: it holds removed entries and an end mark.
    """

    heap: list[TimerEntry]

    def add(self, entry: TimerEntry) -> None:
        """Add `entry`, which must not be in the index."""
        raise NotImplementedError

    def discard(self, entry: TimerEntry) -> None:
        """Remove `entry`, which must be in the index."""
        raise NotImplementedError

    def pop_due(self, limit_ms: int) -> TimerEntry | None:
        """Remove and return the earliest entry with `at_ms <= limit_ms`; None when there is none."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError
