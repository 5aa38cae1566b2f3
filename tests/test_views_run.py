"""What readers see of a run that is killed and goes on with other numbers of workers: one epoch, never an older one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import msgspec
import pytest
from tests.views_flow import NAMES
from tests.views_harness import (
    Accounts,
    balances,
    decision_state,
    finished,
    kill,
    running,
    transfers,
    until,
    write_lines,
)

from headway.basics.receipts import Receipt
from headway.serving.catalog import Presence
from headway.serving.state import DecisionState
from headway.state.followed import FollowedGroup


def accounts(state: DecisionState) -> Accounts:
    """All accounts of the snapshot, read as one page; each is read by its key as well."""
    snapshot, shown = state.snapshot, state.views()["accounts"]
    assert snapshot is not None
    items, following = shown.page(snapshot, "", "", 1_000, 1 << 30)
    assert following == ""
    found = {}
    for item in items:
        assert shown.get(snapshot, item.key) == item
        value = msgspec.json.decode(item.value)
        found[item.key] = value["n"], value["cents"]
        check_sheet(state, item.key, found[item.key][0])
    top = [one.key for one in shown.top(snapshot, 1_000)]
    assert top == sorted(found, key=lambda key: (-found[key][1], key.encode()))
    assert state.views()["last-booking"].count_some(snapshot, "", "", 1_000) == (len(found), "")
    return found


def check_sheet(state: DecisionState, key: str, count: int) -> None:
    """The logs of an account are as they were when it had been through so many bookings."""
    snapshot, shown = state.snapshot, state.views()["sheets"]
    assert snapshot is not None
    value = msgspec.json.decode(shown.get(snapshot, key).value)
    numbers = [booking["number"] for booking in value["bookings"]["last"]]
    assert numbers == list(range(count - len(numbers), count))
    assert value["bookings"]["length"] == len(numbers)
    whole = shown.stored(snapshot, key)  # With what the view does not show.
    taken = list(whole.times)
    assert numbers[0] == (taken[-1] if taken else 0)
    assert taken == sorted(set(taken))
    [listed], _ = shown.page(snapshot, key, key, 1, 1 << 30)
    short = msgspec.json.decode(listed.value)
    assert short["bookings"] == {"length": len(numbers), "last": value["bookings"]["last"][-3:]}


class Reader:
    """Follows a state directory, and checks each epoch that it sees."""

    def __init__(self, directory: Path, log: list[dict[str, object]]) -> None:
        self.state = decision_state(directory)
        self.seen: list[int] = []
        self.handled = 0
        self._expected = [balances(log[:count]) for count in range(len(log) + 1)]

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.state.close()

    def look(self) -> int:
        """Move on; returns how many events the state has handled: it is exactly that of the first so many."""
        if self.state.refresh():
            assert self.state.snapshot is not None
            found = accounts(self.state)
            self.handled = sum(n for n, _ in found.values()) // len(NAMES)
            assert found == self._expected[self.handled]
            self.seen.append(self.state.snapshot.cut.epoch)
            assert self.seen == sorted(set(self.seen))
        return self.handled


def has_handled(reader: Reader, count: int) -> bool:
    return reader.look() >= count


def follow_with_kills(directory: Path, *, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    log = transfers(40 * rounds + 1, seed)
    with Reader(directory, log) as reader:
        read_with_kills(directory, log, reader, chance, rounds)


def read_with_kills(
    directory: Path, log: list[dict[str, object]], reader: Reader, chance: random.Random, rounds: int
) -> None:
    for number in range(rounds):
        part = log[40 * number : 40 * (number + 1)]
        with running(directory, workers=chance.randint(1, 3)) as process:
            handled = reader.handled
            for start in range(0, 40, 4):
                write_lines(directory / "transfers-0.jsonl", part[start : start + 4])
                target = handled + chance.randint(0, start)
                until(partial(has_handled, reader, target), f"{target} events", process=process)
            if chance.random() < 0.7:
                kill(process)
        reader.look()
        with Reader(directory, log) as other:  # One that comes to what a stopped, or killed, run has left.
            other.look()
            assert other.handled == reader.handled
    write_lines(directory / "transfers-0.jsonl", log[-1:])
    with running(directory, workers=chance.randint(1, 3)) as process:
        until(lambda: reader.look() == len(log) - 1, "all events", process=process)


def test_each_epoch_is_that_of_a_prefix_of_the_log(tmp_path: Path) -> None:
    follow_with_kills(tmp_path, rounds=3, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 12))
def test_each_epoch_is_that_of_a_prefix_of_the_log_for_long(tmp_path: Path, seed: int) -> None:
    follow_with_kills(tmp_path, rounds=8, seed=seed)


def reached(state: DecisionState, receipt: Receipt) -> bool:
    state.refresh()
    return "accounts" in state.views() and state.reached(receipt, state.views()["accounts"]) is None


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as held:
        yield held


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reader_that_keeps_up_reads_the_feed_alone(
    tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = transfers(400, seed=3)
    path = tmp_path / "transfers-0.jsonl"
    write_lines(path, log[:50])
    with running(tmp_path, workers=workers) as process, Reader(tmp_path, log) as reader:
        until(partial(has_handled, reader, 40), "the first transfers", process=process)
        monkeypatch.setattr(FollowedGroup, "_look", None)  # Which reads the database.
        for start in range(50, 400, 50):
            write_lines(path, log[start : start + 50])
            until(partial(has_handled, reader, start + 40), "what was written", process=process)
        assert len(list((tmp_path / "state" / "feed").iterdir())) <= 2 * 12
    assert not list((tmp_path / "state" / "feed").iterdir())


def test_what_was_written_can_be_read_over_restarts_and_workers(tmp_path: Path, opened: ExitStack) -> None:
    """A receipt is reached only when the state of the view has its event, whoever runs the flow meanwhile."""
    state = opened.enter_context(closing(decision_state(tmp_path, by_clock="true")))
    log: list[dict[str, object]] = []
    partition = "transfers-0.jsonl"
    for number, workers in enumerate((1, 2, 3)):
        with running(tmp_path, "--set", "by_clock=true", workers=workers) as process:
            for _ in range(4):
                event = transfers(1, seed=len(log), start=len(log))
                write_lines(tmp_path / "transfers-0.jsonl", event)
                log += event
                receipt = Receipt("transfers", partition, len(log) - 1)
                until(partial(reached, state, receipt), f"event {len(log)}", process=process)
                assert accounts(state) == balances(log)
            if number == 1:
                kill(process)
    ahead = Receipt("transfers", partition, len(log))
    assert state.reached(ahead, state.views()["accounts"]) == "its event has not been read yet"
    assert not state.knows(Receipt("nowhere", partition, 0))


def test_what_waits_for_time_is_not_there_yet(tmp_path: Path, opened: ExitStack) -> None:
    """The last event waits, since another one of its time may come: its receipt is not reached, the one before is."""
    write_lines(tmp_path / "transfers-0.jsonl", transfers(5))
    partition = "transfers-0.jsonl"
    receipt = Receipt("transfers", partition, 3, time_ms=3)
    with running(tmp_path) as process:
        state = opened.enter_context(closing(decision_state(tmp_path)))
        until(lambda: reached(state, receipt), "all events but the last", process=process)
    shown = state.views()["accounts"]
    missing = state.reached(Receipt("transfers", partition, 4), shown)
    assert missing == "its event was read, and waits until time has passed it"


def test_hostile_keys_are_keys(tmp_path: Path, opened: ExitStack) -> None:
    state = opened.enter_context(closing(finished(tmp_path, transfers(60))))
    assert state.refresh()
    found = accounts(state)
    assert set(found) == set(NAMES)
    assert state.snapshot is not None
    shown = state.views()["accounts"]
    for key in ("", "an", "ann\0", "/", "\U0010ffff", "ann" * 1000):
        assert shown.get(state.snapshot, key).presence is Presence.ABSENT
