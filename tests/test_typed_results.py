"""Results of aggregates in a class of the flow's author: the same values, or a refusal where they would not fit."""

from __future__ import annotations

from typing import Any, Optional, Union

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headway as hw
from headway.testing import FlowTest


class Shop(hw.Event):
    user: str
    at: hw.Time
    price: float = 0.0
    sku: str = ""


AGGREGATES: dict[str, Any] = {
    "n": hw.count(),
    "spent": hw.sum("price"),
    "skus": hw.distinct("sku"),
    "top": hw.max("at"),
}


class Hour(hw.WindowResult):
    spent: float
    top: Optional[int]
    n: int
    skus: Any


class Spend(hw.AggregateResult):
    skus: Any
    n: int
    spent: float
    top: Optional[int]


WINDOWERS = [hw.tumbling(10), hw.sliding(20, every=10), hw.cumulative(20, step=10), hw.session(5), hw.count_window(2)]
EVENTS = st.lists(
    st.builds(
        Shop, user=st.sampled_from("ab"), at=st.integers(0, 60), price=st.sampled_from([0.1, 2.5]), sku=st.just("x")
    )
)


def run(step: str, *arguments: Any, events: list[Shop], early: Optional[int] = None, **options: Any) -> list[Any]:
    """What a step gives, after an exchange: values of its type are what arrives there."""
    found: list[Any] = []
    flow = hw.Flow("shop")
    users = flow.source("shop", Shop, hw.items([]), time="at", out_of_order=100).key_by("user")
    if early is not None:
        options["early"] = early
    results = getattr(users, step)("step", *arguments, **options)

    def keep(value: Any) -> Any:
        found.append(value)
        return {"n": value.n}

    results.key_by(lambda value: str(value.n)).map(keep).to("out", hw.to_list([]))
    test = FlowTest(flow)
    for event in events:
        test.send("shop", event)
    test.drain()
    return found


def fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__struct_fields__}


@settings(max_examples=25)
@given(EVENTS, st.sampled_from(WINDOWERS), st.permutations(list(AGGREGATES)))
def test_windows_give_the_same_in_a_declared_class(events: list[Shop], windower: Any, order: list[str]) -> None:
    aggregates = {name: AGGREGATES[name] for name in order}
    declared = run("window", windower, events=events, into=Hour, **aggregates)
    assert all(type(value) is Hour for value in declared)
    assert list(map(fields, declared)) == list(map(fields, run("window", windower, events=events, **AGGREGATES)))


@settings(max_examples=25)
@given(EVENTS, st.sampled_from(["each", "change"]), st.permutations(list(AGGREGATES)))
def test_running_aggregates_give_the_same_in_a_declared_class(events: list[Shop], emit: str, order: list[str]) -> None:
    aggregates = {name: AGGREGATES[name] for name in order}
    declared = run("aggregate", events=events, emit=emit, into=Spend, **aggregates)
    assert all(type(value) is Spend for value in declared)
    assert list(map(fields, declared)) == list(map(fields, run("aggregate", events=events, emit=emit, **AGGREGATES)))


@pytest.mark.parametrize("windower", WINDOWERS, ids=str)
def test_late_results_are_of_the_class_too(windower: Any) -> None:
    if isinstance(windower, type(hw.count_window(2))):
        pytest.skip("count windows take no late events")
    flow = hw.Flow("shop")
    shop = flow.source("shop", Shop, hw.items([]), time="at")
    late = shop.late.key_by("user")
    hours: list[Any] = []
    results = shop.key_by("user").window(
        "step", windower, late=late, late_time="at", allowed_lateness=100, into=Hour, **AGGREGATES
    )
    results.map(hours.append).to("out", hw.to_list([]))
    test = FlowTest(flow)
    for at in (1, 50, 3):
        test.send("shop", Shop("a", at))
    test.drain()
    assert {type(hour) for hour in hours} == {Hour}
    assert any(hour.revision for hour in hours)


class NotAResult(hw.Event):
    n: int


class WithMore(hw.WindowResult):
    n: int
    other: int = 0


class OfText(hw.WindowResult):
    n: str


class OfFloat(hw.WindowResult):
    n: float


class ByName(hw.WindowResult, kw_only=True):
    n: int


class Wider(hw.WindowResult):
    n: Union[int, str, None]


@pytest.mark.parametrize(
    ("into", "said"),
    [
        (NotAResult, "is not a class derived from hw.WindowResult"),
        (5, "into=5 is not a class"),
        (hw.WindowResult, "into=WindowResult has no field 'n': it must have one for each aggregate, n"),
        (WithMore, "into=WithMore has a field 'other' that no aggregate gives"),
        (OfText, "the field 'n' is declared as str, but the aggregate gives int"),
        (OfFloat, "the field 'n' is declared as float, but the aggregate gives int"),
        (ByName, "must not be keyword-only"),
    ],
)
def test_a_class_that_does_not_hold_the_results_is_refused(into: Any, said: str) -> None:
    with pytest.raises(hw.FlowError) as error:
        run("window", hw.tumbling(10), events=[], n=hw.count(), into=into)
    assert said in str(error.value)
    assert "test_typed_results.py" in str(error.value)


def test_a_field_may_be_wider_than_its_aggregate() -> None:
    [hour] = run("window", hw.tumbling(10), events=[Shop("a", 5)], n=hw.count(), into=Wider)
    assert (type(hour), hour.n) == (Wider, 1)
