"""Case `hot`: a stream in which one key has all the events, for as long as it takes to see whether anything grows."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from benchmarks.cache import cached, code, scratch
from benchmarks.case import MIB, Arm, Case, Finding, Row, Sizes, alternate
from benchmarks.processes import Run, measure
from benchmarks.profiles import LOG, OUTPUT, STATE, spec_for
from benchmarks.visits import START_MS, check_told, user_name, write_steps

__all__ = ["CASE"]

_GROWTH_MIB: Final = 16
_GAP_S: Final = 2.0


def _about(sizes: Sizes) -> str:
    return f"{sizes.hot_events:,} events on one key; against as many on {sizes.keys[0]:,} keys"


def _find(sizes: Sizes) -> Finding:
    events = sizes.hot_events
    spread, hot = (
        Arm(label, partial(_run, _stream(sizes, users), users, events), events)
        for label, users in ((f"{sizes.keys[0]:,} keys", sizes.keys[0]), ("one key", 1))
    )
    alternate([spread, hot], sizes.hot_repeats)
    growth_mib = max(_growth_bytes(run) for run in hot.runs) / MIB
    gap_s = max(_longest_gap_s(run) for run in hot.runs)
    met = growth_mib <= _GROWTH_MIB and gap_s <= _GAP_S
    target = f"<= {_GROWTH_MIB} MiB, <= {_GAP_S:.0f} s"
    row = Row(hot, spread, growth_mib, f"{growth_mib:+.1f} MiB, {gap_s:.2f} s", target, met)
    notes = [
        f"memory: its median in the last third of a run, less that in the middle third, is {growth_mib:+.1f} MiB",
        f"the longest time between two epochs of 1 s was {gap_s:.2f} s",
    ]
    return Finding([row], notes)


def _stream(sizes: Sizes, users: int) -> Path:
    def build(directory: Path) -> None:
        write_steps(directory / LOG, users, sizes.hot_events)

    return cached(f"steps-{sizes.name}-{users}", (users, sizes.hot_events, code("benchmarks/visits.py")), build)


def _run(stream: Path, users: int, events: int) -> Run:
    with scratch() as directory:
        spec = spec_for(stream / LOG, directory)
        recovery = directory / STATE / "engine-1"
        run = measure(["benchmarks.engine", msgspec.json.encode(spec).decode()], watch=recovery)
        visits = len(range(0, events - 2, users)) + 1
        check_told(directory / OUTPUT, [(START_MS + events // 10, user_name(0), visits, False)])
        return run


def _growth_bytes(run: Run) -> float:
    """How much more memory is in use in the last third of the run than in the third before."""
    samples = [memory for time_s, memory in run.memory if run.wall_s - run.running_s < time_s]
    third = max(1, len(samples) // 3)
    return median(samples[-third:]) - median(samples[-2 * third : -third] or samples)


def _longest_gap_s(run: Run) -> float:
    """The recovery log is written once an epoch."""
    return max((later - earlier for earlier, later in pairwise(run.changes)), default=run.running_s)


CASE = Case("hot", _about, _find)
