"""`python -m benchmarks`: run the cases, check their results, and print the figures."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from typing import Final

from benchmarks import carts, hot, machine, memory, noise, resume, timers, two
from benchmarks.cache import RESULTS
from benchmarks.case import FULL, QUICK, TINY, Case, Sizes
from benchmarks.processes import BenchmarkError
from benchmarks.report import Outcome, markdown, save

__all__ = ["CASES", "main"]

CASES: Final = {module.CASE.name: module.CASE for module in (carts, two, timers, memory, resume, hot)}


def main() -> int:
    """Run what the command line asks for; 1 when a result was wrong."""
    options = _options()
    sizes: Sizes = options.sizes
    if options.repeats:
        sizes = replace(sizes, repeats=options.repeats, hot_repeats=options.repeats)
    if options.list:
        for case in CASES.values():
            print(f"{case.name:8} {case.about(sizes)}; target {case.target}")
        return 0
    facts = machine.describe()
    outcomes = [_run(CASES[name], sizes) for name in options.cases or CASES]
    print(markdown(outcomes, facts, sizes))
    print(f"\nAll runs: {save(outcomes, facts, sizes, options.cases, RESULTS)}", file=sys.stderr)
    return int(any(outcome.finding is None for outcome in outcomes))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Headway against references, check the results, print a table of figures.",
        epilog="Inputs and loaded states are kept in benchmarks/results/cache (some GB); remove it at any time.",
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"one or more of {', '.join(CASES)}; all by default")
    parser.add_argument("--list", action="store_true", help="list the cases with their targets and run nothing")
    parser.add_argument("--repeats", type=int, metavar="N", help="runs of each side, of which the median counts")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="sizes", action="store_const", const=QUICK, help="small sizes, two minutes")
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
    print(f"{seconds:.0f} s: {finding.text if finding else problem}", file=sys.stderr, flush=True)
    return outcome


if __name__ == "__main__":
    sys.exit(main())
