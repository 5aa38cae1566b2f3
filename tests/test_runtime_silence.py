"""A real run that follows: timers fire although nothing arrives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cluster_harness import PATIENCE_S

import headway as hw
from headway.runtime.run import RunOptions, run_flow
from headway.runtime.stopping import StopFlag


class Silence(hw.Operator[hw.Json, hw.State, hw.Json]):
    def on_event(self, state: hw.State, event: hw.Json, ctx: hw.Context[hw.Json]) -> None:
        ctx.timer("silent", ctx.time + 200)

    def on_timer(self, state: hw.State, timer: hw.Timer, ctx: hw.Context[hw.Json]) -> None:
        ctx.emit({"silent": ctx.key})
        ctx.forget()


class UntilWritten(StopFlag):
    """Stops a run once the file holds so many lines."""

    def __init__(self, path: Path, lines: int) -> None:
        super().__init__()
        self.path, self.lines, self.polls = path, lines, 0

    def __call__(self) -> bool:
        self.polls += 1
        assert self.polls < PATIENCE_S * 1000, "nothing was written"
        if not super().__call__() and self.path.exists() and self.path.read_bytes().count(b"\n") >= self.lines:
            self.set()
        return super().__call__()


@pytest.mark.parametrize(
    "options",
    [{"time": hw.INGESTION_TIME}, {"time": "at", "idle_after": "100ms"}],
    ids=["time of arrival", "idle partitions"],
)
def test_timers_fire_without_data(tmp_path: Path, options: dict[str, Any]) -> None:
    for part in range(2):
        (tmp_path / f"{part}.log").write_text(json.dumps({"key": f"k{part}", "at": 1_000 + part}) + "\n")
    flow = hw.Flow("f")
    log = flow.source("log", hw.Json, hw.files(tmp_path / "*.log"), **options)
    log.key_by("key").process("silence", Silence()).to("out", hw.to_jsonl(tmp_path / "out.jsonl"))
    stop = UntilWritten(tmp_path / "out.jsonl", 2)
    result = run_flow(
        flow, RunOptions(tmp_path / "state", follow=True, key_groups=2, epoch_ms=50, sync=False), stop=stop
    )
    assert sorted(json.loads(line)["silent"] for line in stop.path.read_text().splitlines()) == ["k0", "k1"]
    assert (result.stopped, result.stats.keys, result.stats.timers, result.stats.late) == (True, 0, 0, 0)
