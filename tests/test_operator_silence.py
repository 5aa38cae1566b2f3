"""Silence: the oracle and the engine against plain Python over the sorted events."""

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

AFTER_MS, EXPIRE_MS = 4, 7
OPTIONS = st.booleans()
REFUSED = [
    (lambda keyed: keyed.silence("s", 0), "no time at all"),
    (lambda keyed: keyed.silence("s", "x"), "silence 'x'"),
    (lambda keyed: keyed.silence("s", 1).side("resumed"), "no side output 'resumed'"),
]


def make(resumed: Any) -> Any:
    return one_step(
        lambda keyed: keyed.silence("silence", AFTER_MS, resumed=resumed, expire_after=EXPIRE_MS),
        ["resumed"] if resumed else [],
    )


def shown(value: Any) -> Any:
    return value["last"]["n"] if "last" in value else (value["event"]["n"], value["since"], value["silent_ms"])


def model(log: list[dict[str, Any]], resumed: Any) -> Iterator[tuple[str, int, Any]]:
    for event, after in zip(log, [*log[1:], None]):
        gap_ms = float("inf") if after is None else after["at"] - event["at"]
        if gap_ms > AFTER_MS:
            yield "out", event["at"] + AFTER_MS, event["n"]
            if resumed and after is not None and gap_ms <= AFTER_MS + EXPIRE_MS:
                yield "resumed", after["at"], (after["n"], event["at"], gap_ms)


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
    assert "test_operator_silence.py:" in str(caught.value)
