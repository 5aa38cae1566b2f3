"""A step of the watermark of any size is taken in slices, and an epoch may end between any two of them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import headway as hw
from headway.errors import ClockError
from headway.plan.planner import compile_plan
from headway.runtime import run as runs
from headway.runtime.batch import Batch, register_codecs
from headway.runtime.channels import Channels
from headway.runtime.job import Job
from headway.runtime.job_options import wall_ms
from headway.runtime.participant import Commitment
from headway.runtime.run import RunOptions, run_flow
from headway.runtime.stage import StageTask
from headway.state.group import GroupStore
from headway.state.inputs import InputCodec
from headway.state.options import StoreOptions
from headway.state.stage import OperatorSpec


class Twice(hw.Operator[hw.Json, hw.Json]):
    """Tells of a key when it comes, and twice at one later instant, which is the same for all keys."""

    def on_event(self, state: Any, event: Any, ctx: hw.Context) -> None:
        state["n"] = state.get("n", 0) + 1
        ctx.emit({"n": state["n"]})
        ctx.timer("a", 1_000)
        ctx.timer("b", 1_000)

    def on_timer(self, state: Any, timer: hw.Timer, ctx: hw.Context) -> None:
        ctx.emit({"timer": timer.name})


def flow_of(events: list[dict[str, Any]], found: list[Any]) -> hw.Flow:
    flow = hw.Flow("twice")
    flow.source("s", hw.Json, hw.items(events), time="at").key_by("key").process("twice", Twice()).trigger(
        "told", hw.to_list(found)
    )
    return flow


class Task:
    """The one keyed stage of the flow in one group, in a store of its own; the test is the engine."""

    def __init__(self, directory: Path, *, slice_records: int, version: Any = None) -> None:
        plan = compile_plan(flow_of([], []).graph)
        register_codecs(plan)
        stage = plan.stages[0]
        self.edge = stage.inputs[0]
        options = StoreOptions(sync=False, waiting_bound=50, timer_window=10)
        self.group = GroupStore.open(directory, 0, options)
        specs = [OperatorSpec(*table) for table in stage.tables()]
        self.store = self.group.stage(stage.name, specs, [InputCodec()])
        channels = Channels(stage.inputs, {self.edge.id: 1})
        self.task = StageTask(plan, stage, 0, 1, self.store, channels, lambda: 0, lambda: 0, slice_records)
        self.commitment = Commitment(self.task, set())
        self.commitment.resume(version)

    def send(self, watermark: int, records: list[Any]) -> list[Any]:
        self.commitment.proven()
        return self.told(self.task.on_batches([Batch(self.edge.id, "s/00", 0, watermark, "items", records)]))

    def told(self, messages: list[Any]) -> list[Any]:
        """What leaves for the output, with what is claimed then."""
        return [(batch.watermark, record[0], record[3]) for _, _, batch in messages for record in batch.records]


EVENTS: list[Any] = [(at, f"k{at:03d}", {}) for at in range(200)]


def in_one_step(directory: Path) -> list[Any]:
    task = Task(directory, slice_records=1_000_000)
    told = task.send(2_000, EVENTS.copy())
    task.group.close()
    return [line[1:] for line in told]


def test_a_slice_has_its_size_whatever_is_due(tmp_path: Path) -> None:
    expected = in_one_step(tmp_path / "once")
    task = Task(tmp_path / "slices", slice_records=20)
    told = task.send(2_000, EVENTS.copy())
    sizes = [len(told)]
    while task.task.is_behind:
        assert task.task.wake_at_ms is not None
        more = task.told(task.task.on_clock())
        sizes.append(len(more))
        told += more
    assert max(sizes) <= 20
    assert [line[1:] for line in told] == expected
    assert len({line[2] for line in told}) == len(told), "ids are different although instants are the same"
    for (claim, *_), (later_claim, time, _) in pairwise(told):
        assert claim == later_claim or claim < time, "what was claimed is not taken back"
    assert task.task.watermark == 2_000
    task.group.close()


@pytest.mark.parametrize("slice_records", [1, 7, 20, 64])
def test_an_epoch_may_end_between_any_two_slices(tmp_path: Path, slice_records: int) -> None:
    expected = in_one_step(tmp_path / "once")
    directory = tmp_path / "often"
    task = Task(directory, slice_records=slice_records)
    told = task.send(2_000, EVENTS.copy())
    lives = 0
    while task.task.is_behind and lives < 1_000:
        lives += 1
        watermark = task.task.watermark
        version = task.commitment.prepare()
        assert not task.commitment.is_proven, "nothing proves yet that the epoch is durable"
        task.group.close()
        task = Task(directory, slice_records=slice_records, version=version)
        assert task.task.watermark == watermark
        told += task.told(task.task.on_clock())
    assert lives > 5
    assert [line[1:] for line in told] == expected
    assert (task.store.waiting.next_ms > 2_000, task.store.timer_count) == (True, 0)
    task.group.close()


def test_what_arrives_proves_that_the_epoch_is_durable(tmp_path: Path) -> None:
    task = Task(tmp_path, slice_records=1_000)
    task.send(5, EVENTS.copy())
    before = task.store.version
    task.commitment.prepare()
    task.group.close()
    # Main families hold only what is proven: nothing of this epoch yet, all of it after a message that brings no news.
    task = Task(tmp_path, slice_records=1_000, version=before)
    task.send(5, EVENTS.copy())
    version = task.commitment.prepare()
    assert task.send(5, []) == []
    assert task.store.resume(version) is not None
    assert task.commitment.prepare() == version, "a proof changes nothing"
    task.group.close()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_ends_when_everything_has_been_handled(tmp_path: Path, threads: int) -> None:
    found: list[Any] = []
    events: list[dict[str, Any]] = [{"at": at, "key": f"k{at}"} for at in range(500)] + [{"at": 5_000, "key": "last"}]
    options = RunOptions(tmp_path / "state", key_groups=3, sync=False, slice_records=10, epoch_ms=20, threads=threads)
    result = run_flow(flow_of(events, found), options)
    assert len(found) == 3 * 500
    assert (result.stats.timers, result.stats.waiting) == (0, 1)


def test_a_clock_that_is_set_back_starts_the_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    events = [{"at": at, "key": f"k{at % 5}"} for at in range(300)]
    jobs: list[Job] = []
    make = Job

    def made(*args: Any, **options: Any) -> Job:
        if not jobs:
            options["wall_ms"] = lambda: wall_ms() - (3_600_000 if jobs and jobs[0].stores() else 0)
        jobs.append(make(*args, **options))
        return jobs[-1]

    monkeypatch.setattr(runs, "Job", made)
    run_flow(flow_of(events, found), RunOptions(tmp_path / "state", key_groups=2, sync=False, chunk_bytes=64))
    assert len(jobs) == 2
    assert isinstance(jobs[0].failure, ClockError)
    assert "set back by 3600.0 s" in str(jobs[0].failure)
    assert len({trigger["id"] for trigger in found}) == 299
