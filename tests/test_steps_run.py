"""Queues of steps in a run: what is slow holds up nothing else, attempts and their pauses outlive the process."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.cluster_harness import Started, await_true, is_alive
from tests.durable_harness import Group, start

import headway as hw
from headway import durable_workflow
from headway.delivery import dispatcher
from headway.durable.messages import Cancel
from headway.errors import StateError
from headway.state.reader import StateReader


@durable_workflow
async def stuck(context: Any) -> None:
    await context.call("slow")


@durable_workflow
async def prompt(context: Any) -> str:
    return str(await context.call("quick"))


def test_slow_steps_of_one_queue_hold_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More wait than are in memory."""
    monkeypatch.setattr(dispatcher, "_LAST_ANSWERS_S", 0.0)
    begun: list[str] = []

    async def slow() -> None:
        begun.append(hw.step_info().key)
        await asyncio.Event().wait()

    async def quick() -> str:
        return "done"

    group = Group(tmp_path, stuck, prompt, steps=[quick], queues=[hw.Queue("slow", concurrency=3)])
    group.flow.step(queue="slow")(slow)
    group.tell(*((f"stuck/{number}", start()) for number in range(2_500)), ("prompt/1", start()))
    group.run_until_ended(1)
    assert (group.ended[0]["function"], group.ended[0]["result"]) == ("prompt", '"done"')
    assert len(begun) == 3
    group.tell(*((f"stuck/{number}", Cancel("enough", terminates=True)) for number in range(2_500)))
    group.run(lambda: len(group.ended) == 2_501 and waiting(tmp_path) == {})
    assert len(begun) < 100, "what nobody waits for is not begun, however many were before it"


def waiting(state: Path) -> dict[str, int]:
    """Calls in the outbox, by output."""
    with StateReader(state) as reader:
        found = Counter(
            {
                name: sum(queue.waiting for queue in reader.deliveries(output.id))
                for name, output in reader.manifest.outputs.items()
                if name.startswith("call")
            }
        )
    return dict(+found)


@durable_workflow
async def persistent(context: Any) -> list[Any]:
    return list(await context.call("work"))


def test_attempts_their_key_and_their_last_words_outlive_a_run(tmp_path: Path) -> None:
    seen: list[tuple[str, int, Any]] = []

    async def work() -> list[Any]:
        info = hw.step_info()
        seen.append((info.key, info.attempt, info.last_details))
        info.heartbeat({"attempt": info.attempt})
        if info.attempt < 4:
            raise OSError("down")
        return [info.function, info.id, info.run]

    group = Group(tmp_path, persistent)
    group.flow.step(retry=hw.RetryPolicy(initial="1ms"))(work)
    group.tell(("persistent/1", start()))
    for count in (1, 2):
        group.run(lambda count=count: len(seen) >= count)  # type: ignore[misc]
    group.run_until_ended(1)
    assert json.loads(group.ended[0]["result"]) == ["persistent", "1", 0]
    assert len({key for key, *_ in seen}) == 1
    assert [attempt for _, attempt, _ in seen] == [1, 2, 3, 4]
    assert [details for *_, details in seen] == [None, {"attempt": 1}, {"attempt": 2}, {"attempt": 3}]


def test_a_pause_may_be_longer_than_an_hour(tmp_path: Path) -> None:
    attempts: list[int] = []

    async def work() -> list[Any]:
        attempts.append(1)
        raise hw.RetryLater("closed", after="3d")

    group = Group(tmp_path, persistent)
    group.flow.step(work)
    group.tell(("persistent/1", start()))
    group.run(lambda: len(attempts) == 1 and waiting(tmp_path) == {"call": 1})
    with StateReader(tmp_path) as reader:
        [due_ms] = [
            at_ms
            for queue in reader.deliveries(reader.manifest.outputs["call"].id)
            if (at_ms := queue.next_due_ms()) is not None
        ]
    assert due_ms - time.time() * 1_000 > 2.9 * 86_400_000


FLOW = """
import os
import headway as hw

@hw.durable_workflow
async def work(context):
    return [await context.call("compute", 3), await context.call("compute", 4)]

flow = hw.Functions("work", [work])
factor = flow.param("factor", 1)

@flow.step(runs_in="process")
def compute(number: int) -> list[int]:
    return [number * factor, os.getpid()]

once = flow.source("s", hw.Json, hw.items([{"at": 1}]), time="at", idle_after="10ms")
once.start(work, id=lambda one: "1", args=lambda one: ())
flow.ended.to("ended", hw.to_stdout())
"""


def test_a_process_finds_the_step_in_the_file_of_the_flow(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(FLOW)
    started = Started(tmp_path, "flow.py", "--set", "factor=10", "--follow", "--quiet")
    out = tmp_path / "run.out"
    await_true(
        lambda: started.process.poll() is not None or b"completed" in out.read_bytes(), "the end of the function"
    )
    started.check_running()
    started.process.terminate()
    code, told = started.outcome()
    assert code == 0, told
    (first, pid), (second, again) = json.loads(json.loads(out.read_text().splitlines()[0])["result"])
    assert (first, second) == (30, 40)
    assert pid == again != started.pid
    assert not is_alive(pid)


def test_files_that_cannot_be_made_are_told(tmp_path: Path) -> None:
    group = Group(tmp_path, queues=[hw.Queue("q", runs_on="workers")])
    group.run(lambda: True)
    (tmp_path / "run" / "steps-00.sock").mkdir()
    with pytest.raises(StateError, match=r"steps-00\.sock cannot be used: Is a directory; check the disk"):
        group.run(lambda: False)
