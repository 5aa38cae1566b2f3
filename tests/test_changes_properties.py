"""Comparing flows: what holds for any two of them, and for any number of changes one after the other."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.changes_harness import entry_of, manifest, numbers

import headway as hw
from headway.connectors.memory import items, to_list
from headway.errors import UsageError
from headway.plan.inventory import steps_of
from headway.state.changes import compare, renamed
from headway.state.dropping import kept_under, without
from headway.state.manifest import Manifest
from headway.testing.flow_specs import build_flow
from headway.testing.flows import FlowCase, flow_cases

cases = flow_cases(max_events=1)


def reordered(case: FlowCase, draw: st.DataObject) -> hw.Flow:
    """The same flow with its sources and steps declared in another order, each after what it reads."""
    sources = draw.draw(st.permutations(case.spec["sources"]))
    known = {name for source in sources for name in (source["name"], f"{source['name']}.late")}
    left, steps = list(case.spec["steps"]), []
    while left:
        ready = [step for step in left if reads(step) <= known]
        step = draw.draw(st.sampled_from(ready))
        left.remove(step)
        steps.append(step)
        known |= {step["name"], *(f"{step['name']}.{end}" for end in ("else", "side", "raw"))}
    inputs = {name: items(partitions) for name, partitions in case.logs.items()}
    return build_flow({"sources": sources, "steps": steps}, inputs, lambda name: to_list([]))


def reads(step: dict[str, Any]) -> set[str]:
    further = {step[name] for name in ("other", "news") if name in step}
    return further | (set(step["from"]) if isinstance(step["from"], list) else {step["from"]})


@settings(max_examples=40)
@given(cases, st.data())
def test_a_flow_compared_with_itself_has_not_changed(case: FlowCase, data: st.DataObject) -> None:
    found = manifest(case.flow())
    again = manifest(reordered(case, data), found)
    assert compare(found, again) == []
    assert set(numbers(again)) == set(numbers(found))
    assert renamed(found, again) == {}


@settings(max_examples=40)
@given(cases)
def test_a_plan_that_is_the_same_is_of_the_same_generation(case: FlowCase) -> None:
    found = manifest(case.flow())
    assert manifest(case.flow(), found) == found


@settings(max_examples=40)
@given(cases, cases)
def test_any_two_flows_can_be_compared(before: FlowCase, after: FlowCase) -> None:
    found = manifest(before.flow())
    for change in compare(found, manifest(after.flow(), found)):
        assert str(change).startswith(change.what)
        assert change.refused == bool(change.next_step)
        assert not change.refused or change.next_step.startswith("to go on")


@settings(max_examples=15)
@given(st.lists(cases, min_size=1, max_size=4))
def test_no_number_stands_for_two_things(flows: list[FlowCase]) -> None:
    found: Manifest | None = None
    known: dict[tuple[str, str], int] = {}
    for case in flows:
        now = manifest(case.flow(), found)
        assert len(set(numbers(now))) == len(list(numbers(now)))
        assert max(numbers(now)) < now.next_id
        for kind in ("sources", "operators", "outputs"):
            for name, entry in {**getattr(now.retired, kind), **getattr(now, kind)}.items():
                assert known.setdefault((kind, name), entry.id) == entry.id
        assert found is None or now.generation == found.generation + (now.layout != found.layout)
        found = now


@settings(max_examples=15)
@given(st.lists(cases, min_size=1, max_size=3), st.data())
def test_what_is_dropped_is_known_no_more(flows: list[FlowCase], data: st.DataObject) -> None:
    found: Manifest | None = None
    for case in flows:
        found = manifest(case.flow(), found)
    assert found is not None
    retired = {**found.retired.operators, **found.retired.outputs, **found.retired.sources}
    name = data.draw(st.sampled_from(sorted({*found.operators, *retired})))
    left = without(found, name)
    before = set(numbers(found))
    assert set(left.dropped) == {entry_of_kept(found, one).id for one in kept_under(found, name)}
    assert set(numbers(left)) & before == before - set(left.dropped)
    assert len(set(numbers(left))) == len(list(numbers(left)))
    assert left.next_id > max(numbers(left))
    assert list(left.operators) == list(found.operators)
    assert list(left.outputs) == list(found.outputs)
    assert name not in {**left.retired.operators, **left.retired.outputs, **left.retired.sources}
    assert left.generation - found.generation == (name in found.operators)
    # The flow goes on with what is left, whatever was refused of this operator before; others are as they were.
    flow = flows[-1].flow()
    refused = [change for change in compare(left, manifest(flow, left)) if change.refused]
    earlier = [change for change in compare(found, manifest(flow, found)) if change.refused]
    assert refused == [change for change in earlier if repr(name) not in change.what]


def entry_of_kept(found: Manifest, name: str) -> Any:
    retired = {**found.retired.operators, **found.retired.outputs, **found.retired.sources}
    return retired[name] if name in retired else entry_of(found, name)


@settings(max_examples=15)
@given(cases)
def test_manifests_are_stored_whole(case: FlowCase) -> None:
    found = manifest(case.flow())
    assert msgspec.json.decode(msgspec.json.encode(found), type=Manifest) == found


def test_what_nothing_is_kept_under_cannot_be_dropped() -> None:
    flow = hw.Flow("f")
    flow.source("s", hw.Json, hw.items([]), time="at").key_by("k").lag("lag").to("out", hw.to_list([]))
    found = manifest(flow)
    with pytest.raises(UsageError, match="nothing is kept under 'x': expected one of lag"):
        without(found, "x")
    for name, what in (("s", "reads"), ("out", "writes")):
        with pytest.raises(UsageError, match=f"the flow {what} '{name}': to begin anew, .* give it another name"):
            without(found, name)


# -- Descriptions ---------------------------------------------------------------------------------------------

SHIPPED = ("abandoned_carts", "fraud_score", "nexmark", "order_saga", "session_funnel", "sla_watch", "stalled_loans")
DESCRIBE = """
import msgspec, sys
from headway.plan.inventory import steps_of
from headway.declare.loading import FlowSpec, load_flow
for name in sys.argv[1:]:
    steps = steps_of(load_flow(FlowSpec(f"headway.flows.{name}")).graph)
    sys.stdout.buffer.write(msgspec.json.encode(steps) + b"\\n")
"""


def test_descriptions_are_the_same_in_every_process() -> None:
    told = {
        subprocess.run(
            [sys.executable, "-c", DESCRIBE, *SHIPPED],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1
    [text] = told
    assert text.count(b"\n") == len(SHIPPED)
    assert b" at 0x" not in text


@settings(max_examples=20)
@given(cases)
def test_descriptions_are_small(case: FlowCase) -> None:
    steps = steps_of(case.flow().graph)
    assert len(msgspec.json.encode(steps)) < 1_000 * len(steps)
