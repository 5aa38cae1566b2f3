"""What the flow's code fails on is set aside as if it had never come: the same letters however the log is read."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests import engine_harness as harness

from headway.connectors.letters import FAILED_FILE, letter_file
from headway.connectors.memory import to_list
from headway.plan.planner import compile_plan
from headway.testing.flows import FlowCase, flow_cases
from headway.testing.oracle import Oracle, OracleResult

SLOW = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)


def judged(case: FlowCase, *, drain: bool) -> OracleResult:
    oracle = Oracle(compile_plan(case.flow().graph, dead_letters=to_list([])))
    oracle.feed(case.logs)
    if drain:
        oracle.drain()
    return oracle.result()


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Letters without their position: the oracle reads lines, and the engine is given items."""
    if not path.exists():
        return []
    return [bare(line) for line in path.read_bytes().splitlines()]


def bare(line: bytes) -> dict[str, Any]:
    letter: dict[str, Any] = json.loads(line)
    if "into" not in letter:
        del letter["position"]
    return letter


def check(case: FlowCase, where: harness.Conditions, *, drain: bool) -> None:
    expected = judged(case, drain=drain)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        found = harness.run(case, case.logs, where, directory, drain=drain)
        assert found == {name: b"".join(line + b"\n" for line in expected.outputs[name]) for name in case.outputs}
        letters = directory / "state" / "dead-letters"
        for source, partitions in case.logs.items():
            for partition in partitions:
                of_partition = [
                    bare(msgspec.json.encode(one))
                    for one in expected.dead_letters[source]
                    if one.partition == partition
                ]
                assert lines_of(letters / letter_file(source, partition)) == of_partition
        failed = [bare(line) for line in expected.outputs["dead-letters"]]
        assert lines_of(letters / FAILED_FILE) == [letter for letter in failed if "into" in letter]


@settings(SLOW, max_examples=25)
@given(case=flow_cases(fails=True), where=harness.conditions(), drain=st.booleans())
def test_same_log_in_same_triggers_and_letters_out(case: FlowCase, where: harness.Conditions, drain: bool) -> None:
    check(case, where, drain=drain)


@pytest.mark.soak
@settings(SLOW, max_examples=1000)
@given(case=flow_cases(fails=True, max_steps=12, max_events=60), where=harness.conditions(), drain=st.booleans())
def test_same_log_in_same_triggers_and_letters_out_many_times(
    case: FlowCase, where: harness.Conditions, drain: bool
) -> None:
    check(case, where, drain=drain)


def test_the_oracle_sets_something_aside() -> None:
    """The property is worth what its flows do: many of the drawn ones must fail somewhere, and go on."""
    failed = []

    @settings(SLOW, max_examples=30, database=None, derandomize=True)
    @given(case=flow_cases(fails=True))
    def count(case: FlowCase) -> None:
        result = judged(case, drain=True)
        failed.append((len(result.failed), sum(map(len, result.outputs.values()))))

    count()
    assert sum(1 for letters, _ in failed if letters) > len(failed) / 4
    assert sum(1 for letters, lines in failed if lines > letters) > len(failed) / 4
