"""Killed at any moment and started again with any number of workers, a run gives what an undisturbed one gives."""

from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.cluster_harness import FLOWS, Started, await_epoch, committed_ns, is_alive, run

from headway.generate import Report, ShopOptions, generate_shop

SEED = int(os.environ.get("HEADWAY_CRASH_SEED", "0")) or time.time_ns() % 1_000_000
"""Each test run takes another one; set the variable to repeat a failure."""


@dataclass
class Feed:
    """Files that grow while they are read: bytes of `source`, cut anywhere, so that lines are half-written."""

    source: Path
    target: Path
    rng: Random
    fed: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.target.mkdir()
        for path in sorted(self.source.glob("shop-*.jsonl")):
            self.fed[path.name] = 0
            (self.target / path.name).touch()

    def more(self, share: float) -> None:
        """Append about `share` of each file."""
        for name, start in self.fed.items():
            data = (self.source / name).read_bytes()
            end = min(len(data), start + self.rng.randint(0, round(2 * share * len(data))))
            with (self.target / name).open("ab") as file:
                file.write(data[start:end])
            self.fed[name] = end

    def all(self) -> None:
        self.more(1e9)


@dataclass
class Trial:
    """One state directory that goes through many lives."""

    directory: Path
    rng: Random
    cycles: int
    feed: Feed
    orphans: list[int] = field(default_factory=list)

    def arguments(self, workers: int) -> list[object]:
        return carts("fed", "out.jsonl", "state", workers)

    def life(self) -> None:
        """Start, let it work for a while, and kill it."""
        workers = self.rng.choice([1, 1, 1, 1, 2, 2, 3])
        before = committed_ns(self.directory / "state")
        started = Started(self.directory, *self.arguments(workers), "--follow", "--quiet")
        try:
            if self.rng.random() < 0.15:
                self._work(started, self.rng.uniform(0, 0.8))
            else:
                for _ in range(self.rng.randint(1, 8)):
                    before = await_epoch(started, self.directory / "state", before)
                    self._work(started, self.rng.uniform(0, 0.05))
            started.check_running()
            self._kill(started, self.rng.choice(["everything", "everything", "supervisor", "supervisor", "worker"]))
        finally:
            started.end()

    def _work(self, started: Started, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.feed.more(0.05 / self.cycles)
            time.sleep(0.01)
        self.feed.more(0.1 / self.cycles)

    def _kill(self, started: Started, what: str) -> None:
        workers = started.workers()
        if what == "worker" and workers:
            before = committed_ns(self.directory / "state")
            started.kill([self.rng.choice(workers)])
            await_epoch(started, self.directory / "state", before)
            self._work(started, self.rng.uniform(0, 0.1))
            what = "everything"
        victims = [started.pid] if what == "supervisor" else [started.pid, *started.workers()]
        started.kill(self.rng.sample(victims, len(victims)))
        started.process.wait()
        self.orphans += workers


def carts(events: str, output: str, state: str, workers: int) -> list[object]:
    settings = {"input": f"{events}/shop-*.jsonl", "output": output, "out_of_order": "2s"}
    chosen = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    return [
        FLOWS / "abandoned_carts.py",
        *chosen,
        *("--state", state, "--workers", workers, "--epoch", "30ms", "--key-groups", 6),
    ]


def survive(directory: Path, cycles: int, events: int) -> None:
    logging.getLogger("tests").warning("to repeat this: HEADWAY_CRASH_SEED=%d", SEED)
    options = ShopOptions(events=events, late=0.01, duplicates=0.01, corrupt=0.002, seed=SEED)
    report = generate_shop(options, directory / "full")
    undisturbed = run(directory, *carts("full", "undisturbed.jsonl", "undisturbed", 1), "--drain")
    assert undisturbed["late"] == report.late > 0

    rng = Random(SEED)
    trial = Trial(directory, rng, cycles, Feed(directory / "full", directory / "fed", rng))
    for _ in range(cycles):
        trial.life()
    trial.feed.all()
    last = run(directory, *trial.arguments(1), "--drain")

    assert (directory / "out.jsonl").read_bytes() == (directory / "undisturbed.jsonl").read_bytes()
    check_against_generator(report, last, directory)
    assert dead_letters(directory / "state") == dead_letters(directory / "undisturbed")
    assert not [pid for pid in trial.orphans if is_alive(pid)]


def check_against_generator(report: Report, last: dict[str, object], directory: Path) -> None:
    expected = [json.loads(line) for line in (report.directory / "expected.jsonl").read_text().splitlines()]
    triggers = [json.loads(line) for line in (directory / "out.jsonl").read_text().splitlines()]
    assert sorted(map(essence, triggers)) == sorted(map(essence, expected))
    assert len({line["id"] for line in triggers}) == len(triggers) == report.abandoned
    assert (last["events_total"], last["late"]) == (report.lines, report.late)
    letters = b"".join(dead_letters(directory / "state").values())
    assert last["dead_letters"] == letters.count(b"\n") == report.corrupt
    assert (last["keys"], last["timers"], last["waiting"]) == (0, 0, 0)
    read = last["events"]
    assert isinstance(read, int)
    assert read < report.lines * 0.9, "the cycles before made hardly any progress"


def essence(trigger: dict[str, Any]) -> tuple[str, str, str]:
    return trigger["time"], trigger["subject"], json.dumps(trigger["data"], sort_keys=True)


def dead_letters(state_dir: Path) -> dict[str, bytes]:
    """Those of each partition, in the order of its log."""
    files = sorted((state_dir / "dead-letters").glob("*/*"))
    return {str(path.relative_to(state_dir)): path.read_bytes() for path in files}


def test_twelve_kills_change_nothing(tmp_path: Path) -> None:
    survive(tmp_path, cycles=12, events=40_000)


@pytest.mark.soak
def test_two_hundred_kills_change_nothing(tmp_path: Path) -> None:
    survive(tmp_path, cycles=200, events=1_000_000)
