"""Case `functions`: durable functions of three steps, alone, at once, beside sleepers, after a kill; and of many."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import partial
from itertools import chain, islice
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from benchmarks.cache import scratch
from benchmarks.case import MIB, Arm, Case, Finding, Row, Sizes, alternate, within
from benchmarks.ingest import await_server
from benchmarks.peers.known import Headway
from benchmarks.peers.notes import THIRD, Notes
from benchmarks.peers.rounds import killed
from benchmarks.processes import Run, measure
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
_STEPS: Final = {"full": (1_000, 3_000, 10_000), "long": (1_000, 10_000, 30_000), "quick": (100, 1_000)}
"""Of one function, from few to many, by size; as `quick` where it is not named."""
_STEP_RATIO: Final = 1.5
_BESIDE_RATIO: Final = 1.5
_ASLEEP_BYTES: Final = 1 << 30
_TOGETHER: Final = 1_000
"""Starts that are written to the log together."""
_PATIENCE_S: Final = 60.0
_PATIENCE_EACH_S: Final = 0.01
"""More for each that is to be asleep."""
_PATIENCE_STEP_S: Final = 0.1
FLOW: Final = Path(__file__).with_name("flows_functions.py")


def _about(sizes: Sizes) -> str:
    steps = " and ".join(f"{count:,}" for count in _steps_of(sizes))
    return (
        f"functions of three local steps: {_ALONE} one after the other, {_AT_ONCE:,} at once, {_KILLED} when the run "
        f"is killed, {_ALONE} beside {sizes.keys[-1]:,} that sleep; functions of {steps} steps"
    )


def _steps_of(sizes: Sizes) -> tuple[int, ...]:
    return _STEPS.get(sizes.name, _STEPS["quick"])


def _find(sizes: Sizes) -> Finding:
    alone = Arm("from a post to the end of the third step", _alone, _ALONE)
    at_once = Arm("functions, all started before", _many, _AT_ONCE)
    kill = Arm("under way when everything is killed, and started again", _killed, _KILLED)
    beside = Arm(
        f"from a post to the end of the third step, beside {sizes.keys[-1]:,} that sleep",
        partial(_alone, sizes.keys[-1]),
        _ALONE,
    )
    steps = [Arm(f"{count:,} steps of one function", partial(_steps, count), count) for count in _steps_of(sizes)]
    alternate([alone, at_once, kill, *steps], sizes.repeats)
    alternate([beside], sizes.hot_repeats)
    figure = at_once.told("functions_s")
    slower = beside.told("p50_ms") / alone.told("p50_ms")
    each_ms = [1_000 * arm.told("running_s") / arm.events for arm in steps]
    grown = each_ms[-1] / each_ms[0]
    peak = max(run.peak_bytes for run in beside.runs)
    rows = [
        within(alone, alone.told("p50_ms"), _ALONE_P50_MS, "ms, median"),
        Row(at_once, None, figure, f"{figure:,.0f}/s", f">= {_PER_SECOND:,}/s", figure >= _PER_SECOND),
        within(kill, kill.told("first_step_s"), _FIRST_STEP_S, "s from the restart to the first step"),
        Row(beside, alone, slower, f"{slower:.2f} times the time", f"<= {_BESIDE_RATIO}", slower <= _BESIDE_RATIO),
        Row(beside, None, peak / MIB, f"{peak / MIB:,.0f} MiB", "<= 1,024 MiB", peak <= _ASLEEP_BYTES),
        Row(
            steps[-1], steps[0], grown, f"{grown:.2f} times the time a step", f"<= {_STEP_RATIO}", grown <= _STEP_RATIO
        ),
    ]
    took = ", ".join(f"{arm.events:,} in {arm.told('running_s'):.1f} s" for arm in steps)
    notes = [
        "targets are what other engines reached on two cores; each start and each answer is synced",
        f"until the first step after the kill all processes took {kill.told('first_step_cpu_s'):.1f} s of CPU time",
        f"steps of one function: {took}",
    ]
    return Finding(rows, notes)


def _await(notes: Notes, count: int, patience_s: float = _PATIENCE_S) -> dict[int, float]:
    """When the third step of each function began, by its number, in seconds, once so many have."""
    notes.await_true(lambda: notes.counts[THIRD] >= count, f"{count} functions", patience_s)
    return {number: time_s for (number, step), time_s in notes.times.items() if step == THIRD}


def _ask(state: Path, starts: Iterator[bytes]) -> None:
    """Have functions started by the next run."""
    inbox = Inbox(state / "inbox" / PATH[1:].replace("/", ".") / "0", InboxSettings())
    while some := list(islice(starts, _TOGETHER)):
        inbox.commit([[item_of(start) for start in some]])
    inbox.close()


def _starts(name: str, numbers: Iterable[int]) -> Iterator[bytes]:
    return (message(f"{name}/{number}", Start(msgspec.Raw(b"[%d]" % number))) for number in numbers)


def _alone(asleep: int = 0) -> Run:
    """One after the other, once so many others are asleep."""
    latencies: list[float] = []
    with scratch() as directory:
        notes = Notes(Path(directory) / "times")
        # The last one starts when all before it have.
        _ask(Path(directory) / "state", chain(_starts("asleep", range(asleep)), _starts("three", [_ALONE])))
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port = int(sock.getsockname()[1])

        def meanwhile(process: subprocess.Popen[bytes]) -> None:
            await_server(port, process)
            _await(notes, 1, _PATIENCE_S + asleep * _PATIENCE_EACH_S)
            connection = http.client.HTTPConnection("127.0.0.1", port)
            for number in range(_ALONE):
                began_s = time.time()
                body = msgspec.json.encode([number])
                connection.request("POST", f"{PATH}/three/{number}", body, {"content-type": "application/json"})
                connection.getresponse().read()
                latencies.append((_await(notes, number + 2)[number] - began_s) * 1_000)
            process.terminate()

        os.environ["HEADWAY_BENCH_TIMES"] = str(notes.path)
        places = ["--state", f"{directory}/state", "--listen", str(port), "--follow", "--json"]
        run = measure(["headway", "run", str(FLOW), *places], meanwhile=meanwhile)
    run.answer.update(p50_ms=median(latencies), running_s=sum(latencies) / 1_000, running_cpu_s=run.cpu_s)
    return run


def _many() -> Run:
    ended: dict[int, float] = {}
    with scratch() as directory:
        notes = Notes(Path(directory) / "times")
        _ask(Path(directory) / "state", _starts("three", range(_AT_ONCE)))

        def meanwhile(process: subprocess.Popen[bytes]) -> None:
            ended.update(_await(notes, _AT_ONCE))
            process.terminate()

        os.environ["HEADWAY_BENCH_TIMES"] = str(notes.path)
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


def _steps(count: int) -> Run:
    """One function of so many steps."""
    noted: dict[int, float] = {}
    with scratch() as directory:
        notes = Notes(Path(directory) / "times")
        _ask(Path(directory) / "state", _starts("many", [count]))

        def meanwhile(process: subprocess.Popen[bytes]) -> None:
            noted.update(_await(notes, 2, _PATIENCE_S + count * _PATIENCE_STEP_S))
            process.terminate()

        os.environ["HEADWAY_BENCH_TIMES"] = str(notes.path)
        run = measure(
            ["headway", "run", str(FLOW), "--state", f"{directory}/state", "--follow", "--json"], meanwhile=meanwhile
        )
    run.answer.update(running_s=noted[1] - noted[0], running_cpu_s=run.cpu_s)
    return run


CASE = Case("functions", _about, _find)
