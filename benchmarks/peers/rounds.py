"""What is measured of an engine in one round: one function at a time, many at once, and a kill with many under way."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import quantiles

from benchmarks.peers.engines import Engine
from benchmarks.peers.notes import SECOND, THIRD
from benchmarks.processes import BenchmarkError

__all__ = ["Killed", "Round", "Work", "killed", "measured"]

_WARM_UP = 10
_PATIENCE_S = 600.0
_PAUSE_MS = 3_000


@dataclass(frozen=True)
class Work:
    """How much is done."""

    alone: int = 100
    many: int = 2_000
    in_flight: int = 200
    killed: int = 500


@dataclass(frozen=True)
class Killed:
    """What came of a kill."""

    under_way: int
    """Functions that were started and had not begun their last step."""
    first_step_s: float
    """From the restart of the processes to the first step that begins."""
    first_step_cpu_s: float
    """CPU time that they took until then: on a machine that others use, the rest is waiting for it."""
    all_done_s: float
    """From there to the last step of the last function."""
    steps_again: int
    """Steps that were begun more than once."""


@dataclass(frozen=True)
class Round:
    """The figures of one round."""

    p50_ms: float
    p99_ms: float
    """From the call that starts a function to the beginning of its third step, one function at a time."""
    per_second: float
    cpu_ms: float
    """CPU time of the engine and of what runs the steps, for each function, with many under way."""
    killed: Killed


def measured(engine: Engine, work: Work) -> Round:
    """One round on an engine with nothing in it; ends it."""
    try:
        engine.start()
        p50_ms, p99_ms = _alone(engine, work.alone)
        per_second, cpu_ms = _many(engine, 10_000, work.many, work.in_flight)
        return Round(p50_ms, p99_ms, per_second, cpu_ms, killed(engine, 100_000, work.killed))
    finally:
        engine.kill()


def _alone(engine: Engine, count: int) -> tuple[float, float]:
    took: list[float] = []
    for number in range(_WARM_UP + count):
        began_s = time.time()
        engine.begin([number])
        engine.notes.await_true(lambda n=number: (n, THIRD) in engine.notes.times, "one function", _PATIENCE_S)  # type: ignore[misc]
        took.append((engine.notes.times[number, THIRD] - began_s) * 1_000)
    cuts = quantiles(took[_WARM_UP:], n=100)
    return cuts[49], cuts[98]


def _many(engine: Engine, first: int, count: int, in_flight: int) -> tuple[float, float]:
    """Functions per second from the first start to the last step, and CPU time for each."""
    notes = engine.notes
    done_before = notes.counts[THIRD]
    cpu_s, began_s = engine.cpu_s(), time.time()
    begun = 0
    until_s = time.monotonic() + _PATIENCE_S
    while (ended := notes.counts[THIRD] - done_before) < count:
        more = min(in_flight - (begun - ended), count - begun)
        if more > 0:
            engine.begin(range(first + begun, first + begun + more))
            begun += more
        if time.monotonic() > until_s:
            msg = f"{engine.name}: {ended} of {count} functions have ended in {_PATIENCE_S:.0f} s"
            raise BenchmarkError(msg)
        time.sleep(0.002)
        notes.look()
    took_s = notes.last_s - began_s
    return count / took_s, (engine.cpu_s() - cpu_s) * 1_000 / count


def killed(engine: Engine, first: int, count: int) -> Killed:
    """SIGKILL of everything while functions are under way; all of them must end afterwards."""
    notes = engine.notes
    done_before, second_before, accepted_before = notes.counts[THIRD], notes.counts[SECOND], engine.accepted
    engine.begin(range(first, first + count), _PAUSE_MS)
    notes.await_true(lambda: engine.accepted - accepted_before >= count, "all starts", _PATIENCE_S)
    # In the middle of their second steps; of a slow engine before all are there, as the first ones come to their third.
    notes.await_true(
        lambda: notes.counts[SECOND] - second_before >= count or notes.counts[THIRD] > done_before, "steps", _PATIENCE_S
    )
    engine.kill()
    notes.look()
    under_way = count - (notes.counts[THIRD] - done_before)
    begun_before = notes.begun
    restarted_s = time.time()
    engine.start()
    notes.await_true(lambda: notes.begun > begun_before, "the first step", _PATIENCE_S)
    first_step_s, first_step_cpu_s = time.time() - restarted_s, engine.cpu_s()
    notes.await_true(lambda: notes.counts[THIRD] - done_before >= count, "all functions", _PATIENCE_S)
    all_done_s = notes.last_s - restarted_s
    again = notes.begun - sum(notes.counts[step] for step in (1, 2, THIRD))
    return Killed(under_way, first_step_s, first_step_cpu_s, all_done_s, again)
