"""Heavy hitters: the values that come most often, with bounded state (Misra and Gries, with batched purges).

Counters are kept for up to `capacity` values. When there are more, the median counter is subtracted from all, and those
that come to nothing are dropped. A count is therefore too small by at most what was subtracted so far, which is at
most 2 / capacity of all events. This is the algorithm of Apache DataSketches' frequent items, on an ordered dict: it
neither hashes nor samples, so that the same events give the same result, and it merges within the same bound.
"""

from operator import itemgetter
from typing import Any, Generic, Optional, TypeVar

import msgspec

from headway.errors import FlowError
from headway.operators.aggregates.base import Aggregate
from headway.operators.aggregates.values import hashable, restorer
from headway.operators.conditions import Condition
from headway.operators.options import Value, positive_int, reader
from headway.types.schema import Event

__all__ = ["Frequent", "HeavyHitter", "HeavyHitters", "heavy_hitters"]

V = TypeVar("V")

_CAPACITY_PER_RESULT = 20
_CAPACITY_LEAST = 100


class HeavyHitter(Event, Generic[V]):
    """A value that comes often: at least `count` times, and at most `count + error` times."""

    value: V
    count: int
    error: int


class Frequent(msgspec.Struct, gc=False):
    """Counters of values that came often."""

    missed: int = 0
    """By how much a count may be too small."""
    counts: dict[Any, int] = {}


class HeavyHitters(Aggregate[Frequent, Any]):
    """The k values that come most often.

    >>> pages = heavy_hitters("page", 1).bind(dict)
    >>> accumulator = pages.init()
    >>> for page in ("/", "/cart", "/", "/about"):
    ...     accumulator = pages.add(accumulator, {"page": page}, 0)
    >>> pages.result(accumulator, 0)
    [HeavyHitter(value='/', count=2, error=0)]
    """

    shares_values = True
    accumulator_type = Frequent

    def __init__(self, value: Value, k: int, capacity: Optional[int] = None, where: Optional[Condition] = None) -> None:
        self.value = value
        self.k = k
        self.capacity = capacity
        self.where = where

    def _bind(self, event_type: Any) -> None:
        self._get, found = reader(self.value, event_type, "heavy_hitters")
        self._key = hashable(found)
        self._restore = restorer(found)
        positive_int(self.k, "heavy_hitters(): k")
        self._most = max(_CAPACITY_LEAST, _CAPACITY_PER_RESULT * self.k)
        if self.capacity is not None:
            self._most = positive_int(self.capacity, "heavy_hitters(): capacity")
            if self._most < self.k:
                msg = f"heavy_hitters(): capacity={self.capacity} counters cannot hold k={self.k} values"
                raise FlowError(msg)
        self.result_type = list[HeavyHitter[found]]  # type: ignore[valid-type]

    def init(self) -> Frequent:
        """Nothing yet."""
        return Frequent()

    def add(self, accumulator: Frequent, event: Any, time_ms: int) -> Frequent:
        """With one more value."""
        value = self._get(event)
        key = None if value is None else self._key(value)
        if key is not None:
            counts = accumulator.counts
            counts[key] = counts.get(key, 0) + 1
            if len(counts) > self._most:
                self._purge(accumulator)
        return accumulator

    def _purge(self, frequent: Frequent) -> None:
        """Subtract the median, or what leaves no more than the capacity."""
        lost = sorted(frequent.counts.values())[(len(frequent.counts) - 1) // 2]
        while len(frequent.counts) > self._most:
            frequent.missed += lost
            frequent.counts = {key: times - lost for key, times in frequent.counts.items() if times > lost}
            lost = sorted(frequent.counts.values())[(len(frequent.counts) - 1) // 2] if frequent.counts else 0

    def merge(self, earlier: Frequent, later: Frequent) -> Frequent:
        """Of both."""
        counts = earlier.counts
        for key, times in later.counts.items():
            counts[key] = counts.get(key, 0) + times
        earlier.missed += later.missed
        if len(counts) > self._most:
            self._purge(earlier)
        return earlier

    def result(self, accumulator: Frequent, at_ms: int) -> list[HeavyHitter[Any]]:
        """The k values with the greatest counts, the greatest first; of equals, the one first seen."""
        best = sorted(accumulator.counts.items(), key=itemgetter(1), reverse=True)[: self.k]
        return [HeavyHitter(value=self._restore(key), count=times, error=accumulator.missed) for key, times in best]


def heavy_hitters(
    value: Value, k: int, *, capacity: Optional[int] = None, where: Optional[Condition] = None
) -> HeavyHitters:
    """The k values that come most often, as a list of `HeavyHitter(value, count, error)`, the most frequent first.

    A value came at least `count` and at most `count + error` times; `error` is at most 2 / `capacity` of the events,
    and 0, so everything is exact, while there are no more than `capacity` different values. State: `capacity`
    counters with their values (default: 20 for each of the k, at least 100). Deterministic.

    >>> heavy_hitters("page", 10).k
    10
    """
    return HeavyHitters(value, k, capacity, where)
