"""Outputs that cannot take anything back: each record once, unless a run was killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import headway as hw
from headway.runtime.run import RunOptions, run_flow


def run(events: list[dict[str, Any]], found: list[Any], directory: Path, *, drain: bool = False) -> None:
    flow = hw.Flow("outbox")
    flow.source("numbers", hw.Json, hw.items(events), time="at").to("out", hw.to_list(found))
    run_flow(flow, RunOptions(directory / "state", key_groups=2, sync=False, drain=drain))


def test_a_normal_end_is_remembered(tmp_path: Path) -> None:
    found: list[Any] = []
    events: list[dict[str, Any]] = [{"at": 1}, {"at": 2}, {"at": 3}]
    run(events, found, tmp_path)
    assert found == [{"at": 1}, {"at": 2}]
    run(events, found, tmp_path)
    assert found == [{"at": 1}, {"at": 2}]
    run([*events, {"at": 4}], found, tmp_path)
    assert found == [{"at": 1}, {"at": 2}, {"at": 3}]


def test_closing_the_books_tells_everything_once(tmp_path: Path) -> None:
    found: list[Any] = []
    run([{"at": 1}, {"at": 2}], found, tmp_path, drain=True)
    assert found == [{"at": 1}, {"at": 2}]
