"""Cases `sliding` and `open-windows`: what sliding windows cost more, and what open windows take."""

from __future__ import annotations

from functools import partial
from typing import Final

from benchmarks.bare_clicks import PANES
from benchmarks.cache import cached, code, scratch
from benchmarks.case import MIB, Arm, Case, Finding, Sizes, against, alternate, run_engine, within
from benchmarks.clicks import FLOW, WHOLE, Clicks, run_job, write_each
from benchmarks.engine import EngineSpec
from benchmarks.processes import BenchmarkError, Run

__all__ = ["CASES"]

_USERS: Final = 1_000
_COST: Final = 1.5
_MEMORY_MIB: Final = 1024


def _sliding(sizes: Sizes) -> Finding:
    clicks = Clicks(f"{sizes.name}-few", sizes.clicks, _users(sizes))
    tumbling, sliding = (
        Arm(label, partial(run_job, clicks, job), clicks.events)
        for job, label in (("tumbling", "tumbling windows"), ("sliding", f"sliding windows of {PANES} panes"))
    )
    alternate([tumbling, sliding], sizes.repeats)
    note = f"counted in CPU time it is {tumbling.by_cpu / sliding.by_cpu:.2f} times; both end a window every 5 s"
    return Finding([against(sliding, tumbling, most_cost=_COST)], [note])


def _users(sizes: Sizes) -> int:
    return min(_USERS, sizes.click_users // 10)


def _open(sizes: Sizes) -> Finding:
    arm = Arm(f"{sizes.open_windows:,} open windows", partial(_run_open, sizes), sizes.open_windows)
    alternate([arm], 1)
    return Finding([within(arm, arm.peak_bytes / MIB, _MEMORY_MIB, "MiB")])


def _run_open(sizes: Sizes) -> Run:
    """An event of each user; nothing ends, so that there is nothing to compare but the number of rows and timers."""
    stream = cached(
        f"each-{sizes.name}",
        (sizes.open_windows, code("benchmarks/clicks.py")),
        lambda directory: write_each(directory / WHOLE, sizes.open_windows),
    )
    with scratch() as directory:
        out = directory / "lines.jsonl"
        parameters = {"job": "day", "input": str(stream / WHOLE), "output": str(out)}
        run = run_engine(EngineSpec(flow=FLOW, parameters=parameters, state_dir=str(directory / "state")))
        for what in ("keys", "timers"):
            if run.answer[what] != sizes.open_windows:
                msg = f"{run.answer[what]} {what} are there at the end, expected {sizes.open_windows}"
                raise BenchmarkError(msg)
        if out.stat().st_size:
            msg = "windows have ended that cannot have ended"
            raise BenchmarkError(msg)
        return run


CASES: Final = (
    Case(
        "sliding",
        lambda sizes: f"windows of {_users(sizes):,} users, {sizes.clicks:,} events, sliding against tumbling",
        _sliding,
    ),
    Case("open-windows", lambda sizes: f"a window of a day for each of {sizes.open_windows:,} users", _open),
)
