"""The figures as a Markdown table and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any, Final, Optional

import msgspec

from benchmarks.case import MIB, Arm, Case, Finding, Sizes
from benchmarks.noise import Noise

__all__ = ["Outcome", "markdown", "save"]

_HEAD: Final = (
    "| case | run | events/s running | events/s whole process | wall s | CPU s | peak MiB | figure | target | met |"
)
_LOADED: Final = 0.3
"""Cores that others may use before the figures are called into question."""


@dataclass(frozen=True)
class Outcome:
    """A case that was run."""

    case: Case
    sizes: Sizes
    seconds: float
    noise: Noise
    finding: Optional[Finding]
    problem: str = ""
    """Why there is no finding."""

    @property
    def others(self) -> float:
        """Cores that the rest of the machine kept busy meanwhile, on average."""
        return mean(run.others for arm in self.finding.arms for run in arm.runs) if self.finding else 0.0

    @property
    def met(self) -> str:
        """Whether the target is met, for people."""
        if self.finding is None:
            return "WRONG"
        verdict = "yes" if self.finding.met else "no"
        return f"{verdict} (machine loaded)" if self.others > _LOADED else verdict


def markdown(outcomes: Sequence[Outcome], machine: dict[str, str], sizes: Sizes) -> str:
    """The table, what it was measured on, and what there is to say about each case."""
    lines = [_HEAD, "|---|---|--:|--:|--:|--:|--:|---|---|---|"]
    for outcome in outcomes:
        lines += _rows(outcome)
    lines += ["", *(f"* {note}" for outcome in outcomes for note in _notes(outcome)), ""]
    lines.append(f"Sizes: {sizes.name}. " + ", ".join(f"{name} {value}" for name, value in machine.items()) + ".")
    if sizes.name != "full":
        lines.append("The targets are meant for the full sizes.")
    return "\n".join(lines)


def _rows(outcome: Outcome) -> Iterator[str]:
    case, finding = outcome.case, outcome.finding
    if finding is None:
        yield _row(case.name, outcome.problem.replace("|", "/"), *[""] * 5, "none", case.target, outcome.met)
        return
    for arm in finding.arms[:-1]:
        yield _row(case.name, *_measured(arm), "", "", "")
    yield _row(case.name, *_measured(finding.arms[-1]), finding.text, case.target, outcome.met)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _measured(arm: Arm) -> list[str]:
    return [
        arm.label,
        f"{arm.running:,.0f}",
        f"{arm.whole:,.0f}",
        f"{median(run.wall_s for run in arm.runs):.2f}",
        f"{median(run.cpu_s for run in arm.runs):.2f}",
        f"{arm.peak_bytes / MIB:,.0f}",
    ]


def _notes(outcome: Outcome) -> Iterator[str]:
    name, finding = outcome.case.name, outcome.finding
    yield f"{name}: {outcome.case.about(outcome.sizes)}"
    if finding is None:
        return
    for note in finding.notes:
        yield f"{name}: {note}"
    counts = "/".join(str(len(arm.runs)) for arm in finding.arms)
    repeated = [f"{arm.label} {_spread(arm):.0%}" for arm in finding.arms if len(arm.runs) > 1]
    spreads = f" (slowest over quickest: {', '.join(repeated)})" if repeated else ""
    yield (
        f"{name}: medians of {counts} runs{spreads}; noise of a fixed loop {outcome.noise.spread:.0%}, "
        f"{outcome.others:.1f} cores busy with other things; {outcome.seconds:.0f} s"
    )


def _spread(arm: Arm) -> float:
    times = [run.running_s for run in arm.runs]
    return max(times) / min(times) - 1


def save(
    outcomes: Sequence[Outcome], machine: dict[str, str], sizes: Sizes, subset: Sequence[str], directory: Path
) -> Path:
    """Write everything that was measured, single runs included; named after the commit and the subset of cases."""
    directory.mkdir(parents=True, exist_ok=True)
    parts = [machine["commit"], *([] if sizes.name == "full" else [sizes.name]), *subset]
    path = directory / f"{'-'.join(parts)}.json"
    record = {"machine": machine, "sizes": sizes, "cases": [_record(outcome) for outcome in outcomes]}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
    return path


def _record(outcome: Outcome) -> dict[str, Any]:
    finding = outcome.finding
    record = {
        "name": outcome.case.name,
        "about": outcome.case.about(outcome.sizes),
        "target": outcome.case.target,
        "seconds": outcome.seconds,
        "noise": outcome.noise,
        "others": outcome.others,
    }
    if finding is None:
        return {**record, "problem": outcome.problem}
    arms = [
        {"label": arm.label, "events": arm.events, "running": arm.running, "whole": arm.whole, "runs": arm.runs}
        for arm in finding.arms
    ]
    return {
        **record,
        "figure": finding.figure,
        "text": finding.text,
        "met": finding.met,
        "notes": list(finding.notes),
        "arms": arms,
    }
