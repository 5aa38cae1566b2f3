"""Case `functions`: durable functions of three local steps, one at a time, two thousand at once, and after a kill."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from benchmarks.cache import scratch
from benchmarks.case import Arm, Case, Finding, Row, Sizes, alternate, within
from benchmarks.ingest import await_server
from benchmarks.peers.known import Headway
from benchmarks.peers.rounds import killed
from benchmarks.processes import BenchmarkError, Run, measure
from benchmarks.procfs import busy_seconds
from headway.durable.inputs import PATH
from headway.durable.messages import Start, message
from headway.inbox.commits import Inbox, item_of
from headway.inbox.settings import InboxSettings

__all__ = ["CASE"]

_ALONE: Final = 100
_AT_ONCE: Final = 2_000
_ALONE_P50_MS: Final = 51
"""That of Temporal's development server, on two cores."""
_KILLED: Final = 500
_FIRST_STEP_S: Final = 3.0
_PER_SECOND: Final = 515
"""Restate's, the quickest of those that were measured on two cores."""
_PATIENCE_S: Final = 60.0
FLOW: Final = Path(__file__).with_name("flows_functions.py")


def _about(sizes: Sizes) -> str:
    return (
        f"functions of three local steps: {_ALONE} one after the other, {_AT_ONCE:,} at once, {_KILLED} when the run "
        "is killed"
    )


def _find(sizes: Sizes) -> Finding:
    alone = Arm("from a post to the end of the third step", _alone, _ALONE)
    many = Arm("functions, all started before", _many, _AT_ONCE)
    kill = Arm("under way when everything is killed, and started again", _killed, _KILLED)
    alternate([alone, many, kill], sizes.repeats)
    figure = many.told("functions_s")
    rows = [
        within(alone, alone.told("p50_ms"), _ALONE_P50_MS, "ms, median"),
        Row(many, None, figure, f"{figure:,.0f}/s", f">= {_PER_SECOND:,}/s", figure >= _PER_SECOND),
        within(kill, kill.told("first_step_s"), _FIRST_STEP_S, "s from the restart to the first step"),
    ]
    notes = [
        "targets are what other engines reached on two cores; each start and each answer is synced",
        f"until the first step after the kill all processes took {kill.told('first_step_cpu_s'):.1f} s of CPU time",
    ]
    return Finding(rows, notes)


def _times(path: Path) -> dict[int, float]:
    """When the third step of each function began, by its number, in seconds."""
    lines = path.read_text().splitlines() if path.exists() else []
    parts = (line.split() for line in lines)
    return {int(number): int(time_ns) / 1e9 for number, step, time_ns in parts if step == "3"}


def _await(path: Path, count: int) -> dict[int, float]:
    until_s = time.monotonic() + _PATIENCE_S
    while len(found := _times(path)) < count:
        if time.monotonic() > until_s:
            msg = f"{len(found)} of {count} functions have ended"
            raise BenchmarkError(msg)
        time.sleep(0.001)
    return found


def _alone() -> Run:
    latencies: list[float] = []
    with scratch() as directory:
        times = Path(directory) / "times"
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port = int(sock.getsockname()[1])

        def meanwhile(process: subprocess.Popen[bytes]) -> None:
            await_server(port, process)
            connection = http.client.HTTPConnection("127.0.0.1", port)
            for number in range(_ALONE):
                began_s = time.time()
                body = msgspec.json.encode([number])
                connection.request("POST", f"{PATH}/three/{number}", body, {"content-type": "application/json"})
                connection.getresponse().read()
                latencies.append((_await(times, number + 1)[number] - began_s) * 1_000)
            process.terminate()

        os.environ["HEADWAY_BENCH_TIMES"] = str(times)
        places = ["--state", f"{directory}/state", "--listen", str(port), "--follow", "--json"]
        run = measure(["headway", "run", str(FLOW), *places], meanwhile=meanwhile)
    run.answer.update(p50_ms=median(latencies), running_s=sum(latencies) / 1_000, running_cpu_s=run.cpu_s)
    return run


def _many() -> Run:
    ended: dict[int, float] = {}
    with scratch() as directory:
        times = Path(directory) / "times"
        inbox = Inbox(Path(directory) / "state" / "inbox" / PATH[1:].replace("/", ".") / "0", InboxSettings())
        starts = [message(f"three/{number}", Start(msgspec.Raw(b"[%d]" % number))) for number in range(_AT_ONCE)]
        inbox.commit([[item_of(start)] for start in starts])
        inbox.close()

        def meanwhile(process: subprocess.Popen[bytes]) -> None:
            ended.update(_await(times, _AT_ONCE))
            process.terminate()

        os.environ["HEADWAY_BENCH_TIMES"] = str(times)
        run = measure(
            ["headway", "run", str(FLOW), "--state", f"{directory}/state", "--follow", "--json"], meanwhile=meanwhile
        )
    took_s = max(ended.values()) - min(ended.values())
    run.answer.update(functions_s=_AT_ONCE / took_s, running_s=took_s, running_cpu_s=run.cpu_s)
    return run


def _killed() -> Run:
    """All of them end; how long the first step takes to come, with the start of the processes."""
    with scratch() as directory:
        engine = Headway(Path(directory), Path())
        busy_s, began_s = busy_seconds(), time.monotonic()
        try:
            engine.start()
            found = killed(engine, 0, _KILLED)
            cpu_s = engine.cpu_s()
        finally:
            engine.kill()
    wall_s = time.monotonic() - began_s
    answer = {**asdict(found), "running_s": found.all_done_s, "running_cpu_s": cpu_s}
    others = max(0.0, (busy_seconds() - busy_s - cpu_s) / wall_s)
    return Run(began_s, wall_s, cpu_s, 0, others, answer)


CASE = Case("functions", _about, _find)
