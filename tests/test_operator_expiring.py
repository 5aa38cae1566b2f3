"""Expiring: the oracle and the engine against plain Python, for each way of counting a time to live."""

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

TTL_MS = 5
OPTIONS = st.sampled_from(["write", "read", "creation"])


class Count(hw.State):
    seen: int = 0


class Counting(hw.Operator[hw.Json, Count]):
    """Counts the events of kind a, tells the count for b, forgets it for c."""

    sides = {"forgotten": int}
    inputs = {"more": hw.Json}

    def on_event(self, state: Count, event: hw.Json, ctx: hw.Context) -> None:
        if event["kind"] == "a":
            state.seen += 1
        elif event["kind"] == "b":
            ctx.emit({"n": event["n"], "seen": state.seen})
        elif event["kind"] == "c":
            ctx.forget()

    def on_more(self, state: Count, event: hw.Json, ctx: hw.Context) -> None:
        state.seen += event["by"]
        ctx.timer("soon", ctx.time + 2)

    def on_timer(self, state: Count, timer: hw.Timer, ctx: hw.Context) -> None:
        state.seen += 100


def make(since: Any) -> Any:
    class Single(Counting):
        inputs = {}

    operator = hw.Expiring(Single(), hw.ttl(TTL_MS, since=since))
    return one_step(lambda keyed: keyed.process("count", operator), ["expired"])


def shown(value: Any) -> Any:
    return (value["n"], value["seen"]) if "n" in value else (value["state"]["seen"], value["due"])


def model(log: list[dict[str, Any]], since: Any) -> Iterator[tuple[str, int, Any]]:
    seen = due = 0
    for event in [*log, None]:
        if seen and (event is None or event["at"] > due):
            yield "expired", due, (seen, due)
            seen = 0
        if event is None:
            return
        if event["kind"] == "a":
            if since == "write" or not seen:
                due = event["at"] + TTL_MS
            seen += 1
        elif event["kind"] == "b":
            yield "out", event["at"], (event["n"], seen)
        else:
            seen = 0
        if since == "read":
            due = event["at"] + TTL_MS


@settings(max_examples=100, deadline=None)
@given(drawn=events(), option=OPTIONS, data=st.data())
def test_it_is_what_the_model_says(drawn: list[dict[str, Any]], option: Any, data: st.DataObject) -> None:
    agrees(make(option), drawn, lambda log: model(log, option), shown)
    arrival_does_not_matter(make(option), drawn, data)


@settings(SLOW, max_examples=6)
@given(drawn=events(), option=OPTIONS, where=conditions())
def test_the_engine_does_the_same(drawn: list[dict[str, Any]], option: Any, where: Conditions) -> None:
    engine_agrees(make(option), drawn, where, lambda log: model(log, option), shown)


def test_further_inputs_and_timers_count_as_writes() -> None:
    flow = hw.Flow("f")
    main = flow.source("main", hw.Json, hw.items([]), time="at").key_by("key")
    more = flow.source("more", hw.Json, hw.items([]), time="at").key_by("key")
    count = main.process("count", hw.Expiring(Counting(), hw.ttl(TTL_MS)), more=more)
    count.side("expired").to("expired", hw.to_list([]))
    count.side("forgotten").to("forgotten", hw.to_list([]))
    test = FlowTest(flow)
    test.send("more", {"key": "x", "at": 10, "by": 7})
    test.advance(to=11)
    assert test.timers("count", "x") == {"soon": 12, "~ttl": 15}
    test.advance(to=20)
    assert test.triggers("expired") == [{"state": {"seen": 107}, "due": 17}]
    assert test.keys("count") == []


def test_a_state_that_is_as_new_again_is_gone_at_once() -> None:
    class Level(hw.Operator[hw.Json, Count]):
        def on_event(self, state: Count, event: hw.Json, ctx: hw.Context) -> None:
            state.seen += event["by"]

    flow = hw.Flow("f")
    keyed = flow.source("main", hw.Json, hw.items([]), time="at").key_by("key")
    keyed.process("level", hw.Expiring(Level(), hw.ttl(3))).side("expired").to("expired", hw.to_list([]))
    test = FlowTest(flow)
    for at, by in ((10, 1), (11, -1)):
        test.send("main", {"key": "x", "at": at, "by": by})
    test.advance(to=11)
    assert test.keys("level") == []
    test.advance(to=20)
    assert test.triggers() == []


def test_an_operator_that_runs_already_can_be_wrapped() -> None:
    plain, wrapped = Counting(), hw.Expiring(Counting(), hw.ttl("1d"))
    assert wrapped.state_type is plain.state_type
    assert (wrapped.event_type, wrapped.output_type) == (plain.event_type, plain.output_type)


def test_a_dict_can_be_the_state() -> None:
    class Last(hw.Operator[hw.Json, dict[str, Any]]):
        state_type = dict

        def on_event(self, state: dict[str, Any], event: hw.Json, ctx: hw.Context) -> None:
            state["last"] = event["at"]

    flow = hw.Flow("f")
    keyed = flow.source("main", hw.Json, hw.items([]), time="at").key_by("key")
    keyed.process("last", hw.Expiring(Last(), hw.ttl(3))).side("expired").to("expired", hw.to_list([]))
    test = FlowTest(flow)
    test.send("main", {"key": "x", "at": 10})
    test.advance(to=13)
    assert test.triggers() == [{"state": {"last": 10}, "due": 13}]


class Expires(Counting):
    sides = {"expired": int}


class Reserved(hw.Operator[hw.Json, Count]):
    def on_event(self, state: Count, event: hw.Json, ctx: hw.Context) -> None:
        ctx.timer("~ttl", 5)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: hw.ttl("1x"), "ttl '1x'"),
        (lambda: hw.ttl(0), "no time at all"),
        (lambda: hw.ttl(1, since="use"), "since='use'"),  # type: ignore[arg-type]
        (lambda: hw.Expiring(Counting(), 5), "needs a time to live"),  # type: ignore[arg-type]
        (lambda: hw.Expiring(Counting, hw.ttl(5)), "needs an operator"),  # type: ignore[arg-type]
        (lambda: hw.Expiring(hw.Expiring(Counting(), hw.ttl(5)), hw.ttl(5)), "does not expire yet"),
        (lambda: hw.Expiring(Expires(), hw.ttl(5)), "a side output 'expired' of its own"),
    ],
)
def test_what_it_refuses(declare: Any, message: str) -> None:
    with pytest.raises(hw.FlowError) as caught:
        declare()
    assert message in str(caught.value)


def test_the_timer_of_the_time_to_live_is_reserved() -> None:
    flow = hw.Flow("f")
    keyed = flow.source("main", hw.Json, hw.items([]), time="at").key_by("key")
    keyed.process("bad", hw.Expiring(Reserved(), hw.ttl(3))).to("out", hw.to_list([]))
    test = FlowTest(flow)
    with pytest.raises(hw.HeadwayError) as caught:
        test.send("main", {"key": "x", "at": 1})
        test.advance(to=2)
    assert "belongs to the time to live" in str(caught.value)
