"""Case `starts`: durable functions that are started by a pattern in their flow, and the same ones started by HTTP."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.cache import scratch
from benchmarks.case import Arm, Case, Finding, Sizes, against, alternate
from benchmarks.ingest import await_server
from benchmarks.peers.engines import HttpStarts
from benchmarks.peers.notes import Notes
from benchmarks.places import free_ports
from benchmarks.processes import Run, measure

__all__ = ["CASE"]

_FLOW: Final = Path(__file__).with_name("flows_starts.py")
_FUNCTIONS: Final = 5_000
_ONE_BY_ONE: Final = 1_000
_TINY: Final = 200
_LEAST: Final = 5.0
_PATIENCE_S: Final = 120.0
_STARTED: Final = 1


def _count(sizes: Sizes) -> int:
    return _TINY if sizes.name == "tiny" else _FUNCTIONS


def _about(sizes: Sizes) -> str:
    return f"{_count(sizes):,} functions that end at once, started by a pattern and by HTTP"


def _find(sizes: Sizes) -> Finding:
    count = _count(sizes)
    pattern = Arm("started by a pattern", lambda: _by_pattern(count), count)
    few = min(count, _ONE_BY_ONE)
    http = Arm("one POST after the other", lambda: _by_http(few, 1), few)
    wide = Arm("16 POSTs at a time", lambda: _by_http(count, 16), count)
    alternate([pattern, http, wide], sizes.repeats)
    rows = [against(pattern, http, _LEAST), against(pattern, wide)]
    return Finding(rows, ["from the first function that has begun to the last one; each start is durable"])


def _by_pattern(count: int) -> Run:
    with scratch() as directory:
        events = Path(directory) / "carts.jsonl"
        lines = [
            json.dumps({"at": at, "cart": f"c{number}", "number": number, "kind": kind})
            for at, kind in ((1, "add"), (2, "leave"))
            for number in range(count)
        ]
        # A later event tells that no more of that time will come.
        lines.append(json.dumps({"at": 10, "cart": "c0", "number": 0, "kind": "look"}))
        events.write_text("".join(f"{line}\n" for line in lines))
        return _started(Path(directory), count, lambda process: None, "--follow", HEADWAY_BENCH_EVENTS=str(events))


def _by_http(count: int, width: int) -> Run:
    [port] = free_ports(1)

    def post(process: subprocess.Popen[bytes]) -> None:
        await_server(port, process)
        starts = HttpStarts(port, width)
        starts.begin((f"/v1/functions/review/c{number}", b"[%d]" % number, {}) for number in range(count))
        starts.close()

    with scratch() as directory:
        return _started(Path(directory), count, post, "--listen", str(port), HEADWAY_BENCH_EVENTS="")


def _started(
    directory: Path, count: int, begin: Callable[[subprocess.Popen[bytes]], None], *options: str, **environment: str
) -> Run:
    notes = Notes(directory / "times")

    def meanwhile(process: subprocess.Popen[bytes]) -> None:
        begin(process)
        notes.await_true(lambda: notes.counts[_STARTED] >= count, f"{count} functions", _PATIENCE_S)
        process.terminate()

    os.environ.update(environment, HEADWAY_BENCH_TIMES=str(notes.path))
    run = measure(
        ["headway", "run", str(_FLOW), "--state", f"{directory}/state", "--json", *options], meanwhile=meanwhile
    )
    running_s = max(notes.times.values()) - min(notes.times.values())
    run.answer.update(running_s=running_s, running_cpu_s=run.cpu_s)
    return run


CASE = Case("starts", _about, _find)
