"""What a run says that it keeps: workflow instances are keys, not rows of operators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.operator_harness import SLOW

import headway as hw
from headway.runtime.run import RunOptions, run_flow


class Kept(hw.State):
    value: int = 0


class Keeps(hw.Operator[hw.Json, Kept]):
    """Keeps a value, or nothing again for 0, and passes the event on."""

    def __init__(self, field: str) -> None:
        self.field = field

    def on_event(self, state: Kept, event: hw.Json, ctx: hw.Context) -> None:
        state.value = event[self.field]
        ctx.emit(event)


def flow_of(log: list[dict[str, Any]]) -> hw.Flow:
    flow = hw.Flow("f")
    keyed = flow.source("events", hw.Json, hw.items(log, batch=2), time="at").key_by("key")
    first = keyed.process("first", Keeps("a"))
    first.process("second", Keeps("b")).to("out", hw.to_list([]))
    first.key_by("other").process("third", Keeps("c")).to("others", hw.to_list([]))
    return flow


EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "key": st.sampled_from("uvwx"),
            "other": st.sampled_from("yz"),
            **{field: st.integers(0, 1) for field in "abc"},
        }
    ),
    max_size=12,
)


@pytest.mark.parametrize("threads", [1, 2])
@settings(SLOW, max_examples=12)
@given(drawn=EVENTS, cache_bytes=st.sampled_from([0, 1 << 20]), cut=st.integers(0, 12))
def test_a_key_counts_once_in_each_keyed_stage(
    tmp_path_factory: pytest.TempPathFactory,
    threads: int,
    drawn: list[dict[str, Any]],
    cache_bytes: int,
    cut: int,
) -> None:
    path = tmp_path_factory.mktemp("counts") / "state"
    log = [{**event, "at": at} for at, event in enumerate(drawn)]
    for part in (log[:cut], log):
        options = RunOptions(
            path, key_groups=2, threads=threads, epoch_ms=1, cache_bytes=cache_bytes, sync=False, drain=part is log
        )
        if part is log or part:
            stats = run_flow(flow_of(part), options).stats
    rows = [(field, event["other" if field == "c" else "key"]) for field in "abc" for event in log]
    last = {(field, event["other" if field == "c" else "key"]): event[field] for event in log for field in "abc"}
    kept = {row for row in rows if last[row]}
    assert stats.rows == len(kept)
    assert stats.keys == len({(field == "c", key) for field, key in kept})


def test_several_steps_on_one_key_are_one_instance(tmp_path: Path) -> None:
    log = [{"key": key, "other": "y", "at": at, "a": 1, "b": 1, "c": 0} for at, key in enumerate("uvw")]
    stats = run_flow(flow_of(log), RunOptions(tmp_path / "state", drain=True)).stats
    assert (stats.keys, stats.rows) == (3, 6)
