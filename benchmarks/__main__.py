"""`python -m benchmarks`: run the cases, check their results, and print the figures."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks import (
    auctions,
    backups,
    bounds,
    carts,
    columns,
    concerns,
    decisions,
    deliveries,
    engines,
    epochs,
    exporter,
    functions,
    hot,
    idle,
    ingest,
    jobs,
    kafka,
    keys,
    latency,
    machine,
    noise,
    operators,
    plots,
    resume,
    savepoints,
    starts,
    targets,
    timers,
    windows,
    workers,
)
from benchmarks.cache import RESULTS
from benchmarks.case import FULL, LONG, QUICK, TINY, Case, Sizes
from benchmarks.processes import BenchmarkError
from benchmarks.report import Outcome, markdown, put_into, save

__all__ = ["ALL", "CASES", "main"]

ALL: Final = (
    carts.CASE,
    concerns.CASE,
    operators.CASE,
    workers.CASE,
    epochs.CASE,
    *jobs.CASES,
    columns.CASE,
    *windows.CASES,
    auctions.CASE,
    timers.CASE,
    idle.CASE,
    keys.CASE,
    resume.CASE,
    savepoints.CASE,
    backups.CASE,
    hot.CASE,
    bounds.CASE,
    latency.CASE,
    targets.CASE,
    deliveries.CASE,
    engines.CASE,
    ingest.CASE,
    functions.CASE,
    starts.CASE,
    kafka.CASE,
    decisions.CASE,
    exporter.CASE,
)
CASES: Final = {case.name: case for case in ALL}


def main() -> int:
    """Run what the command line asks for; 1 when a result was wrong."""
    options = _options()
    sizes: Sizes = options.sizes
    if options.repeats:
        sizes = replace(sizes, repeats=options.repeats, fine_repeats=options.repeats, hot_repeats=options.repeats)
    if options.list:
        for case in CASES.values():
            print(f"{case.name:12} {case.about(sizes)}")
        return 0
    facts = machine.describe()
    outcomes = [_run(CASES[name], sizes) for name in options.cases or CASES]
    text = markdown(outcomes, facts, sizes)
    print(text)
    print(f"\nAll runs: {save(outcomes, facts, sizes, options.cases, RESULTS)}", file=sys.stderr)
    if options.docs:
        put_into(options.docs, text)
    if options.plots:
        for path in plots.draw(outcomes, options.plots):
            print(f"Plot: {path}", file=sys.stderr)
    return int(any(outcome.finding is None for outcome in outcomes))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Headway against references, check the results, print a table of figures.",
        epilog="Inputs and loaded states are kept in benchmarks/results/cache (some GB); remove it at any time.",
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"one or more of {', '.join(CASES)}; all by default")
    parser.add_argument("--list", action="store_true", help="list the cases and run nothing")
    parser.add_argument("--repeats", type=int, metavar="N", help="runs of each side, of which the median counts")
    parser.add_argument("--docs", type=Path, metavar="PAGE", help="also put the table between the marks of this page")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="also draw what there is to draw, as SVG")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="sizes", action="store_const", const=QUICK, help="small sizes, two minutes")
    size.add_argument(
        "--long", dest="sizes", action="store_const", const=LONG, help="with 10,000,000 timers and keys; an hour"
    )
    size.add_argument("--tiny", dest="sizes", action="store_const", const=TINY, help="to try the benchmarks themselves")
    parser.set_defaults(sizes=FULL)
    options = parser.parse_args()
    unknown = [name for name in options.cases if name not in CASES]
    if unknown:
        parser.error(f"there is no case {unknown[0]!r}; the cases are {', '.join(CASES)}")
    if options.repeats is not None and options.repeats < 1:
        parser.error(f"--repeats is {options.repeats}, expected 1 or more")
    return options


def _run(case: Case, sizes: Sizes) -> Outcome:
    print(f"{case.name}: {case.about(sizes)} ...", end=" ", file=sys.stderr, flush=True)
    before_s = noise.probe()
    started = time.monotonic()
    finding, problem = None, ""
    try:
        finding = case.find(sizes)
    except BenchmarkError as error:
        problem = str(error)
    seconds = time.monotonic() - started
    outcome = Outcome(case, sizes, seconds, noise.Noise(before_s, noise.probe()), finding, problem)
    print(f"{seconds:.0f} s {problem}", file=sys.stderr, flush=True)
    return outcome


if __name__ == "__main__":
    sys.exit(main())
