"""Aggregates that every database has: count, sum, mean, min, max, variance, first, last."""

from __future__ import annotations

from typing import Any, Optional

from headway.operators.aggregates.base import Aggregate
from headway.operators.conditions import Condition, Where

__all__ = ["Count", "count"]


class Count(Aggregate[int, int]):
    """How many events."""

    accumulator_type = int
    result_type = int

    def __init__(self, where: Optional[Condition] = None) -> None:
        self.where = where

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
