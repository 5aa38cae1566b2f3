"""Counting how long things take: a fixed number of buckets, so that counts of many processes can be added up."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

import msgspec

__all__ = ["BOUNDS_S", "Histogram"]

BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets, in seconds; one more bucket has what took longer."""


class Histogram(msgspec.Struct):
    """How often something took how long. `observe` costs half a microsecond.

    >>> histogram = Histogram()
    >>> histogram.observe(0.004)
    >>> histogram.observe(90.0)
    >>> histogram.count, histogram.counts[2], histogram.counts[-1], histogram.sum_s
    (2, 1, 1, 90.004)
    """

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    """For each bucket how often; not added up over the buckets before."""
    sum_s: float = 0.0
    """The sum of all that was observed, in seconds."""

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

    @property
    def count(self) -> int:
        """How often anything was observed."""
        return sum(self.counts)

    def plus(self, other: Histogram) -> Histogram:
        """Both together."""
        return Histogram([mine + its for mine, its in zip(self.counts, other.counts)], self.sum_s + other.sum_s)

    def copy(self) -> Histogram:
        """As it is now."""
        return Histogram(list(self.counts), self.sum_s)
