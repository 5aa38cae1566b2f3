"""Operators that tell of changes: what a value is compared with may have been stored and loaded again, or not.

The kind of fault: a comparison of objects whose outcome depends on whether they are copies, as that of NaN does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.operator_harness import SLOW, check

import headway as hw
from headway.operators.equality import differ


class Reading(hw.Event):
    value: Optional[float]
    values: list[float] = []


def reading(event: Any) -> Reading:
    """JSON has no NaN: it is what a function makes of something else."""
    value = math.nan if event["v"] is None else float(event["v"])
    return Reading(value, [value])


def changes(keyed: hw.KeyedStream[Reading], _: hw.KeyedStream[Reading]) -> hw.KeyedStream[Any]:
    return keyed.on_change("step", by=("value", "values"), expire_after=100)


def aggregates(keyed: hw.KeyedStream[Reading], _: hw.KeyedStream[Reading]) -> hw.KeyedStream[Any]:
    return keyed.aggregate("step", last=hw.last(), seen=hw.last("values"), emit="change", expire_after=100)


def tables(keyed: hw.KeyedStream[Reading], other: hw.KeyedStream[Reading]) -> hw.KeyedStream[Any]:
    joined = keyed.table_join("step", other, how="left", delete=lambda reading: reading.value == 3)
    return joined.map(lambda change: {"op": change.op}, into=hw.Json)


def flow_of(step: Callable[..., hw.KeyedStream[Any]]) -> Callable[..., hw.Flow]:
    def make(input_of: Any, output_of: Any) -> hw.Flow:
        flow = hw.Flow("f")
        sources = [flow.source(name, hw.Json, input_of(name), time="at").key_by("key") for name in ("one", "two")]
        step(*(source.map(reading) for source in sources)).map(lambda _: {"told": True}, into=hw.Json).trigger(
            "told", output_of("out"), name="out"
        )
        return flow

    return make


LOGS = st.lists(
    st.fixed_dictionaries({"key": st.just("a"), "v": st.sampled_from([None, None, 1, 2])}), min_size=1, max_size=12
)


@pytest.mark.parametrize("step", [changes, aggregates])
@settings(SLOW, max_examples=5)
@given(drawn=LOGS, where=conditions())
def test_nan_is_no_change_of_nan(step: Any, drawn: list[dict[str, Any]], where: Conditions) -> None:
    one = [{**event, "at": at} for at, event in enumerate(drawn)]
    told = check(flow_of(step), {"one": {"0": one}, "two": {"0": [{"key": "b", "v": 1, "at": 99}]}}, where)["out"]
    values = [event["v"] for event in drawn]
    expected = sum(before != after for before, after in zip(["none", *values], values))
    assert len([line for line in told if line["subject"] == "a"]) == expected


@settings(SLOW, max_examples=5)
@given(drawn=LOGS, where=conditions())
def test_a_row_of_a_table_with_nan_stays_the_same(drawn: list[dict[str, Any]], where: Conditions) -> None:
    one = [{**event, "at": at} for at, event in enumerate(drawn)]
    one += [{"key": "a", "v": 3, "at": 100}, {"key": "b", "v": 3, "at": 101}]
    told = check(
        flow_of(tables), {"one": {"0": one}, "two": {"0": [{"key": "a", "v": 3, "at": 101}]}}, where, drain=False
    )
    values = [event["v"] for event in drawn]
    assert len(told["out"]) == sum(before != after for before, after in zip(["none", *values], values)) + 1


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.0, 1.5, math.nan, math.inf]), st.text("ab")
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text("ab", max_size=1), inner, max_size=2)),
    max_leaves=6,
)


def plain(value: Any) -> Any:
    """The value with a word in the place of each NaN: then equality is equality."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return "not a number" if isinstance(value, float) and math.isnan(value) else value


@settings(max_examples=300)
@given(one=VALUES, other=VALUES)
def test_values_differ_when_they_differ_with_names_for_nan(one: Any, other: Any) -> None:
    assert differ(one, one) is False
    assert differ(one, other) is (plain(one) != plain(other)) or _mixed(one, other)


def _mixed(one: Any, other: Any) -> bool:
    """Equal numbers of different types beside a NaN: they are encoded, and there 1 is not 1.0."""
    return bool(plain(one) == plain(other)) and "nan" in repr(one)
