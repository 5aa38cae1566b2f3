"""Case `memory`: what a worker takes when it keeps millions of keys."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchmarks.cache import copy_state, scratch
from benchmarks.case import MIB, Arm, Case, Finding, Sizes, alternate, run_engine
from benchmarks.processes import Run
from benchmarks.profiles import LOG, OUTPUT, STATE, loaded, loading_of, spec_for, state_bytes
from benchmarks.visits import check_told, checks_told

__all__ = ["CASE"]

_TARGET_MIB = 1024
_NOTE = "loading was measured when the state was made, which may be an earlier run of the same code"


def _about(sizes: Sizes) -> str:
    few, many = sizes.keys
    return f"{many:,} keys of {state_bytes()} bytes of state are loaded, then {sizes.checks:,} events; against {few:,}"


def _find(sizes: Sizes) -> Finding:
    arms = []
    for users in sizes.keys:
        directory = loaded(sizes, users)
        arms.append(Arm(f"loading {users:,} keys", partial(loading_of, directory), users))
        arms.append(
            Arm(f"{sizes.checks:,} events on them", partial(_run, directory, users, sizes.checks), sizes.checks)
        )
    alternate(arms, 1)
    peak_mib = max(arm.peak_bytes for arm in arms[2:]) / MIB
    return Finding(arms, peak_mib, peak_mib <= _TARGET_MIB, f"{peak_mib:,.0f} MiB at the peak", [_NOTE])


def _run(prepared: Path, users: int, checks: int) -> Run:
    with scratch() as directory:
        copy_state(prepared / STATE, directory / STATE)
        run = run_engine(spec_for(prepared / LOG, directory))
        check_told(directory / OUTPUT, checks_told(users, checks))
        return run


CASE = Case("memory", _about, f"<= {_TARGET_MIB} MiB", _find)
