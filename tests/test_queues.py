"""Queues by way of the inbox: a queue of the test's, against a model, with trouble and crashes anywhere."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from tests.cluster_harness import run
from tests.kafka_harness import eventually
from tests.kills_harness import chance_of
from tests.queue_fakes import FakeConsumer, FakeQueue, Given

import headway as hw
from headway.connectors.base import Position
from headway.connectors.loopthread import LoopThread
from headway.connectors.parts import record_headers, record_key, record_time
from headway.errors import InputError, LockedStateError
from headway.formats.json import Json
from headway.inbox.queues import consuming, records
from headway.inbox.queues.base import Message
from headway.inbox.queues.source import queue_source
from headway.inbox.reader import InboxChunk, times_of

DECODER = Json().decoder(hw.Json)


def source(queue: FakeQueue, folder: Path, **options: Any) -> Any:
    return queue_source("fake", lambda: FakeConsumer(queue), **options).within(folder)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consuming, "_PAUSES_S", (0.0,))
    monkeypatch.setattr(consuming, "_QUIET_S", 0.05)


def read_some(given: Any, position: Position | None, count: int, *, follow: bool) -> tuple[list[int], Position]:
    """At least so many events, or all of a bounded reader; and the position behind them."""
    found: list[int] = []
    with closing(given.session()) as session:
        [name] = session.partitions()
        reader = session.open(name, position, follow=follow)

        def has_them() -> bool:
            chunk = reader.read(1)
            if chunk is not None:
                found.extend(event["n"] for event in chunk.decode(DECODER).events)
            return reader.at_end if not follow else len(found) >= count

        with closing(reader):
            eventually(has_them, f"{count} events, after {found}")
            return found, reader.position()


@pytest.mark.parametrize("seed", range(4))
def test_each_message_is_read_once_and_in_order_whatever_fails(tmp_path: Path, seed: int) -> None:
    chance = random.Random(chance_of("queues").randrange(1 << 30) + seed)
    queue = FakeQueue(chance, fails_of=7)
    total, found, position = 0, list[int](), None
    for _ in range(chance.randrange(3, 7)):
        more = chance.randrange(0, 40)
        queue.put(range(total, total + more))
        total += more
        wanted = chance.randrange(0, total - len(found) + 1)
        some, behind = read_some(source(queue, tmp_path), position, wanted, follow=True)
        if chance.randrange(3) == 0:
            continue  # As after a crash: the epoch did not count, and it is read again.
        found += some
        position = behind
    queue.fails_of = 0
    some, _ = read_some(source(queue, tmp_path), position, 0, follow=False)
    assert found + some == list(range(total))
    assert queue.acknowledged[-1:] == ([total - 1] if total else [])
    assert sorted(set(queue.acknowledged)) == list(range(total))
    assert not queue.waiting and not queue.handed


def test_a_message_without_an_id_is_not_lost_and_may_be_there_twice(tmp_path: Path) -> None:
    queue = FakeQueue(random.Random(3), fails_of=5, has_ids=False)
    queue.put(range(60))
    found, _ = read_some(source(queue, tmp_path), None, 60, follow=False)
    assert set(found) == set(range(60))
    assert len(found) > 60


def test_a_used_id_with_another_value_is_a_message_of_its_own(tmp_path: Path) -> None:
    first, other = Message(b'{"n": 1}', "7"), Message(b'{"n": 2}', "7")
    again = first._replace(headers=[("x-delivery-count", b"1")])
    groups = [[first, other], [again], [other, first, Message(b'{"n": 1}', "8")]]
    found, _ = read_some(queue_source("given", lambda: Given(groups)).within(tmp_path), None, 0, follow=False)
    assert found == [1, 2, 1]


class Away(Given):
    """Lets one connect, or not, and then drops whoever has."""

    def __init__(self, *, is_there: bool) -> None:
        super().__init__([])
        self.is_there = is_there

    async def connect(self) -> None:
        if not self.is_there:
            raise ConnectionRefusedError("nobody is there")

    async def take(self) -> Sequence[Message]:
        raise ConnectionResetError("the connection was dropped")


@pytest.mark.parametrize(("is_there", "reason"), [(False, "nobody is there"), (True, "the connection was dropped")])
def test_a_bounded_run_of_a_queue_that_does_not_answer_ends_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool, reason: str
) -> None:
    monkeypatch.setattr(consuming, "FIRST_WAIT_S", 0.05)
    given = queue_source("away", lambda: Away(is_there=is_there)).within(tmp_path)
    with pytest.raises(InputError, match=f"queue away does not answer within 0 s: {reason}"):
        read_some(given, None, 0, follow=False)


def test_whoever_is_dropped_after_each_connection_waits_longer_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consuming, "_PAUSES_S", (0.0, 0.001, 0.002, 0.003))
    pauses: list[float] = []
    pause = LoopThread.pause

    async def paused(self: Any, seconds: float) -> None:
        pauses.append(seconds)
        await pause(self, seconds)

    monkeypatch.setattr(LoopThread, "pause", paused)
    given = queue_source("away", lambda: Away(is_there=True)).within(tmp_path)
    with closing(given.open("=away/0", None, follow=True)):
        eventually(lambda: len(pauses) > 5, "six pauses")
    assert pauses[:6] == [0.0, 0.001, 0.002, 0.003, 0.003, 0.003]


def test_a_run_ends_while_a_queue_is_yet_to_let_it_connect(tmp_path: Path) -> None:
    begun = Event()

    class Slow(Given):
        async def connect(self) -> None:
            begun.set()
            await asyncio.Event().wait()

    session = queue_source("slow", lambda: Slow([])).within(tmp_path).session()
    reader = session.open("=slow/0", None, follow=True)
    assert begun.wait(10)
    reader.close()
    session.close()


def test_a_run_that_ends_before_the_log_is_free_does_not_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = queue_source("held", lambda: Given([])).within(tmp_path)
    tried: list[int] = []

    def held(*given: Any, **options: Any) -> Any:
        tried.append(1)
        raise LockedStateError("another process has it")

    monkeypatch.setattr("headway.inbox.queues.source.Inbox", held)
    reader = given.open("=held/0", None, follow=True)
    eventually(lambda: bool(tried), "a try")
    reader.close()
    assert len(tried) < 20


def test_what_a_queue_knows_of_a_message(tmp_path: Path) -> None:
    queue = FakeQueue(random.Random(1))
    queue.put(range(3))
    with closing(source(queue, tmp_path).session()) as session:
        reader = session.open("=fake/0", None, follow=True)
        with closing(reader):
            chunks: list[Any] = []

            def has_all() -> bool:
                chunk = reader.read(1)
                chunks.extend([chunk] if chunk is not None else [])
                return sum(len(one.ordinals) for one in chunks) == 3

            eventually(has_all, "all three")
            found = [
                (key, headers, time_ms)
                for chunk in chunks
                for key, headers, time_ms in zip(
                    *(chunk.parts(part, chunk.ordinals) for part in (record_key, record_headers, record_time))
                )
            ]
            assert found[1:] == [(f"k{n}", [("h", b"%d" % n)], n) for n in (1, 2)]
            assert found[0][:2] == ("k0", [("h", b"0")])
            assert found[0][2] > 1_700_000_000_000  # It had no time, so that of its receipt counts.
            assert chunks[0].record(0) == ("record 0", b'{"n": 0}')


def test_receipt_times_of_a_chunk_are_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(received: Any, ordinals: Sequence[int]) -> list[int]:
        asked.append(len(ordinals))
        return times_of(received, ordinals)

    monkeypatch.setattr(records, "times_of", counted)
    lines = b"".join(records.item_of(Message(b"%d" % n)).lines for n in range(100))
    read = InboxChunk(lines, 0, 0, received=tuple((n, 1_000 + n) for n in range(100)))
    chunk = records.QueueChunk("=q/0", read)
    assert chunk.parts(record_time, range(100)) == [1_000 + n for n in range(100)]
    assert asked == [100]


def test_no_more_is_taken_than_the_flow_may_be_behind(tmp_path: Path) -> None:
    queue = FakeQueue(random.Random(1))
    queue.put(range(500))
    with closing(source(queue, tmp_path, most_waiting=20).session()) as session:
        reader = session.open("=fake/0", None, follow=True)
        with closing(reader):
            eventually(lambda: len(queue.acknowledged) > 20, "twenty")
            read = 0
            while read < 500:
                chunk = reader.read(1)
                if chunk is None:
                    assert len(queue.acknowledged) - read <= 20 + 8
                    reader.committed(reader.position())
                else:
                    read += len(chunk.decode(DECODER).events)


def test_what_does_not_end_by_itself_ends_the_run_behind_what_was_taken(tmp_path: Path) -> None:
    queue = FakeQueue(random.Random(1))
    queue.put(range(5))
    with closing(source(queue, tmp_path).session()) as session:
        reader = session.open("=fake/0", None, follow=True)
        with closing(reader):
            eventually(lambda: len(queue.acknowledged) == 5, "all")
            assert reader.behind == 5
            queue.failure = InputError("it lets nobody in")
            found: list[int] = []

            def reads() -> bool:
                chunk = reader.read(1)
                if chunk is not None:
                    found.extend(event["n"] for event in chunk.decode(DECODER).events)
                return False

            with pytest.raises(InputError, match="it lets nobody in"):
                eventually(reads, "the failure")
            assert found == list(range(5)) and reader.behind == 0
        assert reader.behind is None, "another thread may ask once more"


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_in_a_flow_with_poison_for_the_dead_letters(tmp_path: Path, workers: int) -> None:
    (tmp_path / "flow.py").write_text(FLOW)
    run(tmp_path, "flow.py", "--workers", workers, "--drain")
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert sorted(lines) == sorted(f'{{"n":{n}}}' for n in range(100) if n % 10)
    letters = (tmp_path / "letters.jsonl").read_text().splitlines()
    assert len(letters) == 10
    assert all('"raw":"no JSON"' in letter and '"source":"numbers"' in letter for letter in letters)


FLOW = """
import headway as hw
from headway.inbox.queues.base import Consumer, Message


class Numbers(Consumer):
    def __init__(self):
        self.left = list(range(100))

    async def connect(self):
        pass

    async def take(self):
        taken, self.left = self.left[:9], self.left[9:]
        return [Message(b'{"n": %d}' % n if n % 10 else b"no JSON", str(n)) for n in taken]

    async def done(self, messages):
        pass

    async def disconnect(self):
        pass


flow = hw.Flow("numbers")
numbers = flow.source("numbers", hw.Json, hw.queue_source("numbers", Numbers), time=hw.record_time)
numbers.to("out", hw.to_jsonl("out.jsonl"))
numbers.dead_letters.to("letters", hw.to_jsonl("letters.jsonl"))
"""
