"""Rate limit: the oracle and the engine against plain Python over the sorted events."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.operator_harness import SLOW
from tests.workflow_harness import agrees, arrival_does_not_matter, engine_agrees, events, one_step

import headway as hw

OPTIONS = st.tuples(st.integers(1, 4), st.integers(1, 12), st.one_of(st.none(), st.integers(1, 5)))
REFUSED = [
    (lambda keyed: keyed.rate_limit("r", 0), "limit=0"),
    (lambda keyed: keyed.rate_limit("r", 1.5), "limit=1.5"),
    (lambda keyed: keyed.rate_limit("r", 1, per=0), "no time at all"),
    (lambda keyed: keyed.rate_limit("r", 1, burst=0), "burst=0"),
]


def make(option: Any) -> Any:
    limit, per, burst = option
    return one_step(lambda keyed: keyed.rate_limit("limit", limit, per=per, burst=burst), ["overflow"])


def shown(value: Any) -> Any:
    return value["n"]


def model(log: list[dict[str, Any]], option: Any) -> Iterator[tuple[str, int, Any]]:
    """A bucket of exact fractions, filled drop by drop."""
    limit, per, burst = option
    size = Fraction(limit if burst is None else burst)
    tokens, before = size, 0
    for event in log:
        tokens = min(size, tokens + Fraction(limit, per) * (event["at"] - before))
        before = event["at"]
        if tokens >= 1:
            tokens -= 1
            yield "out", event["at"], event["n"]
        else:
            yield "overflow", event["at"], event["n"]


def test_a_bucket_that_is_full_gains_nothing_more() -> None:
    """Of one token, two parts of three come back each millisecond: after two it is full, and one part is lost."""
    drawn = [{"at": at, "key": "a", "kind": "a", "id": 0, "n": at} for at in (0, 2, 3)]
    agrees(make((2, 3, 1)), drawn, lambda log: model(log, (2, 3, 1)), shown)


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
    assert "test_operator_rate_limit.py:" in str(caught.value)
