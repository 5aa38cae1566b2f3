"""Aggregates that keep values: collect, top-k, distinct, histogram."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Generic, Optional, TypeVar

from headway.errors import FlowError
from headway.operators.aggregates.base import Aggregate
from headway.operators.aggregates.values import hashable, number_type
from headway.operators.conditions import Condition
from headway.operators.options import Value, positive_int, reader
from headway.types.schema import Event

__all__ = ["Collect", "Distinct", "Histogram", "Ranked", "TopK", "collect", "distinct", "histogram", "top_k"]

V = TypeVar("V")
B = TypeVar("B")


class Collect(Aggregate[list[Any], list[Any]]):
    """The values, in the order of the events; with `limit` the first so many."""

    shares_values = True

    def __init__(
        self, value: Optional[Value] = None, limit: Optional[int] = None, where: Optional[Condition] = None
    ) -> None:
        self.value = value
        self.limit = limit
        self.where = where

    def _bind(self, event_type: Any) -> None:
        self._get, found = reader(self.value, event_type, "collect")
        self._most = float("inf") if self.limit is None else positive_int(self.limit, "collect(): limit")
        self.accumulator_type = self.result_type = list[found]  # type: ignore[valid-type]

    def init(self) -> list[Any]:
        """Nothing yet."""
        return []

    def add(self, accumulator: list[Any], event: Any, time_ms: int) -> list[Any]:
        """With one more value, unless there are enough."""
        if len(accumulator) < self._most:
            value = self._get(event)
            if value is not None:
                accumulator.append(value)
        return accumulator

    def merge(self, earlier: list[Any], later: list[Any]) -> list[Any]:
        """One after the other."""
        earlier += later
        if self.limit is not None:
            del earlier[self.limit :]
        return earlier

    def result(self, accumulator: list[Any], at_ms: int) -> list[Any]:
        """A copy of the list."""
        return accumulator[:]


class Ranked(Event, Generic[V, B]):
    """An entry of `top_k(value, k, by=...)`."""

    value: V
    """The value."""
    by: B
    """What it is ranked by."""


class TopK(Aggregate[list[Any], list[Any]]):
    """The k greatest values, or the values of the k events that are greatest by something else; the best first.

    Of equals, the first that came stands first and stays.

    >>> dearest = top_k("sku", 2, by="price").bind(dict)
    >>> accumulator = dearest.init()
    >>> for sku, price in (("pen", 2), ("book", 9), ("lamp", 9)):
    ...     accumulator = dearest.add(accumulator, {"sku": sku, "price": price}, 0)
    >>> dearest.result(accumulator, 0)
    [Ranked(value='book', by=9), Ranked(value='lamp', by=9)]
    """

    shares_values = True

    def __init__(self, value: Optional[Value], k: int, by: Optional[Value], where: Optional[Condition]) -> None:
        self.value = value
        self.k = k
        self.by = by
        self.where = where

    def _bind(self, event_type: Any) -> None:
        positive_int(self.k, "top_k(): k")
        if self.value is None and self.by is None:
            msg = f"top_k(None, {self.k}) needs by=..., a field or function that says which events are the greatest"
            raise FlowError(msg)
        self._get, found = reader(self.value, event_type, "top_k")
        self._rank = self._get
        self.accumulator_type = self.result_type = list[found]  # type: ignore[valid-type]
        if self.by is not None:
            self._rank, by_type = reader(self.by, event_type, "top_k")
            self.accumulator_type = list[tuple[by_type, found]]  # type: ignore[valid-type]
            self.result_type = list[Ranked[found, by_type]]  # type: ignore[valid-type]

    def init(self) -> list[Any]:
        """Nothing yet."""
        return []

    def add(self, accumulator: list[Any], event: Any, time_ms: int) -> list[Any]:
        """With one more value, if it is among the best."""
        rank = self._rank(event)
        if rank is None or rank != rank:  # noqa: PLR0124 - NaN is not equal to itself
            return accumulator
        if self.by is None:
            self._insert(accumulator, rank, rank)
        else:
            value = self._get(event)
            if value is not None:
                self._insert(accumulator, rank, (rank, value))
        return accumulator

    def _insert(self, best: list[Any], rank: Any, entry: Any) -> None:
        """Behind all entries that are not less."""
        by = self.by is not None
        position = len(best)
        while position and (best[position - 1][0] if by else best[position - 1]) < rank:
            position -= 1
        if position < self.k:
            best.insert(position, entry)
            del best[self.k :]

    def merge(self, earlier: list[Any], later: list[Any]) -> list[Any]:
        """The best of both."""
        for entry in later:
            self._insert(earlier, entry if self.by is None else entry[0], entry)
        return earlier

    def result(self, accumulator: list[Any], at_ms: int) -> list[Any]:
        """The best first."""
        if self.by is None:
            return accumulator[:]
        return [Ranked(value=value, by=rank) for rank, value in accumulator]


class Distinct(Aggregate[dict[Any, None], int]):
    """How many different values there are: exactly, up to `limit`."""

    shares_values = True
    result_type = int

    def __init__(self, value: Value, limit: Optional[int] = None, where: Optional[Condition] = None) -> None:
        self.value = value
        self.limit = limit
        self.where = where

    def _bind(self, event_type: Any) -> None:
        self._get, found = reader(self.value, event_type, "distinct")
        self._most = float("inf") if self.limit is None else positive_int(self.limit, "distinct(): limit")
        self._key = hashable(found)
        self.accumulator_type = dict[found if found in (str, int) else Any, None]  # type: ignore[misc]

    def init(self) -> dict[Any, None]:
        """Nothing yet."""
        return {}

    def add(self, accumulator: dict[Any, None], event: Any, time_ms: int) -> dict[Any, None]:
        """With one more value, unless there are enough."""
        value = self._get(event)
        if value is not None and len(accumulator) < self._most:
            key = self._key(value)
            if key is not None:
                accumulator[key] = None
        return accumulator

    def merge(self, earlier: dict[Any, None], later: dict[Any, None]) -> dict[Any, None]:
        """Of both."""
        for key in later:
            if len(earlier) >= self._most:
                break
            earlier[key] = None
        return earlier

    def result(self, accumulator: dict[Any, None], at_ms: int) -> int:
        """The number."""
        return len(accumulator)


class Histogram(Aggregate[list[int], list[int]]):
    """How many values are in each bin: up to the first bound, up to the second, ..., above the last."""

    shares_values = True
    accumulator_type = list[int]
    result_type = list[int]

    def __init__(self, value: Value, bounds: Sequence[float], where: Optional[Condition] = None) -> None:
        self.value = value
        self.bounds = bounds
        self.where = where

    def _bind(self, event_type: Any) -> None:
        self._get, found = reader(self.value, event_type, "histogram")
        number_type(found, self.value, "histogram")
        self.bounds = list(self.bounds)
        if not self.bounds or any(not low < high for low, high in zip(self.bounds, self.bounds[1:])):
            msg = f"histogram(): bounds={self.bounds!r} must be numbers in ascending order, such as [10, 100, 1000]"
            raise FlowError(msg)

    def init(self) -> list[int]:
        """All empty."""
        return [0] * (len(self.bounds) + 1)

    def add(self, accumulator: list[int], event: Any, time_ms: int) -> list[int]:
        """With one more value."""
        value = self._get(event)
        if value is not None and value == value:  # noqa: PLR0124 - NaN is not equal to itself
            accumulator[bisect_left(self.bounds, value)] += 1
        return accumulator

    def merge(self, earlier: list[int], later: list[int]) -> list[int]:
        """Of both."""
        return [a + b for a, b in zip(earlier, later)]

    def result(self, accumulator: list[int], at_ms: int) -> list[int]:
        """A copy of the counts."""
        return accumulator[:]


def collect(
    value: Optional[Value] = None, *, limit: Optional[int] = None, where: Optional[Condition] = None
) -> Collect:
    """A list of the values, or without `value` of the events, in the order of event time; with `limit` the first ones.

    State: all of them. Without `limit` only the end of the window bounds it; as running state give a limit.

    >>> collect("sku", limit=3).limit
    3
    """
    return Collect(value, limit, where)


def top_k(value: Optional[Value], k: int, *, by: Optional[Value] = None, where: Optional[Condition] = None) -> TopK:
    """The k greatest values, the greatest first; with `by` those of the events in which `by` is greatest.

    With `by` the result is a list of `Ranked(value, by)`. `top_k(None, k, by=...)` keeps the events themselves.

    Of equals the first that came stays. Values come as often as they occur. State: k entries; cost per event grows
    with k only when it is among the best.

    >>> top_k("sku", 3, by="price").k
    3
    """
    return TopK(value, k, by, where)


def distinct(value: Value, *, limit: Optional[int] = None, where: Optional[Condition] = None) -> Distinct:
    """How many different values a field or function of the events has: exactly.

    State: every different value, so it grows with the result. `limit` bounds it: counting ends there, and the
    result `limit` means "that many or more". For large numbers see `approx_distinct`.

    >>> distinct("device", limit=100).limit
    100
    """
    return Distinct(value, limit, where)


def histogram(value: Value, bounds: Sequence[float], *, where: Optional[Condition] = None) -> Histogram:
    """How many values fall into each bin: `bounds` [10, 100] give [up to 10, above 10 up to 100, above 100].

    A value equal to a bound belongs to the bin below it, as in Prometheus ("le") and DuckDB. State: one int a bin.

    >>> histogram("ms", [10, 100]).bounds
    [10, 100]
    """
    return Histogram(value, bounds, where)
