"""The random flows: everything that they are for occurs, and a spec that makes no sense is refused."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from headway.connectors.memory import items, to_list
from headway.errors import UsageError
from headway.plan.planner import compile_plan
from headway.testing.flows import FlowCase, build_flow, flow_cases
from headway.testing.oracle import run_oracle

DRAWN = 400
SEARCH = settings(
    max_examples=DRAWN,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def occurrences() -> Counter[str]:
    """In how many of some drawn cases each thing occurs."""
    found: Counter[str] = Counter()

    @settings(SEARCH)
    @given(case=flow_cases())
    def count(case: FlowCase) -> None:
        found.update(features(case))

    count()
    return found


def features(case: FlowCase) -> set[str]:
    plan = compile_plan(case.flow().graph)
    result = run_oracle(case.flow(), case.logs, drain=True)
    partial = run_oracle(case.flow(), case.logs)
    readers = {step["name"]: step for step in case.spec["steps"]}
    first_keys = [readers.get(step["from"], {}).get("op") for step in case.spec["steps"] if step["op"] == "key_by"]
    present = {
        "output": any(result.outputs.values()),
        "output before the books are closed": any(partial.outputs.values()),
        "late events": any(result.late.values()),
        "dead letters": any(result.dead_letters.values()),
        "two sources": len(plan.sources) == 2,
        "three stages": len(plan.stages) >= 3,
        "fused operators": any(len(stage.operators) > 1 for stage in plan.stages),
        "several inputs": any(len(stage.inputs) > 1 for stage in plan.stages),
        "a key after a map": "map" in first_keys,
        "armed timers": any(row.timers for rows in partial.rows.values() for row in rows.values()),
        "fired timers": any(row.state.fired for rows in result.rows.values() for row in rows.values() if fires(row)),
        "empty partition": any(not lines for logs in case.logs.values() for lines in logs.values()),
        "several partitions": any(len(logs) > 1 for logs in case.logs.values()),
    }
    return {step["op"] for step in case.spec["steps"]} | {name for name, occurs in present.items() if occurs}


def fires(row: object) -> bool:
    return hasattr(getattr(row, "state", None), "fired")


@pytest.mark.parametrize(
    "feature",
    [
        *("filter", "branch", "map", "flat_map", "merge", "key_by", "process", "absence", "trigger", "to"),
        *("output", "output before the books are closed", "late events", "dead letters", "two sources", "three stages"),
        *("fused operators", "several inputs", "a key after a map", "armed timers", "fired timers"),
        *("empty partition", "several partitions"),
    ],
)
def test_it_occurs(occurrences: Counter[str], feature: str) -> None:
    assert occurrences[feature] >= DRAWN // 40


def test_an_unknown_step_is_refused() -> None:
    spec = {
        "sources": [{"name": "s", "shape": "json", "out_of_order_ms": 0, "time": "field"}],
        "steps": [{"op": "window", "name": "w", "from": "s"}],
    }
    with pytest.raises(UsageError, match="step 'w': 'window' is not a kind of step, expected one of filter, branch"):
        build_flow(spec, {"s": items([])}, lambda name: to_list([]))
