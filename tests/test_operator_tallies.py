"""Tallies: counts that operators keep with their state, undone with it, and told among the figures of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import headway as hw
from headway.errors import UserCodeError
from headway.runtime.directory import StateDirectory
from headway.runtime.last_run import load_stats
from headway.runtime.opening import rescale
from headway.testing import FlowTest


class Seen(hw.State):
    kind: str = ""


class Kinds(hw.Operator[hw.Json, Seen]):
    """Counts keys by the kind that they had last."""

    tallies = True

    def on_event(self, state: Seen, event: Any, ctx: hw.Context) -> None:
        if state.kind:
            ctx.tally(state.kind, -1)
        ctx.tally(event["kind"], 1)
        state.kind = event["kind"]
        if event["kind"] == "bad":
            raise ValueError("bad")
        if event["kind"] == "gone":
            ctx.tally("gone", -1)
            ctx.forget()


class Undeclared(Kinds):
    tallies = False


def flow_of(operator: Any, items: list[dict[str, Any]], **options: Any) -> hw.Flow:
    flow = hw.Flow("kinds")
    source = flow.source("events", hw.Json, hw.items(items), time="at", **options)
    source.key_by("key").process("kinds", operator).to("out", hw.to_list([]))
    return flow


def test_they_agree_with_the_rows_also_where_handlers_fail_and_groups_are_divided_anew(tmp_path: Path) -> None:
    kinds = ["a", "b", "bad", "gone"]
    items: list[dict[str, Any]] = [
        {"at": at, "key": f"k{at * 7 % 23}", "kind": kinds[at * at % 11 % 4]} for at in range(400)
    ]
    last: dict[str, str] = {}
    for item in items:
        if item["kind"] != "bad":
            last[item["key"]] = item["kind"]
    expected = {kind: sum(found == kind for found in last.values()) for kind in ("a", "b")}
    flow = flow_of(Kinds(), items, on_error="dead-letter")
    hw.run(flow, state=tmp_path, epoch="20ms", drain=False, key_groups=3)

    def told() -> dict[str, int]:
        stats = load_stats(tmp_path)
        assert stats is not None and not stats.losses
        return stats.tallies["kinds"]

    first = told()
    rescale(StateDirectory(tmp_path), key_groups=5, slots=None)
    hw.run(flow, state=tmp_path, epoch="20ms", drain=True)
    assert told() == expected
    assert set(first) <= {"a", "b"}


def test_the_kit_takes_them_and_they_are_declared() -> None:
    test = FlowTest(flow_of(Kinds(), []))
    test.send("events", {"at": 1, "key": "k", "kind": "a"})
    test.drain()
    assert test.losses("kinds") == {}
    test = FlowTest(flow_of(Undeclared(), []))
    with pytest.raises(UserCodeError) as raised:
        test.send("events", {"at": 1, "key": "k", "kind": "a"})
        test.drain()
    assert "does not say that it keeps tallies: tallies = True" in str(raised.value.__cause__)
