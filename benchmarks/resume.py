"""Case `resume`: how long after `kill -9` the first result comes, with many keys and timers and with few."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from benchmarks.cache import copy_state, scratch
from benchmarks.case import Arm, Case, Finding, Row, Sizes, alternate, by_round, run_engine, within
from benchmarks.processes import Run
from benchmarks.profiles import LOG, OUTPUT, STATE, killed, loaded, spec_for
from benchmarks.visits import check_told, checks_told

__all__ = ["CASE"]

_TARGET = 1.5
_TARGET_S = 3.0


def _about(sizes: Sizes) -> str:
    return f"from process start to the first output, resumed after kill -9 in the middle of {sizes.checks:,} events"


def _find(sizes: Sizes) -> Finding:
    counts = sizes.keys[0], sizes.keys[-1]
    prepared = {users: (loaded(sizes, users, waits=True), killed(sizes, users, waits=True)) for users in counts}
    few, many = (
        Arm(f"resumed with {n:,} keys and timers", partial(_run, *prepared[n], n, sizes.checks), sizes.checks)
        for n in counts
    )
    alternate([few, many], sizes.fine_repeats)
    few_s, many_s = few.told("first_output_s"), many.told("first_output_s")
    ratio = by_round(many, few, lambda run: float(run.answer["first_output_s"]))
    row = Row(many, few, ratio, f"{ratio:.2f} times the time", f"<= {_TARGET}", ratio <= _TARGET)
    rows = [row, within(many, many_s, _TARGET_S, "s to the first output")]
    note = f"first output {many_s:.2f} s after the start with many keys, {few_s:.2f} s with few (medians)"
    return Finding(rows, [note])


def _run(whole: Path, broken: Path, users: int, checks: int) -> Run:
    """Resume a copy of what the killed run left, let it run to the end, and note when its first output came."""
    with scratch() as directory:
        copy_state(broken / STATE, directory / STATE)
        shutil.copyfile(broken / OUTPUT, directory / OUTPUT)
        run = run_engine(spec_for(whole / LOG, directory, waits=True))
        check_told(directory / OUTPUT, checks_told(users, checks))
        run.answer["first_output_s"] = float((directory / f"{OUTPUT}.first").read_text()) - run.started_s
        return run


CASE = Case("resume", _about, _find)
