"""Savepoints that are killed anywhere while they are made or restored: all of it or nothing, and the flow goes on."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
from tests.cluster_harness import Started, await_true
from tests.evolve_harness import PARTS, SEEN, given_alone, keep, outputs, part
from tests.savepoints_harness import found_in

from headway.basics.crashpoints import VARIABLE
from headway.errors import IncompatibleStateError
from headway.proving.crashes import Crashes, Kill
from headway.runtime.directory import StateDirectory
from headway.savepoints.create import create_savepoint
from headway.savepoints.restore import restore_savepoint
from headway.savepoints.shelf import Shelf
from headway.state.savepoint import check_savepoint

SEED = int(os.environ.get("HEADWAY_CRASH_SEED", "0")) or time.time_ns() % 1_000_000


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flow with a savepoint, that has gone on since."""
    directory = tmp_path_factory.mktemp("before")
    keep(directory, SEEN, part(0, 40))
    create_savepoint(StateDirectory(directory / "state"), "a")
    keep(directory, SEEN, part(0, 60))
    return directory


def call(directory: Path, crashes: Crashes, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headway", "savepoint", *arguments]
    return subprocess.run(
        command, cwd=directory, env=crashes.environment, capture_output=True, text=True, check=False, timeout=120
    )


def points_of(before: Path, directory: Path, *arguments: str) -> list[Kill]:
    """All points that a command comes to, each time that it does."""
    shutil.copytree(before, directory)
    crashes = Crashes(directory / "crashes")
    crashes.arm(None)
    done = call(directory, crashes, *arguments)
    assert done.returncode == 0, done.stderr
    return [Kill(point, nth) for point, count in crashes.counts().items() for nth in range(1, count + 1)]


def check_the_flow(directory: Path) -> None:
    keep(directory, SEEN, PARTS, drain=True)
    assert outputs(directory) == given_alone(SEEN, PARTS)


def chosen(kills: list[Kill], count: int) -> list[Kill]:
    logging.getLogger("tests").warning("to repeat this: HEADWAY_CRASH_SEED=%d", SEED)
    must = [kill for kill in kills if kill.point.startswith(("savepoint", "restoring", "move"))]
    others = [kill for kill in kills if kill not in must]
    rng = Random(SEED)
    return [*rng.sample(must, min(len(must), count // 2)), *rng.sample(others, min(len(others), count - count // 2))]


def check_making(before: Path, tmp_path: Path, count: int) -> None:
    for number, kill in enumerate(chosen(points_of(before, tmp_path / "first", "create", "state", "b"), count)):
        directory = tmp_path / str(number)
        shutil.copytree(before, directory)
        crashes = Crashes(directory / "crashes")
        crashes.arm(kill)
        assert call(directory, crashes, "create", "state", "b").returncode == -signal.SIGKILL, kill
        shelf = Shelf(directory / "state")
        assert shelf.names() == (["a", "b"] if kill.point == "savepoint.after" else ["a"]), kill
        for name in shelf.names():
            check_savepoint(shelf.path(name))
        create_savepoint(StateDirectory(directory / "state"), "c")
        assert found_in(directory / "state") == [".lock", *shelf.names()]
        check_the_flow(directory)


def check_restoring(before: Path, tmp_path: Path, count: int) -> None:
    restore = ("restore", "state", "a", "--yes", "--outputs", "back")
    for number, kill in enumerate(chosen(points_of(before, tmp_path / "first", *restore), count)):
        directory = tmp_path / str(number)
        shutil.copytree(before, directory)
        crashes = Crashes(directory / "crashes")
        crashes.arm(kill)
        assert call(directory, crashes, *restore).returncode == -signal.SIGKILL, kill
        check_savepoint(Shelf(directory / "state").path("a"))
        if number % 2:
            restore_savepoint(Shelf(directory / "state").path("a"), StateDirectory(directory / "state"), outputs="back")
        check_the_flow(directory)
        left = [path.name for path in (directory / "state").iterdir() if path.name.endswith((".old", "rescaled"))]
        assert not left, kill


def test_making_one_is_killed(before: Path, tmp_path: Path) -> None:
    check_making(before, tmp_path, 3)


def test_restoring_one_is_killed(before: Path, tmp_path: Path) -> None:
    check_restoring(before, tmp_path, 4)


@pytest.mark.soak
def test_making_one_is_killed_everywhere(before: Path, tmp_path: Path) -> None:
    check_making(before, tmp_path, 40)


@pytest.mark.soak
def test_restoring_one_is_killed_everywhere(before: Path, tmp_path: Path) -> None:
    check_restoring(before, tmp_path, 80)


FLOW = """
import headway as hw

class Seen(hw.State):
    count: int = 0

class Count(hw.Operator[hw.Json, Seen]):
    def on_event(self, state, event, ctx):
        state.count += 1
        ctx.emit({"user": ctx.key, "count": state.count})

flow = hw.Flow("counts")
steps = flow.source("steps", hw.Json, hw.files("steps-*.jsonl"), time="at")
steps.key_by("user").process("count", Count()).to("counted", hw.to_jsonl("counted.jsonl"))
"""


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_worker_dies_while_it_links_its_part(tmp_path: Path, side: str) -> None:
    """The run starts again, and so does the savepoint: with a later epoch, of all processes."""
    (tmp_path / "flow.py").write_text(FLOW)
    lines = [f'{{"at": {at}, "user": "u{at % 40}"}}\n' for at in range(2_000)]
    for number in range(2):
        (tmp_path / f"steps-{number}.jsonl").write_text("".join(lines[number::2]))
    crashes = Crashes(tmp_path / "crashes")
    crashes.arm(Kill(f"savepoint-part.{side}", 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(crashes.folder))
        options = ["--state", "state", "--workers", 2, "--epoch", "30ms", "--key-groups", 4, "--follow", "--quiet"]
        started = Started(tmp_path, "flow.py", *options)
    crashes.began(started.pid)
    try:
        await_true((tmp_path / "state" / "groups" / "003" / "CURRENT").exists, "a start")
        info = create_savepoint(StateDirectory(tmp_path / "state"), "a", wait_s=60)
        started.check_running()
        assert crashes.counts()[f"savepoint-part.{side}"] > (2 if side == "before" else 1)
    finally:
        started.end()
    assert info.running
    assert check_savepoint(Shelf(tmp_path / "state").path("a")).events == info.events
    restore_savepoint(Shelf(tmp_path / "state").path("a"), StateDirectory(tmp_path / "state"))
    command = [sys.executable, "-m", "headway", "run", "flow.py", "--state", "state", "--quiet", "--drain"]
    assert subprocess.run(command, cwd=tmp_path, check=False, timeout=120).returncode == 0
    assert len((tmp_path / "counted.jsonl").read_text().splitlines()) == 2_000


def test_a_restore_into_an_empty_directory_is_killed(before: Path, tmp_path: Path) -> None:
    """Until it is done there is no state, and nothing takes it for one; it can be done again."""
    for number, point in enumerate(["restoring.before", "positions.after", "restoring.after"]):
        directory = tmp_path / str(number)
        shutil.copytree(before, directory)
        crashes = Crashes(directory / "crashes")
        crashes.arm(Kill(point))
        arguments = ("restore", "state", "a", "--into", "other", "--outputs", "back")
        assert call(directory, crashes, *arguments).returncode == -signal.SIGKILL, point
        if point != "restoring.after":
            with pytest.raises(IncompatibleStateError, match="restore it again"):
                StateDirectory(directory / "other").manifest()
        restore_savepoint(Shelf(directory / "state").path("a"), StateDirectory(directory / "other"), outputs="back")
        shutil.rmtree(directory / "state")
        (directory / "other").rename(directory / "state")
        check_the_flow(directory)
