"""Throttle: the oracle and the engine against plain Python over the sorted events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.operator_harness import SLOW
from tests.workflow_harness import agrees, arrival_does_not_matter, engine_agrees, events, one_step

import headway as hw

OPTIONS = st.tuples(st.sampled_from(["first", "last", "both"]), st.integers(1, 8))
REFUSED = [
    (lambda keyed: keyed.throttle("t", 0), "no time at all"),
    (lambda keyed: keyed.throttle("t", 1, emit="all"), "emit='all'"),
]


def make(option: Any) -> Any:
    emit, per = option
    return one_step(lambda keyed: keyed.throttle("throttle", per, emit=emit))


def shown(value: Any) -> Any:
    return value["n"]


def model(log: list[dict[str, Any]], option: Any) -> Iterator[tuple[str, int, Any]]:
    emit, per = option
    rest = list(log)
    while rest:
        start = rest[0]["at"]
        inside = [event for event in rest if event["at"] < start + per]
        rest = rest[len(inside) :]
        if emit != "last":
            yield "out", start, inside[0]["n"]
        if emit == "last" or (emit == "both" and len(inside) > 1):
            yield "out", start + per - 1, inside[-1]["n"]


@settings(max_examples=100, deadline=None)
@given(drawn=events(), option=OPTIONS, data=st.data())
def test_it_is_what_the_model_says(drawn: list[dict[str, Any]], option: Any, data: st.DataObject) -> None:
    agrees(make(option), drawn, lambda log: model(log, option), shown)
    arrival_does_not_matter(make(option), drawn, data)


@settings(SLOW, max_examples=6)
@given(drawn=events(), option=OPTIONS, where=conditions())
def test_the_engine_does_the_same(drawn: list[dict[str, Any]], option: Any, where: Conditions) -> None:
    engine_agrees(make(option), drawn, where, lambda log: model(log, option), shown)


@pytest.mark.parametrize(("declare", "message"), REFUSED)
def test_what_it_refuses(declare: Any, message: str) -> None:
    keyed = hw.Flow("f").source("events", hw.Json, hw.items([]), time="at").key_by("key")
    with pytest.raises(hw.FlowError) as caught:
        declare(keyed)
    assert message in str(caught.value)
    assert "test_operator_throttle.py:" in str(caught.value)
