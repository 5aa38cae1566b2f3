"""Triggers as bytes: what they say is what `format_time` and the values say."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import headway as hw
from headway.basics.times import LAST_TIMER_MS, format_time
from headway.runtime.run import compile_flow
from headway.runtime.triggers import TriggerEncoder

FIRST_MS = -62_135_596_800_000  # 0001-01-01T00:00:00Z
TIMES = st.one_of(
    st.integers(-100_000, 200_000),
    st.integers(FIRST_MS, LAST_TIMER_MS),
    st.sampled_from([-1, 0, 59_999, 60_000, FIRST_MS, LAST_TIMER_MS]),
)


def encoder() -> TriggerEncoder:
    flow = hw.Flow("told")
    waits = flow.source("events", dict, hw.items([]), time="at").key_by("key").silence("silence", after="1m")
    waits.map(lambda silent: {"n": 1}, into=hw.Json).trigger("it.happened", hw.to_list([]))
    plan = compile_flow(flow, Path())
    (edge,) = (edge for edge in plan.edges() if edge.producer.node == "silence")
    (sink,) = (sink for sink in plan.sinks if sink.name == edge.target)
    return TriggerEncoder(plan.flow, edge, sink.node)


@given(st.lists(TIMES, min_size=1, max_size=20))
def test_times_are_told_as_format_time_tells_them(times: list[int]) -> None:
    told = encoder()
    for time_ms in times:
        line = told.encode_keyed(time_ms, "k", "k", {"n": 1})[2]
        assert json.loads(line)["time"] == format_time(time_ms)
