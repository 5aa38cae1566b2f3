"""What tests of views share: logs of transfers, what they come to, runs in processes of their own, and servers."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")

from tests.views_flow import NAMES
from tests.web_harness import served

import headway as hw
from headway.declare.loading import FlowSpec, load_flow
from headway.plan.planner import compile_plan
from headway.serving.app import ViewsApp
from headway.serving.state import DecisionState
from headway.web.addresses import Address
from headway.web.connections import ConnectionLimits
from headway.web.middleware import Gate, guarded
from headway.web.tokens import Tokens

FLOW = Path(__file__).with_name("views_flow.py")
UNTIL_S = 60.0

Accounts = dict[str, tuple[int, int]]


def transfers(count: int, seed: int = 0, start: int = 0) -> list[dict[str, Any]]:
    chance = random.Random(seed)
    return [
        {"at": number, "taker": chance.choice(NAMES), "cents": chance.randrange(1, 100)}
        for number in range(start, start + count)
    ]


def balances(done: list[dict[str, Any]]) -> Accounts:
    """What each account has been through: how many bookings, and what they come to."""
    if not done:
        return {}
    paid = sum(one["cents"] for one in done)
    got = {name: sum(one["cents"] for one in done if one["taker"] == name) for name in NAMES}
    return {name: (len(done), got[name] * len(NAMES) - paid) for name in NAMES}


def write_lines(path: Path, events: list[dict[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


def flow_of(directory: Path, **parameters: str) -> hw.Flow:
    return load_flow(FlowSpec(str(FLOW), {"input": str(directory / "transfers-*.jsonl"), **parameters}))


def decision_state(directory: Path, **parameters: str) -> DecisionState:
    return DecisionState(compile_plan(flow_of(directory, **parameters).graph), directory / "state")


def until(condition: Callable[[], object], what: str, *, process: subprocess.Popen[bytes] | None = None) -> None:
    """Poll until something holds; fails when it does not within a minute, or the process ends before."""
    ends = time.monotonic() + UNTIL_S
    while not condition():
        assert time.monotonic() < ends, f"not within {UNTIL_S:.0f} s: {what}"
        assert process is None or process.poll() is None, f"the run has ended before: {what}"
        time.sleep(0.005)


@contextlib.contextmanager
def running(directory: Path, *options: str, workers: int = 1, epoch: str = "20ms") -> Iterator[subprocess.Popen[bytes]]:
    """`headway run --follow` in a process group of its own, stopped at the end unless it has been killed."""
    command = [sys.executable, "-m", "headway", "run", str(FLOW), "--follow", "--quiet", "--workers", str(workers)]
    command += ["--epoch", epoch, "--state", str(directory / "state")]
    command += ["--set", f"input={directory}/transfers-*.jsonl", *options]
    with (directory / "run.log").open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    try:
        yield process
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            assert process.wait(UNTIL_S) == 0, (directory / "run.log").read_text()
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a run with all its workers, and wait until none is left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    while True:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        time.sleep(0.005)


@contextlib.contextmanager
def serving(
    state: DecisionState,
    *,
    tokens: Tokens | None = None,
    watchers_max: int = 10_000,
    wall_ms: int | None = None,
    first_s: float = 0.0,
) -> Iterator[Address]:
    """A server of views in a thread."""
    state.refresh()
    gate = Gate()
    clock = (lambda: time.time_ns() // 1_000_000) if wall_ms is None else (lambda: wall_ms)
    app = ViewsApp(state, watchers_max=watchers_max, wall_ms=clock, first_s=first_s)
    gate.not_ready = lambda: state.not_ready
    guard = guarded(app, gate=gate, tokens=tokens, hosts={"localhost", "127.0.0.1"}, max_concurrency=5_000)
    try:
        with served(guard, gate=gate, limits=ConnectionLimits(connections=6_000)) as address:
            try:
                yield address
            finally:
                app.watchers.end()
    finally:
        state.close()


def finished(directory: Path, events: list[dict[str, Any]], **parameters: str) -> DecisionState:
    """The state of a run that has read all there is."""
    write_lines(directory / "transfers-0.jsonl", events)
    hw.run(flow_of(directory, **parameters), state=directory / "state", epoch="20ms", drain=True)
    return decision_state(directory, **parameters)
