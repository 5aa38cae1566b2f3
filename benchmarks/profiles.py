"""State directories with a profile for each of many users: as loaded, and as `kill -9` leaves them."""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

import msgspec

from benchmarks.cache import cached, code, copy_state, engine_code
from benchmarks.case import Sizes, run_engine
from benchmarks.engine import EngineSpec
from benchmarks.flows import Profile, note_of
from benchmarks.processes import BenchmarkError, Run, start
from benchmarks.visits import START_MS, append_checks, user_name, write_joins

__all__ = ["LOG", "OUTPUT", "STATE", "killed", "loaded", "loading_of", "spec_for", "state_bytes"]

FLOW: Final = "benchmarks.flows"
LOG: Final = "visits.jsonl"
OUTPUT: Final = "seen.jsonl"
STATE: Final = "state"
_LOADING: Final = "loading.json"
_KILL_EPOCH_MS: Final = 200


def spec_for(
    log: Path, directory: Path, *, epoch_ms: int = 1_000, cache_bytes: int = 128 << 20, waits: bool = False
) -> EngineSpec:
    """A run over `log` that keeps its state and its output in `directory`; `waits` is for a timer with each profile."""
    parameters = {"input": str(log), "output": str(directory / OUTPUT), **({"waits": "a year"} if waits else {})}
    state_dir = str(directory / STATE)
    return EngineSpec(flow=FLOW, parameters=parameters, state_dir=state_dir, epoch_ms=epoch_ms, cache_bytes=cache_bytes)


def state_bytes() -> int:
    """The size of one profile as it is stored."""
    profile = Profile(note=note_of(user_name(0)), visits=1, last_ms=START_MS)
    return len(msgspec.msgpack.encode(profile))


def loaded(sizes: Sizes, users: int, *, waits: bool = False) -> Path:
    """A directory with the log in which `users` join and are asked for, and the state after they have joined."""

    def build(directory: Path) -> None:
        joins = directory / "joins" / LOG
        joins.parent.mkdir()
        write_joins(joins, users)
        run = run_engine(spec_for(joins, directory, waits=waits))
        if not users - 1 <= run.answer["keys"] <= users:
            msg = f"{run.answer['keys']} keys are stored after {users} users have joined"
            raise BenchmarkError(msg)
        if run.answer["timers"] < (users - 1) * waits:
            msg = f"{run.answer['timers']} timers are armed after {users} users have joined"
            raise BenchmarkError(msg)
        (directory / _LOADING).write_bytes(msgspec.json.encode(asdict(run)))
        append_checks(directory / LOG, joins, users, sizes.checks)
        shutil.rmtree(joins.parent)

    return cached(_named("profiles", sizes, users, waits), (users, sizes.checks, _product()), build)


def loading_of(directory: Path) -> Run:
    """The run that loaded the state."""
    return msgspec.json.decode((directory / _LOADING).read_bytes(), type=Run)


def killed(sizes: Sizes, users: int, *, waits: bool = False) -> Path:
    """A directory with the state and the output of a run that was killed in the middle of being asked."""
    source = loaded(sizes, users, waits=waits)

    def build(directory: Path) -> None:
        copy_state(source / STATE, directory / STATE)
        spec = spec_for(source / LOG, directory, epoch_ms=_KILL_EPOCH_MS, waits=waits)
        _kill(spec, directory / OUTPUT, sizes.checks // 3)

    return cached(_named("killed", sizes, users, waits), (source.name, sizes.checks, _product()), build)


def _named(kind: str, sizes: Sizes, users: int, waits: bool) -> str:
    return f"{kind}-{sizes.name}-{users}{'-waits' if waits else ''}"


def _product() -> tuple[str, str]:
    return engine_code(), code("benchmarks/flows.py", "benchmarks/profiles.py", "benchmarks/visits.py")


def _kill(spec: EngineSpec, output: Path, lines: int) -> None:
    """Start a run and kill it as soon as its output has about so many lines."""
    with TemporaryFile() as out, TemporaryFile() as errors:
        process = start(["benchmarks.engine", msgspec.json.encode(spec).decode()], out, errors)
        while process.poll() is None and _lines_about(output) < lines:
            time.sleep(0.002)
        process.kill()
        if process.wait() != -9:
            errors.seek(0)
            msg = f"the run was over before it could be killed ({process.returncode}): {errors.read()[-500:]!r}"
            raise BenchmarkError(msg)


def _lines_about(path: Path) -> int:
    try:
        with path.open("rb") as lines:
            first = lines.readline()
        return path.stat().st_size // len(first) if first.endswith(b"\n") else 0
    except FileNotFoundError:
        return 0
