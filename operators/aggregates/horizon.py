"""Sums and counts over a sliding horizon of event time: "the last hour", at any moment."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import cache
from typing import Any, Optional

import msgspec

from headway.basics.times import Duration
from headway.errors import FlowError
from headway.operators.aggregates.base import Aggregate
from headway.operators.aggregates.exact import Arithmetic, arithmetic
from headway.operators.aggregates.values import number_type
from headway.operators.conditions import Condition
from headway.operators.options import Value, positive_ms, reader

__all__ = ["CountOver", "SumOver", "count_over", "sum_over"]

_DEFAULT_SLICES = 60


@cache
def _slices_of(kind: Arithmetic) -> Any:
    """Numbers and totals of slices, and the total of all. One class for each kind of numbers."""
    return msgspec.defstruct(
        f"{kind.name}Slices",
        [
            ("numbers", list[int], msgspec.field(default_factory=list)),
            ("totals", list[kind.stored], msgspec.field(default_factory=list)),  # type: ignore[name-defined]
            ("total", kind.stored, msgspec.field(default_factory=kind.zero)),
        ],
        module=__name__,
        gc=False,
    )


class SumOver(Aggregate[Any, Any]):
    """The sum of the values of the last `horizon`, as of the time of the result.

    Event time is cut into slices of `resolution`, aligned to 1970 UTC; the sum is that of the slices that begin
    within the horizon, so it covers the horizon, or less of it by at most one resolution.

    >>> spent = sum_over("price", "1h").bind(dict)
    >>> accumulator = spent.add(spent.init(), {"price": 5}, 0)
    >>> accumulator = spent.add(accumulator, {"price": 7}, 1_800_000)
    >>> [spent.result(accumulator, minute * 60_000) for minute in (30, 59, 60, 90)]
    [12, 12, 7, 0]
    """

    shares_values = True

    def __init__(
        self,
        value: Value,
        horizon: Duration,
        resolution: Optional[Duration] = None,
        where: Optional[Condition] = None,
        *,
        what: str = "sum_over(): horizon",
    ) -> None:
        self.value = value
        self.horizon = horizon
        self.resolution = resolution
        self.where = where
        self._horizon_name = what

    def _bind(self, event_type: Any) -> None:
        name = self._horizon_name.partition("(")[0]
        self._get, found = reader(self.value, event_type, name)
        self._kind = arithmetic(number_type(found, self.value, name))
        self._horizon_ms = positive_ms(self.horizon, self._horizon_name)
        self._slice_ms = self._horizon_ms // _DEFAULT_SLICES or 1
        if self.resolution is not None:
            self._slice_ms = positive_ms(self.resolution, f"{name}(): resolution")
        if self._slice_ms > self._horizon_ms:
            msg = f"{name}(): resolution {self.resolution!r} is longer than the time summed up, {self.horizon!r}"
            raise FlowError(msg)
        self.accumulator_type = _slices_of(self._kind)
        self.result_type = self._kind.result

    def init(self) -> Any:
        """Nothing yet."""
        return self.accumulator_type()

    def add(self, accumulator: Any, event: Any, time_ms: int) -> Any:
        """With one more value; slices that are past are dropped."""
        value = self._get(event)
        if value is not None:
            number = time_ms // self._slice_ms
            numbers = accumulator.numbers
            plus = self._kind.plus
            position = -1 if numbers and numbers[-1] == number else self._open(accumulator, number)
            accumulator.totals[position] = plus(accumulator.totals[position], value)
            accumulator.total = plus(accumulator.total, value)
        return accumulator

    def _open(self, slices: Any, number: int) -> int:
        """The position of a slice that is not the last, which may have to be made."""
        numbers = slices.numbers
        if not numbers or number > numbers[-1]:
            self._drop(slices, number * self._slice_ms)
            position = len(numbers)
        else:
            position = bisect_left(numbers, number)
        if position == len(numbers) or numbers[position] != number:
            numbers.insert(position, number)
            slices.totals.insert(position, self._kind.zero())
        return position

    def _past(self, slices: Any, at_ms: int) -> int:
        """How many slices have left the horizon."""
        return bisect_right(slices.numbers, (at_ms - self._horizon_ms) // self._slice_ms)

    def _drop(self, slices: Any, at_ms: int) -> None:
        past = self._past(slices, at_ms)
        if past:
            for total in slices.totals[:past]:
                slices.total = self._kind.minus(slices.total, total)
            del slices.numbers[:past], slices.totals[:past]

    def merge(self, earlier: Any, later: Any) -> Any:
        """Of both, slice by slice."""
        merge = self._kind.merge
        slices = self.init()
        for number, total in _in_order(earlier, later):
            slices.total = merge(slices.total, total)
            if slices.numbers and slices.numbers[-1] == number:
                slices.totals[-1] = merge(slices.totals[-1], total)
            else:
                slices.numbers.append(number)
                slices.totals.append(merge(self._kind.zero(), total))
        if slices.numbers:
            self._drop(slices, slices.numbers[-1] * self._slice_ms)
        return slices

    def result(self, accumulator: Any, at_ms: int) -> Any:
        """The sum over the horizon before `at_ms`."""
        past = self._past(accumulator, at_ms)
        kind = self._kind
        if not past:
            return kind.value(accumulator.total)
        total = kind.zero()
        for live in accumulator.totals[past:]:
            total = kind.merge(total, live)
        return kind.value(total)


def _in_order(earlier: Any, later: Any) -> Iterator[tuple[int, Any]]:
    """The slices of both, by their numbers."""
    pairs = [*zip(earlier.numbers, earlier.totals), *zip(later.numbers, later.totals)]
    pairs.sort(key=_number)
    return iter(pairs)


def _number(pair: tuple[int, Any]) -> int:
    return pair[0]


class CountOver(SumOver):
    """The number of events of the last `horizon`, as of the time of the result."""

    def __init__(
        self,
        horizon: Duration,
        resolution: Optional[Duration] = None,
        where: Optional[Condition] = None,
        *,
        what: str = "count_over(): horizon",
    ) -> None:
        super().__init__(_one, horizon, resolution, where, what=what)


def _one(event: Any) -> int:
    return 1


def sum_over(
    value: Value, horizon: Duration, *, resolution: Optional[Duration] = None, where: Optional[Condition] = None
) -> SumOver:
    """The sum of a field or function of the events of the last `horizon` ("1h"), as of the time of the result.

    Kept in slices of `resolution` (default: a 60th of the horizon): the sum covers the horizon, or up to one
    resolution less. `resolution="1ms"` makes it exact: events later than `now - horizon`. Does not drift.
    State: one entry for each slice with events, at most horizon / resolution + 1.

    >>> sum_over("price", "1h", resolution="1m").resolution
    '1m'
    """
    return SumOver(value, horizon, resolution, where)


def count_over(
    horizon: Duration, *, resolution: Optional[Duration] = None, where: Optional[Condition] = None
) -> CountOver:
    """The number of events of the last `horizon`, as of the time of the result; options as those of `sum_over`.

    >>> count_over("10m").horizon
    '10m'
    """
    return CountOver(horizon, resolution, where)
