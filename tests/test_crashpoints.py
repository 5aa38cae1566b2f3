"""Crash points: each is in the code once, costs nothing per event, and ends a process exactly once where it says."""

from __future__ import annotations

import ast
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from tests.cluster_harness import Started
from tests.test_tidy import product_files

from headway.basics.crashpoints import POINTS, STEPS, reached
from headway.errors import UsageError
from headway.proving.crashes import Crashes, Kill

FLOW = """
import headway as hw

class Seen(hw.State):
    count: int = 0

class Count(hw.Operator[hw.Json, Seen]):
    def on_event(self, state, event, ctx):
        state.count += 1
        ctx.emit({"user": event["user"], "count": state.count})

flow = hw.Flow("counts")
steps = flow.source("steps", hw.Json, hw.files("steps-*.jsonl"), time="at")
steps.key_by("user").process("count", Count()).to("counted", hw.to_jsonl("counted.jsonl"))
"""


def feed(directory: Path, count: int) -> None:
    (directory / "flow.py").write_text(FLOW)
    for part in range(2):
        lines = [json.dumps({"at": at, "user": f"u{at % 7}"}) for at in range(part, count, 2)]
        (directory / f"steps-{part}.jsonl").write_text("\n".join(lines) + "\n")


def run(directory: Path, crashes: Crashes, state: str, *options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headway", "run", "flow.py", "--quiet", "--key-groups", "2", "--drain"]
    arguments = [*command, "--state", state, *map(str, options)]
    return subprocess.run(
        arguments, cwd=directory, env=crashes.environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_each_point_is_in_the_code_once() -> None:
    used = Counter(
        node.args[0].value
        for path in product_files()
        if "reached(" in path.read_text()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "reached"
        and isinstance(node.args[0], ast.Constant)
    )
    assert used == Counter(POINTS)


def test_what_is_not_watched_costs_nothing() -> None:
    """A call of a function that does nothing takes as long, give or take what a busy machine does."""

    def nothing(point: str) -> None:
        pass

    def took(function: object) -> float:
        began = time.thread_time()
        for _ in range(100_000):
            function("delta.before")  # type: ignore[operator]
        return time.thread_time() - began

    assert min(took(reached) for _ in range(5)) < 4 * min(took(nothing) for _ in range(5))


def test_points_are_reached_for_epochs_and_not_for_events(tmp_path: Path) -> None:
    counts = []
    for events in (200, 20_000):
        directory = tmp_path / str(events)
        directory.mkdir()
        feed(directory, events)
        crashes = Crashes(directory / "crashes")
        done = run(directory, crashes, "state", "--epoch", "1m")
        assert done.returncode == 0, done.stderr
        counts.append(crashes.counts())
    few, many = counts
    assert set(few) == set(many)
    assert sum(many.values()) <= sum(few.values()) + 40, "some for each batch of lines that is written"


def test_a_process_ends_once_where_it_is_told(tmp_path: Path) -> None:
    """And the run after it, which comes to the same place, goes on: what it writes is what it would have been."""
    feed(tmp_path, 2_000)
    crashes = Crashes(tmp_path / "crashes")
    crashes.arm(None)
    assert run(tmp_path, crashes, "undisturbed").returncode == 0
    expected = (tmp_path / "counted.jsonl").read_bytes()
    seen = crashes.counts()
    rng = Random(1)
    for number, step in enumerate(("delta", "delta-sync", "slot", "stage", "output", "lines", "lines-sync")):
        (tmp_path / "counted.jsonl").unlink()
        kill = Kill(f"{step}.{'after' if number % 2 else 'before'}")
        assert seen[kill.point] >= 1
        crashes.arm(kill)
        assert run(tmp_path, crashes, step).returncode == -signal.SIGKILL, kill
        assert crashes.counts()[kill.point] == kill.nth
        crashes.lose_power(rng)
        assert run(tmp_path, crashes, step).returncode == 0
        assert (tmp_path / "counted.jsonl").read_bytes() == expected, kill


def test_of_several_workers_one_ends_and_the_run_mends_itself(tmp_path: Path) -> None:
    feed(tmp_path, 2_000)
    crashes = Crashes(tmp_path / "crashes")
    crashes.arm(Kill("delta.after", 2))
    done = run(tmp_path, crashes, "state", "--workers", 2, "--epoch", "20ms")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("was killed by SIGKILL") == 1, done.stderr
    assert len((tmp_path / "counted.jsonl").read_text().splitlines()) == 2_000


def test_the_whole_run_ends(tmp_path: Path) -> None:
    feed(tmp_path, 2_000)
    crashes = Crashes(tmp_path / "crashes")
    crashes.arm(Kill("delta.after", 1, whole_run=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADWAY_CRASHPOINTS", str(crashes.folder))
        started = Started(tmp_path, "flow.py", "--workers", 2, "--quiet", "--follow")
    crashes.began(started.pid)
    try:
        code, _ = started.outcome()
        assert code == -signal.SIGKILL
    finally:
        started.end()


def test_a_loss_of_power_takes_only_what_was_not_synced(tmp_path: Path) -> None:
    crashes = Crashes(tmp_path / "crashes")
    path, other = tmp_path / "log", tmp_path / "other"
    path.write_bytes(b"durable" + b"not yet")
    other.write_bytes(b"another file")
    synced = f"{path.stat().st_ino} 7 {path}\n0 3 {other}\n1 2 {tmp_path / 'gone'}\n"
    (crashes.folder / "synced").write_text(synced)
    seen = set()
    for seed in range(50):
        path.write_bytes(b"durable" + b"not yet")
        [cut] = crashes.lose_power(Random(seed))
        assert (cut.path, cut.before, cut.after) == (path, 14, path.stat().st_size)
        assert path.read_bytes().startswith(b"durable")
        seen.add(cut.after)
    assert seen == set(range(7, 14))
    assert other.read_bytes() == b"another file", "one that took the place of it"


def test_a_point_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no 1\. time at .delta."):
        Kill("delta")
    assert all(step and text for step, text in STEPS.items())
