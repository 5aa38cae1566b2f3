"""Messages that are written many at once: the log has what it would have if each came alone, and each once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from headway.connectors.lines import LinesChunk
from headway.durable import target
from headway.durable.calls import CallRecord
from headway.durable.target import MessagesTarget, StepsTarget
from headway.inbox.runlog import RunLogInput
from headway.steps.attempt import Ran, StepCall
from headway.steps.hub import Hub
from headway.steps.queues import Queue
from headway.targets.base import DONE, Answer, Delivery, Outcome

LOG = RunLogInput("answers", "answers of steps and functions")


def delivery(number: int, arguments: str) -> Delivery:
    record = CallRecord(key=f"k{number}", kind="start", name="f", to=str(number), arguments=arguments)
    return Delivery(
        id=f"{number:032d}",
        type="start",
        source="/headway/g",
        subject=None,
        time_ms=number,
        data=msgspec.json.encode(record),
        sequence=f"{number:020d}",
        place="p",
        number=number,
    )


def written(directory: Path, batches: list[list[Delivery]], *, restarts: bool = False) -> list[tuple[str, str]]:
    """Whom the records of the log are for and what they say, once batches have been delivered, some under way at once.

    With `restarts` the log is opened anew before each of them.
    """
    directory.mkdir(exist_ok=True)
    log = LOG.within(directory)
    log.prepare(1)

    async def deliver(some: list[list[Delivery]]) -> None:
        messages = MessagesTarget("g", LOG).within(directory, 0, 1)
        await messages.open()
        answers = await asyncio.gather(*(messages.deliver(batch) for batch in some))
        assert [list(answer) for answer in answers] == [[DONE] * len(batch) for batch in some]
        await messages.close()

    for some in [[batch] for batch in batches] if restarts else [batches]:
        asyncio.run(deliver(some))
    return records(directory)


def records(directory: Path) -> list[tuple[str, str]]:
    """What stands in the log, by whom it is for."""
    log = LOG.within(directory)
    reader = log.open(log.partitions()[0], None, follow=False)
    found = []
    while (chunk := reader.read(1 << 20)) is not None:
        assert isinstance(chunk, LinesChunk)
        for line in bytes(chunk.data).splitlines():
            message = msgspec.json.decode(line)
            found.append((message["to"], msgspec.json.encode(message["body"]).decode()))
    reader.close()
    return found


numbers = st.lists(st.lists(st.integers(0, 30), max_size=20), max_size=6)


@settings(max_examples=25)
@given(numbers=numbers, restarts=st.booleans())
def test_messages_delivered_together_are_those_delivered_one_by_one(numbers: list[list[int]], restarts: bool) -> None:
    """Some come again, in one batch, in another one that is under way, or after a crash."""
    batches = [[delivery(number, f"[{number}]") for number in some] for some in numbers]
    with TemporaryDirectory() as directory:
        together = written(Path(directory) / "together", batches, restarts=restarts)
        one_by_one = written(Path(directory) / "alone", [[one] for batch in batches for one in batch])
    assert together == one_by_one
    assert len(together) == len({number for some in numbers for number in some})


def test_large_messages_are_written_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "_PIECE_BYTES", 1_000)
    batch = [delivery(number, msgspec.json.encode(["x" * 400]).decode()) for number in range(20)]
    assert [to for to, _ in written(tmp_path, [batch])] == [f"f/{number}" for number in range(20)]
    [log] = (tmp_path / "inbox").glob("*/worker-00/*.log")
    assert 5 <= log.read_bytes().count(b"HwFr") <= 10


def test_one_that_cannot_be_written_holds_up_no_other_one(tmp_path: Path) -> None:
    """It is put off, longer each time, with the reason; the others of its batch are in the log."""
    unknown = msgspec.json.encode(CallRecord(key="k8", kind="of tomorrow", name="f"))
    bad = [
        replace(delivery(number, "[]"), data=data, attempt=attempt)
        for number, data, attempt in ((7, b"{}", 1), (8, unknown, 3))
    ]
    batch = [delivery(1, "[1]"), *bad, delivery(2, "[2]")]
    log = LOG.within(tmp_path)
    log.prepare(1)

    async def deliver() -> list[Answer]:
        messages = MessagesTarget("g", LOG).within(tmp_path, 0, 1)
        await messages.open()
        answers = list(await messages.deliver(batch))
        await messages.close()
        return answers

    first, missing, other, last = asyncio.run(deliver())
    assert first == last == DONE
    assert (missing.outcome, missing.retry_after_s) == (Outcome.RETRY, 1.0)
    assert "ValidationError" in missing.reason
    assert (other.outcome, other.retry_after_s) == (Outcome.RETRY, 4.0)
    assert "a call of kind 'of tomorrow'" in other.reason
    assert [to for to, _ in records(tmp_path)] == ["f/1", "f/2"]


def test_a_step_that_cannot_be_handed_over_is_put_off_with_the_reason(tmp_path: Path) -> None:
    """The pauses of its output are a millisecond: without one of its own it would be tried without a rest."""

    class Broken(Hub):
        async def run(self, call: StepCall, attempt: int, last_details: str = "") -> Ran:
            raise RuntimeError("a mistake of ours")

    hub = Broken({}, {})
    LOG.within(tmp_path).prepare(1)
    record = CallRecord(key="f/1#0.1", kind="step", name="work", caller="f/1")

    async def deliver() -> list[Answer]:
        steps = StepsTarget("g", LOG, hub, Queue("default")).within(tmp_path, 0, 1)
        await steps.open()
        answers: list[Answer] = []
        for attempt, data in ((1, record), (2, record), (3, None)):
            encoded = b"{}" if data is None else msgspec.json.encode(data)
            given = replace(delivery(attempt, "[]"), data=encoded, attempt=attempt)
            answers += await steps.deliver([given])
        await steps.close()
        return answers

    found = asyncio.run(deliver())
    assert [(answer.outcome, answer.retry_after_s) for answer in found] == [
        (Outcome.RETRY, 1.0),
        (Outcome.RETRY, 2.0),
        (Outcome.RETRY, 4.0),
    ]
    assert [answer.reason for answer in found[:2]] == 2 * ["RuntimeError: a mistake of ours"]
    assert "ValidationError" in found[2].reason
