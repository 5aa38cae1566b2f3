"""What a benchmark is: some runs side by side, a figure made of them, and the target for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

import msgspec

from benchmarks.engine import EngineSpec
from benchmarks.processes import Run, measure

__all__ = ["FULL", "MIB", "QUICK", "TINY", "Arm", "Case", "Finding", "Sizes", "alternate", "run_engine"]

MIB: Final = 1 << 20
_STANDSTILL_S: Final = 1.0
_ATTEMPTS: Final = 2


@dataclass(frozen=True)
class Sizes:
    """How much is run."""

    name: str
    events: int
    users: int
    timers: tuple[int, int]
    """Pending timers: few and many."""
    keys: tuple[int, int]
    """Keys with state: few and many."""
    checks: int
    """Events after the keys are there."""
    hot_events: int
    repeats: int
    hot_repeats: int


FULL: Final = Sizes("full", 1_000_000, 84_000, (1_000, 1_000_000), (10_000, 5_000_000), 300_000, 10_000_000, 5, 2)
QUICK: Final = Sizes("quick", 200_000, 16_800, (1_000, 100_000), (10_000, 200_000), 100_000, 2_000_000, 2, 1)
TINY: Final = Sizes("tiny", 60_000, 5_040, (100, 2_000), (1_000, 10_000), 60_000, 100_000, 1, 1)


@dataclass
class Arm:
    """One side of a comparison."""

    label: str
    once: Callable[[], Run]
    """Runs it once and checks what came out. Raises `BenchmarkError`."""
    events: int
    """Events of one run."""
    runs: list[Run] = field(default_factory=list)

    @property
    def running(self) -> float:
        """Events per second without start-up and imports: the median."""
        return self.events / median(run.running_s for run in self.runs)

    @property
    def whole(self) -> float:
        """Events per second of whole processes: the median."""
        return self.events / median(run.wall_s for run in self.runs)

    @property
    def by_cpu(self) -> float:
        """Events per second of CPU time in one process, without start-up and imports: the median."""
        return self.events / median(float(run.answer["running_cpu_s"]) for run in self.runs)

    @property
    def peak_bytes(self) -> int:
        """The most memory that one process took in any run."""
        return max(run.peak_bytes for run in self.runs)


@dataclass(frozen=True)
class Finding:
    """What a case found."""

    arms: Sequence[Arm]
    """The measured one last."""
    figure: float
    met: bool
    text: str
    """The figure for people."""
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Case:
    """A benchmark."""

    name: str
    about: Callable[[Sizes], str]
    target: str
    find: Callable[[Sizes], Finding]
    """Raises `BenchmarkError` when something fails or a result is wrong."""


def alternate(arms: Sequence[Arm], repeats: int) -> None:
    """Run the arms in turn, A B A B, so that what changes on the machine meets both.

    A run during which the machine stood still (a paused virtual machine) is made again, twice at most.
    """
    for _ in range(repeats):
        for arm in arms:
            runs = (arm.once() for _ in range(_ATTEMPTS))
            arm.runs.append(next((run for run in runs if run.standstill_s < _STANDSTILL_S), None) or arm.once())


def run_engine(spec: EngineSpec) -> Run:
    """Run a flow in processes of its own."""
    return measure(["benchmarks.engine", msgspec.json.encode(spec).decode()])
