"""What a start carries beside its arguments: a policy of its own for its id, and the trace to which it belongs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.durable_harness import PATIENCE_S, Group, start

import headway as hw
from headway import durable_workflow
from headway.delivery.deliverable import _traceparent
from headway.durable.calls import call_of
from headway.durable.inputs import Routes
from headway.durable.messages import Message, Start, Update, body_of
from headway.errors import UsageError
from headway.functions.history import Called, Identity
from headway.inbox.source import Asked
from headway.runtime.run import RunOptions, run_flow
from headway.runtime.stopping import StopFlag

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@durable_workflow
async def traced(context: Any, more: int = 0) -> Any:
    if more:
        context.continue_as_new(more - 1)
    return [context.info.traceparent, await context.call("seen"), await context.child(inner)]


@durable_workflow
async def inner(context: Any) -> str:
    return str(await context.call("seen"))


async def seen() -> str:
    return hw.step_info().traceparent


def test_the_trace_goes_to_steps_children_and_the_next_run(tmp_path: Path) -> None:
    group = Group(tmp_path, traced, inner, steps=[seen])
    group.tell(("traced/1", start(2, traceparent=TRACE)), ("traced/2", start()))
    group.run(lambda: sum(one["function"] == "traced" for one in group.ended) == 2)
    found = {one["id"]: json.loads(one["result"]) for one in group.ended if one["function"] == "traced"}
    assert found == {"1": [TRACE] * 3, "2": [""] * 3}


def test_a_value_of_a_stream_brings_its_trace(tmp_path: Path) -> None:
    found: list[Any] = []
    flow = hw.Functions("carts", [traced, inner])
    flow.step(seen)
    items = [
        {"at": at, "cart": f"c{at}", "traceparent": trace} for at, trace in enumerate([TRACE, "00-1", 7, None, ""])
    ]
    carts = flow.source("carts", hw.Json, hw.items(items), time="at").key_by("cart")
    carts.start(traced, id="cart", args=lambda cart: ())
    flow.ended.filter(hw.where(function="traced")).to("ended", hw.to_list(found))
    deadline = time.monotonic() + PATIENCE_S
    stop = StopFlag(lambda: len(found) >= 4 or time.monotonic() > deadline)
    run_flow(flow, RunOptions(tmp_path, key_groups=2, epoch_ms=20, follow=True), stop=stop)
    assert {one["id"]: json.loads(one["result"])[0] for one in found} == {"c0": TRACE, "c1": "", "c2": "", "c3": ""}


def test_the_span_of_a_call_finds_the_trace_in_its_row() -> None:
    called = Called(1, "step", "seen")
    row = msgspec.json.encode(call_of(Identity("traced", "1"), "traced/1", called, 5, TRACE))
    assert _traceparent(msgspec.Raw(row)) == TRACE
    assert b"traceparent" not in msgspec.json.encode(call_of(Identity("traced", "1"), "traced/1", called, 5))


def test_requests_say_what_happens_to_an_id() -> None:
    routes = Routes({"traced": traced})
    for parts in (["traced", "1"], ["traced", "1", "signals", "go", "start"]):
        body = b"{}" if len(parts) > 2 else b"[]"
        line, untraced = routes.line(parts, body, Asked({"id_reuse": "reject"}, TRACE))
        found = body_of(msgspec.json.decode(line, type=Message))
        assert isinstance(found, Start)
        assert (found.id_reuse, found.traceparent) == ("reject", TRACE)
        assert untraced == routes.line(parts, body, Asked({"id_reuse": "reject"})).line
    with pytest.raises(UsageError, match="id_reuse='twice' is unknown: give one of return, reject, new"):
        routes.line(["traced", "1"], b"[]", Asked({"id_reuse": "twice"}))
    with pytest.raises(UsageError, match="'color' is no parameter here: known are id_reuse"):
        routes.line(["traced", "1"], b"[]", Asked({"color": "red"}))
    with pytest.raises(UsageError, match="'id_reuse' is no parameter here: known are none"):
        routes.line(["traced", "1", "signals", "go"], b"1", Asked({"id_reuse": "new"}))


@pytest.mark.parametrize(("declared", "asked", "runs"), [("return", "new", [0, 1]), ("new", "reject", [0])])
def test_a_start_goes_before_its_declaration(tmp_path: Path, declared: Any, asked: str, runs: list[int]) -> None:
    @durable_workflow(name="short", id_reuse=declared)
    async def short(context: Any) -> None: ...

    group = Group(tmp_path, short, inner, steps=[seen])
    group.tell(("short/1", start()))
    group.run_until_ended(1)
    group.tell(("short/1", start(id_reuse=asked)), ("inner/1", start()))
    group.run(lambda: any(one["function"] == "inner" for one in group.ended))
    assert [one["run"] for one in group.ended if one["function"] == "short"] == runs
    assert [f"id_reuse={asked!r}" in one["reason"] for one in group.unclaimed] == [True] * (2 - len(runs))


def test_the_answer_to_an_update_outlives_the_run_that_gave_it(tmp_path: Path) -> None:
    @durable_workflow
    async def counter(context: Any, count: int) -> int:
        changed: list[int] = []

        def add(more: int) -> int:
            changed.append(more)
            return count + more

        context.on_update("add", add)
        await context.wait_for(lambda: bool(changed))
        return int(await context.continue_as_new(count + changed[0]))

    group = Group(tmp_path, counter)
    group.tell(("counter/1", start(5)), ("counter/1", Update("u1", "add", msgspec.Raw(b"2"))))
    group.run(
        lambda: group.has_state() and "counter/1" in (rows := group.rows()) and rows["counter/1"].state["run"] == 1
    )
    row = group.rows()["counter/1"].state
    assert (row["arguments"], row["updates"]["u1"]["value"]) == ("[7]", "7")
