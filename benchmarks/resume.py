"""Case `resume`: how long after `kill -9` the first result comes, with many keys and with few."""

from __future__ import annotations

import shutil
from functools import partial
from statistics import median

from benchmarks.cache import copy_state, scratch
from benchmarks.case import Arm, Case, Finding, Sizes, alternate, run_engine
from benchmarks.processes import Run
from benchmarks.profiles import LOG, OUTPUT, STATE, killed, loaded, spec_for
from benchmarks.visits import check_told, checks_told

__all__ = ["CASE"]

_TARGET = 1.5


def _about(sizes: Sizes) -> str:
    few, many = sizes.keys
    return f"from process start to the first output, resumed after kill -9 with {many:,} keys; against {few:,}"


def _find(sizes: Sizes) -> Finding:
    firsts: dict[int, list[float]] = {users: [] for users in sizes.keys}
    arms = [Arm(f"{users:,} keys", partial(_run, sizes, users, firsts[users]), sizes.checks) for users in sizes.keys]
    alternate(arms, sizes.repeats)
    few_s, many_s = (median(firsts[users]) for users in sizes.keys)
    ratio = many_s / few_s
    note = f"first output {many_s:.2f} s after the start with many keys, {few_s:.2f} s with few (medians)"
    return Finding(arms, ratio, ratio <= _TARGET, f"{ratio:.2f} of the time with few keys", [note])


def _run(sizes: Sizes, users: int, firsts: list[float]) -> Run:
    """Resume a copy of what the killed run left, let it run to the end, and note when its first output came."""
    prepared = killed(sizes, users)
    log = loaded(sizes, users) / LOG
    with scratch() as directory:
        copy_state(prepared / STATE, directory / STATE)
        shutil.copyfile(prepared / OUTPUT, directory / OUTPUT)
        run = run_engine(spec_for(log, directory))
        check_told(directory / OUTPUT, checks_told(users, sizes.checks))
        firsts.append(float((directory / f"{OUTPUT}.first").read_text()) - run.started_s)
        return run


CASE = Case("resume", _about, f"<= {_TARGET}", _find)
