"""Every aggregate once, with what its results may differ by: shared by the tests of aggregates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Optional

import msgspec

import headway as hw
from headway.operators.aggregates.base import Bundle

__all__ = ["CASES", "AnyEvent", "Case", "Sample", "closely", "fold", "stored"]


class Sample(hw.Event):
    """An event with values of each type that aggregates meet."""

    at: int
    x: Optional[float] = None
    n: Optional[int] = None
    s: Optional[str] = None
    flag: bool = False


class Tally(hw.State):
    longest: str = ""
    seen: int = 0


def _add_tally(tally: Tally, event: Any) -> Tally:
    text = _get(event, "s") or ""
    tally.seen += 1
    if len(text) > len(tally.longest):
        tally.longest = text
    return tally


def _merge_tallies(a: Tally, b: Tally) -> Tally:
    return Tally(longest=b.longest if len(b.longest) > len(a.longest) else a.longest, seen=a.seen + b.seen)


def _longest(tally: Tally) -> str:
    return tally.longest


AnyEvent = Any
Agree = Callable[[Any, Any], bool]


class Case(NamedTuple):
    """An aggregate, and when the result of merging agrees with that of adding."""

    make: Callable[[], hw.Aggregate[Any, Any]]
    agree: Agree = lambda merged, added: bool(merged == added)


def closely(merged: Any, added: Any) -> bool:
    """Equal but for the rounding of floats."""
    if merged is None or added is None:
        return merged is added
    return math.isclose(merged, added, rel_tol=1e-9, abs_tol=1e-6)


def _nearly_counted(merged: int, added: int) -> bool:
    return abs(merged - added) <= 1 + 0.1 * added


CASES: dict[str, Case] = {
    "count": Case(hw.count),
    "count_where": Case(lambda: hw.count(flag=True)),
    "sum_float": Case(lambda: hw.sum("x")),
    "sum_int": Case(lambda: hw.sum("n")),
    "sum_function": Case(lambda: hw.sum(lambda event: _get(event, "n") if _get(event, "flag") else _get(event, "x"))),
    "mean_float": Case(lambda: hw.mean("x")),
    "mean_int": Case(lambda: hw.mean("n")),
    "min_float": Case(lambda: hw.min("x")),
    "max_text": Case(lambda: hw.max("s")),
    "max_where": Case(lambda: hw.max("n", where=hw.where(flag=True))),
    "variance": Case(lambda: hw.variance("n"), closely),
    "stddev": Case(lambda: hw.stddev("n", population=True), closely),
    "first": Case(lambda: hw.first("s")),
    "first_event": Case(hw.first),
    "last": Case(lambda: hw.last("x")),
    "last_event": Case(lambda: hw.last(where=hw.where(flag=True))),
    "distinct": Case(lambda: hw.distinct("s")),
    "distinct_limit": Case(lambda: hw.distinct("n", limit=3)),
    "distinct_float": Case(lambda: hw.distinct("x")),
    "approx_distinct": Case(lambda: hw.approx_distinct("n", error=0.05), _nearly_counted),
    "quantiles": Case(lambda: hw.quantiles("x", [0, 0.25, 0.5, 0.99, 1])),
    "top_k": Case(lambda: hw.top_k("x", 3)),
    "top_k_by": Case(lambda: hw.top_k("s", 3, by="n")),
    "top_k_events": Case(lambda: hw.top_k(None, 2, by="x")),
    "heavy_hitters": Case(lambda: hw.heavy_hitters("s", 3)),
    "heavy_hitters_any": Case(lambda: hw.heavy_hitters(lambda event: [_get(event, "flag"), _get(event, "n")], 2)),
    "histogram": Case(lambda: hw.histogram("x", [-10, 0, 0.5, 100])),
    "decayed": Case(lambda: hw.decayed("x", 7)),
    "rate_decayed": Case(lambda: hw.rate(half_life=100)),
    "rate_window": Case(lambda: hw.rate(window=20, resolution=4)),
    "sum_over": Case(lambda: hw.sum_over("x", 10, resolution=1)),
    "sum_over_coarse": Case(lambda: hw.sum_over("n", 10, resolution=4)),
    "count_over": Case(lambda: hw.count_over(10)),
    "collect": Case(lambda: hw.collect("s")),
    "collect_events": Case(lambda: hw.collect(limit=4)),
    "aggregate": Case(lambda: hw.aggregate(Tally, _add_tally, _merge_tallies, _longest)),
}


def _get(event: Any, field: str) -> Any:
    return event.get(field) if isinstance(event, dict) else getattr(event, field)


def stored(bundle: Bundle, accumulators: Any) -> Any:
    """What comes back from storage."""
    data = msgspec.msgpack.encode(accumulators)
    return msgspec.msgpack.decode(data, type=bundle.accumulator_type)


def fold(bundle: Bundle, events: Sequence[Any], *, store: Callable[[int], bool] = lambda number: False) -> Any:
    """The accumulators of all events, by adding; stored and loaded wherever `store` says so."""
    accumulators = bundle.init()
    for number, event in enumerate(events):
        if store(number):
            accumulators = stored(bundle, accumulators)
        bundle.add(accumulators, event, _get(event, "at"))
    return accumulators
