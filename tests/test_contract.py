"""The contract: what a flow emits is a function of its logs, and of nothing else."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests import engine_harness as harness

from headway.testing.flows import FlowCase, flow_cases
from headway.testing.oracle import Oracle, run_oracle

SLOW = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
"""A run of the engine takes a tenth of a second and more."""


def expected(case: FlowCase, *, drain: bool) -> dict[str, bytes]:
    outputs = run_oracle(case.flow(), case.logs, drain=drain).outputs
    return {name: b"".join(line + b"\n" for line in outputs[name]) for name in case.outputs}


@settings(SLOW, max_examples=40)
@given(case=flow_cases(), where=harness.conditions(), drain=st.booleans())
def test_same_log_in_same_triggers_out(case: FlowCase, where: harness.Conditions, drain: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        assert harness.run(case, case.logs, where, Path(directory), drain=drain) == expected(case, drain=drain)


@pytest.mark.soak
@settings(SLOW, max_examples=1500)
@given(case=flow_cases(max_steps=12, max_events=60), where=harness.conditions(), drain=st.booleans())
def test_same_log_in_same_triggers_out_many_times(case: FlowCase, where: harness.Conditions, drain: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        assert harness.run(case, case.logs, where, Path(directory), drain=drain) == expected(case, drain=drain)


@settings(SLOW, max_examples=20)
@given(case=flow_cases(), where=harness.conditions(), data=st.data())
def test_a_run_resumed_over_a_longer_log_gives_what_one_run_gives(
    case: FlowCase, where: harness.Conditions, data: st.DataObject
) -> None:
    prefix = {
        source: {
            name: records[: data.draw(st.integers(0, len(records)), label=f"{source}/{name}")]
            for name, records in partitions.items()
        }
        for source, partitions in case.logs.items()
    }
    with tempfile.TemporaryDirectory() as directory:
        harness.run(case, prefix, where, Path(directory), drain=False)
        assert harness.run(case, case.logs, where, Path(directory), drain=False) == expected(case, drain=False)


def test_the_oracle_sees_something() -> None:
    """The properties are worth what their flows do: many of the drawn ones must write something."""
    written = []

    @settings(SLOW, max_examples=50, database=None, derandomize=True)
    @given(case=flow_cases())
    def count(case: FlowCase) -> None:
        oracle = Oracle(case.flow())
        oracle.feed(case.logs)
        oracle.drain()
        written.append(sum(map(len, oracle.result().outputs.values())))

    count()
    assert sum(1 for lines in written if lines) > len(written) / 4
