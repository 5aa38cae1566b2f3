"""Quantiles with a bounded relative error, by a sketch that is deterministic and merges exactly (DDSketch).

Bins grow geometrically: bin i holds the values in (g^(i-1), g^i] with g = (1 + e) / (1 - e), so its middle is off by at
most e times the value. What is counted is a function of the set of values alone, neither of their order nor of the way
in which sketches are merged. Sketches that draw random numbers (KLL, REQ) would not give the same result twice.
Charles Masson, Jee E. Rim, Homin K. Lee: DDSketch, VLDB 2019.
"""

from collections.abc import Sequence
from math import ceil, exp, floor, isfinite, log, log1p
from typing import Any, Optional

import msgspec

from headway.errors import FlowError
from headway.operators.aggregates.base import Aggregate
from headway.operators.aggregates.values import number_type
from headway.operators.conditions import Condition
from headway.operators.options import Value, reader

__all__ = ["Bins", "QuantileSketch", "Quantiles", "quantiles"]

_SPAN = log(1e12)
_LOG_GREATEST = 709.78


class Bins(msgspec.Struct, gc=False):
    """The counts of the values of one sign, by bin of their magnitude."""

    top: int = 0
    """The greatest bin."""
    counts: dict[int, int] = {}


class QuantileSketch(msgspec.Struct, gc=False):
    """What the quantiles are estimated from."""

    count: int = 0
    zeros: int = 0
    low: float = 0.0
    high: float = 0.0
    positive: Bins = msgspec.field(default_factory=Bins)
    negative: Bins = msgspec.field(default_factory=Bins)


class Quantiles(Aggregate[QuantileSketch, Optional[list[float]]]):
    """Estimates of quantiles, each within a relative error of the value at that rank.

    >>> latency = quantiles("ms", [0.5, 0.99], error=0.01).bind(dict)
    >>> accumulator = latency.init()
    >>> for ms in range(1, 1001):
    ...     accumulator = latency.add(accumulator, {"ms": ms}, 0)
    >>> [round(estimate) for estimate in latency.result(accumulator, 0)]
    [498, 983]
    """

    shares_values = True
    accumulator_type = QuantileSketch
    result_type = Optional[list[float]]

    def __init__(self, value: Value, ranks: Sequence[float], error: float, where: Optional[Condition] = None) -> None:
        self.value = value
        self.ranks = ranks
        self.error = error
        self.where = where

    def _bind(self, event_type: Any) -> None:
        self._get, found = reader(self.value, event_type, "quantiles")
        number_type(found, self.value, "quantiles")
        if isinstance(self.ranks, (int, float)) or not self.ranks or not all(0 <= rank <= 1 for rank in self.ranks):
            msg = f"quantiles(): {self.ranks!r} must be a list of numbers from 0 to 1, such as [0.5, 0.99]"
            raise FlowError(msg)
        if not 0.0001 <= self.error <= 0.5:
            msg = f"quantiles(): error={self.error!r} must be from 0.0001 to 0.5: 0.01 is one percent of the value"
            raise FlowError(msg)
        self._log_base = log1p(2 * self.error / (1 - self.error))
        self._per_log = 1 / self._log_base
        self._to_middle = log(1 - self.error)
        self._most = ceil(_SPAN * self._per_log)

    def init(self) -> QuantileSketch:
        """Nothing yet."""
        return QuantileSketch()

    def add(self, accumulator: QuantileSketch, event: Any, time_ms: int) -> QuantileSketch:
        """With one more value."""
        value = self._get(event)
        if value is None:
            return accumulator
        value = float(value)
        if not isfinite(value):
            return accumulator
        if not accumulator.count:
            accumulator.low = accumulator.high = value
        elif value < accumulator.low:
            accumulator.low = value
        elif value > accumulator.high:
            accumulator.high = value
        accumulator.count += 1
        if value > 0:
            self._put(accumulator.positive, ceil(log(value) * self._per_log), 1)
        elif value < 0:
            self._put(accumulator.negative, ceil(log(-value) * self._per_log), 1)
        else:
            accumulator.zeros += 1
        return accumulator

    def _put(self, bins: Bins, number: int, times: int) -> None:
        """Count a bin. What is far below the greatest one counts as the least that is kept, whatever the order."""
        counts = bins.counts
        if not counts or number > bins.top:
            bins.top = number
            least = number - self._most
            for low in [other for other in counts if other < least]:
                counts[least] = counts.get(least, 0) + counts.pop(low)
        elif number < bins.top - self._most:
            number = bins.top - self._most
        counts[number] = counts.get(number, 0) + times

    def merge(self, earlier: QuantileSketch, later: QuantileSketch) -> QuantileSketch:
        """Of both."""
        if not earlier.count or not later.count:
            return earlier if earlier.count else later
        earlier.count += later.count
        earlier.zeros += later.zeros
        earlier.low = min(earlier.low, later.low)
        earlier.high = max(earlier.high, later.high)
        for bins, others in ((earlier.positive, later.positive), (earlier.negative, later.negative)):
            for number, times in others.counts.items():
                self._put(bins, number, times)
        return earlier

    def result(self, accumulator: QuantileSketch, at_ms: int) -> Optional[list[float]]:
        """The estimates in the order of the given ranks; None when there are no values."""
        count = accumulator.count
        if not count:
            return None
        # The rank of SQL's percentile_disc: the least value that at least this share of the values does not exceed.
        wanted = [max(1, count - floor(count - rank * count)) for rank in self.ranks]
        found = {}
        bins = iter(_ascending(accumulator))
        reached, sign, number = 0, 0, 0
        for rank in sorted(wanted):
            while reached < rank:
                sign, number, times = next(bins)
                reached += times
            found[rank] = sign * self._middle(number)
        low, high = accumulator.low, accumulator.high
        return [low if rank == 1 else high if rank == count else min(max(found[rank], low), high) for rank in wanted]

    def _middle(self, number: int) -> float:
        """The value that is off by at most the error from every value of the bin: 2 g^i / (g + 1) = g^i (1 - e)."""
        return exp(min(number * self._log_base + self._to_middle, _LOG_GREATEST))


def _ascending(sketch: QuantileSketch) -> list[tuple[int, int, int]]:
    """Sign, number and count of each bin, by the values in it."""
    negative, positive = sketch.negative.counts, sketch.positive.counts
    below = [(-1, number, negative[number]) for number in sorted(negative, reverse=True)]
    return [*below, (0, 0, sketch.zeros), *((1, number, positive[number]) for number in sorted(positive))]


def quantiles(
    value: Value, ranks: Sequence[float], *, error: float = 0.01, where: Optional[Condition] = None
) -> Quantiles:
    """Estimates of quantiles: `quantiles("ms", [0.5, 0.99])` gives `[median, p99]`, or None when there are no values.

    Each is off by at most `error` times the value at that rank (nearest rank, as SQL's percentile_disc); the least
    and the greatest are exact. Deterministic, and merging is exact. None and infinite values are skipped.
    State: a count for each bin in use, one bin per 2 * `error` of growth: some 350 for values from 1 to 1000 at
    1 percent, never more than 1400 for each sign: magnitudes below a 10^12th of the greatest count as that. Cost of a
    result grows with the bins in use.

    >>> quantiles("ms", [0.5, 0.99]).ranks
    [0.5, 0.99]
    """
    return Quantiles(value, ranks, error, where)
