"""Case `timers`: whether many pending timers slow down those who have nothing to do with them.

Carts are opened that stay pending for a year. Then the run is resumed on the shop stream, whose users are others:
only that is measured.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import msgspec

from benchmarks.cache import cached, code, copy_state, engine_code, scratch
from benchmarks.case import MIB, Arm, Case, Finding, Sizes, against, alone, alternate, run_engine, within
from benchmarks.engine import EngineSpec
from benchmarks.processes import BenchmarkError, Run
from benchmarks.shop import FLOW, check_triggers, shop_stream
from headway.generate.shop import ShopOptions

__all__ = ["CASE", "LOG", "pending_carts", "spec_of"]

_TARGET = 0.85
_OPEN_MIB = 600
"""For a million open carts, the process included."""
_OPENING = "opening.json"
_NOTE = "opening was measured when the state was made, which may be an earlier run of the same code"
LOG = "shop.jsonl"
_CHUNK = 10_000


def _about(sizes: Sizes) -> str:
    return f"abandoned carts, {sizes.events:,} events while many other carts are pending"


def _find(sizes: Sizes) -> Finding:
    stream = shop_stream(sizes, 1)
    arms = [
        Arm(f"{pending:,} pending", partial(_run, pending_carts(sizes, pending), stream, pending), sizes.events)
        for pending in sizes.timers
    ]
    opened = sizes.timers[-1]
    opening = Arm(f"opening {opened:,} carts", partial(opening_of, pending_carts(sizes, opened)), opened)
    alternate([opening], 1)
    alternate(arms, sizes.repeats)
    few, many = arms[0], arms[-1]
    rows = [
        *map(alone, arms[:-1]),
        against(many, few, _TARGET),
        within(opening, opening.peak_bytes / MIB, _OPEN_MIB, "MiB"),
    ]
    return Finding(rows, [f"counted in CPU time it is {many.by_cpu / few.by_cpu:.2f}", _NOTE])


def pending_carts(sizes: Sizes, pending: int) -> Path:
    """A directory with the state after the carts were opened, and the log that goes on with the shop stream."""
    stream = shop_stream(sizes, 1)

    def build(directory: Path) -> None:
        log = directory / LOG
        with log.open("wb") as out:
            for chunk in _carts(pending):
                out.write(chunk)
        run = run_engine(spec_of(log, directory / "triggers.jsonl", directory / "state", after="365d"))
        _check_armed(run, pending)
        (directory / _OPENING).write_bytes(msgspec.json.encode(asdict(run)))
        with log.open("ab") as out, (stream / "shop-0000.jsonl").open("rb") as events:
            shutil.copyfileobj(events, out)

    product = engine_code(), code("flows", "benchmarks/timers.py")
    return cached(f"pending-{sizes.name}-{pending}", (stream.name, pending, product), build)


def _carts(pending: int) -> Iterator[bytes]:
    """One article into each cart, one cart each millisecond; then a view, so that time passes the last one."""
    end_ms = ShopOptions().start_ms - 1
    first_ms = end_ms - pending
    for start in range(0, pending, _CHUNK):
        numbers = range(start, min(start + _CHUNK, pending))
        lines = (
            f'{{"user": "pending{number:07d}", "kind": "add", "at": {first_ms + number}, "sku": "s1", "price": 1.5}}\n'
            for number in numbers
        )
        yield "".join(lines).encode()
    yield f'{{"user": "nobody", "kind": "view", "at": {end_ms}}}\n'.encode()


def opening_of(directory: Path) -> Run:
    """The run that opened the carts."""
    return msgspec.json.decode((directory / _OPENING).read_bytes(), type=Run)


def _run(prepared: Path, stream: Path, pending: int) -> Run:
    with scratch() as directory:
        copy_state(prepared / "state", directory / "state")
        run = run_engine(spec_of(prepared / LOG, directory / "triggers.jsonl", directory / "state", after="30m"))
        check_triggers(stream, directory / "triggers.jsonl")
        _check_armed(run, pending)
        return run


def _check_armed(run: Run, pending: int) -> None:
    if run.answer["timers"] < pending:
        msg = f"{run.answer['timers']} timers are armed at the end, expected {pending} or more"
        raise BenchmarkError(msg)


def spec_of(log: Path, output: Path, state: Path, *, after: str, follow: bool = False) -> EngineSpec:
    """A run of the shipped flow over a log, which keeps its state in `state`."""
    parameters = {"input": str(log), "output": str(output), "after": after, "out_of_order": "0s"}
    return EngineSpec(flow=FLOW, parameters=parameters, state_dir=str(state), follow=follow)


CASE = Case("timers", _about, _find)
