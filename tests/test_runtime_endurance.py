"""Days of running: whatever grows with time rather than with state is a fault. The test owns the clock."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import headway as hw
from headway.plan.planner import compile_plan
from headway.plan.stages import Plan
from headway.runtime.batch import Batch, register_codecs
from headway.runtime.board import Board
from headway.runtime.channels import Channels
from headway.runtime.participant import Commitment, Participant
from headway.runtime.sink import SinkTask
from headway.runtime.slot import Slot
from headway.runtime.slot_options import SlotOptions
from headway.runtime.stage import StageTask
from headway.state.group import GroupStore
from headway.state.inputs import InputCodec
from headway.state.options import StoreOptions
from headway.state.stage import OperatorSpec

POLLS_PER_EPOCH = 10
_LEAVES = (str, bytes, int, float, bool, type(None), type)


class Beat(hw.Operator[hw.Json, hw.Json]):
    """One key, a timer that is moved with each event."""

    def on_event(self, state: Any, event: Any, ctx: hw.Context) -> None:
        state["n"] = (state.get("n", 0) + 1) % 100
        ctx.timer("idle", event["at"] + 50)
        ctx.emit({"n": state["n"]})

    def on_timer(self, state: Any, timer: hw.Timer, ctx: hw.Context) -> None:
        ctx.emit({"idle": True})


def plan_of(path: Path, found: list[Any]) -> Plan:
    flow = hw.Flow("days")
    source = flow.source("s", hw.Json, hw.files(path), time="at", idle_after="1s")
    source.key_by("key").process("beat", Beat()).trigger("told", hw.to_list(found))
    return compile_plan(flow.graph)


class Process:
    """The parts of one process, run by a loop that stands for the engine."""

    def __init__(self, directory: Path, slots: int) -> None:
        self.logs = [directory / f"{number:02d}.jsonl" for number in range(slots)]
        for log in self.logs:
            log.touch()
        self.found: list[Any] = []
        self.now_ms = 0
        plan = plan_of(directory / "*.jsonl", self.found)
        register_codecs(plan)
        names = [f"s/{number:02d}" for number in range(slots)]
        self.board = Board(dict.fromkeys(names, 0))
        stage, sink = plan.stages[0], plan.sinks[0]
        self.group = GroupStore.open(directory, 0, StoreOptions(sync=False))
        store = self.group.stage(stage.name, [OperatorSpec(*table) for table in stage.tables()], [InputCodec()])
        sink_store = self.group.stage("sink", [], [InputCodec(bytes, from_stage=True)], task=1)
        channels = Channels(stage.inputs, {stage.inputs[0].id: slots})
        clock = lambda: self.now_ms  # noqa: E731
        in_doubt: set[Commitment[Participant]] = set()
        self.task = Commitment(StageTask(plan, stage, 0, 1, store, channels, clock, clock), in_doubt)
        sink_channels = Channels(sink.inputs, {sink.inputs[0].id: 1})
        self.sink = Commitment(SinkTask(sink, sink.node.output, sink_store, sink_channels), in_doubt)
        options = SlotOptions(groups=1, follow=True, discover_ms=1_000)
        self.slots = [
            Commitment(
                Slot(
                    plan,
                    plan.sources[0],
                    name,
                    self.mine(name),
                    {},
                    options,
                    self.board,
                    clock,
                    clock,
                    is_awaited=lambda: bool(in_doubt),
                ),
                set(),
            )
            for name in names
        ]
        self.commitments: list[Commitment[Participant]] = [*self.slots, self.task, self.sink]
        for commitment in self.commitments:
            commitment.resume(None)

    def mine(self, name: str) -> Any:
        """Each slot has a file."""
        return lambda partition: partition.startswith(name.partition("/")[2])

    def poll(self) -> None:
        self.now_ms += 100
        for slot in self.slots:
            slot.proven()
            self.deliver(slot.participant.poll())
        if self.task.is_proven:
            self.deliver(self.task.participant.on_clock())

    def deliver(self, messages: list[tuple[str, int, Batch]]) -> None:
        for target, _, batch in messages:
            if target == self.sink_name:
                self.sink.proven()
                self.sink.participant.on_batches([batch])
            else:
                self.task.proven()
                self.deliver(self.task.participant.on_batches([batch]))

    @property
    def sink_name(self) -> str:
        return "told"

    def end_epoch(self) -> None:
        for commitment in self.commitments:
            commitment.prepare()

    def append(self, at: int) -> None:
        for log in self.logs:
            with log.open("a") as file:
                file.write(f'{{"at": {at}, "key": "k"}}\n')

    def sizes(self) -> dict[str, int]:
        """Everything that the parts hold: the length of each container, and the bits of each number."""
        roots = {"board": self.board, "task": self.task, "sink": self.sink, "slots": self.slots}
        return {name: sum(1 + size for size in _walk(root)) for name, root in roots.items()}


def _walk(root: Any) -> Iterator[int]:
    seen: set[int] = set()
    todo = [root]
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, type) or callable(one):
            continue
        seen.add(id(one))
        if isinstance(one, _LEAVES):
            if isinstance(one, int) and not isinstance(one, bool):
                yield 0 if abs(one) < 2**64 else sys.getsizeof(one)
            continue
        if isinstance(one, dict):
            yield len(one)
            todo += [*one.keys(), *one.values()]
        elif isinstance(one, (list, tuple, set, frozenset)) or type(one).__name__ == "deque":
            yield len(one)
            todo += list(one)
        else:
            todo += list(getattr(one, "__dict__", {}).values())
            todo += [getattr(one, name, None) for name in getattr(type(one), "__slots__", ())]


def after(process: Process, epochs: int, *, events: bool) -> dict[str, int]:
    for _ in range(epochs):
        for _ in range(POLLS_PER_EPOCH):
            process.poll()
        if events:
            process.append(process.now_ms)
        process.end_epoch()
    process.found.clear()
    return process.sizes()


@pytest.mark.parametrize("events", [False, True], ids=["silence", "an event now and then"])
@pytest.mark.parametrize("slots", [1, 3])
def test_nothing_grows_with_time(tmp_path: Path, slots: int, events: bool) -> None:
    process = Process(tmp_path, slots)
    process.append(0)
    early = after(process, 300, events=events)
    late = after(process, 700, events=events)
    assert {name: late[name] - early[name] for name in late if late[name] > early[name] + 20} == {}
    process.group.close()


@pytest.mark.soak
@pytest.mark.parametrize("slots", [1, 3])
def test_nothing_grows_in_a_hundred_thousand_polls(tmp_path: Path, slots: int) -> None:
    process = Process(tmp_path, slots)
    process.append(0)
    early = after(process, 1_000, events=True)
    late = after(process, 10_000, events=True)
    assert {name: late[name] - early[name] for name in late if late[name] > early[name] + 20} == {}
    process.group.close()
