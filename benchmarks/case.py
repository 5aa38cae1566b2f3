"""What a benchmark is: some runs side by side, a figure made of them, and the target for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Final, Optional

import msgspec

from benchmarks.engine import EngineSpec
from benchmarks.processes import Run, measure

__all__ = [
    "FULL",
    "LONG",
    "MIB",
    "QUICK",
    "TINY",
    "Arm",
    "Case",
    "Finding",
    "Row",
    "Sizes",
    "against",
    "alone",
    "alternate",
    "by_round",
    "run_engine",
    "within",
]

MIB: Final = 1 << 20
_STANDSTILL_S: Final = 1.0
_ATTEMPTS: Final = 2


@dataclass(frozen=True)
class Sizes:
    """How much is run."""

    name: str
    events: int
    """Of the shop stream."""
    users: int
    """Of the shop stream."""
    timers: tuple[int, ...]
    """Pending timers, from few to many."""
    keys: tuple[int, ...]
    """Keys with state, from few to many; the last but one is what the last one is compared with."""
    checks: int
    """Events after the keys are there."""
    hot_events: int
    clicks: int
    """Events of the streams of clicks."""
    click_users: int
    """Keys of the jobs that keep something for each of many."""
    open_windows: int
    nexmark: int
    """Events of the auction house."""
    rate: int
    """Events per second, where latency is measured."""
    seconds: int
    """How long latency, and the rest of an idle flow, are measured."""
    repeats: int
    fine_repeats: int
    """Of what must be told apart finely, and does not take long."""
    hot_repeats: int
    """Of what takes long."""


FULL: Final = Sizes(
    name="full",
    events=1_000_000,
    users=84_000,
    timers=(1_000, 100_000, 1_000_000),
    keys=(10_000, 100_000, 1_000_000),
    checks=300_000,
    hot_events=3_000_000,
    clicks=1_000_000,
    click_users=100_000,
    open_windows=1_000_000,
    nexmark=300_000,
    rate=20_000,
    seconds=15,
    repeats=3,
    fine_repeats=5,
    hot_repeats=1,
)
LONG: Final = replace(
    FULL, name="long", timers=(*FULL.timers, 10_000_000), keys=(*FULL.keys[:2], 10_000_000), hot_events=10_000_000
)
QUICK: Final = replace(
    FULL,
    name="quick",
    events=100_000,
    users=8_400,
    timers=(1_000, 30_000),
    keys=(10_000, 50_000),
    checks=50_000,
    hot_events=200_000,
    clicks=100_000,
    click_users=10_000,
    open_windows=100_000,
    nexmark=30_000,
    rate=5_000,
    seconds=3,
    repeats=1,
    fine_repeats=1,
)
TINY: Final = replace(
    QUICK,
    name="tiny",
    events=60_000,
    users=5_040,
    timers=(100, 2_000),
    keys=(500, 2_000),
    checks=2_000,
    hot_events=20_000,
    clicks=20_000,
    click_users=2_000,
    open_windows=2_000,
    nexmark=5_000,
    rate=2_000,
    seconds=1,
)


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
    def by_cpu(self) -> float:
        """Events per second of CPU time in one process, without start-up and imports: the median."""
        return self.events / self.told("running_cpu_s")

    @property
    def peak_bytes(self) -> int:
        """The most memory that one process took in any run."""
        return max(run.peak_bytes for run in self.runs)

    def told(self, name: str) -> float:
        """What the runs told about themselves under a name: the median."""
        return median(float(run.answer[name]) for run in self.runs)


@dataclass(frozen=True)
class Row:
    """A line of the table: what was measured, beside what, and the figure that comes of it."""

    arm: Arm
    reference: Optional[Arm]
    figure: float
    text: str
    """The figure for people."""
    target: str
    """For people; empty where there is none."""
    met: Optional[bool]
    """None where there is no target."""


@dataclass(frozen=True)
class Finding:
    """What a case found."""

    rows: Sequence[Row]
    notes: Sequence[str] = ()

    @property
    def arms(self) -> list[Arm]:
        """All arms that were run, once each."""
        found = [arm for row in self.rows for arm in (row.reference, row.arm) if arm is not None]
        return list({id(arm): arm for arm in found}.values())


@dataclass(frozen=True)
class Case:
    """A benchmark."""

    name: str
    about: Callable[[Sizes], str]
    find: Callable[[Sizes], Finding]
    """Raises `BenchmarkError` when something fails or a result is wrong."""


def against(arm: Arm, reference: Arm, least: Optional[float] = None, *, most_cost: Optional[float] = None) -> Row:
    """How many times the events/s of the reference; or with `most_cost`, how many times its time per event.

    See `by_round`.
    """
    ratio = by_round(reference, arm, running_s) * arm.events / reference.events
    if most_cost is not None:
        cost = 1 / ratio
        return Row(arm, reference, cost, f"{cost:.2f} times the time", f"<= {most_cost}", cost <= most_cost)
    met = None if least is None else ratio >= least
    return Row(arm, reference, ratio, f"{ratio:.2f}", "" if least is None else f">= {least}", met)


def running_s(run: Run) -> float:
    """Seconds of a run without start-up and imports."""
    return run.running_s


def by_round(arm: Arm, reference: Arm, measured: Callable[[Run], float]) -> float:
    """How many times as much as the reference: the median over the rounds, in each of which both ran.

    A machine that others use is quick or slow for seconds on end. What is compared is then of the same seconds.
    """
    return median(measured(run) / measured(other) for run, other in zip(arm.runs, reference.runs))


def alone(arm: Arm) -> Row:
    """Events/s without a reference or a target."""
    return Row(arm, None, arm.running, "", "", None)


def within(arm: Arm, figure: float, most: float, unit: str) -> Row:
    """A figure that must not be larger than `most`."""
    digits = 0 if figure >= 10 else 2
    return Row(arm, None, figure, f"{figure:,.{digits}f} {unit}", f"<= {most:,g} {unit}", figure <= most)


def alternate(arms: Sequence[Arm], repeats: int) -> None:
    """Run the arms in turn, A B, B A, so that what changes on the machine meets all.

    A run during which the machine stood still (a paused virtual machine) is made again, twice at most.
    """
    for number in range(repeats):
        for arm in reversed(arms) if number % 2 else arms:
            runs = (arm.once() for _ in range(_ATTEMPTS))
            arm.runs.append(next((run for run in runs if run.standstill_s < _STANDSTILL_S), None) or arm.once())


def run_engine(spec: EngineSpec) -> Run:
    """Run a flow in processes of its own."""
    return measure(["benchmarks.engine", msgspec.json.encode(spec).decode()])
