"""Case `idle`: what a flow costs that waits for more input, while many timers are pending."""

from __future__ import annotations

import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.cache import copy_state, scratch
from benchmarks.case import Arm, Case, Finding, Sizes, alternate, within
from benchmarks.processes import BenchmarkError, Run, gone, measure
from benchmarks.procfs import cpu_of, tree_of
from benchmarks.timers import LOG, pending_carts, spec_of

__all__ = ["CASE"]

_TARGET_PERCENT: Final = 2
_CALM_S: Final = 1.0
_CALM: Final = 0.2
"""Cores: a flow that uses fewer has read all there is."""
_READY_S: Final = 60.0


def _about(sizes: Sizes) -> str:
    return f"a flow that follows its input for {sizes.seconds} s, with {_pending(sizes):,} pending timers"


def _pending(sizes: Sizes) -> int:
    return sizes.timers[-1]


def _find(sizes: Sizes) -> Finding:
    pending = f"{_pending(sizes):,} pending"
    alone = Arm(f"idle, {pending}", partial(_run, sizes, 1), sizes.events)
    two = Arm(f"idle, {pending}, 2 processes", partial(_run, sizes, 2), sizes.events)
    alternate([alone, two], 1)
    rows = [within(arm, 100 * arm.told("idle_cores"), _TARGET_PERCENT, "% of a core") for arm in (alone, two)]
    notes = [
        "the flow first reads the shop stream, so that it has something behind it",
        "of 2 processes what they and their supervisor take together",
    ]
    return Finding(rows, notes)


def _run(sizes: Sizes, workers: int) -> Run:
    prepared = pending_carts(sizes, _pending(sizes))
    cores: list[float] = []
    with scratch() as directory:
        copy_state(prepared / "state", directory / "state")
        out = directory / "triggers.jsonl"
        spec = spec_of(prepared / LOG, out, directory / "state", after="30m", follow=True)
        spec = msgspec.structs.replace(spec, workers=workers)

        def meanwhile(process: subprocess.Popen[bytes]) -> None:
            _wait_until_calm(process, out)
            cores.append(_cores(process, sizes.seconds))
            process.terminate()

        run = measure(["benchmarks.engine", msgspec.json.encode(spec).decode()], meanwhile=meanwhile)
    if run.answer["timers"] < _pending(sizes):
        msg = f"{run.answer['timers']} timers are pending at the end, expected {_pending(sizes)} or more"
        raise BenchmarkError(msg)
    run.answer["idle_cores"] = cores[0]
    return run


def _wait_until_calm(process: subprocess.Popen[bytes], out: Path) -> None:
    until_s = time.monotonic() + _READY_S
    while not (out.exists() and out.stat().st_size and _cores(process, _CALM_S) < _CALM):
        if time.monotonic() > until_s or gone(process):
            msg = "the flow did not come to rest"
            raise BenchmarkError(msg)
        time.sleep(0.05)


def _cores(process: subprocess.Popen[bytes], seconds: float) -> float:
    """How many cores it keeps busy in some seconds, with the processes that it has started."""
    pids = tree_of(process.pid)
    before_s, started_s = sum(map(cpu_of, pids)), time.monotonic()
    time.sleep(seconds)
    return (sum(map(cpu_of, pids)) - before_s) / (time.monotonic() - started_s)


CASE = Case("idle", _about, _find)
