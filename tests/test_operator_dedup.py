"""Dedup: the oracle and the engine against plain Python over the sorted events."""

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
from headway.testing import FlowTest

WITHIN_MS = 8
OPTIONS = st.sampled_from(["id", ["id", "kind"], None])
REFUSED = [
    (lambda keyed: keyed.dedup("d", by="id", within="1y"), "within '1y' is not a length of time"),
    (lambda keyed: keyed.dedup("d", by=[], within="1d"), "at least one field"),
    (lambda keyed: keyed.dedup("d", by=3, within="1d"), "dedup(3)"),
]


def make(by: Any) -> Any:
    return one_step(lambda keyed: keyed.dedup("dedup", by=by, within=WITHIN_MS), ["duplicates"])


def shown(value: Any) -> Any:
    return value["n"]


def model(log: list[dict[str, Any]], by: Any) -> Iterator[tuple[str, int, Any]]:
    passed: list[dict[str, Any]] = []
    fields = [by] if isinstance(by, str) else by or []
    for event in log:
        same = [other for other in passed if all(other[field] == event[field] for field in fields)]
        if any(event["at"] - other["at"] <= WITHIN_MS for other in same):
            yield "duplicates", event["at"], event["n"]
        else:
            passed.append(event)
            yield "out", event["at"], event["n"]


def test_ids_that_have_left_the_horizon_are_dropped_while_others_come() -> None:
    flow = hw.Flow("f")
    keyed = flow.source("events", hw.Json, hw.items([]), time="at").key_by("key")
    keyed.dedup("dedup", by="id", within=80).to("out", hw.to_list([]))
    test = FlowTest(flow)
    for at in range(0, 1000, 10):
        test.send("events", {"key": "a", "at": at, "id": at})
        assert len(test.state("dedup", "a").ids) <= 11


def test_one_and_its_text_are_different_ids() -> None:
    flow = hw.Flow("f")
    keyed = flow.source("events", hw.Json, hw.items([]), time="at").key_by("key")
    keyed.dedup("dedup", by="id", within=80).to("out", hw.to_list([]))
    test = FlowTest(flow)
    for at, identity in enumerate((1, "1", True, 1.5, None, {"x": 1}, "1", {"x": 1})):
        test.send("events", {"key": "a", "at": at, "id": identity})
    test.advance(to=9)
    assert [line["id"] for line in test.triggers()] == [1, "1", True, 1.5, None, {"x": 1}]


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
    assert "test_operator_dedup.py:" in str(caught.value)
