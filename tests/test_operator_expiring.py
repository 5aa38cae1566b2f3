"""Expiring: the oracle and the engine against plain Python, for each way of counting a time to live."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.operator_harness import SLOW
from tests.workflow_harness import agrees, arrival_does_not_matter, engine_agrees, events, one_step

import headway as hw
from headway.runtime.job import Job
from headway.runtime.run import RunOptions, run_flow
from headway.testing import FlowTest, Oracle

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


# -- By the wall clock ----------------------------------------------------------------------------------------


class Wall:
    """A wall clock that a test moves; the oracle reads it when a handler does."""

    def __init__(self) -> None:
        self.now_ms = 1_000


def by_wall_clock(operator: Any, since: Any = "write", length: int = 10) -> tuple[Oracle, Wall]:
    clock = Wall()
    flow = hw.Flow("f")
    keyed = flow.source("events", hw.Json, hw.items([]), time="at").key_by("key")
    count = keyed.process("count", hw.Expiring(operator, hw.ttl(length, since=since, clock="wall")))
    count.to("out", hw.to_list([]))
    count.side("expired").to("expired", hw.to_list([]))
    return Oracle(flow, now_ms=lambda: clock.now_ms), clock


def feed(oracle: Oracle, *rows: dict[str, Any]) -> None:
    oracle.feed({"events": {"0": list(rows)}})


def told(oracle: Oracle, output: str) -> list[Any]:
    return [msgspec.json.decode(line) for line in oracle.result().outputs[output]]


class Single(Counting):
    inputs = {}


def event(at: int, kind: str, key: str = "x") -> dict[str, Any]:
    return {"key": key, "at": at, "kind": kind, "n": at}


def wall_model(log: list[tuple[int, str, int]], since: Any) -> Iterator[tuple[str, tuple[int, int]]]:
    """What events `(event time, kind, wall time)` of one key give that come faster than any timer."""
    seen = until = 0
    for at, kind, wall in log:
        if seen and wall > until:
            yield "expired", (seen, until)
            seen = 0
        if kind == "a":
            if since == "write" or not seen:
                until = wall + 10
            seen += 1
        elif kind == "b":
            yield "out", (at, seen)
        else:
            seen = 0
        if since == "read":
            until = wall + 10


@settings(max_examples=150, deadline=None)
@given(drawn=st.lists(st.tuples(st.sampled_from("aabc"), st.integers(0, 12)), max_size=20), option=OPTIONS)
def test_by_the_wall_clock_an_event_finds_no_state_that_has_ended(drawn: list[tuple[str, int]], option: Any) -> None:
    oracle, clock = by_wall_clock(Single(), option)
    log = []
    # Event time stands still but for one millisecond an event: no timer is due before the 10 ms are over.
    for at, (kind, pause) in enumerate(drawn[:9]):
        clock.now_ms += pause
        log.append((at, kind, clock.now_ms))
        feed(oracle, event(at, kind), {"key": "tick", "at": at + 1, "kind": "-", "n": 0})
    expected: dict[str, list[Any]] = {"out": [], "expired": []}
    for output, line in wall_model(log, option):
        expected[output].append(line)
    found = {
        "out": [(line["n"], line["seen"]) for line in told(oracle, "out")],
        "expired": [(line["state"]["seen"], line["due"]) for line in told(oracle, "expired")],
    }
    assert found == expected


def test_what_is_silent_is_forgotten_when_the_wall_clock_says_so() -> None:
    oracle, clock = by_wall_clock(Single())
    feed(oracle, event(0, "a"), event(1, "tick", "other"))
    assert dict(oracle.result().rows["count"]["x"].timers) == {"~ttl": 10}
    clock.now_ms += 4
    feed(oracle, event(11, "tick", "other"))
    # Only 4 of the 10 ms have passed when the timer fires.
    assert told(oracle, "expired") == []
    assert dict(oracle.result().rows["count"]["x"].timers) == {"~ttl": 16}
    clock.now_ms += 6
    feed(oracle, event(16, "tick", "other"))
    assert told(oracle, "expired") == []
    feed(oracle, event(17, "tick", "other"))
    assert told(oracle, "expired") == [{"state": {"seen": 1}, "due": 1_010}]
    assert oracle.result().rows["count"] == {}


def test_timers_of_a_state_that_has_ended_go_with_it() -> None:
    class Later(Single):
        def on_event(self, state: Count, event: hw.Json, ctx: hw.Context) -> None:
            super().on_event(state, event, ctx)
            if event["kind"] == "a":
                ctx.timer("later", ctx.time + 5)

        def on_timer(self, state: Count, timer: hw.Timer, ctx: hw.Context) -> None:
            ctx.emit({"n": -1, "seen": state.seen})

    oracle, clock = by_wall_clock(Later())
    feed(oracle, event(0, "a"), event(1, "-", "other"))
    clock.now_ms += 11
    feed(oracle, event(6, "tick", "other"))
    assert told(oracle, "expired") == [{"state": {"seen": 1}, "due": 1_010}]
    assert told(oracle, "out") == []
    clock.now_ms += 1
    feed(oracle, event(7, "a"), event(8, "-", "other"))
    clock.now_ms += 1
    feed(oracle, event(13, "tick", "other"))
    assert told(oracle, "out") == [{"n": -1, "seen": 1}]


def test_a_dict_lives_by_the_wall_clock_too() -> None:
    class Last(hw.Operator[hw.Json, dict[str, Any]]):
        state_type = dict

        def on_event(self, state: dict[str, Any], event: hw.Json, ctx: hw.Context) -> None:
            ctx.emit({"key": ctx.key, **state})
            state["last"] = event["at"]

    oracle, clock = by_wall_clock(Last())
    for at, pause in ((1, 0), (2, 10), (3, 11)):
        clock.now_ms += pause
        feed(oracle, event(at, "a"), event(at + 1, "-", "other"))
    assert [line for line in told(oracle, "out") if line["key"] == "x"] == [
        {"key": "x"},
        {"key": "x", "last": 1},
        {"key": "x"},
    ]
    assert {"state": {"last": 2}, "due": 1_020} in told(oracle, "expired")


def test_rows_from_before_begin_to_live_with_their_next_event() -> None:
    plain, wrapped = Single(), hw.Expiring(Single(), hw.ttl(5, clock="wall"))
    old = msgspec.msgpack.encode(Count(seen=3))
    state = msgspec.msgpack.decode(old, type=wrapped.state_type)
    assert isinstance(state, plain.state_type) and state.seen == 3
    assert wrapped.wall_clock and not hw.Expiring(Single(), hw.ttl(5)).wall_clock


def test_an_operator_without_a_clock_has_none_when_it_is_wrapped() -> None:
    class Peeks(Single):
        def on_event(self, state: Count, event: hw.Json, ctx: hw.Context) -> None:
            ctx.emit({"n": ctx.wall, "seen": 0})

    oracle, _ = by_wall_clock(Peeks())
    with pytest.raises(hw.HeadwayError) as caught:
        feed(oracle, event(0, "a"), event(1, "a"))
    assert "Peeks does not say that it reads the wall clock" in str(caught.value.__cause__)

    class Reads(Peeks):
        wall_clock = True

    oracle, _ = by_wall_clock(Reads())
    feed(oracle, event(0, "a"), event(1, "a"))
    assert told(oracle, "out") == [{"n": 1_000, "seen": 0}]


def test_the_engine_forgets_by_the_wall_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run finds that the first one's states have ended, and nobody else's."""
    clock = Wall()
    monkeypatch.setattr("headway.runtime.run.Job", partial(Job, wall_ms=lambda: clock.now_ms))

    def run(log: list[dict[str, Any]], length: int) -> tuple[list[Any], list[Any], int]:
        out: list[Any] = []
        expired: list[Any] = []
        flow = hw.Flow("f")
        keyed = flow.source("events", hw.Json, hw.items(log), time="at").key_by("key")
        count = keyed.process("count", hw.Expiring(Single(), hw.ttl(length, clock="wall")))
        count.to("out", hw.to_list(out))
        count.side("expired").to("expired", hw.to_list(expired))
        result = run_flow(flow, RunOptions(tmp_path / str(length), key_groups=2))
        return out, expired, result.stats.keys

    log = [event(0, "a", "x"), event(1, "a", "y"), event(2, "a", "z"), event(3, "-", "tick")]
    for length, is_over in ((20, True), (30, False)):
        clock.now_ms = 1_000
        assert run(log, length)[1] == []
        clock.now_ms += 30
        out, expired, keys = run([*log, event(4, "b", "x"), event(5, "-", "tick")], length)
        assert out == [{"n": 4, "seen": 0 if is_over else 1}]
        assert expired == ([{"state": {"seen": 1}, "due": 1_020}] if is_over else [])
        assert keys == (2 if is_over else 3)


class Expires(Counting):
    sides = {"expired": int}


class Ends(hw.State):
    ttl_until_ms: int = 0


class Taken(hw.Operator[hw.Json, Ends]):
    """Has a field of the name that the wall clock needs."""


class Reserved(hw.Operator[hw.Json, Count]):
    def on_event(self, state: Count, event: hw.Json, ctx: hw.Context) -> None:
        ctx.timer("~ttl", 5)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: hw.ttl("1x"), "ttl '1x'"),
        (lambda: hw.ttl(0), "no time at all"),
        (lambda: hw.ttl(1, since="use"), "since='use'"),  # type: ignore[arg-type]
        (lambda: hw.ttl(1, clock="sun"), "clock='sun'"),  # type: ignore[arg-type]
        (lambda: hw.Expiring(Taken(), hw.ttl(5, clock="wall")), "a field 'ttl_until_ms' of its own"),
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
