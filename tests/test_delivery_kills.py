"""Runs are killed at any moment: all triggers arrive, in the order of their keys, and exact where that is said."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.cluster_harness import Started, run

import headway as hw
from headway.inbox.runlog import RunLogInput
from headway.types.decoding import LineCodec

FLOW = """
import os

import headway as hw


class Step(hw.Event):
    at: int
    user: str
    n: int
    pad: str = ""


class Total(hw.State):
    seen: int = 0


class Count(hw.Operator[Step, Total, hw.Json]):
    def on_event(self, state: Total, event: Step, ctx: hw.Context[hw.Json]) -> None:
        state.seen += 1
        ctx.emit({"user": event.user, "seen": state.seen, "n": event.n})


def note(trigger: hw.Trigger) -> None:
    line = f"{trigger.id} {trigger.key} {trigger.value['seen']} {trigger.sequence}\\n"
    calls = os.open("calls.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(calls, line.encode())
    os.close(calls)
    if trigger.attempt == 1 and trigger.value["n"] % 50 == 0:
        raise OSError("not now")


flow = hw.Flow("steps")
steps = flow.source("steps", Step, hw.files("steps-*.jsonl"), time="at")
counted = steps.key_by("user").process("count", Count())
counted.trigger("counted", hw.call(note, concurrency=8), retry_first="50ms")
counted.trigger("stored", hw.sqlite("stored.db", "steps", batch=50))
counted.trigger("written", hw.to_jsonl("written.jsonl"))
counted.deliveries("counted").to("outcomes", hw.to_jsonl("outcomes.jsonl"))
"""
EVENTS = 4_000
USERS = 40
PAD = "x" * 3_000
"""So that the input is not read at once."""


def feed(directory: Path, seed: int) -> None:
    chance = random.Random(seed)
    (directory / "flow.py").write_text(FLOW)
    for part in range(4):
        with (directory / f"steps-{part}.jsonl").open("w") as log:
            for n in range(part, EVENTS, 4):
                log.write(json.dumps({"at": 10 * n, "user": f"u{chance.randrange(USERS)}", "n": n, "pad": PAD}) + "\n")
            log.write(json.dumps({"at": 10 * EVENTS, "user": "end", "n": -1}) + "\n")


def calls_of(directory: Path) -> list[list[str]]:
    return [line.split() for line in (directory / "calls.txt").read_text().splitlines()]


def check(directory: Path) -> None:
    """Compare what arrived with what the flow wrote to a file, which is exact."""
    written = [json.loads(line) for line in (directory / "written.jsonl").read_text().splitlines()]
    expected: dict[str, list[int]] = {}
    for trigger in written:
        expected.setdefault(trigger["subject"], []).append(trigger["data"]["seen"])
    assert sum(map(len, expected.values())) >= EVENTS
    first: dict[str, list[int]] = {}
    sequences: dict[str, list[str]] = {}
    seen: set[str] = set()
    for trigger_id, user, count, sequence in calls_of(directory):
        if trigger_id not in seen:
            seen.add(trigger_id)
            first.setdefault(user, []).append(int(count))
            sequences.setdefault(user, []).append(sequence)
    assert first == expected
    assert all(sorted(found) == found for found in sequences.values())
    with sqlite3.connect(directory / "stored.db") as database:
        rows = database.execute("select subject, data from steps order by rowid").fetchall()
    stored: dict[str, list[int]] = {}
    for user, data in rows:
        stored.setdefault(user, []).append(json.loads(data)["seen"])
    assert stored == expected
    outcomes = outcomes_of(directory / ".headway" / "steps")
    assert sorted(outcome["id"] for outcome in outcomes) == sorted(seen)
    assert {outcome["outcome"] for outcome in outcomes} == {"delivered"}
    read = [json.loads(line) for line in (directory / "outcomes.jsonl").read_text().splitlines()]
    assert len({outcome["id"] for outcome in read}) == len(read) > EVENTS // 2  # Some are on their way when it ends.
    assert all(outcome in outcomes for outcome in read)


def outcomes_of(state: Path) -> list[Any]:
    """All outcomes in the logs of the workers."""
    log = RunLogInput("counted.deliveries", "").within(state)
    found: list[Any] = []
    for partition in log.partitions():
        reader = log.open(partition, None, follow=False)
        while (chunk := reader.read(1 << 20)) is not None:
            found += chunk.decode(LineCodec(hw.Json)).events
        reader.close()
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_kills_at_any_moment_lose_nothing(tmp_path: Path, workers: int) -> None:
    seed = int(os.environ.get("HEADWAY_SEED", "0")) or random.randrange(1 << 30)
    sys.stdout.write(f"HEADWAY_SEED={seed}\n")
    chance = random.Random(seed)
    feed(tmp_path, seed)
    arguments = ("flow.py", "--workers", workers, "--key-groups", 6, "--epoch", "50ms")
    for size in sorted(chance.randrange(1, 60 * EVENTS) for _ in range(4)):
        started = Started(tmp_path, *arguments)
        until = time.monotonic() + 20
        while _size(tmp_path / "calls.txt") < size and started.process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        started.end()
    # What had to be tried again when the input ended waits for the next run.
    for _ in range(20):
        outputs = run(tmp_path, *arguments)["outputs"]
        if len({trigger_id for trigger_id, *_ in calls_of(tmp_path)}) == outputs["written"]["count"]:
            break
    # What was delivered when the input had ended is an outcome that the next run reads.
    outputs = run(tmp_path, *arguments)["outputs"]
    del outputs["outcomes"]  # The last ones wait for time to pass.
    assert {output["count"] for output in outputs.values()} == {outputs["written"]["count"], 0}
    check(tmp_path)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
