"""Kills at random moments: logs, the receiver, the runs, and the books that what arrived is compared with.

A moment is a number of things that have happened, drawn at random, and not a time: so a slow machine sees the same.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.cluster_harness import Started, await_true, children, is_alive, run, send
from tests.hostile_receiver import TEN_YEARS

ROOT = Path(__file__).parents[1]
PATIENCE_S = 120.0
CLOCK = "clock"
"""The users whose steps only move time."""
Json = dict[str, Any]

COUNTED = """
import os

import headway as hw


class Step(hw.Event):
    at: int
    user: str
    n: int


class Total(hw.State):
    seen: int = 0


class Count(hw.Operator[Step, Total, hw.Json]):
    def on_event(self, state: Total, event: Step, ctx: hw.Context[hw.Json]) -> None:
        state.seen += 1
        # What is made again is made otherwise: so a trigger of an epoch that did not commit gives itself away.
        ctx.emit({"user": event.user, "seen": state.seen, "n": event.n, "nonce": os.urandom(8).hex()})


flow = hw.Flow("steps")
steps = flow.source("steps", Step, hw.files("steps-*.jsonl"), time="at")
counted = steps.key_by("user").process("count", Count())
counted.trigger("written", hw.to_jsonl("written.jsonl"))
"""
"""A flow whose stream is written to a file, which is exact; what else becomes of it is the test's."""


def chance_of(name: str) -> random.Random:
    """Chance for one test; the seed is printed, and HEADWAY_SEED repeats it."""
    seed = int(os.environ.get("HEADWAY_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
    sys.stdout.write(f"{name}: HEADWAY_SEED={seed}\n")
    return random.Random(seed)


class Feed:
    """Logs that grow: four partitions of steps of some users."""

    def __init__(self, directory: Path, chance: random.Random, users: int) -> None:
        self.count = 0
        self._logs = [directory / f"steps-{part}.jsonl" for part in range(4)]
        self._chance = chance
        self._users = users

    def grow(self, count: int) -> None:
        """So many steps more. Behind them time goes on, so that nothing of them has to wait for what comes next."""
        lines: list[list[Json]] = [[] for _ in self._logs]
        for n in range(self.count, self.count + count):
            user = f"u{self._chance.randrange(self._users)}"
            lines[n % len(lines)].append({"at": 10 * n, "user": user, "n": n})
        self.count += count
        for part, (log, more) in enumerate(zip(self._logs, lines)):
            more.append({"at": 10 * self.count - 1, "user": f"{CLOCK}{part}", "n": -1})
            with log.open("a") as file:
                file.writelines(json.dumps(line) + "\n" for line in more)


def lines_of(path: Path) -> list[Json]:
    """The whole lines of a file that may be written to meanwhile."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1] if line]


@dataclass
class Receiver:
    """The process of `tests.hostile_receiver`."""

    directory: Path
    chance: random.Random
    evil_of: int
    patience: tuple[str, ...] = ()
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _read: int = 0
    _records: list[Json] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def journal(self) -> Path:
        return self.directory / "journal.jsonl"

    def start(self) -> None:
        seed = self.chance.randrange(1 << 30)
        command = [sys.executable, "-m", "tests.hostile_receiver"]
        command += [str(self.port), str(self.journal), str(seed), str(self.evil_of), *self.patience]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._process = None

    def restart(self, *, evil_of: int | None = None) -> None:
        self.kill()
        self.evil_of = evil_of or self.evil_of
        self.start()

    def records(self) -> list[Json]:
        """All that has come so far."""
        with self.journal.open("rb") as file:
            file.seek(self._read)
            whole = file.read().rpartition(b"\n")[0]
        if whole:
            self._read += len(whole) + 1
            new = [json.loads(line) for line in whole.split(b"\n")]
            self._records += new
            self._taken |= {record["id"] for record in new if record["taken"] and record["subject"][:5] != CLOCK}
        return self._records

    def taken(self) -> set[str]:
        """The ids of what was taken so far, without those that only move time."""
        self.records()
        return self._taken


@dataclass
class Chaos:
    """A run that is killed and started again with other numbers of workers, and what stands around it."""

    directory: Path
    chance: random.Random
    options: tuple[object, ...] = ()
    workers_max: int = 3
    started: Started | None = None

    @property
    def run(self) -> Started:
        assert self.started is not None, "it is started first"
        return self.started

    def start(self) -> None:
        workers = self.chance.randrange(1, self.workers_max + 1)
        arguments = ("flow.py", "--workers", workers, "--key-groups", 6, "--epoch", "50ms", *self.options)
        self.started = Started(self.directory, *arguments)

    def kill(self) -> None:
        """SIGKILL of everything, of the supervisor alone, which everything else follows, or of one process beside it.

        Then all of it is gone, but for the last case, in which the run mends itself.
        """
        run = self.run
        run.check_running()
        workers = run.workers()
        what = self.chance.choice(["all", "supervisor", "one"])
        if what == "one" and workers:
            run.kill([self.chance.choice(workers)])
            return
        run.kill([run.pid] if what == "supervisor" else self.chance.sample([*workers, run.pid], len(workers) + 1))
        run.process.wait()
        await_true(lambda: not any(map(is_alive, workers)), "the end of all workers")
        self.start()

    def await_true(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for what the run must bring about."""
        await_true(lambda: not is_alive(self.run.pid) or condition(), what, within_s=PATIENCE_S)
        self.run.check_running()

    def await_count(self, count: Callable[[], int], wanted: int, what: str) -> None:
        """Wait until there are so many, as long as they become more."""
        while (known := count()) < wanted:
            self.await_true(lambda: count() > known, f"more than {known} {what} of {wanted}")

    def stop(self) -> None:
        """SIGTERM, and a good end; or that of a worker that was killed just before, which the next run makes good."""
        self.await_true(lambda: _catches(self.run.pid, signal.SIGTERM), "a run that can be told to stop")
        send(self.run.pid, signal.SIGTERM)
        code, err = self.run.outcome(PATIENCE_S)
        assert code == 0 or (code == 5 and "while the run was being stopped" in err), f"{code}: {err}"

    def finish(self, *options: object) -> Json:
        """One more run to the end of the input."""
        return run(self.directory, "flow.py", "--workers", 1, "--key-groups", 6, *options)

    def end(self) -> None:
        if self.started is not None:
            self.started.end()


def _catches(pid: int, number: int) -> bool:
    """Whether a process has a handler of its own for a signal."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def server_of(run: Started, module: bytes) -> list[int]:
    """The process of a server beside a run."""
    found = []
    for pid in children(run.pid):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if module in command and is_alive(pid):
            found.append(pid)
    return found


def headway(directory: Path, *arguments: str) -> None:
    """A command beside the run."""
    command = [sys.executable, "-m", "headway", *arguments]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def check_webhooks(records: list[Json], written: list[Json]) -> None:
    """All that was written has come, once by its id, in the order of its key, as it was written; nothing else has."""
    expected: dict[str, list[str]] = {}
    for line in written:
        expected.setdefault(line["subject"], []).append(line["data"]["nonce"])
    taken: dict[str, list[str]] = {}
    sequences: dict[str, list[str]] = {}
    bodies: dict[str, str] = {}
    places: dict[str, int] = {}
    for record in records:
        assert record["line"] == "POST /hook HTTP/1.1", "a redirect was followed"
        assert record["is_signed"]
        key, body = record["subject"], json.loads(record["body"])
        assert bodies.setdefault(record["id"], record["body"]) == record["body"], "one id, two contents"
        lane = taken.setdefault(key, [])
        assert body["nonce"] in expected.get(key, ()), f"{record} is of an epoch that did not commit"
        place = places.setdefault(record["id"], expected[key].index(body["nonce"]))
        assert place <= len(lane), f"{record} came before what is before it was taken"
        if record["taken"] and place == len(lane):
            lane.append(body["nonce"])
            sequences.setdefault(key, []).append(record["sequence"])
    assert len(set(places)) == sum(map(len, expected.values()))
    assert taken == expected
    assert all(found == sorted(set(found)) for found in sequences.values())


def retry_what_was_put_off_for_years(receiver: Receiver, directory: Path, known: int) -> int:
    """Say that the receiver is back, once for each time that it wanted to be left alone for years; returns how many."""
    found = sum(1 for record in receiver.records() if record["what"] == TEN_YEARS)
    if found > known:
        headway(directory, "triggers", "retry", "flow.py")
    return found


def needs_http() -> None:
    pytest.importorskip("httptools", reason="the extra `http` is not installed")
