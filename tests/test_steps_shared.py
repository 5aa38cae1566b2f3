"""Limits of a queue that the processes of a flow share: never exceeded, and nobody is left out."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import shared_flow
from tests.cluster_harness import Started, await_true
from tests.steps_harness import World, in_world, rest

import headway as hw
from headway.durable.inputs import PATH
from headway.durable.messages import Start, message
from headway.inbox.commits import Inbox, item_of
from headway.inbox.settings import InboxSettings
from headway.steps.shared import LOOK_MS, SharedLimits


def limits(directory: Path, workers: int, now_ms: int = 0, **options: object) -> list[SharedLimits]:
    queue = hw.Queue("q", **options)  # type: ignore[arg-type]
    return [SharedLimits(directory, queue, worker, workers, now_ms) for worker in range(workers)]


@given(
    story=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["take", "take", "release", "wait"]), st.integers(0, 40)),
        max_size=80,
    )
)
def test_all_together_never_exceed_them(story: list[tuple[int, str, int]], tmp_path_factory: object) -> None:
    directory = tmp_path_factory.mktemp("limits")  # type: ignore[attr-defined]
    shared = limits(directory, 3, concurrency=4, rate="50/s", burst=3)
    running = [0, 0, 0]
    begun: list[int] = []
    now_ms = 0
    for worker, what, number in story:
        if what == "take":
            wait_ms = shared[worker].take(now_ms)
            assert 0 <= wait_ms <= 21
            if wait_ms == 0:
                running[worker] += 1
                begun.append(now_ms)
        elif what == "release" and running[worker]:
            shared[worker].release()
            running[worker] -= 1
        else:
            now_ms += number
        assert sum(running) <= 4
    for first, since_ms in enumerate(begun):
        for last in range(first, len(begun)):
            assert last - first + 1 <= 3 + (begun[last] - since_ms) * 50 / 1_000 + 1e-6
    for one in shared:
        one.close()


def test_those_that_want_take_turns_and_one_that_stands_still_holds_up_nobody(tmp_path: Path) -> None:
    shared = limits(tmp_path, 2, concurrency=1)
    served: Counter[int] = Counter()
    assert shared[0].take(0) == 0
    assert shared[1].take(0) == LOOK_MS
    holder, now_ms = 0, 0
    for _ in range(100):
        now_ms += 1
        shared[holder].release()
        served[holder] += 1
        # The one that has just been served asks first.
        asked = [(worker, shared[worker].take(now_ms)) for worker in (holder, 1 - holder)]
        assert [wait_ms for _, wait_ms in asked] == [LOOK_MS, 0], "the other one was waiting"
        holder = 1 - holder
        assert shared[1 - holder].take(now_ms) == LOOK_MS
        now_ms += LOOK_MS
    assert served == {0: 50, 1: 50}
    shared[holder].release()
    assert shared[holder].take(now_ms) == LOOK_MS
    assert shared[holder].take(now_ms + 200) == 0, "the other one has not been seen to want one lately"
    for one in shared:
        one.close()


def test_a_process_that_is_started_again_has_nothing(tmp_path: Path) -> None:
    shared = limits(tmp_path, 2, concurrency=1)
    assert shared[0].take(0) == 0
    again = SharedLimits(tmp_path, hw.Queue("q", concurrency=1), 0, 2, 10)
    assert again.take(10) == 0
    for one in (*shared, again):
        one.close()
    fewer = limits(tmp_path, 3, concurrency=1)
    assert fewer[2].take(20) == 0
    for one in fewer:
        one.close()


def test_a_clock_that_begins_anew(tmp_path: Path) -> None:
    [one] = limits(tmp_path, 1, 1_000_000, rate="1/s")
    assert one.take(1_000_000) == 0
    one.close()
    [one] = limits(tmp_path, 1, 50, rate="1/s")
    assert one.take(50) == 0
    assert one.take(50) == 1_001
    assert one.take(1_051) == 0
    one.close()


def test_a_hub_waits_for_what_another_process_has(tmp_path: Path) -> None:
    flow = hw.Functions("group", queues=[hw.Queue("q", concurrency=1)])

    @flow.step(queue="q")
    async def work() -> str:
        return "done"

    other = SharedLimits(tmp_path / "run", flow.queues["q"], 1, 2, 0)
    assert other.take(0) == 0

    async def story(world: World) -> None:
        call = world.call("work")
        await world.clock.go_on(1_000)
        assert not call.done()
        other.release()
        await world.clock.go_on(LOOK_MS)
        assert call.result().value == b'"done"'
        await rest()
        assert other.take(world.clock.now_ms()) == 0

    in_world(flow, story, tmp_path, 0, 2)
    other.close()


@pytest.mark.parametrize("workers", [3])
def test_in_a_run_of_several_processes(tmp_path: Path, workers: int) -> None:
    shutil.copy(shared_flow.__file__, tmp_path / "flow.py")
    inbox = Inbox(tmp_path / "state" / "inbox" / PATH[1:].replace("/", ".") / "0", InboxSettings())
    for number in range(60):
        inbox.commit([[item_of(message(f"one/{number}", Start()), f"k{number}")]])
    inbox.close()
    arguments = ("flow.py", "--follow", "--quiet", "--state", "state", "--epoch", "50ms", "--key-groups", 6)
    started = Started(tmp_path, *arguments, "--workers", workers)
    ended = tmp_path / "ended.jsonl"

    def all_ended() -> bool:
        started.check_running()
        return ended.exists() and len(ended.read_text().splitlines()) >= 60

    await_true(all_ended, "the end of all")
    started.process.terminate()
    code, told = started.outcome()
    assert code == 0, told
    assert {json.loads(line)["status"] for line in ended.read_text().splitlines()} == {"completed"}
    lines = (tmp_path / "notes.txt").read_text().splitlines()
    running, most, pids = 0, 0, set()
    for line in lines:
        word, pid = line.split()
        running += 1 if word == "begin" else -1
        most = max(most, running)
        pids.add(pid)
    assert most <= 2
    assert len(pids) == workers, "all processes have run some"
    assert os.getpid() not in map(int, pids)
