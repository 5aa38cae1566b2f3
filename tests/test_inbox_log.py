"""The log of an inbox against a list: whatever fails or ends it, what was acknowledged is there, once and in order."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.inbox_harness import Killed, Machine, one

from headway.errors import CorruptStateError, InputError, LockedStateError, StateError
from headway.inbox.commits import ConflictError, Receipt
from headway.inbox.frames import Entry, frames_in, pack_frame, segment_head, segment_start
from headway.inbox.log import BrokenLogError, InboxLog, NoRoomError
from headway.inbox.reader import InboxReader

FAULTS = ("short", "full", "error", "killed", "sync", "killed before sync", "killed after sync")
ENDINGS = ("stop", "power")

steps = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), st.lists(st.integers(1, 4), min_size=1, max_size=4)),
        st.tuples(st.sampled_from(FAULTS), st.integers(0, 400)),
        st.tuples(st.sampled_from(ENDINGS), st.just(0)),
    ),
    max_size=14,
)


class Book:
    """What a client was promised, and what it has tried and knows nothing of."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.acknowledged: dict[int, bytes] = {}
        self.tried: set[bytes] = set()
        self.number = 0

    def commit(self, sizes: list[int]) -> None:
        groups = []
        for size in sizes:
            groups.append([one(self.number + index) for index in range(size)])
            self.number += size
        self.tried |= {item.lines.rstrip() for group in groups for item in group}
        try:
            outcomes = self.machine.commit(*groups)
        except Killed:
            self.machine.stop()
            return
        for group, outcome in zip(groups, outcomes):
            if isinstance(outcome, list):
                for item, receipt in zip(group, outcome):
                    assert not receipt.duplicate
                    assert receipt.position not in self.acknowledged
                    self.acknowledged[receipt.position] = item.lines.rstrip()
            else:
                assert isinstance(outcome, (NoRoomError, BrokenLogError))

    def check(self) -> None:
        found = self.machine.lines()
        assert {position: found[position] for position in self.acknowledged} == self.acknowledged
        assert set(found) <= self.tried
        assert len(set(found)) == len(found)
        assert [int(line[5:-1]) for line in found] == sorted(int(line[5:-1]) for line in found)


@settings(max_examples=80, deadline=None)
@given(steps, st.integers(0, 2**32))
def test_what_was_acknowledged_is_there(given_steps: list[tuple[str, Any]], seed: int) -> None:
    machine = Machine(seed)
    book = Book(machine)
    try:
        for kind, value in given_steps:
            if kind == "commit":
                book.commit(value)
                book.check()
            elif kind == "stop":
                machine.stop()
            elif kind == "power":
                machine.lose_power()
            elif kind == "short" or kind not in ENDINGS:
                machine.start()
                machine.files.fault, machine.files.at_byte = kind, value
                book.commit([2, 1])
                machine.files.fault = None
                book.check()
                if machine.inbox is not None and machine.inbox.log.is_broken:
                    machine.stop()
        machine.stop()
        book.commit([1])
        book.check()
    finally:
        machine.close()


@pytest.mark.parametrize("ending", ENDINGS)
def test_cut_at_every_byte(ending: str) -> None:
    """The process is killed, or the power is lost, when so many bytes of a group have been written."""
    for at_byte in range(0, 180, 1 if ending == "stop" else 3):
        machine = Machine(at_byte)
        try:
            book = Book(machine)
            book.commit([1, 2])
            machine.files.fault, machine.files.at_byte = "killed", at_byte
            book.commit([2])
            getattr(machine, {"stop": "stop", "power": "lose_power"}[ending])()
            book.commit([1])
            book.check()
            assert len(book.acknowledged) == 4
        finally:
            machine.close()


@pytest.fixture
def machine() -> Any:
    made = Machine()
    yield made
    made.close()


def test_a_sync_that_failed_is_never_tried_again(machine: Machine) -> None:
    machine.commit([one(0)])
    first = set(machine.directory.glob("*.log"))
    machine.files.fault = "sync"
    assert isinstance(machine.commit([one(1)])[0], BrokenLogError)
    assert isinstance(machine.commit([one(2)])[0], BrokenLogError)
    assert machine.lines() == [b'{"n":0}']
    machine.stop()
    assert machine.commit([one(3)]) == [[Receipt(1, duplicate=False)]]
    assert len(set(machine.directory.glob("*.log")) - first) == 1, "it goes on in a new file"
    assert machine.lines() == [b'{"n":0}', b'{"n":3}']


def test_a_full_disk_passes(machine: Machine) -> None:
    machine.commit([one(0)])
    machine.files.fault, machine.files.at_byte = "full", 30
    (path,) = machine.directory.glob("*.log")
    before = path.stat().st_size
    assert isinstance(machine.commit([one(1, "k")])[0], NoRoomError)
    assert path.stat().st_size == before, "what was written of it is cut off"
    assert machine.commit([one(1, "k")]) == [[Receipt(1, duplicate=False)]], "the failed one is not remembered"


def test_some_room_is_left(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.start().log._room_bytes = 1 << 60
    with pytest.raises(NoRoomError, match="nearly full"):
        raise machine.commit([one(0)])[0]  # type: ignore[misc]


def test_equal_keys(machine: Machine) -> None:
    found = machine.commit([one(1, "a")], [one(1, "a")], [one(2, "b"), one(1, "a"), one(2, "b")], [one(9, "a")])
    assert found[:3] == [
        [Receipt(0, duplicate=False)],
        [Receipt(0, duplicate=True)],
        [Receipt(1, duplicate=False), Receipt(0, duplicate=True), Receipt(1, duplicate=True)],
    ]
    assert isinstance(found[3], ConflictError)
    machine.stop()
    assert machine.commit([one(1, "a")]) == [[Receipt(0, duplicate=True)]], "the window is read from the log"
    assert isinstance(machine.commit([one(3), one(9, "b")])[0], ConflictError)
    assert machine.lines() == [b'{"n":1}', b'{"n":2}'], "nothing of a batch with a conflict is appended"
    machine.now_ms += 1_001
    assert machine.commit([one(9, "a")]) == [[Receipt(2, duplicate=False)]], "the window is over"


def test_a_failed_group_fails_for_all_that_wait_for_it(machine: Machine) -> None:
    machine.commit([one(0, "old")])
    machine.files.fault = "sync"
    found = machine.commit([one(1, "a")], [one(1, "a")], [one(0, "old")])
    assert [type(outcome) for outcome in found] == [BrokenLogError, BrokenLogError, list]


def test_damage_is_told_from_a_torn_end(machine: Machine) -> None:
    for number in range(4):
        machine.commit([one(number)])
    (path,) = machine.directory.glob("*.log")
    data = bytearray(path.read_bytes())
    data[segment_bytes_of(data, 1) + 50] ^= 1
    path.write_bytes(data)
    machine.stop()
    (machine.directory / "tail").unlink()
    with pytest.raises(CorruptStateError, match="damaged at byte"):
        machine.start()


def segment_bytes_of(data: bytes | bytearray, number: int) -> int:
    return [frame.start for frame in frames_in(bytes(data))][number]


def test_lost_events_are_told(machine: Machine) -> None:
    machine.commit([one(0)])
    machine.commit([one(1)])
    (path,) = machine.directory.glob("*.log")
    machine.stop()
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CorruptStateError, match="lacks acknowledged events"):
        machine.start()
    path.unlink()
    with pytest.raises(CorruptStateError, match="found those before 0"):
        machine.start()


def test_one_writer(machine: Machine) -> None:
    machine.start()
    with pytest.raises(LockedStateError, match="is written by process"):
        InboxLog(machine.directory)


def test_old_files_go_when_nobody_needs_them(machine: Machine) -> None:
    reader = None
    for number in range(60):
        machine.commit([one(number)])
        machine.now_ms += 100
    many = len(list(machine.directory.glob("*.log")))
    assert many > 4
    machine.now_ms += 10_000
    machine.commit([one(60)] * 80)
    assert len(list(machine.directory.glob("*.log"))) > many, "the flow needs them"
    reader = InboxReader(machine.directory, "log/0", {"record": 0}, follow=True)
    while reader.read(10_000) is not None:
        pass
    reader.committed(reader.position())
    late = InboxReader(machine.directory, "log/0", {"record": 3}, follow=True)
    machine.commit([one(61)] * 80)
    left = sorted(machine.directory.glob("*.log"))
    assert len(left) < 4
    with pytest.raises(InputError, match="record 3 is to be read"):
        late.read(100)
    machine.stop()
    fresh = InboxReader(machine.directory, "log/0", None, follow=False)
    chunk = fresh.read(1)
    assert chunk is not None
    assert chunk.first_ordinal == int(left[0].stem), "a source that is new begins with what there is"
    for opened in (reader, late, fresh):
        opened.close()


def test_readers_see_nothing_that_is_not_durable(machine: Machine) -> None:
    machine.commit([one(0)])
    reader = InboxReader(machine.directory, "log/0", None, follow=True)
    assert reader.read(1_000) is not None
    machine.files.fault = "killed before sync"
    with suppress(Killed):
        machine.commit([one(1)])
    assert not reader.has_more()
    assert reader.read(1_000) is None
    machine.stop()
    machine.commit([one(2)])
    assert reader.has_more()
    chunk = reader.read(1_000)
    assert chunk is not None
    assert (chunk.data, chunk.first_ordinal, reader.position()) == (b'{"n":2}\n', 1, {"record": 2})
    reader.close()


def test_ingestion_time_never_comes_too_late(machine: Machine) -> None:
    machine.commit([one(0)])
    machine.now_ms += 10
    reader = InboxReader(machine.directory, "log/0", None, follow=True)
    assert reader.floor_ms(machine.now_ms) is None, "there is something to be read that happened before"
    chunk = reader.read(1_000)
    assert chunk is not None
    assert chunk.receipt_times([0]) == [1_000_000]
    assert reader.floor_ms(machine.now_ms) == 1_000_010
    machine.now_ms -= 500  # The clock of the machine is set back.
    machine.commit([one(1)], [one(2)])
    chunk = reader.read(1_000)
    assert chunk is not None
    assert chunk.receipt_times([1, 2]) == [1_000_010] * 2
    assert reader.floor_ms(machine.now_ms) == 1_000_010
    assert machine.inbox is not None
    with machine.inbox.log._cells.appending():
        assert reader.floor_ms(machine.now_ms + 5_000) == 1_000_010, "an append is under way"
    assert reader.floor_ms(machine.now_ms + 5_000) == machine.now_ms + 5_000
    reader.close()


@given(st.binary(max_size=200), st.integers(0, 2**40), st.lists(st.binary(min_size=16, max_size=16), max_size=3))
def test_frames_that_are_changed_are_none(lines: bytes, first: int, keys: list[bytes]) -> None:
    entries = [Entry(key, key, 0, 1) for key in keys]
    data = segment_head(first) + pack_frame(first, 1, 5, 16, entries, lines)
    assert segment_start(data, "it") == first
    (frame,) = frames_in(data)
    assert (frame.lines, frame.entries, frame.first, frame.received_ms) == (lines, entries, first, 5)
    for place in range(16, len(data)):
        changed = bytearray(data)
        changed[place] ^= 0x40
        assert not list(frames_in(bytes(changed)))


def test_another_file_is_no_segment() -> None:
    assert segment_start(b"HwIn", "it") is None
    with pytest.raises(StateError, match="no segment"):
        segment_start(b"something else entirely", "it")
