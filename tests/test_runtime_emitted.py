"""What is emitted: as it was at that moment, and with an id of its own on every way to an output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.letters import letters_of

import headway as hw
from headway.runtime.run import RunOptions, run_flow
from headway.testing import run_oracle


class Seen(hw.State):
    numbers: list[int] = []


class Shout(hw.Operator[hw.Json, Seen]):
    """Emits what its state holds, and then goes on changing it."""

    def on_event(self, state: Seen, event: hw.Json, ctx: hw.Context[hw.Json]) -> None:
        state.numbers.append(event["n"])
        ctx.emit({"numbers": state.numbers})
        state.numbers.append(-event["n"])


EVENTS: list[dict[str, Any]] = [
    {"at": 1, "key": "a", "n": 1},
    {"at": 1, "key": "a", "n": 2},
    {"at": 9, "key": "b", "n": 3},
]


def run(flow: hw.Flow, directory: Path) -> None:
    run_flow(flow, RunOptions(directory / "state", key_groups=2, sync=False, drain=True))


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_value_is_what_it_was_when_it_was_emitted(tmp_path: Path) -> None:
    flow = hw.Flow("shouts")
    numbers = flow.source("numbers", hw.Json, hw.items(EVENTS), time="at").key_by("key").process("shout", Shout())
    numbers.to("first", hw.to_jsonl(tmp_path / "first.jsonl"))
    again = numbers.key_by(lambda value: len(value["numbers"])).process("again", Passing())
    again.to("second", hw.to_jsonl(tmp_path / "second.jsonl"))
    run(flow, tmp_path)
    expected = [[1], [1, -1, 2], [3]]
    assert sorted(value["numbers"] for value in lines(tmp_path / "first.jsonl")) == expected
    assert sorted(value["numbers"] for value in lines(tmp_path / "second.jsonl")) == expected


class Passing(hw.Operator[hw.Json, Seen]):
    """Emits what it gets."""

    def on_event(self, state: Seen, event: hw.Json, ctx: hw.Context[hw.Json]) -> None:
        ctx.emit(event)


def test_two_ways_to_one_output_give_different_ids(tmp_path: Path) -> None:
    def build(output: Any) -> hw.Flow:
        flow = hw.Flow("ways")
        shouts = flow.source("numbers", hw.Json, hw.items(EVENTS), time="at").key_by("key").process("shout", Shout())
        shouts.merge(shouts.map(lambda value: {"other": value["numbers"]})).trigger("shouted", output)
        return flow

    run(build(hw.to_jsonl(tmp_path / "out.jsonl")), tmp_path)
    written = lines(tmp_path / "out.jsonl")
    assert len({trigger["id"] for trigger in written}) == len(written) == 6
    told = run_oracle(build(hw.to_list([])), {"numbers": {"items": EVENTS}}, drain=True).outputs["shouted"]
    assert [json.loads(line) for line in told] == written


class Number(hw.Event):
    key: str
    at: int


def as_number(event: hw.Json) -> Number:
    return Number(key=event["key"], at=event["at"])


def test_a_field_of_a_mapped_event_can_be_the_key(tmp_path: Path) -> None:
    flow = hw.Flow("mapped")
    numbers = flow.source("numbers", hw.Json, hw.items(EVENTS), time="at").map(as_number).key_by("key")
    numbers.to("out", hw.to_jsonl(tmp_path / "out.jsonl"))
    run(flow, tmp_path)
    assert [value["key"] for value in lines(tmp_path / "out.jsonl")] == ["a", "a", "b"]
    assert not letters_of(tmp_path / "state")
