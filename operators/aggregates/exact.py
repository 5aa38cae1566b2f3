"""Sums that do not drift: integers exactly, floats as a short list of parts whose sum is exact.

A float total is a list `[high, low, ...]`. Each addition keeps the rounding error of the one before in the next part
(Knuth's two-sum), so that the parts together are the exact sum of all that was added, and the result is that sum,
rounded once. Therefore the order of additions and the way in which totals are merged never change a result: a window
that was summed up in panes gives the very same bits. Two parts are nearly always enough; numbers that differ by more
than 2^53 add further ones (never more than some 40).
"""

from collections.abc import Callable
from decimal import Decimal
from functools import cache
from math import fsum, isfinite
from operator import add, sub
from typing import Any, NamedTuple, Union

import msgspec

__all__ = ["Arithmetic", "Total", "add_float", "arithmetic", "float_total", "merge_floats"]


class Total(msgspec.Struct, gc=False):
    """A total of integers and floats: both exact."""

    whole: int = 0
    """The sum of the integers."""
    parts: list[float] = []
    """The sum of the floats, as exact parts; empty when there were none."""


class Arithmetic(NamedTuple):
    """How totals of one type of numbers are made. `plus`, `merge` and `minus` may change their first argument."""

    name: str
    """What is added up, as part of a class name."""
    stored: Any
    """Type of the total."""
    result: Any
    """Type of its value."""
    zero: Callable[[], Any]
    plus: Callable[[Any, Any], Any]
    """The total with one more number."""
    merge: Callable[[Any, Any], Any]
    """The total of two totals."""
    minus: Callable[[Any, Any], Any]
    """A total without a part of it."""
    value: Callable[[Any], Any]
    """What the total amounts to."""
    plain: bool = False
    """Whether a total is just a number, to be added with +."""


def add_float(parts: list[float], number: float) -> list[float]:
    """Add to an exact total of two parts or more, in place. NaN is skipped."""
    high, low = parts[0], parts[1]
    total = high + number
    back = total - high
    error = (high - (total - back)) + (number - back)
    if error == 0.0:
        parts[0] = total
        return parts
    rest = low + error
    back = rest - low
    if (low - (rest - back)) + (error - back) == 0.0:
        parts[0] = total
        parts[1] = rest
        return parts
    return _add_widely(parts, float(number))


def _add_widely(parts: list[float], number: float) -> list[float]:
    """The rare case: a number that is not finite, or one for which two parts are not enough."""
    if number != number:  # noqa: PLR0124 - NaN is not equal to itself
        return parts
    if not isfinite(parts[0] + number):
        parts[0] += number
        return parts
    grown: list[float] = []
    for part in sorted(parts, key=abs):
        larger, smaller = (number, part) if abs(number) > abs(part) else (part, number)
        number = larger + smaller
        error = smaller - (number - larger)
        if error:
            grown.append(error)
    grown.append(number)
    parts[:] = grown[::-1] if len(grown) > 1 else [number, 0.0]
    return parts


def merge_floats(parts: list[float], others: list[float]) -> list[float]:
    """Add one exact total to another, in place."""
    if not isfinite(others[0]):
        parts[0] += others[0]
        return parts
    for number in others:
        add_float(parts, number)
    return parts


def float_total(parts: list[float]) -> float:
    """The sum of the parts, rounded once; infinite when it is beyond the range of floats."""
    if len(parts) == 2 or not isfinite(parts[0]):
        return parts[0] + parts[1]
    try:
        return fsum(parts)
    except OverflowError:
        return parts[0]


def _zero_floats() -> list[float]:
    return [0.0, 0.0]


def _subtract_floats(parts: list[float], others: list[float]) -> list[float]:
    return merge_floats(parts, [-number for number in others])


def _add_number(total: Total, number: Any) -> Total:
    kind = type(number)
    if kind is float:
        if not total.parts:
            total.parts = [0.0, 0.0]
        add_float(total.parts, number)
    elif kind is int or kind is bool:
        total.whole += number
    elif isinstance(number, (int, float)):
        return _add_number(total, int(number) if isinstance(number, int) else float(number))
    else:
        msg = f"{number!r} is not a number: sums and means take int and float"
        raise TypeError(msg)
    return total


def _merge_totals(total: Total, other: Total) -> Total:
    total.whole += other.whole
    if other.parts:
        total.parts = merge_floats(total.parts or [0.0, 0.0], other.parts)
    return total


def _subtract_total(total: Total, other: Total) -> Total:
    return _merge_totals(total, Total(-other.whole, [-part for part in other.parts]))


def _total(total: Total) -> Union[int, float]:
    if not total.parts:
        return total.whole
    rounded = float(total.whole)
    if not isfinite(total.parts[0]):
        return float_total(total.parts)
    return fsum([*total.parts, rounded, float(total.whole - int(rounded))])


def _same(total: Any) -> Any:
    return total


_FLOATS = Arithmetic("Float", list[float], float, _zero_floats, add_float, merge_floats, _subtract_floats, float_total)
_MIXED = Arithmetic("Number", Total, Union[int, float], Total, _add_number, _merge_totals, _subtract_total, _total)


@cache
def arithmetic(number_type: Any) -> Arithmetic:
    """How to add up numbers of one type: int, float, Decimal, or `Any` for a mixture of int and float.

    Decimals are added in Python's decimal context: 28 digits.
    """
    if number_type is float:
        return _FLOATS
    if number_type in (int, Decimal):
        return Arithmetic(
            number_type.__name__.title(), number_type, number_type, number_type, add, add, sub, _same, True
        )
    return _MIXED
