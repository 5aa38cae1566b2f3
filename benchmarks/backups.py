"""Case `backups`: what a backup sends, what it costs a run, and how long a flow is away whose disk is lost."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.cache import copy_state, scratch
from benchmarks.case import FULL, MIB, Arm, Case, Finding, Sizes, against, alternate, run_engine, within
from benchmarks.processes import BenchmarkError, Run
from benchmarks.profiles import LOG, OUTPUT, STATE, loaded, spec_for
from benchmarks.visits import check_told, checks_told
from headway.backups.catalog import Listed
from headway.backups.create import Backups
from headway.backups.restore import known_backups
from headway.backups.store import open_store
from headway.basics.times import format_duration
from headway.runtime.directory import StateDirectory

__all__ = ["CASE"]

_TARGET_PERCENT: Final = 10.0
_TARGET_PACE: Final = 0.9
_TARGET_S: Final = 20.0
_KEYS_MOST: Final = 5_000_000
_CHANGED: Final = 100
"""Of so many keys one is changed between two backups."""
_BUSY: Final = 20
"""How many times the usual events there are where the pace is measured: a run at full size takes more than a minute."""
_EVERY_MS: Final = 60_000
"""At full size."""
_EVERY_LEAST_MS: Final = 100


def _about(sizes: Sizes) -> str:
    return f"backups to a folder of a flow that keeps {_keys(sizes):,} keys, and of one that keeps {sizes.keys[-1]:,}"


def _keys(sizes: Sizes) -> int:
    return min(5 * sizes.keys[-1], _KEYS_MOST)


def _find(sizes: Sizes) -> Finding:
    users = _keys(sizes)
    few = replace(sizes, name=f"{sizes.name}-changed", checks=users // _CHANGED)
    busy = replace(sizes, name=f"{sizes.name}-busy", checks=_BUSY * sizes.checks)
    every_ms = max(_EVERY_LEAST_MS, _EVERY_MS * sizes.checks // FULL.checks)
    again = Arm(f"restored with {users:,} keys", partial(_lose, few, users), few.checks)
    plain = Arm("without backups", partial(_work, busy, 0), busy.checks)
    backed = Arm(f"a backup each {format_duration(every_ms)}", partial(_work, busy, every_ms), busy.checks)
    alternate([again], 1)
    alternate([plain, backed], sizes.hot_repeats)
    percent = again.told("percent")
    rows = [
        within(again, percent, _TARGET_PERCENT, "% of the bytes"),
        within(again, again.told("first_output_s"), _TARGET_S, "s"),
        against(backed, plain, _TARGET_PACE),
    ]
    note = (
        f"the first backup sent {again.told('full_mib'):,.0f} MiB, the one after 1 % of the keys had changed "
        f"{again.told('sent_mib'):,.1f} MiB; {backed.told('backups'):.0f} were made in the run that is timed"
    )
    return Finding(rows, [note])


def _lose(sizes: Sizes, users: int) -> Run:
    """Back up what is loaded, lose the directory, go on from the backup, and back up what has changed then."""
    prepared = loaded(sizes, users)
    with scratch() as directory:
        copy_state(prepared / STATE, directory / STATE)
        full = _backed_up(directory)
        shutil.rmtree(directory / STATE)
        spec = spec_for(prepared / LOG, directory)
        run = run_engine(msgspec.structs.replace(spec, backup_to=_place(directory), backup_every_ms=3_600_000))
        check_told(directory / OUTPUT, checks_told(users, sizes.checks))
        *_, sent = known_backups(open_store(_place(directory))).backups
        if sent.number == full.number:
            msg = f"no backup was made behind {full.name}"
            raise BenchmarkError(msg)
        run.answer["percent"] = 100 * sent.sent_bytes / full.sent_bytes
        run.answer["full_mib"], run.answer["sent_mib"] = full.sent_bytes / MIB, sent.sent_bytes / MIB
        run.answer["first_output_s"] = float((directory / f"{OUTPUT}.first").read_text()) - run.started_s
        return run


def _work(sizes: Sizes, every_ms: int) -> Run:
    """Be asked for many users, with a backup every so often behind a first one, or without."""
    users = sizes.keys[-1]
    prepared = loaded(sizes, users)
    with scratch() as directory:
        copy_state(prepared / STATE, directory / STATE)
        spec = spec_for(prepared / LOG, directory)
        if every_ms:
            _backed_up(directory)
            spec = msgspec.structs.replace(spec, backup_to=_place(directory), backup_every_ms=every_ms)
        run = run_engine(spec)
        check_told(directory / OUTPUT, checks_told(users, sizes.checks))
        if every_ms:
            # Without the one before the run, and the one behind its end.
            run.answer["backups"] = len(known_backups(open_store(_place(directory))).backups) - 2
        return run


def _backed_up(directory: Path) -> Listed:
    return Backups.claimed(open_store(_place(directory)), StateDirectory(directory / STATE)).create()


def _place(directory: Path) -> str:
    return f"file:{directory / 'kept'}"


CASE = Case("backups", _about, _find)
