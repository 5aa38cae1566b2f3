"""Rank: the oracle and the engine against plain Python over the sorted events."""

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

OPTIONS = st.tuples(st.integers(1, 3), st.booleans(), st.sampled_from([None, 4, 9]))
REFUSED = [
    (lambda keyed: keyed.rank("r", by="id", k=0), "k=0"),
    (lambda keyed: keyed.rank("r", by=None), "rank"),
    (lambda keyed: keyed.rank("r", by="id", within=0), "no time at all"),
]


def make(option: Any) -> Any:
    k, descending, within = option
    return one_step(
        lambda keyed: keyed.rank("rank", by="id", k=k, descending=descending, within=within, expire_after=100)
    )


def shown(value: Any) -> Any:
    return ([event["n"] for event in value["top"]], value["rank"] or 0)


def model(log: list[dict[str, Any]], option: Any) -> Iterator[tuple[str, int, Any]]:
    """The whole history is sorted anew at every event and at every moment at which one leaves the horizon."""
    k, descending, within = option
    leaving = set() if within is None else {event["at"] + within for event in log}
    last: list[int] = []
    for at in sorted({event["at"] for event in log} | leaving):
        for count, event in enumerate(log):
            if event["at"] == at:
                seen = [other for other in log[: count + 1] if within is None or other["at"] >= at - within]
                top = best(seen, k, descending=descending)
                if top != last:
                    yield "out", at, (top, top.index(event["n"]) + 1)
                last = top
        if at in leaving:
            left = [other for other in log if at - within < other["at"] <= at]
            top = best(left, k, descending=descending)
            if top != last:
                yield "out", at, (top, 0)
            last = top


def best(events: list[dict[str, Any]], k: int, *, descending: bool) -> list[int]:
    ordered = sorted(events, key=lambda event: -event["id"] if descending else event["id"])
    return [event["n"] for event in ordered[:k]]


def test_what_can_never_rise_any_more_is_dropped() -> None:
    flow = hw.Flow("f")
    keyed = flow.source("events", hw.Json, hw.items([]), time="at").key_by("key")
    keyed.rank("rank", by="id", k=2, within="1h").to("out", hw.to_list([]))
    test = FlowTest(flow)
    for at in range(50):
        test.send("events", {"key": "a", "at": at, "id": at})
    assert len(test.state("rank", "a").ranked) == 2


def test_a_key_without_new_tops_expires() -> None:
    flow = hw.Flow("f")
    keyed = flow.source("events", hw.Json, hw.items([]), time="at").key_by("key")
    keyed.rank("rank", by="id", expire_after=10).to("out", hw.to_list([]))
    test = FlowTest(flow)
    for at, number in ((0, 5), (8, 3), (9, None), (11, 1)):
        test.send("events", {"key": "a", "at": at, "id": number})
    test.advance(to=12)
    assert [line["top"][0]["id"] for line in test.triggers()] == [5, 1]


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
    assert "test_operator_rank.py:" in str(caught.value)
