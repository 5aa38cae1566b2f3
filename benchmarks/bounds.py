"""Case `bounds`: events of a key whose pattern is at its bound, by how many partial matches it may have."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.cache import scratch
from benchmarks.case import Arm, Case, Finding, Sizes, against, alone, alternate, run_engine
from benchmarks.engine import EngineSpec
from benchmarks.processes import BenchmarkError, Run

__all__ = ["CASE"]

_FEW: Final = 1_000
_MANY: Final = 20_000
_TARGET: Final = 0.4
"""More partial matches than the processor's cache holds cost more each; more than that is a fault."""


def _about(sizes: Sizes) -> str:
    return f"{sizes.hot_events:,} partial matches gone through at the bound of one key, {_FEW:,} or {_MANY:,} at a time"


def _find(sizes: Sizes) -> Finding:
    few, many = (
        Arm(f"{bound:,} partial matches", partial(_run, bound, max(1, sizes.hot_events // bound)), sizes.hot_events)
        for bound in (_FEW, _MANY)
    )
    alternate([few, many], sizes.hot_repeats)
    return Finding([alone(few), against(many, few, _TARGET)], ["figures are of partial matches, not of events"])


def _run(bound: int, events: int) -> Run:
    """So many events at the bound; at the end one that makes a match of each partial match."""
    with scratch() as directory:
        log, out = directory / "steps.jsonl", directory / "seen.jsonl"
        _write(log, bound.bit_length() + events)
        parameters = {"input": str(log), "output": str(out), "bound": str(bound)}
        run = run_engine(
            EngineSpec(flow="benchmarks.flows_bounds", parameters=parameters, state_dir=str(directory / "state"))
        )
        found = len(out.read_bytes().splitlines())
        if found != bound:
            msg = f"{found} matches were told, and {bound} were expected: as many as are kept"
            raise BenchmarkError(msg)
        return run


def _write(log: Path, events: int) -> None:
    kinds = [*["a"] * events, "end", "after"]
    log.write_text("".join(f'{{"key":"k","kind":"{kind}","at":{at}}}\n' for at, kind in enumerate(kinds)))


CASE = Case("bounds", _about, _find)
