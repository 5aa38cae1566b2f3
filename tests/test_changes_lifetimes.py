"""A time to live or a horizon that is taken away again: what it has set for later does nothing to what is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import headway as hw
from headway.runtime.run import RunOptions, run_flow

MINUTE_MS = 60_000


def run(directory: Path, operator: Any, minutes: list[int]) -> list[Any]:
    """What a flow emits for events of one user in two of the minutes; all others are of somebody else."""
    made: list[Any] = []
    log = [{"at": at * MINUTE_MS, "user": "a" if at in (0, 25) else "-"} for at in minutes]
    flow = hw.Flow("quiet")
    events = flow.source("events", hw.Json, hw.items(log), time="at")
    events.key_by("user").process("quiet", operator).to("out", hw.to_list(made))
    run_flow(flow, RunOptions(directory, key_groups=1))
    return made


@pytest.mark.parametrize("clock", ["event", "wall"])
def test_what_a_time_to_live_has_set_forgets_nothing_once_it_is_taken_away(tmp_path: Path, clock: Any) -> None:
    expiring = hw.Expiring(hw.Silence(after="30m"), hw.ttl("50m", clock=clock))
    assert run(tmp_path, expiring, [0, 1, 2]) == []
    made = run(tmp_path, hw.Silence(after="30m"), [0, 1, 2, 25, 52, 60, 61])
    assert 55 * MINUTE_MS in [quiet["due"] for quiet in made]


def test_what_a_horizon_has_set_forgets_nothing_once_it_is_taken_away(tmp_path: Path) -> None:
    run(tmp_path, hw.Rank(by="at", k=2, within="30m"), [0, 25, 26, 27])
    made = run(tmp_path, hw.Rank(by="at", k=3), [0, 25, 26, 27, 90, 91, 92])
    assert [event["at"] // MINUTE_MS for event in made[-1]["top"]] == [91, 90, 27]
