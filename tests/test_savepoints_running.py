"""Savepoints of flows that run in several processes under load, killed and restored with any number of workers."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.cluster_harness import FLOWS, Started, await_true, run
from tests.savepoints_harness import found_in
from tests.test_crash import Feed

from headway.generate import ShopOptions, generate_shop
from headway.runtime.directory import StateDirectory
from headway.savepoints.create import create_savepoint
from headway.savepoints.shelf import Shelf
from headway.state.database import group_path

SEED = int(os.environ.get("HEADWAY_CRASH_SEED", "0")) or time.time_ns() % 1_000_000


def carts(state: str, output: str, workers: int, groups: int = 6) -> list[object]:
    settings = {"input": "fed/shop-*.jsonl", "output": output, "out_of_order": "2s"}
    chosen = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    where: list[object] = ["--state", state, "--workers", workers, "--epoch", "30ms", "--key-groups", groups]
    return [FLOWS / "abandoned_carts.py", *chosen, *where]


def command(directory: Path, *arguments: object) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "headway", "savepoint", *map(str, arguments)],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    return done.returncode, done.stdout, done.stderr


def create(directory: Path, name: str) -> dict[str, Any]:
    code, out, err = command(directory, "create", "state", name, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def shop(directory: Path, events: int, files: int) -> None:
    options = ShopOptions(events=events, late=0.01, duplicates=0.01, partitions=files, seed=SEED)
    generate_shop(options, directory / "full")


def undisturbed(directory: Path) -> bytes:
    shutil.copytree(directory / "full", directory / "whole")
    arguments = carts("undisturbed", "undisturbed.jsonl", 1)
    arguments[2] = "input=whole/shop-*.jsonl"
    run(directory, *arguments, "--drain")
    return (directory / "undisturbed.jsonl").read_bytes()


def survive(directory: Path, events: int, rounds: int) -> None:
    logging.getLogger("tests").warning("to repeat this: HEADWAY_CRASH_SEED=%d", SEED)
    rng = Random(SEED)
    shop(directory, events, files=rng.choice([1, 2, 4]))
    feed = Feed(directory / "full", directory / "fed", rng)
    running = 0
    for number in range(rounds):
        feed.more(0.3 / rounds)
        started = Started(directory, *carts("state", "out.jsonl", rng.choice([1, 2, 3])), "--follow", "--quiet")
        try:
            await_true((directory / "state" / "flow.json").exists, "a start")
            feed.more(0.3 / rounds)
            time.sleep(rng.uniform(0, 0.3))
            found = create(directory, f"s{number}")
            running += found["running"]
            feed.more(0.3 / rounds)
            time.sleep(rng.uniform(0, 0.2))
            started.check_running()
        finally:
            started.end()
        if rng.random() < 0.7:
            chosen = f"s{rng.randrange(number + 1)}"
            code, _, err = command(directory, "restore", "state", chosen, "--yes")
            assert code == 0, err
    assert running
    feed.all()
    run(directory, *carts("state", "out.jsonl", rng.choice([1, 2, 3])), "--drain")
    assert (directory / "out.jsonl").read_bytes() == undisturbed(directory)


def test_savepoints_of_a_flow_that_is_killed_and_goes_back(tmp_path: Path) -> None:
    survive(tmp_path, events=4_000, rounds=2)


@pytest.mark.soak
def test_savepoints_of_a_flow_that_is_killed_and_goes_back_for_long(tmp_path: Path) -> None:
    survive(tmp_path, events=60_000, rounds=12)


def test_an_idle_flow_with_workers_that_read_nothing(tmp_path: Path) -> None:
    """One file is read by one worker; the others have key groups, and hear of nothing before something is read."""
    shop(tmp_path, 2_000, files=1)
    feed = Feed(tmp_path / "full", tmp_path / "fed", Random(1))
    feed.more(0.2)
    run(tmp_path, *carts("state", "out.jsonl", 1))
    assert command(tmp_path, "restore", "state", create(tmp_path, "stopped")["name"], "--yes")[0] == 0
    # Nothing was opened in this generation when the savepoint is made: no event, no heartbeat has come.
    started = Started(tmp_path, *carts("state", "out.jsonl", 3), "--follow", "--quiet")
    try:
        started.await_workers(3)
        found = create(tmp_path, "idle")
        assert found["running"]
        again = create(tmp_path, "idle-still")
        assert (again["events"], again["rows"]) == (found["events"], found["rows"])
        assert found["rows"] > 0
    finally:
        started.end()
    assert command(tmp_path, "restore", "state", "idle", "--yes")[0] == 0
    feed.all()
    run(tmp_path, *carts("state", "out.jsonl", 2), "--drain")
    assert (tmp_path / "out.jsonl").read_bytes() == undisturbed(tmp_path)


def test_a_new_flow_that_has_read_nothing_yet(tmp_path: Path) -> None:
    """One file is read by one worker, whose part is there long before the others have linked what it sends them."""
    shop(tmp_path, 4_000, files=1)
    feed = Feed(tmp_path / "full", tmp_path / "fed", Random(1))
    feed.more(0.6)
    started = Started(tmp_path, *carts("state", "out.jsonl", 3, groups=24), "--follow", "--quiet")
    try:
        await_true((tmp_path / "state" / "flow.json").exists, "a start")
        assert create_savepoint(StateDirectory(tmp_path / "state"), "early", wait_s=60).running
    finally:
        started.end()
    assert command(tmp_path, "restore", "state", "early", "--yes")[0] == 0
    feed.all()
    run(tmp_path, *carts("state", "out.jsonl", 2, groups=24), "--drain")
    assert (tmp_path / "out.jsonl").read_bytes() == undisturbed(tmp_path)


def test_who_asks_is_killed(tmp_path: Path) -> None:
    """What a killed command has left is removed by the next one; the run takes no notice."""
    shop(tmp_path, 1_000, files=2)
    Feed(tmp_path / "full", tmp_path / "fed", Random(1)).all()
    started = Started(tmp_path, *carts("state", "out.jsonl", 2), "--follow", "--quiet")
    try:
        started.await_workers(2)
        await_true(lambda: (tmp_path / "state" / "savepoints").exists() or bool(create(tmp_path, "first")), "a start")
        for delay_s in (0.25, 0.35, 0.45):
            asking = subprocess.Popen(
                [sys.executable, "-m", "headway", "savepoint", "create", "state", "killed"], cwd=tmp_path
            )
            time.sleep(delay_s)
            asking.send_signal(signal.SIGKILL)
            asking.wait()
            found = found_in(tmp_path / "state") or []
            if "killed" in found:
                assert command(tmp_path, "delete", "state", "killed", "--yes")[0] == 0
        assert create(tmp_path, "second")["running"]
        started.check_running()
    finally:
        started.end()
    assert found_in(tmp_path / "state") == [".lock", "first", "second"]


def test_savepoints_by_themselves(tmp_path: Path) -> None:
    shop(tmp_path, 1_000, files=2)
    Feed(tmp_path / "full", tmp_path / "fed", Random(1)).all()
    arguments = [*carts("state", "out.jsonl", 1), "--follow", "--quiet", "--savepoint-every", "1s", "--keep", "2"]
    started = Started(tmp_path, *arguments)
    seen: set[str] = set()

    def three() -> bool:
        started.check_running()
        seen.update(name for name in found_in(tmp_path / "state") or [] if name.startswith("auto-"))
        return len(seen) >= 3

    try:
        await_true(three, "three savepoints")
    finally:
        started.end()
    kept = [name for name in found_in(tmp_path / "state") or [] if name.startswith("auto-")]
    assert kept == sorted(seen)[-len(kept) :]
    assert len(kept) in (2, 3)
    code, out, _ = command(tmp_path, "list", "state", "--json")
    assert code == 0
    assert all(one["automatic"] and one["running"] for one in map(json.loads, out.splitlines()))


CLICKS = """
import headway as hw

class Kept(hw.State):
    clicks: int = 0

class Count(hw.Operator[hw.Json, Kept, hw.Json]):
    def on_event(self, state, event, ctx):
        state.clicks += 1
        ctx.emit({{"user": ctx.key, "clicks": state.clicks}})

flow = hw.Flow("clicks")
clicks = flow.source("clicks", hw.Json, hw.files("clicks.jsonl"), time="at")
clicks.to("all", hw.to_jsonl("all.jsonl"))
if {counts}:
    clicks.key_by("user").process("count", Count()).to("counts", hw.to_jsonl("counts.jsonl"))
"""


def click(directory: Path, numbers: range) -> None:
    with (directory / "clicks.jsonl").open("a") as log:
        for number in numbers:
            log.write(json.dumps({"at": number, "user": f"u{number % 50}"}) + "\n")


def test_groups_in_which_the_flow_does_nothing_any_more(tmp_path: Path) -> None:
    """What an operator that is gone has kept lies in groups that no worker opens: it is in the savepoint too."""
    place = ["clicks.py", "--key-groups", 6, "--epoch", "30ms"]
    (tmp_path / "clicks.py").write_text(CLICKS.format(counts=True))
    click(tmp_path, range(1, 300))
    run(tmp_path, *place)
    (tmp_path / "clicks.py").write_text(CLICKS.format(counts=False))
    click(tmp_path, range(300, 400))
    started = Started(tmp_path, *place, "--workers", 3, "--follow", "--quiet")
    try:
        started.await_workers(3)
        directory = StateDirectory(tmp_path / ".headway" / "clicks")
        info = create_savepoint(directory, "without", wait_s=60)
        assert info.running
        kept = Shelf(directory.path).path("without")
        assert [group_path(kept, group).is_dir() for group in range(6)] == [True] * 6
    finally:
        started.end()
    assert command(tmp_path, "restore", "clicks.py", "without", "--yes")[0] == 0
    (tmp_path / "clicks.py").write_text(CLICKS.format(counts=True))
    click(tmp_path, range(400, 450))
    run(tmp_path, *place, "--drain")
    counts = [json.loads(line) for line in (tmp_path / "counts.jsonl").read_text().splitlines()]
    assert {line["user"] for line in counts[-50:] if line["clicks"] > 5} == {f"u{number}" for number in range(50)}
