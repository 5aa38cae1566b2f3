"""What the tests of the door share: a flow that keeps keys, and its input and output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import headway as hw
from headway.runtime.run import RunOptions, RunResult, run_flow

Json = dict[str, Any]

GOOD = {"user": "ann", "at": 1, "n": 1}
NEXT = {"user": "bob", "at": 2, "n": 2}


class Keep(hw.Operator[Any, hw.State, hw.Json]):
    def on_event(self, state: hw.State, event: Any, ctx: hw.Context[hw.Json]) -> None:
        ctx.emit({"key": ctx.key})


def keep(stream: Any, key: Any, output: Any) -> None:
    """Give a stream its key, and write down which key each of its events has."""
    stream.key_by(key).process("keep", Keep()).to("kept", output)


def run(directory: Path, event_type: Any, *, time: Any = "at", key: Any = "user", threads: int = 1) -> RunResult:
    flow = hw.Flow("door")
    log = flow.source("log", event_type, hw.files(directory / "*.log"), time=time)
    keep(log, key, hw.to_jsonl(directory / "kept.jsonl"))
    return run_flow(flow, RunOptions(directory / "state", key_groups=2, threads=threads, drain=True, sync=False))


def read(path: Path) -> list[Json]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, *records: Json) -> list[bytes]:
    lines = [json.dumps(record).encode() for record in records]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return lines
