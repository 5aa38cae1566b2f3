"""Case `latency`: from the writing of an event to the line of its trigger, at a fixed rate."""

from __future__ import annotations

import subprocess
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

import msgspec
import orjson

from benchmarks.cache import scratch
from benchmarks.case import Arm, Case, Finding, Row, Sizes, alternate
from benchmarks.engine import EngineSpec
from benchmarks.processes import BenchmarkError, Run, gone, measure, start

__all__ = ["CASE"]

_FLOW: Final = "benchmarks.flows_latency"
_USERS: Final = 1_009
_EACH: Final = 10
"""Every so many events are told."""
_WAYS: Final = {
    "lines of a file, epochs of 1 s": (1_000, False),
    "durable lines, epochs of 1 s": (1_000, True),
    "durable lines, epochs of 100 ms": (100, True),
}
"""Epochs in milliseconds, and whether a line waits for its epoch."""
_NOTE: Final = (
    "lines of a file are there before their epoch is durable, and are cut back after a crash; a broker, or standard "
    "output, gets them when it is"
)
_LOOK_S: Final = 0.001
_READY_S: Final = 30.0
_QUIET_S: Final = 15.0


def _about(sizes: Sizes) -> str:
    return f"from the writing of an event into a followed file to its trigger, {sizes.rate:,} events/s, one in ten told"


def _find(sizes: Sizes) -> Finding:
    arms = [
        Arm(label, partial(_run, sizes, epoch_ms, durable), sizes.rate * sizes.seconds)
        for label, (epoch_ms, durable) in _WAYS.items()
    ]
    alternate(arms, 1)
    return Finding([_row(arm) for arm in arms], [_NOTE])


def _row(arm: Arm) -> Row:
    shares = {name: arm.told(name) for name in ("p50", "p99", "p99.9")}
    text = ", ".join(f"{name} {value:,.0f} ms" for name, value in shares.items())
    return Row(arm, None, shares["p99"], text, "", None)


def _run(sizes: Sizes, epoch_ms: int, durable: bool) -> Run:
    """Follow a file that another process writes to, and note when each line of the output comes."""
    with scratch() as directory:
        log, out = directory / "pings.jsonl", directory / "pongs.jsonl"
        log.touch()
        parameters = {"input": str(log), "output": str(out), "durable": str(durable).lower()}
        spec = EngineSpec(
            flow=_FLOW, parameters=parameters, state_dir=str(directory / "state"), epoch_ms=epoch_ms, follow=True
        )
        events = sizes.rate * sizes.seconds
        found: list[float] = []

        def meanwhile(process: subprocess.Popen[bytes]) -> None:
            _wait_for(process, out)
            with TemporaryFile() as words:
                feeder = start(["benchmarks.feeder", str(log), str(sizes.rate), str(events), str(_USERS)], words, words)
                try:
                    found.extend(_read(process, out, -(-events // _EACH)))
                finally:
                    feeder.kill()
                    feeder.wait()
            process.terminate()

        run = measure(["benchmarks.engine", msgspec.json.encode(spec).decode()], meanwhile=meanwhile)
        run.answer["running_s"] = sizes.seconds
        run.answer.update(_shares(found))
        return run


def _wait_for(process: subprocess.Popen[bytes], out: Path) -> None:
    """Until the flow is up: it then makes its output."""
    until_s = time.monotonic() + _READY_S
    while not out.exists():
        if time.monotonic() > until_s or gone(process):
            msg = "the flow was not up in time"
            raise BenchmarkError(msg)
        time.sleep(_LOOK_S)


def _read(process: subprocess.Popen[bytes], out: Path, expected: int) -> list[float]:
    """Milliseconds from the writing of each event that is told to the time at which its line was there."""
    found: list[float] = []
    told: set[int] = set()
    rest = b""
    last_s = time.monotonic()
    with out.open("rb") as lines:
        while len(found) < expected:
            data = lines.read()
            now_us = time.time_ns() // 1_000
            if not data:
                if time.monotonic() - last_s > _QUIET_S or gone(process):
                    msg = f"{len(found)} triggers have come, expected {expected}"
                    raise BenchmarkError(msg)
                time.sleep(_LOOK_S)
                continue
            last_s = time.monotonic()
            *whole, rest = (rest + data).split(b"\n")
            sent = [orjson.loads(line)["data"]["sent_us"] for line in whole]
            told.update(sent)
            found += [(now_us - sent_us) / 1_000 for sent_us in sent]
    if not expected == len(told) == len(found):
        msg = f"{len(found)} triggers of {len(told)} events have come, expected {expected}"
        raise BenchmarkError(msg)
    return found


def _shares(found: list[float]) -> dict[str, float]:
    """Of the triggers after the first tenth, the latency that a half, and so on, do not exceed."""
    settled = sorted(found[len(found) // 10 :])
    return {f"p{share:g}": settled[min(len(settled) - 1, int(len(settled) * share / 100))] for share in (50, 99, 99.9)}


CASE = Case("latency", _about, _find)
