"""Readers that are far ahead pause for the others; what waits beyond a bound is on disk; nothing ever locks up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import headway as hw
from headway.basics.times import MIN_TIME_MS
from headway.runtime.board import Board
from headway.runtime.run import RunOptions, RunResult, run_flow


class Order(hw.Operator[hw.Json, hw.State, int]):
    def on_event(self, state: hw.State, event: hw.Json, ctx: hw.Context[int]) -> None:
        ctx.emit(event["at"])


def write(path: Path, *times: int) -> None:
    path.write_text("".join(json.dumps({"key": f"k{at % 7}", "at": at}) + "\n" for at in times))


def run(flow: hw.Flow, directory: Path, *, lead_records: int = 10, waiting_bound: int = 20) -> RunResult:
    options = RunOptions(
        directory / "state",
        drain=True,
        key_groups=2,
        epoch_ms=100,
        sync=False,
        chunk_bytes=50,
        lead_records=lead_records,
        waiting_bound=waiting_bound,
        threads=2,
    )
    return run_flow(flow, options)


def one_source(directory: Path) -> hw.Flow:
    flow = hw.Flow("f")
    log = flow.source("log", hw.Json, hw.files(directory / "*.log"), time="at")
    log.key_by("key").process("order", Order()).to("out", hw.to_jsonl(directory / "out.jsonl"))
    return flow


def written(directory: Path, name: str = "out.jsonl") -> list[int]:
    return [json.loads(line) for line in (directory / name).read_text().splitlines()]


@pytest.mark.parametrize(
    "logs",
    [
        [range(1000), range(5)],
        [range(500, 1000), range(500)],
        [range(1000), range(0)],
        [range(0), range(0), range(300)],
        [range(0, 3000, 3), [2999], range(100)],
    ],
)
def test_partitions_of_very_different_lengths(tmp_path: Path, logs: list[list[int]]) -> None:
    for number, times in enumerate(logs):
        write(tmp_path / f"{number}.log", *times)
    result = run(one_source(tmp_path), tmp_path)
    assert written(tmp_path) == sorted(at for times in logs for at in times)
    assert (result.stats.keys, result.stats.waiting) == (0, 0)


def test_sources_that_never_meet_do_not_wait_for_each_other(tmp_path: Path) -> None:
    flow = hw.Flow("f")
    for name, times in (("old", range(300)), ("new", range(10_000_000, 10_000_300))):
        write(tmp_path / f"{name}.log", *times)
        log = flow.source(name, hw.Json, hw.files(tmp_path / f"{name}.log"), time="at")
        log.key_by("key").process(f"order-{name}", Order()).to(f"out-{name}", hw.to_jsonl(tmp_path / f"{name}.jsonl"))
    run(flow, tmp_path)
    assert written(tmp_path, "old.jsonl") == [*range(300)]
    assert written(tmp_path, "new.jsonl") == [*range(10_000_000, 10_000_300)]


def test_what_waits_beyond_the_bound_is_not_in_memory(tmp_path: Path) -> None:
    """One event holds all others back; they are stored with their bytes, and come out in order after a restart."""
    write(tmp_path / "0.log", *range(1, 5_001))
    write(tmp_path / "1.log", 0)
    options = RunOptions(
        tmp_path / "state", key_groups=2, epoch_ms=100, sync=False, waiting_bound=20, lead_records=10_000
    )
    first = run_flow(one_source(tmp_path), options)
    assert first.stats.waiting >= 5_000
    assert written(tmp_path) == []
    run(one_source(tmp_path), tmp_path)
    assert written(tmp_path) == [*range(5_001)]


def test_the_slowest_reader_never_waits() -> None:
    board = Board({"a": 0, "b": 0, "c": 1}, lead_records=10)
    board.publish("a", 5, 100, done=False, idle=False)
    board.publish("b", 5, 7, done=False, idle=False)
    assert not board.must_wait("a")
    board.publish("a", 50, 200, done=False, idle=False)
    board.publish("a", 60, 211, done=False, idle=False)
    assert board.must_wait("a")
    assert not board.must_wait("b")
    board.publish("c", MIN_TIME_MS, 0, done=False, idle=False)
    assert not board.must_wait("c")


@pytest.mark.parametrize(("done", "idle"), [(True, False), (False, True)])
def test_nobody_waits_for_one_that_reads_no_more(done: bool, idle: bool) -> None:
    board = Board({"a": 0, "b": 0}, lead_records=10)
    board.publish("b", 5, 7, done=False, idle=False)
    board.publish("a", 50, 200, done=False, idle=False)
    board.publish("a", 60, 300, done=False, idle=False)
    assert board.must_wait("a")
    board.publish("b", 5, 7, done=done, idle=idle)
    assert not board.must_wait("a")
