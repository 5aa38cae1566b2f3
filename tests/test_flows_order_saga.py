"""The flow of order sagas: its stories, its deadlines to the millisecond, and what cannot happen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.stories_harness import WILD, bag, check_demo, check_workers, drained, lines_of, made

from headway.testing import FlowTest

MINUTE_MS = 60_000
DAY_MS = 86_400_000
STEPS = ["placed", "paid", "packed", "shipped", "delivered"]
OUTPUTS = [f"order-{name}.jsonl" for name in ("cancelled", "refund", "restock", "illegal")]


def saga(*events: tuple[str, int]) -> FlowTest:
    """An order of 500 cents, and what happens to it at which time."""
    test = FlowTest.load("headway.flows.order_saga", input="orders.jsonl", out_of_order="0s")
    for kind, at in events:
        test.send("orders", {"order": "o", "kind": kind, "at": at, "cents": 500 if kind == "placed" else 0})
    return test


def told(test: FlowTest) -> list[tuple[str, Any]]:
    test.drain()
    assert test.keys("life") == []
    return [(line["type"], line["data"]) for line in test.triggers()]


def undo(reached: str, cause: str, *actions: str) -> list[tuple[str, Any]]:
    data = {"reached": reached, "cause": cause, "cents": 500}
    return [(f"order.{action}", {"action": action, **data}) for action in actions]


@pytest.mark.parametrize("seed", range(3))
def test_the_triggers_are_those_of_the_stories(tmp_path: Path, seed: int) -> None:
    stream = made("orders", tmp_path / "orders", seed=seed, **WILD)
    test = drained("order_saga", stream, "orders")
    assert bag(test.triggers()) == bag(lines_of(stream / "expected.jsonl"))
    assert test.keys("life") == []


def test_it_runs_with_nothing_else(tmp_path: Path) -> None:
    summary = check_demo("order_saga", "orders", tmp_path, *OUTPUTS)
    assert summary["events"] >= 20_000


def test_two_processes_find_the_same(tmp_path: Path) -> None:
    check_workers("order_saga", "orders", tmp_path, *OUTPUTS)


def test_an_order_that_is_delivered_needs_nothing() -> None:
    assert told(saga(*((step, number) for number, step in enumerate(STEPS)))) == []


@pytest.mark.parametrize(
    ("steps", "within_ms", "following", "expected"),
    [
        (STEPS[:1], 30 * MINUTE_MS, "paid", undo("placed", "unpaid", "cancelled")),
        (STEPS[:2], DAY_MS, "packed", undo("paid", "stuck", "cancelled", "refund")),
        (STEPS[:3], 2 * DAY_MS, "shipped", undo("packed", "stuck", "cancelled", "refund", "restock")),
        (STEPS[:4], 7 * DAY_MS, "delivered", undo("shipped", "lost", "cancelled", "refund")),
    ],
)
def test_a_deadline_is_kept_to_the_millisecond(
    steps: list[str], within_ms: int, following: str, expected: list[tuple[str, Any]]
) -> None:
    due = len(steps) - 1 + within_ms
    events = [(step, number) for number, step in enumerate(steps)]
    in_time = saga(*events, (following, due))
    in_time.advance(to=due)
    assert in_time.triggers() == []
    late = saga(*events, (following, due + 1))
    assert told(late) == [*expected, ("order.illegal", {"kind": following, "state": expected[0][1]["cause"]})]


@pytest.mark.parametrize(
    ("steps", "cause", "actions"),
    [
        (STEPS[:1], "cancelled", ["cancelled"]),
        (STEPS[:2], "cancelled", ["cancelled", "refund"]),
        (STEPS[:3], "cancelled", ["cancelled", "refund", "restock"]),
        (STEPS[:4], "refused", ["cancelled", "refund", "restock"]),
    ],
)
def test_what_is_undone_depends_on_how_far_the_order_had_come(steps: list[str], cause: str, actions: list[str]) -> None:
    events = [(step, number) for number, step in enumerate([*steps, cause])]
    assert told(saga(*events)) == undo(steps[-1], cause, *actions)


def test_what_is_on_its_way_cannot_be_cancelled() -> None:
    steps = ("placed", "paid", "packed", "shipped", "cancelled", "delivered")
    found = told(saga(*((step, number) for number, step in enumerate(steps))))
    assert found == [("order.illegal", {"kind": "cancelled", "state": "shipped"})]


def test_an_ended_order_is_remembered_for_a_day() -> None:
    cancelled = saga(("placed", 0), ("cancelled", 1), ("paid", DAY_MS + 1))
    assert told(cancelled)[1:] == [("order.illegal", {"kind": "paid", "state": "cancelled"})]
    forgotten = saga(("placed", 0), ("cancelled", 1), ("paid", DAY_MS + 2))
    assert told(forgotten)[1:] == [("order.illegal", {"kind": "paid", "state": "new"})]


def test_the_deadlines_are_parameters() -> None:
    test = FlowTest.load("headway.flows.order_saga", input="orders.jsonl", pay_within="1h")
    test.send("orders", {"order": "o", "kind": "placed", "at": 0})
    test.advance(to=0)
    assert (test.state("life", "o").state, test.timers("life", "o")) == ("placed", {"timeout": 60 * MINUTE_MS})
