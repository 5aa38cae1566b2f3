"""Time that moves without data: partitions that grow, fall silent and wake up again; the test owns the clock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import pytest

import headway as hw
from headway.basics.times import MIN_TIME_MS
from headway.plan.planner import compile_plan
from headway.plan.stages import Plan
from headway.runtime.board import Board
from headway.runtime.slot import Slot
from headway.runtime.slot_options import SlotOptions

OUT_OF_ORDER_MS = 10
IDLE_AFTER_MS = 1_000


def plan_of(directory: Path, **options: Any) -> Plan:
    flow = hw.Flow("f")
    times = {"time": "at", "out_of_order": f"{OUT_OF_ORDER_MS}ms", "idle_after": f"{IDLE_AFTER_MS}ms", **options}
    source = flow.source("s", hw.Json, hw.files(directory / "*.jsonl"), **times)
    source.to("all", hw.to_list([]))
    source.late.to("late", hw.to_list([]))
    return compile_plan(flow.graph)


@dataclass
class Reading:
    """Slots over files of one directory: slot `s/00` reads those whose names start with `0`, and so on."""

    directory: Path
    slots: int = 1
    follow: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    now_ms: int = 5_000
    wall_ms: int = 1_000_000

    def __post_init__(self) -> None:
        self.start({})

    def start(self, states: Mapping[str, Any]) -> None:
        """Begin anew, from snapshots by name."""
        plan = plan_of(self.directory, **self.options)
        names = [f"s/{number:02d}" for number in range(self.slots)]
        self.board = Board(dict.fromkeys(names, 0))
        options = SlotOptions(groups=2, follow=self.follow, discover_ms=500)
        self.read = {}
        for number, name in enumerate(names):

            def assigned(partition: str, number: int = number) -> bool:
                return self.slots == 1 or partition.startswith(str(number))

            self.read[name] = Slot(
                plan,
                plan.sources[0],
                name,
                assigned,
                states.get(name, {}),
                options,
                self.board,
                lambda: self.now_ms,
                lambda: self.wall_ms,
            )
            self.read[name].resume(None)

    def restart(self) -> None:
        """Stop, keep what an epoch keeps, and begin anew at another time."""
        states = {}
        for name, slot in self.read.items():
            slot.prepare()
            states[name] = json.loads(json.dumps(slot.kept))
            slot.close()
        self.now_ms += 100_000
        self.start(states)

    def poll(self, after_ms: int = 0) -> list[Any]:
        """Let time pass, read all there is, and return the events and late events that left, by their `at`."""
        self.now_ms += after_ms
        self.wall_ms += after_ms
        found = []
        for _ in range(8):
            for slot in self.read.values():
                for _, _, batch in slot.poll():
                    found += [(time, json.loads(value)["at"]) for time, _, value, _ in batch.records]
        return found

    def watermark(self, slot: int = 0) -> Optional[int]:
        """As the latest time that can no longer be on time; None while nothing is known."""
        claimed = self.read[f"s/{slot:02d}"].watermark
        return None if claimed == MIN_TIME_MS else claimed

    def late(self) -> int:
        return sum(slot.late for slot in self.read.values())


def write(path: Path, *times: int) -> None:
    with path.open("a") as file:
        file.write("".join(f'{{"at": {at}}}\n' for at in times))


def up_to(at: int) -> int:
    """The watermark of a partition whose latest event is at this time."""
    return at - OUT_OF_ORDER_MS - 1


def test_a_file_that_grows_is_read_to_its_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "0.jsonl"
    write(path, 1)
    reading = Reading(tmp_path)
    assert reading.poll() == [(1, 1)]
    with path.open("a") as file:
        file.write('{"at": 2}\n{"at"')
    assert reading.poll(100) == [(2, 2)]
    assert reading.poll(10_000) == []
    with path.open("a") as file:
        file.write(": 3}")
    assert reading.poll(100) == []
    with path.open("a") as file:
        file.write("\n")
    # Silence has let time pass: after so much of it the event is late.
    assert len(reading.poll(100)) == 1
    assert reading.late() == 1


def test_a_new_file_starts_at_the_watermark_of_its_slot(tmp_path: Path) -> None:
    write(tmp_path / "0.jsonl", 100)
    reading = Reading(tmp_path)
    reading.poll()
    write(tmp_path / "1.jsonl", up_to(100), up_to(100) + 1)
    assert reading.poll(499) == []
    assert reading.watermark() == up_to(100)
    assert len(reading.poll(1)) == 2
    assert (reading.watermark(), reading.late()) == (up_to(100), 1)


def test_a_silent_partition_holds_time_back_until_it_is_idle(tmp_path: Path) -> None:
    write(tmp_path / "0.jsonl", 100)
    write(tmp_path / "1.jsonl", 50)
    reading = Reading(tmp_path)
    reading.poll()
    for at in (200, 300):
        write(tmp_path / "0.jsonl", at)
        reading.poll(IDLE_AFTER_MS // 2 - 1)
        assert reading.watermark() == up_to(50)
    write(tmp_path / "0.jsonl", 400)
    reading.poll(2)
    assert reading.watermark() == up_to(400)
    write(tmp_path / "1.jsonl", up_to(400), up_to(400) + 1, 500)
    assert len(reading.poll(1)) == 3
    assert (reading.watermark(), reading.late()) == (up_to(400), 1)


def test_an_idle_slot_follows_the_slots_that_read(tmp_path: Path) -> None:
    write(tmp_path / "0.jsonl", 100)
    write(tmp_path / "1.jsonl", 50)
    reading = Reading(tmp_path, slots=2)
    reading.poll()
    write(tmp_path / "0.jsonl", 700)
    reading.poll(IDLE_AFTER_MS - 1)
    assert (reading.watermark(0), reading.watermark(1)) == (up_to(700), up_to(50))
    write(tmp_path / "0.jsonl", 800)
    reading.poll(1)
    assert (reading.watermark(0), reading.watermark(1)) == (up_to(800), up_to(800))


@pytest.mark.parametrize("slots", [1, 2])
def test_where_all_are_idle_time_goes_by_the_clock(tmp_path: Path, slots: int) -> None:
    write(tmp_path / "0.jsonl", 100)
    write(tmp_path / "1.jsonl", 50)
    reading = Reading(tmp_path, slots=slots)
    reading.poll()
    reading.poll(IDLE_AFTER_MS - 1)
    assert reading.watermark() == up_to(100 if slots == 2 else 50)
    reading.poll(1)
    least = min(reading.watermark(slot) or 0 for slot in range(slots))
    assert up_to(50) <= least <= up_to(100) + IDLE_AFTER_MS
    reading.poll(5_000)
    assert min(reading.watermark(slot) or 0 for slot in range(slots)) == least + 5_000
    write(tmp_path / "1.jsonl", least + 5_000, least + 5_000 + 1)
    reading.poll(1)
    assert reading.late() in (1, 2)


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("wakes", [True, False])
def test_a_partition_that_never_had_an_event_becomes_idle_too(tmp_path: Path, slots: int, wakes: bool) -> None:
    write(tmp_path / "0.jsonl", 100)
    (tmp_path / "1.jsonl").touch()
    reading = Reading(tmp_path, slots=slots)
    reading.poll()
    assert reading.watermark(slots - 1) is None
    reading.poll(IDLE_AFTER_MS - 1)
    assert reading.watermark(slots - 1) is None
    if wakes:
        write(tmp_path / "0.jsonl", 200)
    reading.poll(1)
    reading.poll(1)
    assert (reading.watermark(slots - 1) or 0) >= up_to(200 if wakes else 100)


@pytest.mark.parametrize("slots", [1, 2])
def test_time_that_passed_for_others_does_not_pass_again(tmp_path: Path, slots: int) -> None:
    """A partition that was idle for hours while others were not wakes up, and is not hours ahead."""
    write(tmp_path / "0.jsonl", 0)
    write(tmp_path / "1.jsonl", 0)
    reading = Reading(tmp_path, slots=slots)
    for minute in range(1, 300):
        write(tmp_path / "0.jsonl", minute * 60_000)
        reading.poll(60_000)
    for _ in range(10):
        reading.poll(IDLE_AFTER_MS)
    now_ms = 299 * 60_000 + 10 * IDLE_AFTER_MS
    assert up_to(now_ms) - 100 <= (reading.watermark(slots - 1) or 0) <= up_to(now_ms)
    write(tmp_path / "1.jsonl", now_ms, now_ms + 1)
    reading.poll(1)
    assert reading.late() == 0


def test_what_was_decided_in_silence_survives_a_restart(tmp_path: Path) -> None:
    write(tmp_path / "0.jsonl", 100)
    write(tmp_path / "1.jsonl", 50)
    reading = Reading(tmp_path)
    reading.poll()
    reading.poll(IDLE_AFTER_MS)
    reading.poll(3_000)
    claimed = reading.watermark()
    assert claimed is not None
    assert claimed >= up_to(50) + 3_000
    reading.restart()
    assert reading.watermark() == claimed
    write(tmp_path / "1.jsonl", claimed, claimed + 1)
    assert len(reading.poll()) == 2
    assert (reading.watermark(), reading.late()) == (claimed, 1)


def test_a_bounded_input_knows_no_idleness(tmp_path: Path) -> None:
    write(tmp_path / "0.jsonl", 100)
    write(tmp_path / "1.jsonl", 50)
    reading = Reading(tmp_path, follow=False)
    reading.poll()
    reading.poll(100 * IDLE_AFTER_MS)
    assert reading.watermark() == up_to(50)


def test_stamps_of_arrival_never_go_back(tmp_path: Path) -> None:
    path = tmp_path / "0.jsonl"
    write(path, 1)
    reading = Reading(tmp_path, options={"time": hw.INGESTION_TIME, "out_of_order": "0s", "idle_after": None})
    stamps = [stamp for stamp, _ in reading.poll()]
    assert stamps == [1_000_000]
    for wall_ms in (1_000_500, 999_000, 1_000_200, 1_000_700):
        write(path, 2)
        reading.wall_ms = wall_ms
        stamps += [stamp for stamp, _ in reading.poll()]
    reading.restart()
    reading.wall_ms = 500
    write(path, 3)
    stamps += [stamp for stamp, _ in reading.poll()]
    assert stamps == [1_000_000, 1_000_500, 1_000_500, 1_000_500, 1_000_700, 1_000_700]
    assert reading.late() == 0


def test_with_times_of_arrival_time_goes_on_without_data(tmp_path: Path) -> None:
    write(tmp_path / "0.jsonl", 1)
    reading = Reading(tmp_path, options={"time": hw.INGESTION_TIME, "out_of_order": "0s", "idle_after": None})
    reading.poll()
    assert reading.watermark() == 999_999
    reading.poll(60_000)
    assert reading.watermark() == 1_059_999
    write(tmp_path / "0.jsonl", 2)
    reading.poll(0)
    assert reading.late() == 0
