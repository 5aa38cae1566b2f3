"""Random flows in real processes that are killed, against the oracle: the same bytes."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.cluster_harness import Started, await_epoch, committed_ns, run

from headway.testing.flows import FlowCase, flow_cases
from headway.testing.oracle import run_oracle

MODULE = """
import json
from pathlib import Path

import headway as hw
from headway.testing.flow_specs import build_flow

here = Path(__file__).parent
spec = json.loads((here / "spec.json").read_text())
inputs = {source["name"]: hw.files(str(here / source["name"] / "*.jsonl")) for source in spec["sources"]}
flow = build_flow(spec, inputs, lambda name: hw.to_jsonl(here / f"{name}.out"))
"""
LIVES = 3
SLOW = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    # Shrinking would take an hour of starting processes.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


def expected(case: FlowCase, *, drain: bool) -> dict[str, bytes]:
    outputs = run_oracle(case.flow(), case.logs, drain=drain).outputs
    return {name: b"".join(line + b"\n" for line in outputs[name]) for name in case.outputs}


def says_something(case: FlowCase) -> bool:
    return sum(text.count(b"\n") for text in expected(case, drain=False).values()) >= 8


def append(directory: Path, case: FlowCase, part: int) -> None:
    """The next part of each log; at first all files are made, so that each is known from the start."""
    for source, partitions in case.logs.items():
        for name, lines in partitions.items():
            some = lines[len(lines) * part // LIVES : len(lines) * (part + 1) // LIVES]
            (directory / source).mkdir(exist_ok=True)
            with (directory / source / name).open("ab") as file:
                file.write(b"".join(line + b"\n" for line in some))


def live_and_die(directory: Path, arguments: Iterable[object], rng: Random) -> None:
    state_dir = directory / "state"
    before = committed_ns(state_dir)
    started = Started(directory, *arguments, "--workers", rng.randint(1, 3), "--follow", "--quiet")
    try:
        for _ in range(rng.randint(1, 6)):
            before = await_epoch(started, state_dir, before)
        time.sleep(rng.uniform(0, 0.02))
        started.check_running()
        started.kill([started.pid] if rng.random() < 0.5 else [*started.workers(), started.pid])
        started.process.wait()
    finally:
        started.end()


def check(case: FlowCase, rng: Random, *, drain: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "drawn.py").write_text(MODULE)
        (directory / "spec.json").write_text(json.dumps(case.spec))
        groups = rng.randint(1, 4)
        arguments = ["drawn.py", "--state", "state", "--epoch", "10ms", "--key-groups", groups]
        for part in range(LIVES):
            append(directory, case, part)
            live_and_die(directory, arguments, rng)
        run(directory, *arguments, "--workers", rng.randint(1, 3), *(["--drain"] if drain else []))
        assert {output: (directory / f"{output}.out").read_bytes() for output in case.outputs} == expected(
            case, drain=drain
        )


cases = flow_cases().filter(says_something)


@settings(SLOW, max_examples=2)
@given(case=cases, rng=st.randoms(use_true_random=False), drain=st.booleans())
def test_killed_processes_write_what_the_oracle_says(case: FlowCase, rng: Random, drain: bool) -> None:
    check(case, rng, drain=drain)


@pytest.mark.soak
@settings(SLOW, max_examples=200)
@given(case=flow_cases(max_steps=12, max_events=60), rng=st.randoms(use_true_random=False), drain=st.booleans())
def test_killed_processes_write_what_the_oracle_says_many_times(case: FlowCase, rng: Random, drain: bool) -> None:
    check(case, rng, drain=drain)
