"""The simplest aggregates: count, min, max, first, last."""

from __future__ import annotations

from collections.abc import Callable
from operator import gt, lt
from typing import Any, Final, Optional

from headway.operators.aggregates.base import Aggregate
from headway.operators.aggregates.written import Written
from headway.operators.conditions import Condition, Where
from headway.operators.options import Value, reader

__all__ = ["Count", "Extreme", "First", "Last", "count", "first", "last", "max", "min"]


class Count(Aggregate[int, int]):
    """How many events."""

    shares_values = True
    accumulator_type = int
    result_type = int

    def __init__(self, where: Optional[Condition] = None) -> None:
        self.where = where

    def written(self) -> Written:
        """See `Aggregate.written`."""
        return Written("{held} += 1", "{earlier} + {later}", "{held}", merge_is_pure=True)

    def init(self) -> int:
        """None yet."""
        return 0

    def add(self, accumulator: int, event: Any, time_ms: int) -> int:
        """One more."""
        return accumulator + 1

    def merge(self, earlier: int, later: int) -> int:
        """Both."""
        return earlier + later

    def result(self, accumulator: int, at_ms: int) -> int:
        """The number."""
        return accumulator


def count(where: Optional[Condition] = None, **fields: Any) -> Count:
    """How many events, of those that meet `where` or have these field values.

    >>> count(kind="checkout").where
    where(kind='checkout')
    """
    return Count(Where(fields) if where is None and fields else where)


class Extreme(Aggregate[Any, Any]):
    """The least or the greatest value; None when there are none. Of equal values the first that came stays."""

    shares_values = True

    def __init__(self, value: Value, where: Optional[Condition], *, greatest: bool) -> None:
        self.value = value
        self.where = where
        self._name = "max" if greatest else "min"
        self._better: Callable[[Any, Any], bool] = gt if greatest else lt

    def _bind(self, event_type: Any) -> None:
        self._get, found = reader(self.value, event_type, self._name)
        self.accumulator_type = self.result_type = Optional[found]

    def written(self) -> Written:
        """See `Aggregate.written`."""
        sign = ">" if self._better is gt else "<"
        return Written(
            "if {value} is not None:\n"
            "    if {held} is None:\n"
            "        {held} = {value} if {value} == {value} else None\n"
            f"    elif {{value}} {sign} {{held}}:\n"
            "        {held} = {value}",
            "{later} if {earlier} is None or "
            f"({{later}} is not None and {{later}} {sign} {{earlier}}) else {{earlier}}",
            "{held}",
            merge_is_pure=True,
        )

    def init(self) -> Any:
        """Nothing yet: None."""
        return None

    def add(self, accumulator: Any, event: Any, time_ms: int) -> Any:
        """The better of the two."""
        value = self._get(event)
        if value is None:
            return accumulator
        if accumulator is None:
            return value if value == value else None  # noqa: PLR0124 - NaN is not equal to itself
        return value if self._better(value, accumulator) else accumulator

    def merge(self, earlier: Any, later: Any) -> Any:
        """The better of the two."""
        if later is None:
            return earlier
        return later if earlier is None or self._better(later, earlier) else earlier

    def result(self, accumulator: Any, at_ms: int) -> Any:
        """The value."""
        return accumulator


_EDGE_VALUE: Final = "None if {held} is None else {held}[1]"


class _AtEdge(Aggregate[Optional[tuple[int, Any]], Any]):
    """The value at one end of event time, with its time."""

    _name = ""

    def __init__(self, value: Optional[Value] = None, where: Optional[Condition] = None) -> None:
        self.value = value
        self.where = where

    def _bind(self, event_type: Any) -> None:
        self._get, found = reader(self.value, event_type, self._name)
        self.accumulator_type = Optional[tuple[int, found]]  # type: ignore[valid-type]
        self.result_type = Optional[found]

    def init(self) -> Optional[tuple[int, Any]]:
        """Nothing yet: None."""
        return None

    def result(self, accumulator: Optional[tuple[int, Any]], at_ms: int) -> Any:
        """The value, or None."""
        return None if accumulator is None else accumulator[1]


class First(_AtEdge):
    """The value of the earliest event that has one; of events of one time the first that came."""

    shares_values = True
    _name = "first"

    def written(self) -> Written:
        """See `Aggregate.written`."""
        return Written(
            "if ({held} is None or {held}[0] > time_ms) and {value} is not None:\n    {held} = (time_ms, {value})",
            "{later} if {earlier} is None or ({later} is not None and {later}[0] < {earlier}[0]) else {earlier}",
            _EDGE_VALUE,
            merge_is_pure=True,
        )

    def add(self, accumulator: Optional[tuple[int, Any]], event: Any, time_ms: int) -> Optional[tuple[int, Any]]:
        """Only an earlier event, which an update by a late one can be, takes the place of the first."""
        if accumulator is not None and accumulator[0] <= time_ms:
            return accumulator
        value = self._get(event)
        return accumulator if value is None else (time_ms, value)

    def merge(self, earlier: Optional[tuple[int, Any]], later: Optional[tuple[int, Any]]) -> Optional[tuple[int, Any]]:
        """The earlier of both."""
        if earlier is None or (later is not None and later[0] < earlier[0]):
            return later
        return earlier


class Last(_AtEdge):
    """The value of the latest event that has one; of events of one time the last that came."""

    shares_values = True
    _name = "last"

    def written(self) -> Written:
        """See `Aggregate.written`."""
        return Written(
            "if {value} is not None and ({held} is None or {held}[0] <= time_ms):\n    {held} = (time_ms, {value})",
            "{earlier} if {later} is None or ({earlier} is not None and {earlier}[0] > {later}[0]) else {later}",
            _EDGE_VALUE,
            merge_is_pure=True,
        )

    def add(self, accumulator: Optional[tuple[int, Any]], event: Any, time_ms: int) -> Optional[tuple[int, Any]]:
        """Any event that is not earlier takes the place of the last."""
        value = self._get(event)
        if value is None or (accumulator is not None and accumulator[0] > time_ms):
            return accumulator
        return (time_ms, value)

    def merge(self, earlier: Optional[tuple[int, Any]], later: Optional[tuple[int, Any]]) -> Optional[tuple[int, Any]]:
        """The later of both."""
        if later is None or (earlier is not None and earlier[0] > later[0]):
            return earlier
        return later


def min(value: Value, *, where: Optional[Condition] = None) -> Extreme:  # noqa: A001 - its name in SQL; hw.min
    """The least value of a field or function of the events, of its type; None when there are none.

    Numbers, text, times: whatever can be compared. None and NaN are skipped. State: the value.

    >>> min("price").value
    'price'
    """
    return Extreme(value, where, greatest=False)


def max(value: Value, *, where: Optional[Condition] = None) -> Extreme:  # noqa: A001 - its name in SQL; hw.max
    """The greatest value of a field or function of the events, of its type; None when there are none.

    Numbers, text, times: whatever can be compared. None and NaN are skipped. State: the value.

    >>> max("price").value
    'price'
    """
    return Extreme(value, where, greatest=True)


def first(value: Optional[Value] = None, *, where: Optional[Condition] = None) -> First:
    """The value of the earliest event, in event time, that has one; without `value` the event itself.

    None when there are none. State: the value and its time.

    >>> first("page").value
    'page'
    """
    return First(value, where)


def last(value: Optional[Value] = None, *, where: Optional[Condition] = None) -> Last:
    """The value of the latest event, in event time, that has one; without `value` the event itself.

    None when there are none. State: the value and its time.

    >>> last("page").value
    'page'
    """
    return Last(value, where)
