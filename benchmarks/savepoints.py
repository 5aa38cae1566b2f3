"""Case `savepoints`: a savepoint of a flow with many keys while it runs: how long it takes, and how long an epoch."""

from __future__ import annotations

import subprocess
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.cache import copy_state, scratch
from benchmarks.case import Arm, Case, Finding, Sizes, alternate, within
from benchmarks.processes import BenchmarkError, Run, gone, measure
from benchmarks.profiles import LOG, OUTPUT, STATE, loaded, spec_for
from headway.runtime.directory import StateDirectory
from headway.savepoints.create import create_savepoint
from headway.savepoints.shelf import Shelf
from headway.state.savepoint import check_savepoint

__all__ = ["CASE"]

_TARGET_S: Final = 3
_TARGET_EPOCH_S: Final = 1.5
_EPOCH_S: Final = 1.0
_READY_S: Final = 120.0
_UNDISTURBED: Final = 5
"""How many epochs are looked at before anything is asked for."""


def _about(sizes: Sizes) -> str:
    return f"savepoints of a running flow that keeps {sizes.keys[-1]:,} keys, with epochs of a second"


def _find(sizes: Sizes) -> Finding:
    arm = Arm(f"savepoint, {sizes.keys[-1]:,} keys", partial(_run, sizes, sizes.keys[-1]), sizes.checks)
    alternate([arm], 1)
    rows = [
        within(arm, arm.told("savepoint_s"), _TARGET_S, "s"),
        within(arm, arm.told("epoch_s"), _TARGET_EPOCH_S, "s an epoch"),
    ]
    note = (
        f"the second one, most files of which the first has too, took {arm.told('second_s'):.2f} s; "
        f"{arm.told('size_mib'):,.0f} MiB, checked in {arm.told('check_s'):.2f} s; the longest epoch before was "
        f"{arm.told('undisturbed_s'):.2f} s"
    )
    return Finding(rows, [note])


def _run(sizes: Sizes, users: int) -> Run:
    prepared = loaded(sizes, users)
    told: dict[str, float] = {}
    with scratch() as directory:
        copy_state(prepared / STATE, directory / STATE)
        spec = msgspec.structs.replace(spec_for(prepared / LOG, directory), follow=True)

        def meanwhile(process: subprocess.Popen[bytes]) -> None:
            started_s = time.monotonic()
            _wait_for_output(process, directory / OUTPUT)
            told["from_s"] = time.monotonic() - started_s
            time.sleep(_UNDISTURBED * _EPOCH_S)
            told["asked_s"] = time.monotonic() - started_s
            for name in ("savepoint_s", "second_s"):
                began_s = time.monotonic()
                info = create_savepoint(StateDirectory(directory / STATE), name)
                told[name] = time.monotonic() - began_s
                if not info.running or info.rows < users - 1:
                    msg = f"the savepoint has {info.rows:,} rows, expected {users:,} of a running flow"
                    raise BenchmarkError(msg)
            time.sleep(3 * _EPOCH_S)
            told["size_mib"] = info.size_bytes / (1 << 20)
            process.terminate()

        run = measure(
            ["benchmarks.engine", msgspec.json.encode(spec).decode()],
            watch=directory / STATE / "engine-1",
            meanwhile=meanwhile,
        )
        began_s = time.monotonic()
        check_savepoint(Shelf(directory / STATE).path("savepoint_s"))
        told["check_s"] = time.monotonic() - began_s
    # The run's end closes an epoch before its time.
    changes = [at_s for at_s in run.changes if at_s > told["from_s"] - _EPOCH_S]
    told["epoch_s"] = max(later - earlier for earlier, later in pairwise(changes))
    undisturbed = [later - earlier for earlier, later in pairwise(changes) if later < told["asked_s"]]
    told["undisturbed_s"] = max(undisturbed, default=0.0)
    run.answer.update(told)
    return run


def _wait_for_output(process: subprocess.Popen[bytes], path: Path) -> None:
    until_s = time.monotonic() + _READY_S
    while not (path.exists() and path.stat().st_size):
        if time.monotonic() > until_s or gone(process):
            msg = "the flow told nothing"
            raise BenchmarkError(msg)
        time.sleep(0.01)


CASE = Case("savepoints", _about, _find)
