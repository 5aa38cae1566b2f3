"""Lag: the oracle and the engine against plain Python over the sorted events."""

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

EXPIRE_MS = 9
OPTIONS = st.integers(1, 3)
REFUSED = [
    (lambda keyed: keyed.lag("l", 0), "n=0"),
    (lambda keyed: keyed.lag("l", expire_after="never"), "expire_after 'never'"),
]


def make(n: Any) -> Any:
    return one_step(lambda keyed: keyed.lag("lag", n, expire_after=EXPIRE_MS))


def shown(value: Any) -> Any:
    return (value["current"]["n"], -1 if value["previous"] is None else value["previous"]["n"])


def model(log: list[dict[str, Any]], n: Any) -> Iterator[tuple[str, int, Any]]:
    begin = 0
    for place, event in enumerate(log):
        if place and event["at"] - log[place - 1]["at"] > EXPIRE_MS:
            begin = place
        yield "out", event["at"], (event["n"], log[place - n]["n"] if place - n >= begin else -1)


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
    assert "test_operator_lag.py:" in str(caught.value)
