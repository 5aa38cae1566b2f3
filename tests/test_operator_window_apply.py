"""Functions of the events of a window: the engine against the oracle, and the events against aggregates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.operator_harness import SLOW, check
from tests.windows_harness import MakeFlow, Reading, Row, events, logs_of, rows, window_flow

import headway as hw
from headway.connectors.base import Input, Output
from headway.operators.windows.windowers import Windower
from headway.results import WindowContents

WINDOWERS: list[Windower] = [hw.tumbling(7), hw.sliding(10, every=3), hw.cumulative(12, step=4), hw.session(5)]


class Odd(hw.Event):
    key: str
    start: int
    end: int
    values: list[int]


def odd(window: WindowContents[Reading]) -> Optional[Odd]:
    values = [event.value for event in window.events if event.value % 2]
    window.events.clear()
    return Odd(window.key, window.start, window.end, values) if values else None


def apply_flow(windower: Windower) -> MakeFlow:
    def make_flow(input_of: Callable[[str], Input], output_of: Callable[[str], Output]) -> hw.Flow:
        flow = hw.Flow("applied")
        source = flow.source("events", Reading, input_of("events"), time="at", out_of_order=60)
        applied = source.key_by("key").window_apply("odd", windower, odd)
        assert applied.type is Odd
        applied.to("out", output_of("out"))
        return flow

    return make_flow


@settings(SLOW, max_examples=6)
@given(found=events(), windower=st.sampled_from(WINDOWERS), where=conditions())
def test_the_engine_does_as_the_oracle(found: list[Row], windower: Windower, where: Conditions) -> None:
    check(apply_flow(windower), logs_of(found), where)


@settings(SLOW, max_examples=60)
@given(found=events(), windower=st.sampled_from(WINDOWERS))
def test_the_function_gets_the_events_of_the_window(found: list[Row], windower: Windower) -> None:
    found = [{**row, "value": 2 * row["at"] + 1} for row in found]
    applied = rows(apply_flow(windower), found)
    expected = rows(window_flow(windower), found)
    assert sorted((r["key"], r["start"], r["end"], r["values"]) for r in applied) == sorted(
        (r["key"], r["start"], r["end"], [2 * at + 1 for at in r["times"]]) for r in expected
    )


def test_count_windows_too() -> None:
    found: list[dict[str, Any]] = [{"at": at, "key": "a", "value": at} for at in range(6)]
    assert rows(apply_flow(hw.count_window(3)), found) == [
        {"key": "a", "start": 0, "end": 2, "values": [1]},
        {"key": "a", "start": 3, "end": 5, "values": [3, 5]},
    ]
