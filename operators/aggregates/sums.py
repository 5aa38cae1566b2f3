"""Sums and means, exact: see `headway.operators.aggregates.exact`."""

from decimal import Decimal
from functools import cache
from typing import Any, Optional

import msgspec

from headway.operators.aggregates.base import Aggregate
from headway.operators.aggregates.exact import Arithmetic, arithmetic
from headway.operators.aggregates.values import number_type
from headway.operators.aggregates.written import Written
from headway.operators.conditions import Condition
from headway.operators.options import Value, reader

__all__ = ["Mean", "Sum", "mean", "sum"]


class Sum(Aggregate[Any, Any]):
    """The sum of the values: an exact int for ints, the exact sum rounded once for floats. 0 when there are none.

    >>> total = sum("price").bind(dict)
    >>> accumulator = total.init()
    >>> for price in (1e16, 1.0, -1e16):
    ...     accumulator = total.add(accumulator, {"price": price}, 0)
    >>> total.result(accumulator, 0)
    1.0
    """

    shares_values = True

    def __init__(self, value: Value, where: Optional[Condition] = None) -> None:
        self.value = value
        self.where = where

    def _bind(self, event_type: Any) -> None:
        self._get, found = reader(self.value, event_type, "sum")
        self._kind = arithmetic(number_type(found, self.value, "sum"))
        self._plus = self._kind.plus
        self.accumulator_type = self._kind.stored
        self.result_type = self._kind.result

    def written(self) -> Written:
        """See `Aggregate.written`."""
        kind = self._kind
        if kind.plain:
            return Written(
                "if {value} is not None:\n    {held} += {value}", "{earlier} + {later}", "{held}", merge_is_pure=True
            )
        return Written(
            "if {value} is not None:\n    {held} = {plus}({held}, {value})",
            "{merge}({earlier}, {later})",
            "{total}({held})",
            {"plus": kind.plus, "merge": kind.merge, "total": kind.value},
        )

    def init(self) -> Any:
        """Nothing yet: 0."""
        return self._kind.zero()

    def add(self, accumulator: Any, event: Any, time_ms: int) -> Any:
        """With one more value."""
        value = self._get(event)
        return accumulator if value is None else self._plus(accumulator, value)

    def merge(self, earlier: Any, later: Any) -> Any:
        """The sum of both: exact, so it does not matter what was added where."""
        return self._kind.merge(earlier, later)

    def result(self, accumulator: Any, at_ms: int) -> Any:
        """The sum."""
        return self._kind.value(accumulator)


@cache
def _mean_of(kind: Arithmetic) -> Any:
    """A total and its count. One class for each kind of numbers, for a state may hold several."""
    return msgspec.defstruct(f"Mean{kind.name}", [("total", kind.stored), ("count", int, 0)], module=__name__, gc=False)


class Mean(Aggregate[Any, Any]):
    """The arithmetic mean of the values: their exact sum divided by their number. None when there are none."""

    shares_values = True

    def __init__(self, value: Value, where: Optional[Condition] = None) -> None:
        self.value = value
        self.where = where

    def _bind(self, event_type: Any) -> None:
        self._get, found = reader(self.value, event_type, "mean")
        number = number_type(found, self.value, "mean")
        self._kind = arithmetic(number)
        self._plus = self._kind.plus
        self.accumulator_type = _mean_of(self._kind)
        self.result_type = Optional[Decimal] if number is Decimal else Optional[float]

    def written(self) -> Written:
        """See `Aggregate.written`."""
        plus = "+= {value}" if self._kind.plain else "= {plus}({held}.total, {value})"
        return Written(
            f"if {{value}} is not None and {{value}} == {{value}}:\n    {{held}}.total {plus}\n    {{held}}.count += 1",
            names={"plus": self._plus},
        )

    def init(self) -> Any:
        """Nothing yet."""
        return self.accumulator_type(self._kind.zero())

    def add(self, accumulator: Any, event: Any, time_ms: int) -> Any:
        """With one more value."""
        value = self._get(event)
        if value is not None and value == value:  # noqa: PLR0124 - NaN is not equal to itself
            accumulator.total = self._plus(accumulator.total, value)
            accumulator.count += 1
        return accumulator

    def merge(self, earlier: Any, later: Any) -> Any:
        """Of both."""
        earlier.total = self._kind.merge(earlier.total, later.total)
        earlier.count += later.count
        return earlier

    def result(self, accumulator: Any, at_ms: int) -> Any:
        """The mean."""
        return self._kind.value(accumulator.total) / accumulator.count if accumulator.count else None


def sum(value: Value, *, where: Optional[Condition] = None) -> Sum:  # noqa: A001 - its name in SQL; used as hw.sum
    """The sum of a field or function of the events; 0 when there are none.

    Ints stay exact (within the 64 bits that can be stored); floats do not drift: the result is the exact sum,
    rounded once. None and NaN are skipped. State: one int, or two floats.

    >>> sum("price").value
    'price'
    """
    return Sum(value, where)


def mean(value: Value, *, where: Optional[Condition] = None) -> Mean:
    """The mean of a field or function of the events; None when there are none. State: a sum and a count.

    >>> mean("price").value
    'price'
    """
    return Mean(value, where)
