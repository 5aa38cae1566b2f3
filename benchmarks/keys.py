"""Case `keys`: what a worker takes, and how quick it is, when it keeps more keys than it can hold in memory."""

from __future__ import annotations

from functools import partial
from typing import Final

from benchmarks.cache import copy_state, scratch
from benchmarks.case import MIB, Arm, Case, Finding, Sizes, against, alone, alternate, run_engine, within
from benchmarks.processes import Run
from benchmarks.profiles import LOG, OUTPUT, STATE, loaded, loading_of, spec_for, state_bytes
from benchmarks.visits import check_told, checks_told

__all__ = ["CASE"]

_TARGET: Final = 0.5
_TARGET_MIB: Final = 1024
_ROW_BYTES: Final = 1_200
"""About what a decoded row of this state takes."""
_NOTE: Final = "loading was measured when the state was made, which may be an earlier run of the same code"


def _about(sizes: Sizes) -> str:
    return (
        f"{sizes.keys[-1]:,} keys of {state_bytes()} bytes of state, of which a tenth fits into the cache, and "
        f"{sizes.checks:,} events on them at random; fewer keys fit into it"
    )


def _find(sizes: Sizes) -> Finding:
    arms = [
        Arm(f"events on {users:,} keys", partial(_run, sizes, users, users == sizes.keys[-1]), sizes.checks)
        for users in sizes.keys
    ]
    *fewer, many = arms
    users = sizes.keys[-1]
    loading = Arm(f"loading {users:,} keys", partial(loading_of, loaded(sizes, users)), users)
    alternate([loading], 1)
    alternate(arms, sizes.repeats)
    peak_mib = max(loading.peak_bytes, many.peak_bytes) / MIB
    rows = [*map(alone, fewer), against(many, fewer[-1], _TARGET), within(loading, peak_mib, _TARGET_MIB, "MiB")]
    return Finding(rows, [f"counted in CPU time it is {many.by_cpu / fewer[-1].by_cpu:.2f}", _NOTE])


def _run(sizes: Sizes, users: int, small_cache: bool) -> Run:
    prepared = loaded(sizes, users)
    cache_bytes = users // 10 * _ROW_BYTES if small_cache else 128 << 20
    with scratch() as directory:
        copy_state(prepared / STATE, directory / STATE)
        run = run_engine(spec_for(prepared / LOG, directory, cache_bytes=cache_bytes))
        check_told(directory / OUTPUT, checks_told(users, sizes.checks))
        return run


CASE = Case("keys", _about, _find)
