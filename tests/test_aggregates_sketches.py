"""Sums that do not drift, and sketches within their bounds, whatever was stored and merged in between."""

from __future__ import annotations

import math
import random
import sys
from collections import Counter
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.aggregate_cases import fold, stored

import headway as hw
from headway.errors import FlowError
from headway.operators.aggregates.base import Bundle
from headway.operators.aggregates.exact import add_float, float_total, merge_floats


def one(aggregate: hw.Aggregate[Any, Any], values: list[Any]) -> Any:
    """The result of an aggregate of the field v."""
    bundle = Bundle({"it": aggregate}, hw.Json)
    return bundle.results(fold(bundle, events_of(values)), len(values))["it"]


def events_of(values: list[Any]) -> list[dict[str, Any]]:
    return [{"at": number, "v": value} for number, value in enumerate(values)]


def in_pieces(aggregate: hw.Aggregate[Any, Any], values: list[Any], pieces: int) -> Any:
    """The result when pieces are added up apart, stored and merged."""
    bundle = Bundle({"it": aggregate}, hw.Json)
    size = len(values) // pieces + 1
    events = events_of(values)
    merged = bundle.init()
    for start in range(0, len(events), size):
        part = fold(bundle, events[start : start + size], store=lambda number: number % 50 == 0)
        merged = stored(bundle, bundle.merge(merged, stored(bundle, part)))
    return bundle.results(merged, len(values))["it"]


def test_a_million_tenths() -> None:
    parts = [0.0, 0.0]
    for _ in range(1_000_000):
        add_float(parts, 0.1)
    assert float_total(parts) == float(Fraction(0.1) * 1_000_000) == 100_000.0
    assert len(parts) == 2


def test_what_cancels_leaves_the_rest() -> None:
    assert one(hw.sum("v"), [1e16, 1.0, -1e16]) == 1.0
    assert one(hw.sum("v"), [1.0, 1e100, 1.0, -1e100] * 1000) == 2000.0
    assert one(hw.mean("v"), [1e16, 1.0, -1e16, 3.0]) == 1.0
    assert one(hw.sum_over("v", 3, resolution=1), [1e300, 0.1, 0.2, 0.3]) == 0.5


def test_integers_stay_integers() -> None:
    total = one(hw.sum("v"), [2**60, 1, -(2**60), 2**53, 1])
    assert (total, type(total)) == (2**53 + 2, int)
    assert one(hw.sum("v"), [2**53, 1, 0.5]) == float(2**53 + 2)


@settings(max_examples=200, deadline=None)
@given(numbers=st.lists(st.floats(-1e306, 1e306), max_size=20))
def test_a_sum_is_the_exact_one_rounded_once(numbers: list[float]) -> None:
    parts, halves = [0.0, 0.0], ([0.0, 0.0], [0.0, 0.0])
    for position, number in enumerate(numbers):
        add_float(parts, number)
        add_float(halves[position % 2], number)
    exact = float(sum(map(Fraction, numbers), Fraction(0)))
    assert float_total(parts) == exact
    assert float_total(merge_floats(*halves)) == exact


def test_what_is_no_finite_number() -> None:
    inf, nan = math.inf, math.nan
    assert one(hw.sum("v"), [1.0, nan, 2.0]) == 3.0
    assert one(hw.sum("v"), [1.0, inf, 2.0]) == inf
    assert math.isnan(one(hw.sum("v"), [inf, -inf]))
    assert one(hw.sum("v"), [1e308, 1e308]) == inf
    assert one(hw.mean("v"), [1.0, nan, 2.0]) == 1.5
    assert one(hw.min("v"), [nan, 2.0, nan, 1.0]) == 1.0
    assert one(hw.variance("v"), [1.0, nan, inf, 3.0]) == 2.0
    assert one(hw.quantiles("v", [0.5]), [nan, inf, 7.0]) == [7.0]
    assert one(hw.distinct("v"), [nan, nan, 0.0, -0.0, 1, 1.0, True, "1"]) == 4
    assert one(hw.histogram("v", [0]), [nan, -inf, inf]) == [1, 1]
    assert one(hw.top_k("v", 2), [nan, 1.0, 2.0]) == [2.0, 1.0]
    assert one(hw.approx_distinct("v"), [1, 1.0, True, "1", "", "", "\x00", b"1", 2**63]) == 7


def test_what_is_no_number_is_an_error() -> None:
    with pytest.raises(TypeError, match="'7' is not a number"):
        one(hw.sum("v"), [1, "7"])
    with pytest.raises(TypeError, match="must return the accumulator"):
        one(hw.aggregate(list, lambda found, event: found.append(event), lambda a, b: a + b), [1])


VALUES = st.one_of(st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-5), st.integers(-50, 50))


@settings(max_examples=150, deadline=None)
@given(values=st.lists(VALUES, min_size=1, max_size=60), error=st.sampled_from([0.01, 0.1, 0.3]), data=st.data())
def test_quantiles_are_within_their_error(values: list[float], error: float, data: st.DataObject) -> None:
    ranks = [0.0, 0.1, 0.5, 0.9, 1.0]
    estimates = one(hw.quantiles("v", ranks, error=error), values)
    ascending = sorted(values)
    for rank, estimate in zip(ranks, estimates):
        true = ascending[max(1, math.ceil(rank * len(values) - 1e-9)) - 1]
        assert abs(estimate - true) <= error * abs(true) * 1.000001
    shuffled = data.draw(st.permutations(values))
    assert one(hw.quantiles("v", ranks, error=error), shuffled) == estimates
    assert in_pieces(hw.quantiles("v", ranks, error=error), shuffled, 3) == estimates


def test_a_quantile_sketch_is_bounded() -> None:
    draw = random.Random(1)
    values = [draw.choice([-1, 1]) * 10.0 ** draw.uniform(-300, 300) for _ in range(5000)]
    bundle = Bundle({"it": hw.quantiles("v", [0.1, 0.9])}, hw.Json)
    sketch = fold(bundle, events_of(values)).it
    assert len(sketch.positive.counts) <= 1400
    assert len(sketch.negative.counts) <= 1400
    backwards = fold(bundle, events_of(values[::-1])).it
    assert sorted(sketch.positive.counts.items()) == sorted(backwards.positive.counts.items())


@pytest.mark.parametrize(("error", "distinct"), [(0.02, 300), (0.02, 5_000), (0.05, 2_000), (0.1, 5_000)])
def test_distinct_counts_are_near(error: float, distinct: int) -> None:
    values = [f"user {number % distinct}" for number in range(distinct + 1000)]
    counted = one(hw.approx_distinct("v", error=error), values)
    assert abs(counted - distinct) <= 3 * error * distinct
    bundle = Bundle({"it": hw.approx_distinct("v", error=error)}, hw.Json)
    bytes_most = max(1.2 / error**2 + 300, 1200)
    assert len(fold(bundle, events_of(values)).it) <= bytes_most
    assert abs(in_pieces(hw.approx_distinct("v", error=error), values, 5) - distinct) <= 3 * error * distinct


def test_heavy_hitters_are_within_their_bounds() -> None:
    draw = random.Random(1)
    values = [f"v{int(draw.paretovariate(0.5))}" for _ in range(20_000)]
    true = Counter(values)
    assert len(true) > 1000
    for found in (one(hw.heavy_hitters("v", 5), values), in_pieces(hw.heavy_hitters("v", 5), values, 7)):
        assert [hitter.value for hitter in found] == [value for value, _ in true.most_common(5)]
        for hitter in found:
            assert hitter.count <= true[hitter.value] <= hitter.count + hitter.error
            assert 0 < hitter.error <= 2 * len(values) / 100
    bundle = Bundle({"it": hw.heavy_hitters("v", 5)}, hw.Json)
    assert len(fold(bundle, events_of(values)).it.counts) <= 100


def test_heavy_hitters_keep_the_type_of_the_values() -> None:
    found = one(hw.heavy_hitters("v", 4), [[1, 2], [1, 2], [1, 2], True, True, 1, 1, 1, 1, "1"])
    assert [(hitter.value, hitter.count) for hitter in found] == [(1, 4), ([1, 2], 3), (True, 2), ("1", 1)]


def test_storage_in_between_changes_no_sketch() -> None:
    """With so many values that sketches have left their exact beginnings."""
    draw = random.Random(2)
    events = events_of([draw.randrange(3000) for _ in range(3000)])
    bundle = Bundle(
        {
            "about": hw.approx_distinct("v", error=0.05),
            "often": hw.heavy_hitters("v", 3),
            "ranks": hw.quantiles("v", [0.5]),
        },
        hw.Json,
    )
    kept = bundle.results(fold(bundle, events), 0)
    for stops in (range(3000), range(0, 3000, 7), [1000, 2000]):
        assert bundle.results(fold(bundle, events, store=stops.__contains__), 0) == kept


def test_a_half_life_is_one() -> None:
    heat = Bundle({"heat": hw.decayed("v", "1h"), "pace": hw.rate(half_life="1h")}, hw.Json)
    accumulators = heat.init()
    heat.add(accumulators, {"v": 8.0}, 1_000)
    at_once = heat.results(accumulators, 1_000)
    assert at_once["heat"] == pytest.approx(8.0, rel=1e-15)
    assert heat.results(accumulators, 1_000 + 3 * 3_600_000)["heat"] == pytest.approx(1.0, rel=1e-15)
    assert heat.results(accumulators, 1_000 + 5_000 * 3_600_000)["heat"] == 0.0


def test_a_steady_stream_has_its_rate() -> None:
    pace = Bundle({"smooth": hw.rate(half_life="10s"), "plain": hw.rate(window="10s")}, hw.Json)
    accumulators = pace.init()
    for at_ms in range(0, 100_000, 100):
        pace.add(accumulators, {}, at_ms)
    found = pace.results(accumulators, 99_999)
    assert found["plain"] == pytest.approx(10, rel=0.02)
    assert found["smooth"] == pytest.approx(10, rel=0.01)


def test_a_horizon_keeps_no_more_than_its_slices() -> None:
    bundle = Bundle({"it": hw.sum_over("v", "1h")}, hw.Json)
    accumulators = bundle.init()
    for minute in range(0, 10_000, 7):
        bundle.add(accumulators, {"v": 0.1}, minute * 10_000)
        assert len(accumulators.it.numbers) == len(accumulators.it.totals) <= 61


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketches", None)
    with pytest.raises(FlowError, match=r"pip install 'headway\[sketches\]'"):
        Bundle({"users": hw.approx_distinct("user")}, hw.Json)
