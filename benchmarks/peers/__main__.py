"""`python -m benchmarks.peers`: measure, and print a table with the ratios to Headway."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from benchmarks import machine
from benchmarks.cache import RESULTS
from benchmarks.peers.known import ENGINES, Headway
from benchmarks.peers.rounds import Round, Work, measured
from benchmarks.procfs import busy_seconds

TINY: Final = Work(alone=10, many=60, in_flight=20, killed=20)
Results = dict[str, list[Round]]


def main() -> int:
    """Measure what is installed; 1 where an engine has failed."""
    options = _options()
    tools: Path = options.tools.resolve()
    names = options.engines or list(ENGINES)
    absent = {name: ENGINES[name].missing(tools) for name in names}
    for name, command in absent.items():
        if command:
            print(f"{ENGINES[name].name} is left out, it is not installed: {command}", file=sys.stderr)
    results: Results = {name: [] for name in names if not absent[name]}
    failed: dict[str, str] = {}
    for number in range(options.repeats):
        order = list(results)
        for name in reversed(order) if number % 2 else order:
            if name not in failed:
                _one(name, tools, TINY if options.tiny else Work(), results, failed)
    print(table({name: rounds for name, rounds in results.items() if rounds}, machine.describe()))
    for name, problem in failed.items():
        print(f"* {ENGINES[name].name} has failed: {problem}")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "peers.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode({k: [asdict(r) for r in v] for k, v in results.items()})))
    print(f"All rounds: {path}", file=sys.stderr)
    return int(bool(failed))


def _one(name: str, tools: Path, work: Work, results: Results, failed: dict[str, str]) -> None:
    load, busy_s = os.getloadavg()[0], busy_seconds()
    with tempfile.TemporaryDirectory(prefix=f"headway-peers-{name}-") as place:
        engine = ENGINES[name](Path(place), tools)
        try:
            found = measured(engine, work)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}"
            print(f"{engine.name}: {failed[name]}", file=sys.stderr, flush=True)
            return
    results[name].append(found)
    print(
        f"{engine.name}: {found} (load before {load:.1f}, CPU of the machine {busy_seconds() - busy_s:.0f} s)",
        file=sys.stderr,
        flush=True,
    )


COLUMNS: Final[dict[str, Callable[[Round], float]]] = {
    "alone, p50 ms": lambda one: one.p50_ms,
    "p99 ms": lambda one: one.p99_ms,
    "functions/s": lambda one: one.per_second,
    "CPU ms each": lambda one: one.cpu_ms,
    "killed: under way": lambda one: one.killed.under_way,
    "first step, s": lambda one: one.killed.first_step_s,
    "its CPU s": lambda one: one.killed.first_step_cpu_s,
    "all done, s": lambda one: one.killed.all_done_s,
    "steps again": lambda one: one.killed.steps_again,
}


def table(results: Results, facts: dict[str, str]) -> str:
    """Medians of the rounds, with the spread of what is compared, and the ratios to Headway round by round."""
    lines = [f"| | {' | '.join(COLUMNS)} |", f"|---|{'--:|' * len(COLUMNS)}"]
    own = results.get(Headway.name.lower())
    for name, rounds in results.items():
        cells = [_cell([of(one) for one in rounds]) for of in COLUMNS.values()]
        lines.append(f"| {ENGINES[name].name} | {' | '.join(cells)} |")
    if own:
        for name, rounds in results.items():
            if rounds is not own:
                ratios = [median(of(a) / (of(b) or 1) for a, b in zip(own, rounds)) for of in COLUMNS.values()]
                lines.append(f"| Headway / {ENGINES[name].name} | {' | '.join(f'{one:.2f}' for one in ratios)} |")
    lines += ["", *(f"* {ENGINES[name].name}: {ENGINES[name].note}." for name in results)]
    rounds_count = max((len(rounds) for rounds in results.values()), default=0)
    lines.append(f"* Medians of {rounds_count} rounds, least to most in brackets. {_told(facts)}.")
    return "\n".join(lines)


def _cell(figures: list[float]) -> str:
    digits = 0 if median(figures) >= 20 else 1
    spread = f" ({min(figures):,.{digits}f} to {max(figures):,.{digits}f})" if len(figures) > 1 else ""
    return f"{median(figures):,.{digits}f}{spread}"


def _told(facts: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("engines", nargs="*", metavar="ENGINE", help=f"some of {', '.join(ENGINES)}; all by default")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="rounds, of which the median counts")
    parser.add_argument("--tools", type=Path, default=RESULTS / "peers", help="where the others are installed")
    parser.add_argument("--tiny", action="store_true", help="to try the benchmark itself")
    options = parser.parse_args()
    unknown = [name for name in options.engines if name not in ENGINES]
    if unknown:
        parser.error(f"there is no engine {unknown[0]!r}; the engines are {', '.join(ENGINES)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
