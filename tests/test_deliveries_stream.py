"""What became of deliveries is a stream of the flow: one outcome for each trigger that has come to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import headway as hw
from headway.errors import FlowError, StateError
from headway.inbox.commits import item_of
from headway.inbox.runlog import RunLogInput
from headway.inbox.runlog_writer import RunLogWriter
from headway.inbox.settings import InboxSettings
from headway.results import DeliveryOutcome
from headway.runtime.run import RunOptions, RunResult, run_flow
from headway.targets.base import DONE, Answer, Delivery, Outcome, Target
from headway.types.decoding import LineCodec

NEVER = Answer(Outcome.NEVER, "410 Gone")
RETRY = Answer(Outcome.RETRY, "503 Busy")


class Script(Target):
    """Answers as a function says."""

    name = "script"

    def __init__(self, answer: Callable[[Delivery], Answer]) -> None:
        self._answer = answer

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        return [self._answer(delivery) for delivery in batch]


def flow_of(
    answer: Callable[[Delivery], Answer], found: list[Any], name: str = "seen", was: str = "", **options: Any
) -> hw.Flow:
    flow = hw.Flow("carts")
    items = [{"at": at, "cart": f"c{at % 5}"} for at in range(41)]
    carts = flow.source("carts", hw.Json, hw.items(items), time="at").key_by("cart")
    carts.trigger("cart.seen", Script(answer), name=name, was=was or (), **options)
    carts.deliveries().to("outcomes", hw.to_list(found))
    return flow


def run(flow: hw.Flow, state: Path, **options: Any) -> RunResult:
    return run_flow(flow, RunOptions(state, **{"key_groups": 3, "epoch_ms": 20, **options}))


def logged(state: Path, name: str = "seen") -> list[Any]:
    log = RunLogInput(f"{name}.deliveries", "").within(state)
    found: list[Any] = []
    for partition in log.partitions():
        reader = log.open(partition, None, follow=False)
        while (chunk := reader.read(1 << 20)) is not None:
            found += chunk.decode(LineCodec(hw.Json)).events
        reader.close()
    return found


def test_each_delivery_has_one_outcome_and_the_next_run_reads_it(tmp_path: Path) -> None:
    def answer(delivery: Delivery) -> Answer:
        return NEVER if delivery.time_ms % 10 == 3 else DONE

    found: list[Any] = []
    run(flow_of(answer, found, on_failure="skip"), tmp_path)
    assert found == []
    outcomes = logged(tmp_path)
    assert sorted(one["time_ms"] for one in outcomes) == list(range(40))
    assert {one["time_ms"] for one in outcomes if one["outcome"] == "dead"} == {3, 13, 23, 33}
    assert {one["reason"] for one in outcomes} == {"", "410 Gone"}
    assert all(one["data"] == {"at": one["time_ms"], "cart": one["key"]} for one in outcomes)
    run(flow_of(answer, found, on_failure="skip"), tmp_path, drain=True)
    assert sorted((one["time_ms"], one["outcome"]) for one in found) == sorted(
        (one["time_ms"], one["outcome"]) for one in outcomes
    )


def test_what_is_tried_again_has_no_outcome_yet(tmp_path: Path) -> None:
    found: list[Any] = []
    run(flow_of(lambda delivery: RETRY, found, retry_first="1ms", retry_longest="1ms"), tmp_path)
    assert logged(tmp_path) == []
    for _ in range(50):
        if not run(flow_of(lambda delivery: DONE, found), tmp_path).stats.deliveries["seen"].waiting:
            break
    outcomes = logged(tmp_path)
    assert len({one["id"] for one in outcomes}) == len(outcomes) == 40
    assert max(one["attempts"] for one in outcomes) > 1


def test_what_an_indirect_edge_gives_up_has_an_outcome(tmp_path: Path) -> None:
    flow = flow_of(lambda delivery: RETRY, [], edge="indirect", waiting_max=10)
    stats = run(flow, tmp_path).stats.deliveries["seen"]
    dead = [one for one in logged(tmp_path) if one["outcome"] == "dead"]
    assert len(dead) == stats.dead == 30
    assert all("more than 10 triggers waited" in one["reason"] and one["attempts"] == 0 for one in dead)


def test_a_renamed_step_goes_on_with_its_outcomes(tmp_path: Path) -> None:
    found: list[Any] = []
    run(flow_of(lambda delivery: DONE, found), tmp_path)
    run(flow_of(lambda delivery: DONE, found, name="looked", was="seen"), tmp_path, drain=True)
    assert len(found) == 40
    assert not (tmp_path / "inbox" / "~seen.deliveries").exists()


def test_a_second_outcome_of_a_trigger_does_not_count(tmp_path: Path) -> None:
    log = RunLogInput("seen.deliveries", "").within(tmp_path)
    log.prepare(1)

    async def write(*lines: bytes) -> None:
        writer = RunLogWriter(log.directory(0), InboxSettings())
        writer.open()
        for line in lines:
            await writer.append([item_of(line, "odelivered/1")])
        assert writer.knows("odelivered/1") and not writer.knows("odelivered/2")
        writer.close()

    asyncio.run(write(b'{"attempts":1}'))
    asyncio.run(write(b'{"attempts":2}', b'{"attempts":3}'))
    assert logged(tmp_path) == [{"attempts": 1}]


def test_a_full_disk_ends_the_run_before_a_row_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = RunLogWriter.open

    def full(self: RunLogWriter) -> None:
        kept(self)
        assert self._opened is not None
        self._opened.inbox.log._room_bytes = 1 << 62

    monkeypatch.setattr(RunLogWriter, "open", full)
    with pytest.raises(StateError, match="nearly full"):
        run(flow_of(lambda delivery: DONE, []), tmp_path)
    monkeypatch.undo()
    run(flow_of(lambda delivery: DONE, []), tmp_path)
    assert len(logged(tmp_path)) == 40


def test_streams_that_deliver_none_or_several_are_refused() -> None:
    flow = hw.Flow("carts")
    carts = flow.source("carts", hw.Json, hw.items([]), time="at").key_by("cart")
    with pytest.raises(FlowError, match="delivers by none"):
        carts.deliveries()
    carts.trigger("written", hw.to_list([]))
    with pytest.raises(FlowError, match="delivers by none"):
        carts.deliveries()
    with pytest.raises(FlowError, match="delivers by none"):
        carts.deliveries("written")
    carts.trigger("one", Script(lambda delivery: DONE))
    carts.trigger("two", Script(lambda delivery: DONE))
    with pytest.raises(FlowError, match="delivers by 'one', 'two': name one"):
        carts.deliveries()
    assert carts.deliveries("one").type is DeliveryOutcome
    assert carts.deliveries("one").type is carts.deliveries("one").type
    with pytest.raises(FlowError, match="test_deliveries_stream"):
        carts.deliveries("three")
