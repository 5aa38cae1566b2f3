"""The oracle against examples computed by hand: event time and the order of things."""

from __future__ import annotations

from typing import Any

import pytest
from tests.oracle_flows import Logs, Run, Tally, emit_each, event, keyed, lines, run, see, source

import headway as hw
from headway.errors import UsageError
from headway.testing import Oracle, run_oracle


def test_late_is_more_than_the_bound_behind_the_latest_of_the_partition() -> None:
    flow = hw.Flow("f")
    events = source(flow, out_of_order=10)
    events.to("out", hw.to_list([]))
    events.late.trigger("late", hw.to_list([]))
    result = run(flow, event(100), event(90), event(89), event(120), event(110), event(109), event(131))
    assert [line["at"] for line in lines(result)] == [90, 100, 110, 120]
    assert [late["at"] for late in result.late["s"]] == [89, 109]
    assert [line["time"] for line in lines(result, "late")] == ["1970-01-01T00:00:00.090Z", "1970-01-01T00:00:00.110Z"]


def test_lateness_is_judged_by_the_own_partition_alone() -> None:
    flow = hw.Flow("f")
    source(flow).to("out", hw.to_list([]))
    result = run_oracle(flow, {"s": {"fast": [event(100)], "slow": [event(1), event(2)]}})
    assert result.late == {"s": []}
    assert [line["at"] for line in lines(result)] == [1]


@pytest.mark.parametrize(
    ("logs", "seen"),
    [
        ({"s": {"p": [event(5), event(9)]}}, []),
        ({"s": {"p": [event(5), event(9)]}, "t": {"p": []}}, []),
        ({"s": {"p": [event(5), event(9)]}, "t": {"p": [event(7)]}}, [5]),
        ({"s": {"p": [event(5), event(9)], "q": []}, "t": {"p": [event(7)]}}, []),
        ({"s": {"p": [event(5), event(9)], "q": [event(8)]}, "t": {"p": [event(7)]}}, [5]),
        ({"s": {"p": [event(5), event(9)]}, "t": {"p": [event(9), event(10)]}}, [5]),
    ],
)
def test_time_is_the_least_of_all_partitions_and_inputs(logs: Logs, seen: list[int]) -> None:
    flow = hw.Flow("f")
    source(flow).merge(source(flow, "t")).key_by("key").process("op", see("op")).to("out", hw.to_list([]))
    oracle = Oracle(flow)
    oracle.feed(logs)
    assert len(lines(oracle.result())) == len(seen)


def test_a_partition_found_later_starts_at_the_watermark() -> None:
    flow = hw.Flow("f")
    source(flow, out_of_order=5).to("out", hw.to_list([]))
    oracle = Oracle(flow)
    oracle.feed({"s": {"p": [event(100)]}})
    oracle.feed({"s": {"new": [event(94), event(95)]}})
    assert [late["at"] for late in oracle.result().late["s"]] == [94]


def test_ingestion_time_is_the_given_clock_and_never_goes_back() -> None:
    flow = hw.Flow("f")
    stream = flow.source("s", hw.Json, hw.items([]), time=hw.INGESTION_TIME)
    stream.trigger("out", hw.to_list([]))
    clock = iter([50, 40, 60])
    oracle = Oracle(flow, now_ms=lambda: next(clock))
    oracle.feed({"s": {"p": [{"n": 1}, {"n": 2}, {"n": 3}]}})
    oracle.drain()
    assert [line["time"][-4:] for line in lines(oracle.result())] == ["050Z", "050Z", "060Z"]
    with pytest.raises(UsageError, match="now_ms"):
        Oracle(flow)


def test_equal_times_go_by_input_then_partition_then_position() -> None:
    flow = hw.Flow("f")
    first, second = source(flow, "s"), source(flow, "t")
    merged = second.key_by(lambda event: "k").merge(first.key_by(lambda event: "k"))
    order: list[int] = []
    merged.process("op", Run(lambda state, event, ctx: order.append(event["n"]))).to("out", hw.to_list([]))
    logs = {"s": {"q": [event(1, 5)], "p": [event(1, 3), event(1, 4)]}, "t": {"z": [event(1, 1), event(1, 2)]}}
    run_oracle(flow, logs, drain=True)
    assert order == [1, 2, 3, 4, 5]


def test_equal_times_from_a_stage_go_by_the_key_that_emitted() -> None:
    flow = hw.Flow("f")
    twice = emit_each(lambda event: [{"n": event["n"], "i": i} for i in range(2)])
    order: list[tuple[int, int]] = []
    meet = Run(lambda state, event, ctx: order.append((event["n"], event["i"])))
    source(flow).key_by("key").process("one", twice).key_by(lambda event: "k").process("two", meet)
    run(flow, event(1, 1, "b"), event(1, 2, "ab"), event(1, 3, "a"), event(1, 4, "b"), event(9))
    assert order == [(3, 0), (3, 1), (2, 0), (2, 1), (1, 0), (1, 1), (4, 0), (4, 1)]


def test_events_come_before_the_timers_of_their_time() -> None:
    order: list[Any] = []

    def on_event(state: Tally, event: hw.Json, ctx: hw.Context[Any]) -> None:
        order.append(event["n"])
        ctx.timer("t", 5)

    run(keyed(on_event, lambda state, timer, ctx: order.append(timer)), *[event(*e) for e in [(1, 1), (5, 2), (6, 3)]])
    assert order == [1, 2, hw.Timer("t", 5)]


def test_timers_go_by_due_key_rank_and_name() -> None:
    fired: list[tuple[str, int, str, str]] = []

    def operator(rank: str) -> Run:
        def on_event(state: Tally, event: hw.Json, ctx: hw.Context[Any]) -> None:
            for name in ("y", "x"):
                ctx.timer(name, event["n"])
            ctx.emit(event)

        return Run(on_event, lambda state, timer, ctx: fired.append((rank, timer.at, ctx.key, timer.name)))

    flow = hw.Flow("f")
    first = source(flow).key_by("key").process("one", operator("1"))
    first.process("two", operator("2")).to("out", hw.to_list([]))
    run(flow, event(1, 8, "a"), event(1, 9, "A"), event(2, 9, "b"), event(2, 8, ""), drain=True)
    places = [(8, ""), (8, "a"), (9, "A"), (9, "b")]
    assert fired == [(rank, at, key, name) for at, key in places for rank in "12" for name in "xy"]


def test_emitted_values_reach_fused_operators_at_once_depth_first() -> None:
    order: list[str] = []

    def two(label: str) -> Run:
        def on_event(state: Tally, event: hw.Json, ctx: hw.Context[Any]) -> None:
            for number in (1, 2):
                order.append(f"{label}{number}")
                ctx.emit({"n": number})
            order.append(f"{label} ends")

        return Run(on_event)

    flow = hw.Flow("f")
    first = source(flow).key_by("key").process("a", two("a"))
    first.process("b", two("b")).process("c", Run(lambda state, event, ctx: order.append("c")))
    first.process("d", Run(lambda state, event, ctx: order.append("d")))
    run(flow, event(1), event(2))
    part = ["b1", "c", "b2", "c", "b ends", "d"]
    assert order == ["a1", *part, "a2", *part, "a ends"]


def test_flat_map_results_of_an_operator_go_all_the_way_one_by_one() -> None:
    order: list[str] = []
    flow = hw.Flow("f")
    stream = source(flow).key_by("key").process("a", see("a")).flat_map(lambda event: [{"n": 1}, {"n": 2}])
    stream.process("b", Run(lambda state, event, ctx: order.append(f"b{event['n']}")))
    stream.process("c", Run(lambda state, event, ctx: order.append(f"c{event['n']}")))
    run(flow, event(1), event(2))
    assert order == ["b1", "c1", "b2", "c2"]
