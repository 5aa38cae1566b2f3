"""The figures as a Markdown table and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any, Final, Optional

import msgspec

from benchmarks.case import MIB, Arm, Case, Finding, Row, Sizes
from benchmarks.noise import Noise

__all__ = ["Outcome", "markdown", "put_into", "save"]

_HEAD: Final = (
    "| case | what | reference | events/s | reference events/s | figure | target | reached | CPU s | peak MiB |"
)
_LOADED: Final = 0.3
"""Cores that others may use before the figures are called into question."""
_BEGIN: Final = "<!-- figures: begin -->"
_END: Final = "<!-- figures: end -->"


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
        runs = [run for arm in self.finding.arms for run in arm.runs] if self.finding else []
        return mean(run.others for run in runs) if runs else 0.0


def markdown(outcomes: Sequence[Outcome], machine: dict[str, str], sizes: Sizes) -> str:
    """The table, what it was measured on, and what there is to say about each case."""
    lines = [_HEAD, "|---|---|---|--:|--:|--:|---|---|--:|--:|"]
    for outcome in outcomes:
        lines += _rows(outcome)
    lines += ["", *(f"* {note}" for outcome in outcomes for note in _notes(outcome)), ""]
    lines.append(f"Sizes: {sizes.name}. " + ", ".join(f"{name} {value}" for name, value in machine.items()) + ".")
    if sizes.name not in ("full", "long"):
        lines.append("The targets are meant for the full sizes.")
    return "\n".join(lines)


def put_into(page: Path, text: str) -> None:
    """Replace what stands between the marks of a page of documentation. Raises `ValueError` where it has none."""
    before, begin, rest = page.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        msg = f"{page} has no lines {_BEGIN!r} and {_END!r}"
        raise ValueError(msg)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def _rows(outcome: Outcome) -> Iterator[str]:
    name = outcome.case.name
    if outcome.finding is None:
        yield _line(name, outcome.problem.replace("|", "/").replace("\n", " "), *[""] * 5, "WRONG", "", "")
        return
    for row in outcome.finding.rows:
        reference = ("", "") if row.reference is None else (row.reference.label, f"{row.reference.running:,.0f}")
        yield _line(
            name,
            row.arm.label,
            reference[0],
            f"{row.arm.running:,.0f}",
            reference[1],
            row.text,
            row.target,
            _reached(row),
            f"{median(run.cpu_s for run in row.arm.runs):.1f}",
            f"{row.arm.peak_bytes / MIB:,.0f}",
        )


def _reached(row: Row) -> str:
    return {None: "", True: "yes", False: "no"}[row.met]


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


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
    loaded = ": the machine was loaded" if outcome.others > _LOADED else ""
    yield (
        f"{name}: medians of {counts} runs{spreads}; noise of a fixed loop {outcome.noise.spread:.0%}, "
        f"{outcome.others:.1f} cores busy with other things{loaded}; {outcome.seconds:.0f} s"
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
        "seconds": outcome.seconds,
        "noise": outcome.noise,
        "others": outcome.others,
    }
    if finding is None:
        return {**record, "problem": outcome.problem}
    rows = [
        {
            "what": row.arm.label,
            "reference": row.reference.label if row.reference else None,
            "figure": row.figure,
            "text": row.text,
            "target": row.target,
            "met": row.met,
        }
        for row in finding.rows
    ]
    arms = [
        {"label": arm.label, "events": arm.events, "running": arm.running, "runs": arm.runs} for arm in finding.arms
    ]
    return {**record, "rows": rows, "notes": list(finding.notes), "arms": arms}
