"""Late events and dead letters: nothing is dropped, and what is late depends on the log alone."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

import headway as hw
from headway.connectors.letters import letter_file
from headway.runtime.run import RunOptions, RunResult, run_flow

LINES = [
    b'{"user": "ann", "at": 100, "n": 1}',
    b'{"user": "ann", "at": 89, "n": 2}',  # late: 100 - 10 is the least
    b'{"user": "bob", "at": 90, "n": 3}',
    b"{",
    b'{"at": 101, "n": 4}',
    b'{"user": "ann", "n": 5}',
    b'{"user": "ann", "at": "yesterday", "n": 6}',
    b"",
    b'{"user": "\xff", "at": 102}',
    b'{"user": "ann", "at": 120, "n": 7}',
    b'{"user": "ann", "at": 109, "n": 8}',  # late again
]


class Keep(hw.Operator[hw.Json, hw.State, hw.Json]):
    def on_event(self, state: hw.State, event: hw.Json, ctx: hw.Context[hw.Json]) -> None:
        ctx.emit(event)


def run(directory: Path, *, chunk_bytes: int = 1 << 20, threads: int = 1, key_groups: int = 3) -> RunResult:
    flow = hw.Flow("rejects")
    log = flow.source("log", hw.Json, hw.files(directory / "*.log"), time="at", out_of_order="10ms")
    log.late.to("late", hw.to_jsonl(directory / "late.jsonl"))
    log.key_by("user").process("keep", Keep()).to("kept", hw.to_jsonl(directory / "kept.jsonl"))
    options = RunOptions(
        directory / "state", key_groups=key_groups, chunk_bytes=chunk_bytes, threads=threads, drain=True, sync=False
    )
    return run_flow(flow, options)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("chunk_bytes", [1, 100, 1 << 20])
def test_every_record_is_somewhere(tmp_path: Path, chunk_bytes: int) -> None:
    (tmp_path / "a.log").write_bytes(b"\n".join(LINES) + b"\n")
    result = run(tmp_path, chunk_bytes=chunk_bytes)
    assert [event["n"] for event in read(tmp_path / "kept.jsonl")] == [3, 1, 7]
    assert [event["n"] for event in read(tmp_path / "late.jsonl")] == [2, 8]
    letters = read(tmp_path / "state" / "dead-letters" / letter_file("log", "a.log"))
    assert [letter["raw"] for letter in letters[:1]] == ["{"]
    assert [letter["source"] for letter in letters] == ["log"] * 5
    assert [letter["partition"] for letter in letters] == ["a.log"] * 5
    assert all(letter["position"] and letter["reason"] for letter in letters)
    reasons = [letter["reason"] for letter in letters]
    assert "unexpected end of data" in reasons[0]
    assert "user" in reasons[1]
    assert "time" in reasons[2]
    assert "time: Invalid RFC3339" in reasons[3]
    assert json.loads(letters[1]["raw"]) == {"at": 101, "n": 4}
    assert letters[4]["raw"] == '{"user": "\\xff", "at": 102}'
    stats = result.stats
    assert (stats.events, stats.late, stats.dead_letters) == (10, 2, 5)


@pytest.mark.parametrize(("chunk_bytes", "threads", "key_groups"), [(1, 1, 1), (70, 2, 3), (1 << 20, 3, 5)])
def test_what_is_late_does_not_depend_on_how_it_is_read(
    tmp_path: Path, chunk_bytes: int, threads: int, key_groups: int
) -> None:
    rng = Random(11)
    late: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []
    for part in range(3):
        latest: int | None = None
        with (tmp_path / f"{part}.log").open("w") as file:
            for number in range(300):
                at = number + rng.randint(-20, 0)
                event = {"user": f"u{part}", "at": at, "n": number}
                file.write(json.dumps(event) + "\n")
                is_late = latest is not None and at < latest - 10
                (late if is_late else kept).append(event)
                latest = at if latest is None else max(latest, at)
    result = run(tmp_path, chunk_bytes=chunk_bytes, threads=threads, key_groups=key_groups)
    assert len(late) > 100

    def order(event: dict[str, Any]) -> tuple[Any, ...]:
        return event["at"], event["user"], event["n"]

    assert sorted(read(tmp_path / "late.jsonl"), key=order) == sorted(late, key=order)
    assert [event["at"] for event in read(tmp_path / "kept.jsonl")] == sorted(event["at"] for event in kept)
    assert sorted(read(tmp_path / "kept.jsonl"), key=order) == sorted(kept, key=order)
    assert result.stats.late == len(late)
