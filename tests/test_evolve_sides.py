"""Whether a side output is read is a matter of the plan: a flow that begins or ends to read one keeps its state."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.operator_harness import SLOW

import headway as hw
from headway.runtime.run import RunOptions, run_flow

FEW = settings(SLOW, max_examples=4)
Event = dict[str, Any]


def at_of(event: Any) -> int:
    at: int = event["at"]
    return at


EVENTS = st.lists(
    st.fixed_dictionaries(
        {"at": st.integers(1, 60), "u": st.sampled_from("xyz"), "kind": st.sampled_from(["add", "pay", "view"])}
    ),
    min_size=1,
    max_size=16,
).map(lambda events: sorted(events, key=at_of))
PAID = hw.once(kind="add").followed_by("paid", kind="pay").within(20)


def run(directory: Path, events: list[Event], *, read: bool, drain: bool, threads: int) -> None:
    """A run over the log as far as it goes."""
    (directory / "in.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    flow = hw.Flow("carts")
    carts = flow.source("shop", hw.Json, hw.files(directory / "in.jsonl"), time="at").key_by("u")
    found = carts.match("found", PAID)
    found.to("out", hw.to_jsonl(directory / "out.jsonl"))
    if read:
        found.side("timed_out").to("late", hw.to_jsonl(directory / "late.jsonl"))
    options = RunOptions(
        directory / "state", key_groups=2, threads=threads, drain=drain, epoch_ms=1, sync=False, slice_records=3
    )
    run_flow(flow, options)


def written(directory: Path, name: str) -> list[Any]:
    path = directory / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def started(partial: Any) -> tuple[str, int]:
    [first] = partial["matched"]["step1"]
    return first["u"], first["at"]


@pytest.mark.parametrize("read", [False, True])
@FEW
@given(events=EVENTS, share=st.floats(0, 1), threads=st.integers(1, 2))
def test_matches_are_those_of_a_flow_that_never_changed(
    read: bool, events: list[Event], share: float, threads: int
) -> None:
    """What timed out is told from then on that it is read, once each, those included that were open before."""
    cut = int(share * len(events))
    with tempfile.TemporaryDirectory() as folder:
        changed, whole = Path(folder, "changed"), Path(folder, "whole")
        for directory in (changed, whole):
            directory.mkdir()
        run(changed, events[:cut], read=read, drain=False, threads=threads)
        before = written(changed, "late")
        run(changed, events, read=not read, drain=True, threads=threads)
        run(whole, events, read=True, drain=True, threads=1)
        assert written(changed, "out") == written(whole, "out")
        found, all_late = (sorted(map(started, written(directory, "late"))) for directory in (changed, whole))
        if read:
            assert written(changed, "late") == before
        assert all(found.count(one) <= all_late.count(one) for one in found)
        if not read:
            last_ms = max((event["at"] for event in events[:cut]), default=0)
            assert [one for one in found if one[1] > last_ms - 20] == [one for one in all_late if one[1] > last_ms - 20]
