"""Variance and standard deviation, by Welford's method; merged by Chan's."""

from math import isfinite, sqrt
from typing import Any, Optional

import msgspec

from headway.operators.aggregates.base import Aggregate
from headway.operators.aggregates.values import number_type
from headway.operators.conditions import Condition
from headway.operators.options import Value, reader

__all__ = ["Moments", "Variance", "stddev", "variance"]


class Moments(msgspec.Struct, gc=False):
    """What the variance is made of."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """The sum of the squared distances from the mean."""


class Variance(Aggregate[Moments, Optional[float]]):
    """The variance of the values, or its root: of the sample (divided by n - 1), or of the population (by n).

    >>> spread = Variance("ms", population=True).bind(dict)
    >>> accumulator = spread.init()
    >>> for ms in (2, 4, 6):
    ...     accumulator = spread.add(accumulator, {"ms": ms}, 0)
    >>> round(spread.result(accumulator, 0), 3)
    2.667
    """

    shares_values = True
    accumulator_type = Moments
    result_type = Optional[float]

    def __init__(
        self, value: Value, where: Optional[Condition] = None, *, population: bool = False, root: bool = False
    ) -> None:
        self.value = value
        self.where = where
        self._missing = 0 if population else 1
        self._root = root

    def _bind(self, event_type: Any) -> None:
        what = "stddev" if self._root else "variance"
        self._get, found = reader(self.value, event_type, what)
        number_type(found, self.value, what)

    def init(self) -> Moments:
        """Nothing yet."""
        return Moments()

    def add(self, accumulator: Moments, event: Any, time_ms: int) -> Moments:
        """With one more value."""
        value = self._get(event)
        if value is None:
            return accumulator
        value = float(value)
        if isfinite(value):
            accumulator.count = count = accumulator.count + 1
            before = value - accumulator.mean
            accumulator.mean = mean = accumulator.mean + before / count
            accumulator.squares += before * (value - mean)
        return accumulator

    def merge(self, earlier: Moments, later: Moments) -> Moments:
        """Of both."""
        if not earlier.count or not later.count:
            return earlier if earlier.count else later
        count = earlier.count + later.count
        apart = later.mean - earlier.mean
        weight = later.count / count
        squares = earlier.squares + later.squares + apart * apart * earlier.count * weight
        return Moments(count, earlier.mean + apart * weight, squares)

    def result(self, accumulator: Moments, at_ms: int) -> Optional[float]:
        """The variance or its root; None when there are too few values."""
        if accumulator.count <= self._missing:
            return None
        found = accumulator.squares / (accumulator.count - self._missing)
        return sqrt(found) if self._root else found


def variance(value: Value, *, population: bool = False, where: Optional[Condition] = None) -> Variance:
    """The variance of a field or function of the events: of the sample, or with `population` of all there is.

    None for fewer than two values (`population`: for none). Values that are None or not finite are skipped.
    Stable for values far from 0 (Welford). State: three numbers.

    >>> variance("ms").value
    'ms'
    """
    return Variance(value, where, population=population)


def stddev(value: Value, *, population: bool = False, where: Optional[Condition] = None) -> Variance:
    """The standard deviation: the root of `variance`, with the same options.

    >>> stddev("ms").value
    'ms'
    """
    return Variance(value, where, population=population, root=True)
