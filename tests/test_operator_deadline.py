"""Deadline: the oracle and the engine against plain Python over the sorted events."""

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

WITHIN_MS = 6
ENDS: dict[str, Any] = {"b": hw.where(kind="b"), "low": lambda event: event["id"] == 0, "never": hw.where(kind="never")}
OPTIONS = st.tuples(st.sampled_from(["all", "met", "missed"]), st.booleans(), st.sampled_from(["fixed", "field", "of"]))
REFUSED = [
    (lambda keyed: keyed.deadline("d", start=bool, ends={}, within=1), "at least one end"),
    (lambda keyed: keyed.deadline("d", start=bool, ends=[bool], within=1), "must name at least one end"),
    (lambda keyed: keyed.deadline("d", start=bool, ends={"x": 3}, within=1), "not 3"),
    (lambda keyed: keyed.deadline("d", start=bool, ends={"x": bool}, within="1y"), "within '1y'"),
    (lambda keyed: keyed.deadline("d", start=bool, ends={"x": bool}, within=1, emit="late"), "emit='late'"),
]


def make(option: Any) -> Any:
    emit, rearm, how = option
    within: Any = {"fixed": WITHIN_MS, "field": "id", "of": lambda event: f"{event['id'] + 2}ms"}[how]
    return one_step(
        lambda keyed: keyed.deadline(
            "deadline", start=hw.where(kind=("a", "c")), ends=ENDS, within=within, emit=emit, rearm=rearm
        )
    )


def shown(value: Any) -> Any:
    ended = value["ended_by"]
    return (value["outcome"], value["start"]["n"], value["since"], value["due"]) + (
        () if ended is None else (value["end"], ended["n"], value["took_ms"])
    )


def model(log: list[dict[str, Any]], option: Any) -> Iterator[tuple[str, int, Any]]:
    emit, rearm, how = option
    start: Any = None
    due = 0
    for event in [*log, None]:
        if start is not None and (event is None or event["at"] > due):
            if emit != "met":
                yield "out", due, ("missed", start["n"], start["at"], due)
            start = None
        if event is None:
            return
        end = "b" if event["kind"] == "b" else "low" if event["id"] == 0 else None
        if start is not None and end is not None:
            if emit != "missed":
                took_ms = event["at"] - start["at"]
                yield "out", event["at"], ("met", start["n"], start["at"], due, end, event["n"], took_ms)
            start = None
        if event["kind"] in ("a", "c") and (start is None or rearm):
            start = event
            due = event["at"] + {"fixed": WITHIN_MS, "field": event["id"], "of": event["id"] + 2}[how]


def test_a_duration_that_is_none_tells_which_event_it_was() -> None:
    flow = hw.Flow("f")
    keyed = flow.source("events", hw.Json, hw.items([]), time="at").key_by("key")
    keyed.deadline("d", start=bool, ends={"x": hw.where(kind="x")}, within="sla").to("out", hw.to_list([]))
    with pytest.raises(hw.HeadwayError, match="key 'a' at time 5") as caught:
        test = FlowTest(flow)
        test.send("events", {"key": "a", "at": 5})
        test.advance(to=6)
    assert "not a duration" in str(caught.value)


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
    assert "test_operator_deadline.py:" in str(caught.value)
