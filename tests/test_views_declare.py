"""Declaring views: mistakes at their line, what the plan and the manifest say, and what a change of them means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import pytest

import headway as hw
from headway.errors import FlowError
from headway.plan.layout import lay_out
from headway.plan.planner import compile_plan
from headway.serving.catalog import Presence
from headway.serving.state import DecisionState
from headway.state.changes import compare
from headway.state.dropping import without
from headway.state.manifest import Manifest


class Payment(hw.Event):
    at: int
    card: str
    cents: int = 0
    note: Optional[str] = None
    paid: bool = True
    tags: list[str] = []


class Spent(hw.State):
    cents: int = 0


class Spend(hw.Operator[Payment, Spent, Payment]):
    def on_event(self, state: Spent, event: Payment, ctx: hw.Context[Payment]) -> None:
        state.cents += event.cents
        ctx.emit(event)


def payments(flow: hw.Flow, log: Any = ()) -> Any:
    return flow.source("payments", Payment, hw.items(list(log)), time="at").key_by("card")


@pytest.mark.parametrize(
    ("declare", "says"),
    [
        (lambda flow, stream: flow.serve("a b", stream), "not a name for a view"),
        (lambda flow, stream: flow.serve("a", 7), "give a stream with keys"),
        (lambda flow, stream: flow.serve("a", stream, index="nothing"), "has no field 'nothing'"),
        (lambda flow, stream: flow.serve("a", stream, index="paid"), "is of type bool"),
        (lambda flow, stream: flow.serve("a", stream, index="tags"), "is of type list"),
        (lambda flow, stream: flow.serve("a", stream, fields=()), "one or more fields"),
        (lambda flow, stream: flow.serve("a", stream, fields=("x",)), "has no field 'x'"),
        (lambda flow, stream: flow.serve("a", stream, fields="card"), "one or more fields"),
        (lambda flow, stream: flow.serve("a", stream, forget_after="soon"), "soon"),
        (lambda flow, stream: flow.serve("a", stream, delete=hw.where(x=1)), "x"),
        (lambda flow, stream: [flow.serve("a", stream), flow.serve("a", stream)], "used twice"),
        (lambda flow, stream: flow.serve("payments", stream), "used twice"),
        (lambda flow, stream: hw.state_of(stream), "no step that keeps state"),
        (lambda flow, stream: hw.state_of(stream._flow), "expected a step"),
        (
            lambda flow, stream: flow.serve("a", hw.state_of(stream.process("s", Spend())), forget_after="1d"),
            "says what it keeps",
        ),
        (lambda flow, stream: hw.Flow("other").serve("a", stream), "belongs to the flow"),
    ],
)
def test_mistakes_are_told_at_their_line(declare: Callable[[hw.Flow, Any], object], says: str) -> None:
    flow = hw.Flow("spending")
    with pytest.raises(FlowError, match=says) as told:
        declare(flow, payments(flow))
    assert "test_views_declare.py" in str(told.value)


def manifest_of(declare: Callable[[hw.Flow, Any], object], found: Optional[Manifest] = None) -> Manifest:
    flow = hw.Flow("spending")
    declare(flow, payments(flow).process("spend", Spend()))
    return lay_out(compile_plan(flow.graph), 4, found)


def told(found: Manifest, expected: Manifest) -> list[str]:
    return [str(change) for change in compare(found, expected) if change.what.startswith("view")]


def test_a_view_that_is_added_changed_renamed_and_removed() -> None:
    none = manifest_of(lambda flow, spend: None)
    plain = manifest_of(lambda flow, spend: flow.serve("spent", hw.state_of(spend)), none)
    assert plain.generation == none.generation
    assert told(none, plain) == ["view 'spent': it is new"]
    indexed = manifest_of(lambda flow, spend: flow.serve("spent", hw.state_of(spend), index="cents"), plain)
    assert indexed.generation == plain.generation + 1
    assert not indexed.views["spent"].is_built
    assert told(plain, indexed) == [
        "view 'spent': it is indexed by cents, before not at all; the index is made at the start"
    ]
    again = manifest_of(lambda flow, spend: flow.serve("spent", hw.state_of(spend), index="cents"), indexed)
    assert (again, told(indexed, again)) == (indexed, [])
    renamed = manifest_of(
        lambda flow, spend: flow.serve("sums", hw.state_of(spend), index="cents", was="spent"), indexed
    )
    assert renamed.views["sums"].index_id == indexed.views["spent"].index_id
    assert told(indexed, renamed) == [
        "view 'sums': it was called 'spent': whoever asks for it by that name is told that there is none"
    ]
    gone = manifest_of(lambda flow, spend: None, renamed)
    assert gone.dropped == [renamed.views["sums"].index_id]
    assert told(renamed, gone) == [
        "view 'sums': the flow has it no more: whoever asks for it is told that there is none"
    ]
    dropped = without(indexed, "spend").views["spent"]
    assert dropped.index_id not in (0, indexed.views["spent"].index_id)


def spending(log: list[dict[str, Any]], **options: Any) -> hw.Flow:
    flow = hw.Flow("spending")
    flow.serve("spent", hw.state_of(payments(flow, log).process("spend", Spend())), **options)
    return flow


def top_of(flow: hw.Flow, directory: Path) -> list[str]:
    state = DecisionState(compile_plan(flow.graph), directory)
    try:
        assert state.refresh() and state.snapshot is not None
        return [one.key for one in state.views()["spent"].top(state.snapshot, 10)]
    finally:
        state.close()


def totals_of(log: list[dict[str, Any]]) -> dict[str, int]:
    return {f"c{card}": sum(one["cents"] for one in log if one["card"] == f"c{card}") for card in range(7)}


def test_an_index_may_come_later_and_follows_other_key_groups(tmp_path: Path) -> None:
    from headway.runtime.directory import StateDirectory
    from headway.runtime.opening import rescale

    log: list[dict[str, Any]] = [{"at": number, "card": f"c{number % 7}", "cents": number} for number in range(50)]
    hw.run(spending(log[:20]), state=tmp_path)
    indexed = spending(log[:30], index="cents")
    hw.run(indexed, state=tmp_path)
    totals = totals_of(log[:29])
    assert top_of(indexed, tmp_path) == sorted(totals, key=lambda card: -totals[card])
    with StateDirectory(tmp_path).locked():
        rescale(StateDirectory(tmp_path), key_groups=5, slots=None)
    hw.run(spending(log, index="cents"), state=tmp_path)
    totals = totals_of(log[:49])
    assert top_of(indexed, tmp_path) == sorted(totals, key=lambda card: -totals[card])


def test_absent_forgotten_and_deleted(tmp_path: Path) -> None:
    """The last value of a key is there, then was forgotten, and then there was never anything."""

    def flow_of(log: list[dict[str, Any]]) -> hw.Flow:
        flow = hw.Flow("spending")
        flow.serve("last", payments(flow, log), delete=hw.where(note="gone"), forget_after="1s", index="cents")
        return flow

    log: list[dict[str, Any]] = []

    def look(*more: dict[str, Any]) -> dict[str, Presence]:
        log.extend(more)
        flow = flow_of(log)
        hw.run(flow, state=tmp_path)
        state = DecisionState(compile_plan(flow.graph), tmp_path)
        try:
            assert state.refresh() and state.snapshot is not None
            shown = state.views()["last"]
            found = {key: shown.get(state.snapshot, key).presence for key in ("a", "b")}
            present = [key for key, presence in found.items() if presence is Presence.PRESENT]
            assert [one.key for one in shown.page(state.snapshot, "", "", 9, 1 << 20)[0] if one.key != "t"] == present
            assert {one.key for one in shown.top(state.snapshot, 9)} - {"t"} == set(present)
            return found
        finally:
            state.close()

    def event(at: int, card: str, note: Optional[str] = None) -> dict[str, Any]:
        return {"at": at, "card": card, "cents": at, "note": note}

    here, gone, never = Presence.PRESENT, Presence.FORGOTTEN, Presence.ABSENT
    assert look(event(0, "a"), event(10, "b"), event(20, "t")) == {"a": here, "b": here}
    assert look(event(30, "b", "gone"), event(40, "t")) == {"a": here, "b": never}
    assert look(event(1_500, "t")) == {"a": gone, "b": never}
    assert look(event(1_600, "a"), event(1_700, "t")) == {"a": here, "b": never}
    assert look(event(3_000, "t")) == {"a": gone, "b": never}
    assert look(event(9_000, "t")) == {"a": never, "b": never}
