"""The oracle against examples computed by hand: timers, state and the close of the books."""

from __future__ import annotations

from typing import Any

import pytest
from tests.oracle_flows import Run, Tally, event, keyed, lines, run, source

import headway as hw
from headway.basics.times import DRAIN_STEPS
from headway.errors import DrainedStateError, UsageError
from headway.testing import Oracle, run_oracle


def test_a_timer_in_the_past_fires_now_or_after_now() -> None:
    fired: list[int] = []

    def on_timer(state: Tally, timer: hw.Timer, ctx: hw.Context[Any]) -> None:
        fired.append(timer.at)
        if len(fired) < 3:
            ctx.timer("t", 0)

    run(keyed(lambda state, event, ctx: ctx.timer("t", -100), on_timer), event(7), event(20))
    assert fired == [7, 8, 9]


def test_a_timer_moves_and_is_cancelled() -> None:
    fired: list[hw.Timer] = []

    def on_event(state: Tally, event: hw.Json, ctx: hw.Context[Any]) -> None:
        if event["n"] == 0:
            ctx.timer("moved", 10)
            ctx.timer("gone", 10)
            ctx.timer("stays", 10)
            assert (ctx.due("moved"), ctx.due("other")) == (10, None)
        else:
            ctx.timer("moved", 30)
            ctx.cancel("gone")
            ctx.cancel("never set")

    run(keyed(on_event, lambda state, timer, ctx: fired.append(timer)), event(1, 0), event(2, 1), event(40, 2))
    assert fired == [hw.Timer("stays", 10), hw.Timer("moved", 30)]


def test_forget_starts_anew_and_leaves_the_old_state_detached() -> None:
    def on_event(state: Tally, event: hw.Json, ctx: hw.Context[Any]) -> None:
        state.n += 1
        ctx.timer("t", 100)
        if event["n"] == 1:
            ctx.forget()
            assert ctx.due("t") is None
            state.n = 77
            ctx.emit({"n": state.n})
            ctx.timer("u", 200)

    oracle = Oracle(keyed(on_event))
    oracle.feed({"s": {"p": [event(1, 0), event(2, 1), event(3, 9)]}})
    row = oracle.result().rows["op"]["a"]
    assert (row.state, row.timers) == (Tally(), {"u": 200})
    assert lines(oracle.result()) == [{"n": 77}]


def test_a_row_that_equals_a_fresh_one_is_no_row() -> None:
    def on_event(state: Tally, event: hw.Json, ctx: hw.Context[Any]) -> None:
        state.n = event["n"]
        if event["n"] == 2:
            ctx.timer("t", 50)

    result = run(keyed(on_event), event(1, 1), event(2, 0), event(3, 2, "b"), event(4, 0, "b"), event(9))
    assert list(result.rows["op"]) == ["b"]
    result = run(keyed(on_event), event(1, 2), event(2, 0), event(60))
    assert result.rows["op"] == {}


def test_what_was_emitted_does_not_change_with_the_state() -> None:
    def on_event(state: Tally, event: hw.Json, ctx: hw.Context[Any]) -> None:
        state.names.append(str(event["n"]))
        ctx.emit({"names": state.names})
        state.names.append("later")

    result = run(keyed(on_event), event(1, 1), event(2, 2), event(3, 3))
    assert lines(result) == [{"names": ["1"]}, {"names": ["1", "later", "2"]}]


def test_drain_lets_each_stage_finish_what_the_one_before_began() -> None:
    def waiter(after: int) -> Run:
        return Run(
            lambda state, event, ctx: ctx.timer("t", ctx.time + after),
            lambda state, timer, ctx: ctx.emit({"key": ctx.key, "at": timer.at}),
        )

    flow = hw.Flow("f")
    one = source(flow).key_by("key").process("one", waiter(1_000))
    two = one.key_by("key").process("two", waiter(2_000))
    two.key_by("key").process("three", waiter(5)).to("out", hw.to_list([]))
    result = run(flow, event(1), drain=True)
    assert lines(result) == [{"key": "a", "at": 3_006}]
    assert all(rows == {} for rows in result.rows.values())


def test_drain_chases_a_timer_that_sets_itself_again_so_many_times() -> None:
    fired: list[int] = []

    def on_timer(state: Tally, timer: hw.Timer, ctx: hw.Context[Any]) -> None:
        fired.append(timer.at)
        ctx.timer("t", timer.at + 10)

    run(keyed(lambda state, event, ctx: ctx.timer("t", 100), on_timer), event(1), drain=True)
    assert fired == [100 + 10 * step for step in range(DRAIN_STEPS)]


def test_nothing_is_fed_to_closed_books() -> None:
    oracle = Oracle(keyed(lambda state, event, ctx: None))
    oracle.drain()
    with pytest.raises(DrainedStateError, match="closed"):
        oracle.feed({"s": {"p": [event(1)]}})


def test_an_unknown_source_is_named() -> None:
    with pytest.raises(UsageError, match="no source 'x', its sources are: s"):
        run_oracle(keyed(lambda state, event, ctx: None), {"x": {"p": []}})


def test_absence_fires_unless_it_ends_in_time() -> None:
    flow = hw.Flow("f")
    absent = source(flow).key_by("key").absence("gone", start=hw.where(n=1), end=hw.where(n=2), within=10)
    absent.to("out", hw.to_list([]))
    events = [event(1, 1, "a"), event(2, 1, "b"), event(3, 1, "c"), event(9, 1, "c"), event(12, 2, "b"), event(30)]
    assert [(line["start"]["key"], line["since"], line["due"]) for line in lines(run(flow, *events))] == [
        ("a", 1, 11),
        ("c", 3, 13),
    ]
