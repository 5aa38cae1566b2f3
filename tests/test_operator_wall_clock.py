"""Operators that read the wall clock: only those that say so, one time for each batch, and the test's own in tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from tests.engine_harness import Conditions, conditions
from tests.operator_harness import SLOW, check
from tests.workflow_harness import events, one_step

import headway as hw
from headway.errors import UsageError, UserCodeError
from headway.runtime.run import RunOptions, run_flow
from headway.testing import FlowTest, Oracle


class Stamps(hw.Operator[hw.Json, hw.State]):
    """Tells what the clock says."""

    wall_clock = True

    def on_event(self, state: hw.State, event: hw.Json, ctx: hw.Context) -> None:
        ctx.emit({"wall": ctx.wall})
        ctx.timer("again", ctx.time)

    def on_timer(self, state: hw.State, timer: hw.Timer, ctx: hw.Context) -> None:
        ctx.emit({"wall": ctx.wall})


class Undeclared(Stamps):
    wall_clock = False


def flow_of(operator: hw.Operator[Any, Any, Any], source: Any = None, output: Any = None) -> hw.Flow:
    flow = hw.Flow("f")
    keyed = flow.source("events", hw.Json, source or hw.items([]), time="at").key_by("key")
    keyed.process("stamps", operator).to("out", output or hw.to_list([]))
    return flow


def test_the_engine_takes_one_time_for_all_of_a_batch(tmp_path: Path) -> None:
    log = [{"key": f"k{number % 7}", "at": number} for number in range(2_000)]
    told: list[Any] = []
    before_ms = time.time_ns() // 1_000_000
    run_flow(flow_of(Stamps(), hw.items(log, batch=1_000), hw.to_list(told)), RunOptions(tmp_path, key_groups=1))
    after_ms = time.time_ns() // 1_000_000
    stamps = [line["wall"] for line in told]
    # The timers of the last event's time are not due before another one comes.
    assert len(stamps) >= 2 * len(log) - 2
    assert before_ms <= stamps[0] and stamps[-1] <= after_ms
    assert len(set(stamps)) <= 4


def test_who_does_not_say_so_is_refused(tmp_path: Path) -> None:
    def on_the_engine() -> None:
        log = [{"key": "x", "at": at} for at in (1, 2)]
        run_flow(flow_of(Undeclared(), hw.items(log)), RunOptions(tmp_path, key_groups=1))

    def in_a_test() -> None:
        test = FlowTest(flow_of(Undeclared()))
        test.send("events", {"key": "x", "at": 1})
        test.advance(to=2)

    cases: list[Callable[[], None]] = [on_the_engine, in_a_test]
    for case in cases:
        with pytest.raises(UserCodeError) as caught:
            case()
        assert isinstance(caught.value.__cause__, AttributeError)
        assert "Undeclared does not say that it reads the wall clock" in str(caught.value.__cause__)
        assert "wall_clock = True" in str(caught.value.__cause__)


def test_a_broadcast_has_no_clock() -> None:
    class News(Stamps):
        broadcasts = {"news": hw.Json}
        shared_type = hw.State

        def on_news(self, shared: hw.State, event: hw.Json, ctx: Any) -> None:
            assert ctx.wall

    flow = hw.Flow("f")
    events = flow.source("events", hw.Json, hw.items([]), time="at")
    events.key_by("key").process("op", News(), news=events.broadcast()).to("out", hw.to_list([]))
    test = FlowTest(flow)
    test.send("events", {"key": "x", "at": 1})
    with pytest.raises(UserCodeError) as caught:
        test.advance(to=2)
    assert "ctx.wall in a handler of a broadcast input" in str(caught.value.__cause__)


def test_the_clock_of_a_test_is_its_own() -> None:
    test = FlowTest(flow_of(Stamps()))
    test.send("events", {"key": "x", "at": 10})
    test.advance(to=70)
    assert [line["wall"] for line in test.triggers()] == [70, 70]


def test_the_oracle_wants_a_clock() -> None:
    with pytest.raises(UsageError, match=r"operator 'stamps' reads the wall clock: give one, Oracle\(flow, now_ms="):
        Oracle(flow_of(Stamps()))


class Count(hw.State):
    n: int = 0
    begun: int = 0


class Restarts(hw.Operator[hw.Json, Count]):
    """Begins anew with each b, in the same call."""

    def on_event(self, state: Count, event: hw.Json, ctx: hw.Context) -> None:
        if event["kind"] == "b":
            ctx.timer("old", ctx.time + 2)
            state = ctx.forget()
            state.begun = event["n"]
        if event["kind"] == "c":
            ctx.forget()
        else:
            state.n += 1
            ctx.timer("over", ctx.time + 10)
            ctx.emit({"n": state.n, "begun": state.begun})

    def on_timer(self, state: Count, timer: hw.Timer, ctx: hw.Context) -> None:
        assert timer.name == "over"
        fresh = ctx.forget()
        ctx.emit({"n": -state.n, "begun": fresh.begun})


@settings(SLOW, max_examples=10)
@given(drawn=events(), where=conditions())
def test_forgetting_gives_the_fresh_state(drawn: list[dict[str, Any]], where: Conditions) -> None:
    lines = check(one_step(lambda keyed: keyed.process("op", Restarts())), {"events": {"0": drawn}}, where)["out"]
    found = sorted((line["subject"], line["data"]["n"], line["data"]["begun"]) for line in lines)
    assert found == sorted(expected(drawn))


def expected(drawn: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    found = []
    for key in "ab":
        n = begun = due = 0
        for event in sorted((event for event in drawn if event["key"] == key), key=lambda event: int(event["at"])):
            if n and event["at"] > due:
                found.append((key, -n, 0))
                n = begun = 0
            if event["kind"] == "c":
                n = begun = 0
                continue
            if event["kind"] == "b":
                n, begun = 0, event["n"]
            n, due = n + 1, event["at"] + 10
            found.append((key, n, begun))
        if n:
            found.append((key, -n, 0))
    return found
