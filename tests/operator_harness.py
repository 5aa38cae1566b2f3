"""Checks of one operator: what the engine gives under random conditions is what the oracle gives, and nothing stays."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from tests.engine_harness import Conditions, Crash, Interruption

import headway as hw
from headway.connectors.base import Input, Output
from headway.connectors.jsonl import to_jsonl
from headway.connectors.memory import items
from headway.runtime.run import RunOptions, RunResult, run_flow
from headway.runtime.stopping import StopFlag
from headway.testing.oracle import Oracle, OracleResult

Logs = dict[str, dict[str, list[Any]]]
"""Records of each partition of each source: dicts, or lines of JSON as bytes."""

MakeFlow = Callable[[Callable[[str], Input], Callable[[str], Output]], hw.Flow]
"""Declares the flow: `make_flow(input_of, output_of)` asks for the input of each source and for
the output of each `to` or `trigger`, by the name of that step."""

SLOW = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
"""Settings for properties that run the engine: a run takes a tenth of a second and more."""


def oracle_run(make_flow: MakeFlow, logs: Logs, *, drain: bool = True) -> OracleResult:
    """What the oracle gives. With `drain` it checks that no row is left."""
    oracle = Oracle(make_flow(lambda name: items([]), lambda name: hw.to_list([])))
    oracle.feed(logs)
    if drain:
        oracle.drain()
    result = oracle.result()
    if drain:
        assert not {name: rows for name, rows in result.rows.items() if rows}, "rows are left when all is done"
    return result


def values(result: OracleResult, output: str) -> list[Any]:
    """The decoded lines of an output."""
    return [msgspec.json.decode(line) for line in result.outputs[output]]


def check(make_flow: MakeFlow, logs: Logs, where: Conditions, *, drain: bool = True) -> dict[str, list[Any]]:
    """Run on the engine, with crashes, restarts and other worker counts, and on the oracle: the bytes must be equal.

    Returns the decoded lines of each output. `where` is drawn from `tests.engine_harness.conditions()`.
    """
    by_oracle = oracle_run(make_flow, logs, drain=drain)
    expected = by_oracle.outputs
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        for number, (kind, after) in enumerate(where.interruptions):
            threads = where.threads[number % len(where.threads)]
            try:
                _run_once(make_flow, logs, where, directory, threads, drain=False, stop=Interruption(kind, after))
            except Crash:
                continue
        result = _run_once(make_flow, logs, where, directory, where.threads[-1], drain=drain, stop=StopFlag())
        written = {name: (directory / f"{name}.out").read_bytes().splitlines() for name in expected}
    assert written == expected
    assert result.stats.losses == by_oracle.losses
    if drain:
        assert result.stats.keys == 0, "rows are left when all is done"
    return {name: [msgspec.json.decode(line) for line in lines] for name, lines in expected.items()}


def _run_once(
    make_flow: MakeFlow, logs: Logs, where: Conditions, directory: Path, threads: int, *, drain: bool, stop: StopFlag
) -> RunResult:
    flow = make_flow(
        lambda name: items(logs[name], batch=where.batch), lambda name: to_jsonl(directory / f"{name}.out")
    )
    options = RunOptions(
        directory / "state",
        epoch_ms=where.epoch_ms,
        drain=drain,
        key_groups=where.key_groups,
        threads=threads,
        sync=False,
        waiting_bound=where.waiting_bound,
        timer_window=where.timer_window,
        cache_bytes=where.cache_bytes,
        lead_records=where.lead_records,
    )
    return run_flow(flow, options, stop=stop)
