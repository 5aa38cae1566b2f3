"""`python -m tests.soak --minutes M`: random flows, random faults and random rescales, and a report of what came of it.

Each cycle draws a flow and logs, asks the oracle what must come of them, runs the flow undisturbed, and disturbs it
then as `headway prove` does. All of it comes from the seed, which is told. A difference ends the soak with exit code 1,
and what shows it again is in the report.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from hypothesis import HealthCheck, Phase, given, seed, settings

from headway.cli.texts import bytes_text, count_text, seconds_text
from headway.connectors.memory import items, to_list
from headway.declare.loading import FlowSpec
from headway.proving.lanes import Use
from headway.proving.prove import ProofOptions, prove_flow
from headway.proving.sample import given_sample
from headway.testing import oracle
from headway.testing.flow_specs import build_flow
from headway.testing.flows import FlowCase, flow_cases

RUNS = 20
"""Disturbed runs of each flow."""
MODULE = """
import json
from pathlib import Path

import headway as hw
from headway.testing.flow_specs import build_flow

spec = json.loads((Path(__file__).parent / "spec.json").read_text())
flow = build_flow(spec, {{source["name"]: hw.items([]) for source in spec["sources"]}}, lambda name: hw.to_list([]))
"""


class TimeIsUp(BaseException):
    """Ends the drawing of flows."""


@dataclass
class Report:
    """What came of it, so far."""

    seed: int
    cycles: int = 0
    """Flows."""
    runs: int = 0
    events: int = 0
    """In all logs; each run reads those of its flow."""
    lines: int = 0
    """What was compared in each run, over all flows."""
    faults: Counter[str] = field(default_factory=Counter)
    power_losses: int = 0
    restored: Counter[str] = field(default_factory=Counter)
    use: Use = field(default_factory=Use)
    seconds: float = 0.0
    difference: Optional[dict[str, Any]] = None

    def as_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "faults": dict(sorted(self.faults.items())),
            "restored": dict(self.restored),
            "use": self.use._asdict(),
        }

    def text(self) -> str:
        kinds = Counter[str]()
        for point, count in self.faults.items():
            kinds[point if "." not in point else "killed at a crash point"] += count
        faults = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
        lines = [
            f"{count_text(self.cycles, 'flow')}, {count_text(self.runs, 'run')}, {count_text(self.events, 'event')}, "
            f"{count_text(self.lines, 'line')} compared in each run; {seconds_text(self.seconds)}, seed {self.seed}",
            f"  faults: {faults or 'none'}; {self.power_losses:,} losses of power",
            f"  state directories lost: went on from a savepoint {self.restored['savepoint']:,} times, from a backup "
            f"{self.restored['backup']:,} times",
            f"  at {len([point for point in self.faults if '.' in point])} crash points",
            f"  at most: {bytes_text(self.use.memory_bytes)} of memory, {self.use.open_files:,} open files, "
            f"{bytes_text(self.use.disk_bytes)} on disk",
        ]
        if self.difference is None:
            return "\n".join([*lines, "  differences: 0"])
        lines += [f"  A DIFFERENCE: {self.difference['difference']}", f"  by the plan {self.difference['plan'] or '-'}"]
        return "\n".join([*lines, "  the flow and its logs are in the report"])


def says_something(case: FlowCase) -> bool:
    return sum(map(len, oracle.run_oracle(case.flow(), case.logs).outputs.values())) >= 5


def soak(report: Report, until: Callable[[], bool], directory: Path, told: Callable[[Report], None]) -> None:
    """Cycle after cycle until the time is up or something differs."""

    @seed(report.seed)
    @settings(
        max_examples=1_000_000,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=flow_cases(max_steps=10, max_events=40).filter(says_something))
    def cycles(case: FlowCase) -> None:
        if until() or report.difference is not None:
            raise TimeIsUp
        try:
            cycle(report, case, directory)
        except Exception:
            # Told as it is: to draw the flow once more would hide it behind what comes of that.
            report.difference = {"difference": traceback.format_exc(), "plan": "", "spec": case.spec}
        told(report)

    try:
        cycles()
    except TimeIsUp:
        return


def cycle(report: Report, case: FlowCase, directory: Path) -> None:
    """One flow: against the oracle, and against itself under disturbances."""
    folder = directory / f"flow-{report.cycles}"
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(json.dumps(case.spec))
    (folder / "drawn.py").write_text(MODULE.format())
    flow = build_flow(case.spec, {name: items([]) for name in case.logs}, lambda name: to_list([]))
    logs = {name: {part: readable(lines) for part, lines in parts.items()} for name, parts in case.logs.items()}
    options = ProofOptions(RUNS, report.seed + report.cycles, shrink=False)
    spec = FlowSpec(str(folder / "drawn.py"))

    def expected(drain: bool) -> dict[str, list[bytes]]:
        return oracle.run_oracle(case.flow(), logs, drain=drain).outputs

    proof = prove_flow(spec, flow, given_sample(flow, logs), options, expects=expected)
    report.cycles += 1
    report.runs += proof.runs
    report.events += proof.events
    report.lines += proof.lines
    report.faults.update(proof.disturbances)
    report.power_losses += proof.power_losses
    report.restored.update(proof.restored)
    report.use = report.use.most(proof.use)
    if proof.fault is not None:
        texts = {
            name: {p: [repr(line) for line in lines] for p, lines in parts.items()} for name, parts in logs.items()
        }
        shown = {"difference": str(proof.fault.difference), "plan": str(proof.fault.trial)}
        report.difference = {**shown, "spec": case.spec, "logs": texts}
    else:
        shutil.rmtree(folder)


def readable(lines: list[bytes]) -> list[bytes]:
    """What counts as a record: blank lines are none."""
    return [line for line in lines if line.strip()]


def main(arguments: Optional[list[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="for how long (default: 10)")
    parser.add_argument("--seed", type=int, default=None, help="draw everything from this number (default: drawn)")
    parser.add_argument("--report", type=Path, default=Path("soak-report.json"), help="the file of the report")
    given_ = parser.parse_args(arguments)
    report = Report(secrets.randbelow(1_000_000) if given_.seed is None else given_.seed)
    began_s = time.monotonic()

    def told(report: Report) -> None:
        report.seconds = round(time.monotonic() - began_s, 1)
        given_.report.write_text(json.dumps(report.as_json(), indent=2) + "\n")
        if report.cycles % 10 == 0:
            sys.stdout.write(report.text() + "\n")
            sys.stdout.flush()

    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="headway-soak-") as name:
        soak(report, lambda: time.monotonic() - began_s > 60 * given_.minutes, Path(name), told)
    told(report)
    sys.stdout.write(f"{report.text()}\nthe report is in {given_.report}\n")
    return 0 if report.difference is None else 1


if __name__ == "__main__":
    sys.exit(main())
