"""Sequence check: the oracle and the engine against plain Python over the sorted events."""

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

OPTIONS = st.tuples(st.sampled_from([None, 0, 1]), st.sampled_from([None, 3, 7]), st.sampled_from([100, 7, 5, 2]))
"""The first number, how long a gap is waited for, and after which silence the key is forgotten."""
SIDES = ["gaps", "reordered", "repeats"]
REFUSED = [
    (lambda keyed: keyed.sequence_check("s", number=3), "sequence_check(3)"),
    (lambda keyed: keyed.sequence_check("s", number="id", start="0"), "start='0'"),
    (lambda keyed: keyed.sequence_check("s", number="id", gaps_max=0), "gaps_max=0"),
]


def number(event: dict[str, Any]) -> int:
    """From 0 to 11, so that gaps are long enough to be filled in the middle."""
    return int(event["id"]) * 3 + "abc".find(event["kind"])


def make(option: Any) -> Any:
    start, wait, expire_after = option
    return one_step(
        lambda keyed: keyed.sequence_check(
            "check",
            number=lambda event: 0 if event["key"] == "tick" else number(event),
            start=start,
            wait=wait,
            expire_after=expire_after,
        ),
        SIDES,
    )


def shown(value: Any) -> Any:
    return (value["expected"], value["got"], value["missing"]) if "missing" in value else value["n"]


def model(log: list[dict[str, Any]], option: Any) -> Iterator[tuple[str, int, Any]]:
    """A life of the key is what no silence divides; each has sets of numbers of its own."""
    expire_after = option[2]
    life: list[dict[str, Any]] = []
    for event in log:
        if life and event["at"] > life[-1]["at"] + expire_after:
            yield from model_of_a_life(life, option)
            life = []
        life.append(event)
    if life:
        yield from model_of_a_life(life, option)


def model_of_a_life(log: list[dict[str, Any]], option: Any) -> Iterator[tuple[str, int, Any]]:
    """Sets of numbers: which have come, and which were skipped when; at the end of the life all waiting is over."""
    start, wait, expire_after = option
    end = log[-1]["at"] + expire_after
    came: set[int] = set()
    skipped: list[tuple[int, set[int]]] = []
    for event in [*log, None]:
        while skipped and (event is None or event["at"] > skipped[0][0]):
            due, numbers = skipped.pop(0)
            for run in runs(numbers - came):
                yield "gaps", min(due, end), (run[0], run[-1] + 1, len(run))
        if event is None:
            return
        got, at = number(event), event["at"]
        first = min(came, default=got) if start is None else start
        if got in came or got < first:
            yield "repeats", at, event["n"]
            continue
        if came and got < max(came):
            yield "reordered", at, event["n"]
        missing = set(range(max(came) + 1 if came else first, got))
        if missing and wait is None:
            yield "gaps", at, (min(missing), got, len(missing))
        elif missing:
            skipped.append((at + wait, missing))
        came.add(got)
        yield "out", at, event["n"]


def runs(numbers: set[int]) -> list[list[int]]:
    found: list[list[int]] = []
    for each in sorted(numbers):
        if found and found[-1][-1] == each - 1:
            found[-1].append(each)
        else:
            found.append([each])
    return found


def test_only_so_many_gaps_are_remembered_and_none_goes_unreported() -> None:
    flow = hw.Flow("f")
    keyed = flow.source("events", hw.Json, hw.items([]), time="at").key_by("key")
    checked = keyed.sequence_check("check", number="id", gaps_max=3, wait=100)
    for side in SIDES:
        checked.side(side).to(side, hw.to_list([]))
    test = FlowTest(flow)
    for at, each in enumerate([0, 2, 4, 6, 8, 10, 1, 9]):
        test.send("events", {"key": "a", "at": at, "id": each})
    test.advance(to=8)
    assert [line["expected"] for line in test.triggers("gaps")] == [1, 3]
    assert [line["id"] for line in test.triggers("repeats")] == [1]
    assert [line["id"] for line in test.triggers("reordered")] == [9]
    test.advance(to=200)
    assert [line["expected"] for line in test.triggers("gaps")] == [1, 3, 5, 7]
    for at, each in enumerate([12, 14], start=300):
        test.send("events", {"key": "a", "at": at, "id": each})
    test.advance(to=500)
    assert [line["expected"] for line in test.triggers("gaps")] == [1, 3, 5, 7, 11, 13]


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
    assert "test_operator_sequence_check.py:" in str(caught.value)
