"""Debounce: the oracle and the engine against plain Python over the sorted events."""

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

QUIET_MS = 3
OPTIONS = st.sampled_from([None, 3, 5, 9])
REFUSED = [
    (lambda keyed: keyed.debounce("d", "0s"), "no time at all"),
    (lambda keyed: keyed.debounce("d", "5s", max_wait="1s"), "max_wait '1s' is shorter than 5s"),
]


def make(max_wait: Any) -> Any:
    return one_step(lambda keyed: keyed.debounce("debounce", QUIET_MS, max_wait=max_wait))


def shown(value: Any) -> Any:
    return value["n"]


def model(log: list[dict[str, Any]], max_wait: Any) -> Iterator[tuple[str, int, Any]]:
    rest = list(log)
    while rest:
        burst, rest = [rest[0]], rest[1:]
        end = float("inf") if max_wait is None else burst[0]["at"] + max_wait
        while rest and rest[0]["at"] <= min(burst[-1]["at"] + QUIET_MS, end):
            burst.append(rest.pop(0))
        yield "out", int(min(burst[-1]["at"] + QUIET_MS, end)), burst[-1]["n"]


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
    assert "test_operator_debounce.py:" in str(caught.value)
