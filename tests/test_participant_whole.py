"""All participants of a flow together, on one worker and two: wherever it is cut off, what was written is what must be.

The test is the engine: it carries messages, closes epochs and keeps the tokens. It can be cut off between any two
preparations, between the last one and the first proof, or in the middle of the proofs.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from random import Random
from typing import Any, Optional

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from tests.participant_harness import AcknowledgedInput, plan_of

from headway.plan.layout import lay_out
from headway.runtime.board import Board
from headway.runtime.job import Job
from headway.runtime.job_options import JobOptions
from headway.runtime.participant import Commitment

GROUPS = 3
PARTITIONS = ("p0", "p1")


class Cluster:
    """Some workers of one flow, and the engine's log: the tokens of the last epoch that is durable on all of them.

    The first worker reads, the last one does the rest: of who waits there, readers know by the board alone.
    """

    def __init__(self, directory: Path, workers: int) -> None:
        self.directory = directory
        self.workers = workers
        self.logs: dict[str, list[Any]] = {name: [] for name in PARTITIONS}
        self.input = AcknowledgedInput(self.logs)
        self.found: list[Any] = []
        self.plan = plan_of(self.input, directory, self.found)
        self.state_dir = directory / "state"
        self.manifest = lay_out(self.plan, GROUPS, None)
        self.manifest.create(self.state_dir)
        self.now_ms = 0
        self.log: dict[tuple[str, Any], Any] = {}
        self.start()

    def start(self) -> None:
        board = self.directory / "board"
        slots = self.manifest.sources["s"].slots
        Board.create(board, slots, self.workers)
        self.jobs = [
            Job(
                self.plan,
                self.manifest,
                JobOptions(
                    self.state_dir, follow=True, sync=False, workers=self.workers, worker=worker, board_path=board
                ),
                clock_ms=lambda: self.now_ms,
                wall_ms=lambda: self.now_ms,
            )
            for worker in range(self.workers)
        ]
        self.stages: dict[int, Commitment[Any]] = {}
        self.awoken: set[tuple[str, Any]] = set()
        self.slots = {
            name: self.jobs[0].slot(self.plan.sources[0], name, *self.log.get(("slot", name), (None, {})))
            for name in self.jobs[0].slot_names("s")
        }
        self.sinks = {
            sink.name: self.jobs[-1].sink_task(sink, self.log.get(("sink", sink.name))) for sink in self.plan.sinks
        }
        for kind, group in self.log:
            if kind == "stage":
                self.stage(group)

    def stage(self, group: int) -> Commitment[Any]:
        if group not in self.stages:
            version: Optional[int] = self.log.get(("stage", group))
            self.stages[group] = self.jobs[-1].stage_task(self.plan.stages[0], group, version)
        return self.stages[group]

    def poll(self) -> None:
        """Every slot reads once; what leaves is carried to its end."""
        self.now_ms += 150
        for name, slot in self.slots.items():
            slot.proven()
            self.carry(slot.participant.poll())
            self.awoken.add(("slot", name))
        for group, stage in list(self.stages.items()):
            if stage.is_proven:
                self.carry(stage.participant.on_clock())
                self.awoken.add(("stage", group))

    def carry(self, messages: list[Any]) -> None:
        for target, group, batch in messages:
            if target in self.sinks:
                self.sinks[target].proven()
                self.sinks[target].participant.on_batches([batch])
                self.awoken.add(("sink", target))
                self.tell()
            else:
                stage = self.stage(group)
                stage.proven()
                self.awoken.add(("stage", group))
                self.carry(stage.participant.on_batches([batch]))
                self.tell()

    def tell(self) -> None:
        for job in self.jobs:
            job.worked()

    def prepare(self, random: Random, stop_after: Optional[int] = None) -> None:
        """Close the epoch; cut off after some preparations, the log keeps the epoch before."""
        everyone = sorted(self.awoken, key=str)
        random.shuffle(everyone)
        tokens: dict[tuple[str, Any], Any] = {}
        for kind, name in everyone[:stop_after]:
            if kind == "slot":
                slot = self.slots[name]
                tokens[kind, name] = json.loads(json.dumps([slot.prepare(), slot.participant.kept]))
            else:
                tokens[kind, name] = (self.stages if kind == "stage" else self.sinks)[name].prepare()
            for job in self.jobs:
                job.commitments.tell()
        if stop_after is None:
            self.log |= tokens
            self.awoken = set()

    def end(self, random: Random) -> None:
        """The end of a run that goes well."""
        for slot in self.slots.values():
            slot.proven()
            self.carry(slot.participant.finish())
        self.awoken |= {("slot", name) for name in self.slots}
        for group, stage in list(self.stages.items()):
            stage.proven()
            self.carry(stage.participant.on_end(finish=True))
            self.awoken.add(("stage", group))
        for name, sink in self.sinks.items():
            sink.proven()
            sink.participant.on_end()
            self.awoken.add(("sink", name))
        self.prepare(random)
        for job in self.jobs:
            job.settle()

    def close(self) -> None:
        for job in self.jobs:
            job.close()


class WholeMachine(RuleBasedStateMachine):
    """A flow over logs that grow; what must have been written follows from the logs alone."""

    workers: int

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="headway-test-"))
        self.cluster = Cluster(self.root, self.workers)
        self.at = 0

    def teardown(self) -> None:
        if hasattr(self, "cluster"):
            self.cluster.close()
            shutil.rmtree(self.root)

    def must(self) -> list[dict[str, Any]]:
        """What follows from all that was appended."""
        logs = self.cluster.logs
        if not all(logs.values()):
            return []
        watermark = min(log[-1]["at"] for log in logs.values()) - 1
        events = sorted((event for log in logs.values() for event in log), key=lambda event: event["at"])
        counts: dict[str, int] = {}
        found = []
        for event in events:
            if event["at"] <= watermark:
                counts[event["key"]] = counts.get(event["key"], 0) + 1
                found.append({"at": event["at"], "key": event["key"], "n": counts[event["key"]]})
        return found

    def in_file(self) -> list[Any]:
        path = self.root / "out.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def check(self, *, everything: bool) -> None:
        must = self.must()
        lines = self.in_file()
        assert lines == (must if everything else must[: len(lines)])
        found = self.cluster.found
        assert found == (must if everything else must[: len(found)])
        acknowledged = dict(sorted(self.cluster.input.acknowledged))
        for name, log in self.cluster.logs.items():
            assert acknowledged.get(name, 0) <= len(log)

    @rule(partition=st.sampled_from(PARTITIONS), keys=st.lists(st.sampled_from("abcd"), min_size=1, max_size=4))
    def append(self, partition: str, keys: list[str]) -> None:
        for key in keys:
            self.at += 1
            self.cluster.logs[partition].append({"at": self.at, "key": key})

    @rule(times=st.integers(1, 3))
    def poll(self, times: int) -> None:
        for _ in range(times):
            self.cluster.poll()
        self.check(everything=False)

    @rule(seed=st.integers(0, 99))
    def end_epoch(self, seed: int) -> None:
        self.cluster.prepare(Random(seed))
        self.check(everything=False)

    @rule(seed=st.integers(0, 99), prepared=st.integers(0, 8))
    def cut_off_while_closing(self, seed: int, prepared: int) -> None:
        self.cluster.prepare(Random(seed), prepared)
        self.again()

    @rule(seed=st.integers(0, 99))
    def cut_off_before_anybody_hears(self, seed: int) -> None:
        self.cluster.prepare(Random(seed))
        self.again()

    @rule()
    def cut_off(self) -> None:
        self.again()

    def again(self) -> None:
        self.cluster.close()
        self.cluster.start()
        self.check(everything=False)

    @rule(seed=st.integers(0, 99))
    def silence(self, seed: int) -> None:
        """Nothing more comes: within two epochs everything leaves, then all hear; then nothing is sent any more."""
        random = Random(seed)
        cluster = self.cluster
        for _ in range(8):
            cluster.poll()
        for _ in range(2):
            cluster.prepare(random)
            cluster.poll()
        self.check(everything=True)
        for _ in range(3):
            cluster.prepare(random)
            cluster.poll()
        everyone = [*cluster.stages.values(), *cluster.sinks.values()]
        before = [one.participant.statistics().version for one in everyone]
        cluster.poll()
        assert not any(job.is_awaited() for job in cluster.jobs)
        assert cluster.awoken <= {("slot", name) for name in cluster.slots} | {("stage", g) for g in cluster.stages}
        assert [one.participant.statistics().version for one in everyone] == before
        acknowledged = dict(sorted(cluster.input.acknowledged))
        opened = {name for name, log in cluster.logs.items() if log}
        assert all(acknowledged.get(name, 0) == len(cluster.logs[name]) for name in opened & acknowledged.keys())

    @rule(seed=st.integers(0, 99))
    def end_well(self, seed: int) -> None:
        cluster = self.cluster
        for _ in range(12):
            cluster.poll()
        cluster.end(Random(seed))
        self.check(everything=True)
        cluster.close()
        cluster.start()
        self.check(everything=True)


def run(workers: int, examples: int, steps: int) -> None:
    machine = type("Machine", (WholeMachine,), {"workers": workers})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_the_whole(workers: int) -> None:
    run(workers, 6, 15)


@pytest.mark.soak
@pytest.mark.parametrize("workers", [1, 2])
def test_the_whole_for_long(workers: int) -> None:
    run(workers, 50, 30)
