"""Histories of functions are logs: what a step writes and what a happening reads do not depend on how long they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest

import headway as hw
from headway.durable.calls import CALLS, CallRecord, FunctionEnded
from headway.durable.messages import Body, Cancel, Message, Resolve, Start, body_of, message
from headway.durable.operator import FunctionOperator
from headway.durable.state import FunctionState
from headway.functions.history import Started, decode
from headway.operators.base import Timer
from headway.state.database import ROWS
from headway.state.group import GroupStore
from headway.state.inputs import InputCodec
from headway.state.keys import id_bytes, successor
from headway.state.logs import Entries
from headway.state.options import StoreOptions
from headway.state.stage import OperatorSpec

KEY = "many/1"
NUMBERS = {"history": 2, "held": 3}


class Instances:
    """The operator on a store of its own; each message is an epoch."""

    def __init__(self, directory: Path, *functions: Any, live_most: int = 10) -> None:
        self.group = GroupStore.open(directory, 0, StoreOptions(sync=False))
        spec = OperatorSpec("functions", FunctionState, version=2, id=1, logs=NUMBERS)
        self.store = self.group.stage("s", [spec], [InputCodec()])
        self.store.resume(None)
        self.table = self.store.tables[0]
        self.callees: dict[str, Any] = {function.name: function for function in functions}
        self.operator = FunctionOperator(self.callees, live_most)
        self.calls: list[CallRecord] = []
        self.ended: list[FunctionEnded] = []
        self.key = KEY
        self.time = 0
        self.written = 0

    def tell(self, body: Body) -> None:
        """Something happens to the instance; counts the bytes that it has written."""
        self.time += 1
        row = self.table.young.get(self.key) or self.table.fetch(self.key)
        self.table.mark(row)
        self.row = row
        event = msgspec.json.decode(message(self.key, body), type=Message)
        context: Any = self
        self.operator.on_event(row.state, event, context)
        self.commit()

    def fire(self, name: str) -> None:
        """A timer of the instance is due."""
        self.row = self.table.fetch(self.key)
        self.time = (self.row.timers or {})[name]
        self.table.cancel_timer(self.row, name)
        context: Any = self
        self.operator.on_timer(self.row.state, Timer(name, self.time), context)
        self.commit()

    def commit(self) -> None:
        self.store.commit(None)
        self.written += sum(len(key) + len(value or b"") for key, value in self.table.pending.items())

    def answer(self) -> None:
        """The last call has its result."""
        self.tell(Resolve(self.calls[-1].run, self.calls[-1].call, msgspec.Raw(b"1")))

    def stored(self, log: str) -> int:
        """Stored entries of a log."""
        self.store.settle()
        prefix = id_bytes(NUMBERS[log])
        return sum(1 for _ in self.group._database.scan(ROWS, prefix, successor(prefix)))

    # What the operator asks its context for.

    def emit(self, value: Any) -> None:
        self.ended.append(value)

    def emit_to(self, side: str, value: Any) -> None:
        if side == CALLS:
            self.calls.append(value)

    def tally(self, name: str, by: int) -> None:
        """Counted by nobody here."""

    def timer(self, name: str, at: int) -> None:
        self.table.set_timer(self.row, name, at)

    def cancel(self, name: str) -> None:
        self.table.cancel_timer(self.row, name)

    @property
    def timers(self) -> dict[str, int]:
        return self.row.timers or {}

    def forget(self) -> Any:
        self.table.forget(self.row)
        return self.row.state


@contextmanager
def counting_reads() -> Iterator[list[int]]:
    """How many entries each reading of stored entries has asked for."""
    found: list[int] = []
    inner = Entries.read

    def read(entries: Entries, start: int, stop: int) -> list[bytes]:
        found.append(stop - start)
        return inner(entries, start, stop)

    with mock.patch.object(Entries, "read", read):
        yield found


@hw.durable_workflow
async def many(context: Any, count: int) -> int:
    total = 0
    for number in range(count):
        total += await context.call("add", number)
    return total


@hw.durable_workflow
async def rounds(context: Any, count: int) -> None:
    for _ in range(3):
        await context.call("add")
    if count:
        context.continue_as_new(count - 1)


def start(*arguments: Any) -> Start:
    return Start(msgspec.Raw(msgspec.json.encode(arguments)))


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[list[Instances]]:
    made: list[Instances] = []
    yield made
    for one in made:
        one.group.close()


def test_each_of_10_000_steps_writes_as_much_as_the_first(tmp_path: Path, opened: list[Instances]) -> None:
    count = 10_000
    instances = Instances(tmp_path, many)
    opened.append(instances)
    with counting_reads() as reads:
        instances.tell(start(count))
        sizes = []
        for _ in range(count):
            before = instances.written
            instances.answer()
            sizes.append(instances.written - before)
    assert instances.ended[0].result == str(count)
    assert reads == [], "what is live is not replayed"
    assert max(sizes[:-1]) <= min(sizes) + 16, "but for the digits of the numbers"
    assert instances.stored("history") == 2 * count + 2


@hw.durable_workflow
async def wide(context: Any, count: int) -> int:
    return sum(await context.gather(*(context.call("add", number) for number in range(count))))


def test_an_answer_of_2_000_that_are_awaited_together_writes_little(tmp_path: Path, opened: list[Instances]) -> None:
    instances = Instances(tmp_path, wide)
    opened.append(instances)
    instances.key = "wide/1"
    instances.tell(start(2_000))
    assert len(instances.row.state.waits) == 21
    assert instances.row.state.waits[-1] == "and more"
    calls, sizes = list(instances.calls), []
    for call in calls:
        before = instances.written
        instances.tell(Resolve(call.run, call.call, msgspec.Raw(b"1")))
        sizes.append(instances.written - before)
    assert instances.ended[0].result == "2000"
    assert max(sizes[:-1]) < 700


def test_one_that_was_dropped_reads_its_history_once(tmp_path: Path, opened: list[Instances]) -> None:
    instances = Instances(tmp_path, many)
    opened.append(instances)
    instances.tell(start(1_000))
    for _ in range(500):
        instances.answer()
    instances.operator._live.clear()
    with counting_reads() as reads:
        instances.answer()
        assert sum(reads) == 2 + 2 * 500
        for _ in range(10):
            instances.answer()
        assert sum(reads) == 2 + 2 * 500


def test_a_run_that_continues_as_new_leaves_no_history(tmp_path: Path, opened: list[Instances]) -> None:
    instances = Instances(tmp_path, rounds)
    opened.append(instances)
    instances.key = "rounds/1"
    instances.tell(start(5))
    for _ in range(5 * 3 + 2):
        instances.answer()
        history = [decode(data) for data in instances.row.state.history]
        assert isinstance(history[0], Started)
        assert len(history) <= 2 + 2 * 3
    assert instances.stored("history") == len(instances.row.state.history) == 2 + 2 * 2
    instances.answer()
    assert (instances.row.state.status, instances.row.state.run) == ("completed", 5)


def test_an_ended_run_is_gone_with_its_retention(tmp_path: Path, opened: list[Instances]) -> None:
    instances = Instances(tmp_path, many)
    opened.append(instances)
    instances.tell(start(2))
    instances.answer()
    instances.answer()
    assert instances.stored("history") == 6
    instances.fire("retention")
    assert (instances.stored("history"), instances.store.row_count) == (0, 0)


def test_what_happens_to_one_that_is_blocked_waits_in_a_log(tmp_path: Path, opened: list[Instances]) -> None:
    instances = Instances(tmp_path, many)
    opened.append(instances)
    instances.tell(start(3))
    instances.operator._live.clear()
    instances.callees.clear()
    instances.answer()
    instances.tell(Cancel("enough"))
    state = instances.row.state
    assert (state.status, instances.stored("held")) == ("blocked", 2)
    instances.callees["many"] = many
    instances.tell(body_of(Message(to=KEY, body='{"kind":"retry"}')))
    assert (state.status, instances.stored("held")) == ("cancelled", 0)
