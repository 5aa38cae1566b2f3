"""Exponentially decayed sums and rates: what happened lately counts more.

A value that came at t counts `value * 2 ** ((t - now) / half_life)`. The sum is kept relative to the last whole
half-life: a new value is weighted by what depends on its own time only, and moving the reference on is a division by a
power of two, which is exact. With an exact sum of floats, neither the order of additions nor the way in which
accumulators are merged changes the result.
"""

from math import ldexp, log
from typing import Any, Optional

import msgspec

from headway.basics.times import Duration
from headway.errors import FlowError
from headway.operators.aggregates.base import Aggregate
from headway.operators.aggregates.exact import add_float, float_total, merge_floats
from headway.operators.aggregates.horizon import CountOver
from headway.operators.aggregates.values import number_type
from headway.operators.conditions import Condition
from headway.operators.options import Value, positive_ms, reader

__all__ = ["Decayed", "DecayedTotal", "Rate", "decayed", "rate"]


class DecayedTotal(msgspec.Struct, gc=False):
    """A decayed sum as of a whole number of half-lives since 1970."""

    half_lives: int = 0
    parts: list[float] = []
    """The sum as exact parts; empty when there were none."""


class Decayed(Aggregate[DecayedTotal, float]):
    """The sum of the values, each of which loses half of its weight in every half-life, as of the time of the result.

    >>> heat = decayed("price", "1d").bind(dict)
    >>> accumulator = heat.add(heat.init(), {"price": 100.0}, 0)
    >>> heat.result(accumulator, 86_400_000), heat.result(accumulator, 3 * 86_400_000)
    (50.0, 12.5)
    """

    shares_values = True
    accumulator_type = DecayedTotal
    result_type = float

    def __init__(self, value: Value, half_life: Duration, where: Optional[Condition] = None) -> None:
        self.value = value
        self.half_life = half_life
        self.where = where

    def _bind(self, event_type: Any) -> None:
        self._get, found = reader(self.value, event_type, "decayed")
        number_type(found, self.value, "decayed")
        self._half_life_ms = positive_ms(self.half_life, "decayed(): half_life")

    def init(self) -> DecayedTotal:
        """Nothing yet."""
        return DecayedTotal()

    def add(self, accumulator: DecayedTotal, event: Any, time_ms: int) -> DecayedTotal:
        """With one more value."""
        value = self._get(event)
        if value is None:
            return accumulator
        half_lives, rest_ms = divmod(time_ms, self._half_life_ms)
        weighted = float(value) * 2.0 ** (rest_ms / self._half_life_ms)
        if not accumulator.parts:
            accumulator.half_lives = half_lives
            accumulator.parts = [0.0, 0.0]
        elif half_lives > accumulator.half_lives:
            _move_on(accumulator, half_lives)
        elif half_lives < accumulator.half_lives:
            weighted = ldexp(weighted, half_lives - accumulator.half_lives)
        add_float(accumulator.parts, weighted)
        return accumulator

    def merge(self, earlier: DecayedTotal, later: DecayedTotal) -> DecayedTotal:
        """Of both."""
        if not earlier.parts or not later.parts:
            return earlier if earlier.parts else later
        newest = max(earlier.half_lives, later.half_lives)
        _move_on(earlier, newest)
        _move_on(later, newest)
        merge_floats(earlier.parts, later.parts)
        return earlier

    def result(self, accumulator: DecayedTotal, at_ms: int) -> float:
        """The sum as of `at_ms`."""
        if not accumulator.parts:
            return 0.0
        half_lives, rest_ms = divmod(at_ms - accumulator.half_lives * self._half_life_ms, self._half_life_ms)
        return ldexp(float_total(accumulator.parts) * 2.0 ** (-rest_ms / self._half_life_ms), -half_lives)


def _move_on(total: DecayedTotal, half_lives: int) -> None:
    """Let the sum decay up to a later reference: exact, but for what is too little for a float."""
    lost = half_lives - total.half_lives
    if lost:
        total.parts = [ldexp(part, -lost) for part in total.parts]
        total.half_lives = half_lives


class Rate(Decayed):
    """Events per second, each of which loses half of its weight in every half-life."""

    def __init__(self, half_life: Duration, where: Optional[Condition] = None) -> None:
        super().__init__(_one, half_life, where)

    def _bind(self, event_type: Any) -> None:
        self._get = _one
        self._half_life_ms = positive_ms(self.half_life, "rate(): half_life")
        self._per_second = log(2) * 1000 / self._half_life_ms

    def result(self, accumulator: DecayedTotal, at_ms: int) -> float:
        """Events per second as of `at_ms`."""
        return super().result(accumulator, at_ms) * self._per_second


def _one(event: Any) -> float:
    return 1.0


class WindowedRate(CountOver):
    """Events per second over a sliding horizon."""

    def _bind(self, event_type: Any) -> None:
        super()._bind(event_type)
        self.result_type = float

    def result(self, accumulator: Any, at_ms: int) -> Any:
        """Events per second in the horizon before `at_ms`."""
        return super().result(accumulator, at_ms) * 1000 / self._horizon_ms


def decayed(value: Value, half_life: Duration, *, where: Optional[Condition] = None) -> Decayed:
    """The sum of a field or function of the events, in which a value loses half of its weight in each `half_life`.

    As of the time of the result, which for running state is that of the event or timer.

    Does not drift, and does not depend on how it is merged. State: two or three numbers, whatever the half-life.

    >>> decayed("price", "1d").half_life
    '1d'
    """
    return Decayed(value, half_life, where)


def rate(
    *,
    half_life: Optional[Duration] = None,
    window: Optional[Duration] = None,
    resolution: Optional[Duration] = None,
    where: Optional[Condition] = None,
) -> Aggregate[Any, float]:
    """Events per second: smoothed exponentially with `half_life`, or plainly over a sliding `window`.

    With `half_life` the state is two or three numbers, and the rate of a steady stream is reached to 94 percent after
    four half-lives. With `window` it is `count_over(window, resolution=resolution)` divided by the window's length.

    >>> rate(half_life="1m").half_life
    '1m'
    """
    if (half_life is None) == (window is None):
        msg = f'rate(half_life={half_life!r}, window={window!r}) needs one of the two, such as rate(half_life="1m")'
        raise FlowError(msg)
    if half_life is None:
        assert window is not None
        return WindowedRate(window, resolution, where, what="rate(): window")
    if resolution is not None:
        msg = f"rate(half_life={half_life!r}, resolution={resolution!r}): only a window has a resolution"
        raise FlowError(msg)
    return Rate(half_life, where)
