"""What a pattern keeps of its events and of its partial matches, and for how long."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.pattern_harness import Shop, StubContext, operate, send, shop

import headway as hw
from headway.operators import MatchPattern
from headway.operators.patterns.pattern import Pattern, pattern

ADD_AND_PAY = pattern("add", kind="add").followed_by("pay", kind="pay").within(10)


@pytest.mark.parametrize(
    "looked_for", [ADD_AND_PAY, pattern("add", kind="add").one_or_more().followed_by("pay", kind="pay").within(10)]
)
def test_only_some_fields_are_kept(looked_for: Pattern) -> None:
    def declare(carts: hw.KeyedStream[Shop]) -> None:
        found = carts.match("found", looked_for, keep=["at", "price"])
        found.to("out", hw.to_list([]))
        found.side("timed_out").to("late", hw.to_list([]))

    test = shop(declare)
    send(test, (1, "add"))
    test.advance(to=1)
    kept = msgspec.to_builtins(test.state("found", "ann"))
    assert "'price': 1.0" in str(kept) and "kind" not in str(kept)
    send(test, (2, "pay"), (3, "add"))
    test.advance(to=100)
    expected = {"add": [{"at": 1, "price": 1.0}], "pay": [{"at": 2, "price": 2.0}]}
    assert [match["matched"] for match in test.triggers("out")] == [expected]
    late = [partial["matched"] for partial in test.triggers("late")]
    assert {"add": [{"at": 3, "price": 3.0}]} in late


def test_fields_are_kept_of_dicts_and_one_alone() -> None:
    both: MatchPattern[Any] = MatchPattern(ADD_AND_PAY, keep=["n"]).bind(dict)
    events = [{"at": at, "n": at, "kind": kind} for at, kind in ((1, "add"), (2, "pay"))]
    [(_, _, match)] = operate(both, events).out
    assert match.matched == {"add": [{"n": 1}], "pay": [{"n": 2}]}
    one: MatchPattern[Any] = MatchPattern(pattern("add", kind="add"), keep=["price"]).bind(Shop)
    ctx = StubContext()
    one.on_event(one.state_type(), Shop(user="ann", kind="add", at=1, price=5.0), ctx)
    [(_, _, match)] = ctx.out
    assert msgspec.to_builtins(match.matched) == {"add": [{"price": 5.0}]}


def test_too_many_partial_matches_are_given_up_oldest_first() -> None:
    def declare(carts: hw.KeyedStream[Shop]) -> None:
        looked_for = pattern("a", kind="add").followed_by("p", kind="pay")
        found = carts.match("found", looked_for, max_partial_matches=2)
        found.to("out", hw.to_list([]))
        found.side("overflow").to("overflow", hw.to_list([]))

    test = shop(declare)
    send(test, (1, "add"), (2, "add"), (3, "add"), (4, "pay"))
    test.advance(to=10)
    assert [value["start"] for value in test.triggers("overflow")] == [1]
    assert [value["start"] for value in test.triggers("out")] == [2, 3]
    assert test.keys("found") == []


def test_an_event_that_fits_nothing_leaves_no_state() -> None:
    looked_for = pattern("a", kind="add").followed_by("p", kind="pay")
    test = shop(lambda carts: carts.match("found", looked_for).to("out", hw.to_list([])))
    send(test, (1, "view"), (2, "pay"))
    test.advance(to=10)
    assert test.keys("found") == []


def test_events_in_several_partial_matches_are_kept_once() -> None:
    looked_for = pattern("b", kind="b").one_or_more().allow_combinations().followed_by("c", kind="c")
    test = shop(lambda carts: carts.match("found", looked_for).to("out", hw.to_list([])))
    send(test, *((at, "b") for at in range(6)))
    test.advance(to=10)
    state = test.state("found", "ann")
    assert len(state.runs) == 2**6 - 1 and len(state.entries) == 6


def test_another_shape_of_pattern_is_another_state() -> None:
    def state_type(looked_for: Pattern) -> Any:
        return MatchPattern(looked_for).bind(Shop).state_type

    two = pattern("a", kind="add").followed_by("p", kind="pay")
    assert state_type(two) is state_type(pattern("a", kind="view").followed_by("p", kind="pay"))
    assert state_type(two) is not state_type(two.followed_by("c", kind="checkout"))
    assert state_type(two) is not state_type(pattern("a", kind="add").next("p", kind="pay"))
