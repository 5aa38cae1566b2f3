"""On change: the oracle and the engine against plain Python over the sorted events."""

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

EXPIRE_MS = 6
OPTIONS = st.tuples(st.sampled_from(["id", ["id", "kind"], None]), st.booleans())
REFUSED = [
    (lambda keyed: keyed.on_change("c", by=3), "on_change(3)"),
    (lambda keyed: keyed.on_change("c", by="id", expire_after=0), "no time at all"),
]


def make(option: Any) -> Any:
    by, first = option
    return one_step(lambda keyed: keyed.on_change("change", by=by, first=first, expire_after=EXPIRE_MS))


def shown(value: Any) -> Any:
    previous = value["previous"]
    return (value["current"]["n"], *(() if previous is None else (previous["n"], value["since"])))


def model(log: list[dict[str, Any]], option: Any) -> Iterator[tuple[str, int, Any]]:
    by, first = option
    previous: Any = None
    since = 0
    for event in log:
        if previous is not None and event["at"] - previous["at"] > EXPIRE_MS:
            previous = None
        fields = ["n"] if by is None else [by] if isinstance(by, str) else by
        if previous is None:
            if first:
                yield "out", event["at"], (event["n"],)
            since = event["at"]
        elif any(event[field] != previous[field] for field in fields):
            yield "out", event["at"], (event["n"], previous["n"], since)
            since = event["at"]
        previous = event


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
    assert "test_operator_on_change.py:" in str(caught.value)
