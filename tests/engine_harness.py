"""Running random flows on the real engine, with interruptions, for the properties of the contract."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hypothesis import strategies as st

from headway.connectors.jsonl import to_jsonl
from headway.connectors.memory import items
from headway.errors import HeadwayError
from headway.runtime.run import RunOptions, RunResult, run_flow
from headway.runtime.stopping import StopFlag
from headway.testing.flows import FlowCase, build_flow

Logs = dict[str, dict[str, list[bytes]]]


class Crash(HeadwayError):
    """A crash made by a test, at a moment of its choice."""


class Interruption(StopFlag):
    """Stops or crashes a run when it has been polled a number of times."""

    def __init__(self, kind: Literal["stop", "crash", "none"], after: int) -> None:
        super().__init__()
        self.kind = kind
        self.left = after

    def __call__(self) -> bool:
        self.left -= 1
        if self.left < 0 and self.kind == "crash":
            raise Crash
        return super().__call__() or (self.left < 0 and self.kind == "stop")


@dataclass(frozen=True)
class Conditions:
    """Everything that must not matter."""

    batch: int
    key_groups: int
    epoch_ms: int
    threads: tuple[int, ...]
    """Of each run in turn."""
    interruptions: tuple[tuple[Literal["stop", "crash", "none"], int], ...]
    waiting_bound: int
    timer_window: int
    cache_bytes: int
    lead_records: int
    slice_records: int


def conditions() -> st.SearchStrategy[Conditions]:
    """Batch sizes, epochs, workers, crashes, restarts, and bounds of memory."""
    interruption = st.tuples(st.sampled_from(["stop", "crash"]), st.integers(0, 25))
    return st.builds(
        Conditions,
        batch=st.sampled_from([1, 2, 3, 7, 1000]),
        key_groups=st.integers(1, 4),
        epoch_ms=st.sampled_from([1, 3, 20, 1000]),
        threads=st.lists(st.integers(1, 3), min_size=1, max_size=4).map(tuple),
        interruptions=st.lists(interruption, max_size=4).map(tuple),
        waiting_bound=st.sampled_from([1, 3, 50_000]),
        timer_window=st.sampled_from([1, 2, 65_536]),
        cache_bytes=st.sampled_from([0, 256 << 20]),
        lead_records=st.sampled_from([1, 50_000]),
        slice_records=st.sampled_from([1, 5, 16_000]),
    )


def run(case: FlowCase, logs: Logs, where: Conditions, directory: Path, *, drain: bool) -> dict[str, bytes]:
    """Run a flow over logs to the end, through all interruptions; returns what the output files hold."""
    for number, (kind, after) in enumerate(where.interruptions):
        threads = where.threads[number % len(where.threads)]
        try:
            run_once(case, logs, where, directory, threads=threads, drain=False, stop=Interruption(kind, after))
        except Crash:
            continue
    run_once(case, logs, where, directory, threads=where.threads[-1], drain=drain, stop=StopFlag())
    return {name: (directory / f"{name}.out").read_bytes() for name in case.outputs}


def run_once(
    case: FlowCase, logs: Logs, where: Conditions, directory: Path, *, threads: int, drain: bool, stop: StopFlag
) -> RunResult:
    """One run on the state directory below `directory`."""
    inputs = {name: items(partitions, batch=where.batch) for name, partitions in logs.items()}
    flow = build_flow(case.spec, inputs, lambda name: to_jsonl(directory / f"{name}.out"))
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
        slice_records=where.slice_records,
    )
    return run_flow(flow, options, stop=stop)
