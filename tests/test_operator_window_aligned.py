"""Tumbling, sliding and cumulative windows: the engine against the oracle, and the oracle against SQL."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.operator_harness import SLOW, check
from tests.windows_harness import Reading, Row, bounds, events, logs_of, rows, sql, window_flow

import headway as hw
from headway.operators.windows.windowers import Aligned, Cumulative, Sliding, Tumbling
from headway.testing import FlowTest

TUMBLING = [hw.tumbling(1), hw.tumbling(7), hw.tumbling(10, offset=3)]
SLIDING = [
    hw.sliding(10, every=1),
    hw.sliding(10, every=5, offset=2),
    hw.sliding(10, every=3),
    hw.sliding(7, every=4, offset=1),
    hw.sliding(5, every=5),
]
CUMULATIVE = [hw.cumulative(12, step=3), hw.cumulative(10, step=10, offset=4), hw.cumulative(20, step=4, offset=7)]
ALL = [*TUMBLING, *SLIDING, *CUMULATIVE]
EARLY: list[Any] = [None, 1, 4, hw.every(1), hw.every(3)]


@settings(SLOW, max_examples=10)
@given(
    found=events(), windower=st.sampled_from(ALL), early=st.sampled_from(EARLY), times=st.booleans(), where=conditions()
)
def test_the_engine_does_as_the_oracle(
    found: list[Row], windower: Aligned, early: Any, times: bool, where: Conditions
) -> None:
    check(window_flow(windower, early=early, times=times), logs_of(found), where)


def windows_sql(windower: Aligned) -> str:
    """All windows that start or end within the times of the events, as rows (s, e)."""
    if isinstance(windower, Tumbling):
        size, offset = windower.size_ms, windower.offset_ms
        return f"select {offset} + i * {size} as s, {offset} + (i + 1) * {size} as e from range(-99, 99) as n(i)"
    if isinstance(windower, Sliding):
        size, every, offset = windower.size_ms, windower.every_ms, windower.offset_ms
        return f"select {offset} + i * {every} as s, {offset} + i * {every} + {size} as e from range(-99, 99) as n(i)"
    assert isinstance(windower, Cumulative)
    size, step, offset = windower.size_ms, windower.step_ms, windower.offset_ms
    return (
        f"select {offset} + i * {size} as s, {offset} + i * {size} + j * {step} as e "
        f"from range(-9, 9) as n(i), range(1, {size // step + 1}) as u(j)"
    )


@settings(SLOW, max_examples=150)
@given(found=events(), windower=st.sampled_from(ALL), times=st.booleans())
def test_the_results_are_those_of_sql(found: list[Row], windower: Aligned, times: bool) -> None:
    query = (
        "select key, s, e, count(*), sum(value)::bigint "
        f"from ({windows_sql(windower)}) join events on t >= s and t < e "
        "group by key, s, e order by key, s, e"
    )
    results = rows(window_flow(windower, times=times), found)
    assert bounds(results) == sql(query, found)
    assert all(row["final"] and row["revision"] == 0 for row in results)
    if times:
        for row in results:
            inside = [r["at"] for r in found if r["key"] == row["user"] and row["start"] <= r["at"] < row["end"]]
            assert row["times"] == sorted(inside)


@settings(SLOW, max_examples=50)
@given(found=events(), windower=st.sampled_from(ALL), early=st.sampled_from(EARLY), data=st.data())
def test_disorder_within_the_bound_changes_nothing(
    found: list[Row], windower: Aligned, early: Any, data: st.DataObject
) -> None:
    found = [{**row, "value": number} for number, row in enumerate({row["at"]: row for row in found}.values())]
    shuffled = data.draw(st.permutations(found))
    make_flow = window_flow(windower, early=early)
    assert rows(make_flow, shuffled) == rows(make_flow, sorted(found, key=lambda row: row["at"]))


def expected_early(found: list[Row], windower: Tumbling, early: Any) -> list[tuple[Any, ...]]:
    """Results of one key by the definition, window by window: times when each goes out, with its events."""
    out = []
    by_window: dict[int, list[int]] = {}
    for at in sorted(row["at"] for row in found):
        by_window.setdefault(windower.pane(at), []).append(at)
    for start, times in by_window.items():
        end = start + windower.size_ms
        if isinstance(early, int):
            grid = range(times[0] + early, end - 1, early)
            moments = []
            seen = 0
            for moment in grid:
                count = sum(at <= moment for at in times)
                if count > seen:
                    moments.append(moment)
                    seen = count
            early_counts = [sum(at <= moment for at in times) for moment in moments]
        else:
            early_counts = []
            since = 0
            for number, at in enumerate(times, 1):
                since += 1
                if since >= early.events and at < end - 1:
                    early_counts.append(number)
                    since = 0
        counts = [*early_counts, len(times)]
        out += [(start, revision, revision == len(early_counts), n) for revision, n in enumerate(counts)]
    return sorted(out)


@settings(SLOW, max_examples=100)
@given(
    found=events(30, least=8, size=40),
    windower=st.sampled_from([hw.tumbling(20), hw.tumbling(30, offset=7)]),
    early=st.sampled_from([1, 3, 10, 40, hw.every(1), hw.every(3)]),
)
def test_early_results(found: list[Row], windower: Tumbling, early: Any) -> None:
    found = [{**row, "key": "a"} for row in found]
    results = rows(window_flow(windower, early=early), found)
    assert sorted((r["start"], r["revision"], r["final"], r["events"]) for r in results) == expected_early(
        found, windower, early
    )


@pytest.mark.parametrize("early", [hw.every(2), 3])
def test_early_results_of_sliding_windows_are_of_the_one_that_ends_next(early: Any) -> None:
    found = [{"at": at, "key": "a", "value": 1} for at in (0, 1, 6)]
    results = rows(window_flow(hw.sliding(10, every=5), early=early), found)
    assert [(r["start"], r["end"], r["revision"], r["final"], r["events"]) for r in results] == [
        (-5, 5, 0, False, 2),
        (-5, 5, 1, True, 2),
        (0, 10, 0, True, 3),
        (5, 15, 0, True, 1),
    ]


def test_a_silent_key_costs_no_timers() -> None:
    from headway.testing import FlowTest

    make_flow = window_flow(hw.sliding(10, every=1), out_of_order=0)
    test = FlowTest(make_flow(lambda name: hw.items([]), lambda name: hw.to_list([])))
    test.send("events", {"at": 0, "key": "a", "value": 1})
    test.advance(to=9)
    assert len(test.triggers()) == 10
    assert test.keys("windows") == []


@pytest.mark.parametrize("windower", [hw.tumbling("1h"), hw.sliding("1h", every="5m"), hw.cumulative("1h", step="5m")])
def test_times_before_1970_and_bounds_agree(windower: Aligned) -> None:
    for at in (-1, 0, 1, 299_999, 300_000, -3_600_000, 1_700_000_000_123):
        pane = windower.pane(at)
        end, last = windower.first_end(pane), windower.last_end(pane)
        ends = [end]
        while ends[-1] < last:
            ends.append(windower.next_end(ends[-1]))
        assert ends[-1] == last
        assert all(windower.start(e) <= pane <= at < e for e in ends)
        assert windower.start(windower.next_end(last)) > at


@pytest.mark.parametrize(
    ("windower", "kept"),
    [
        (hw.tumbling(10), {"held": [0, 1, 9]}),
        (hw.sliding(1_000, every=10), {"end": 10, "newest": [0, 1, 9]}),
        (hw.cumulative(1_000, step=10), {"end": 10, "newest": [0, 1, 9]}),
    ],
)
def test_a_key_with_one_event_keeps_one_pane(windower: Aligned, kept: dict[str, Any]) -> None:
    flow = hw.Flow("windows")
    source = flow.source("events", Reading, hw.items([]), time="at").key_by("key")
    step = source.window("windows", windower, events=hw.count(), total=hw.sum("value"))
    step.to("out", hw.to_list([]))
    test = FlowTest(flow)
    test.send("events", Reading(at=3, key="a", value=9))
    test.advance(to=5)
    stored = msgspec.msgpack.encode(test.state("windows", "a"))
    assert msgspec.msgpack.decode(stored) == kept
