"""Backups that are killed anywhere while they are made or restored: what is listed is whole, and the flow goes on."""

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
from tests.backups_harness import claimed, restored
from tests.evolve_harness import PARTS, SEEN, given_alone, keep, outputs, part

from headway.backups.restore import known_backups, verify_backup
from headway.backups.store import open_store
from headway.proving.crashes import Crashes, Kill

SEED = int(os.environ.get("HEADWAY_CRASH_SEED", "0")) or time.time_ns() % 1_000_000


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flow with two backups, that has gone on since."""
    directory = tmp_path_factory.mktemp("before")
    keep(directory, SEEN, part(0, 20))
    backups = claimed(open_store(f"file:{directory}/kept"), directory)
    backups.create("a")
    keep(directory, SEEN, part(0, 40))
    with backups.leased():
        backups.create("b")
    keep(directory, SEEN, part(0, 60))
    return directory


def call(directory: Path, crashes: Crashes, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headway", "backup", *arguments]
    return subprocess.run(
        command, cwd=directory, env=crashes.environment, capture_output=True, text=True, check=False, timeout=120
    )


def kills_of(before: Path, directory: Path, *arguments: str) -> list[Kill]:
    """All points that a command comes to: the first and the last time that it does."""
    shutil.copytree(before, directory)
    crashes = Crashes(directory / "crashes")
    crashes.arm(None)
    done = call(directory, crashes, *arguments)
    assert done.returncode == 0, done.stderr
    return [Kill(point, nth) for point, count in crashes.counts().items() for nth in sorted({1, count})]


def killed(
    before: Path, tmp_path: Path, *arguments: str, count: int, least: tuple[str, ...]
) -> list[tuple[Kill, Path]]:
    """Copies of what was there before, in each of which the command was killed at another point."""
    logging.getLogger("tests").warning("to repeat this: HEADWAY_CRASH_SEED=%d", SEED)
    kills = kills_of(before, tmp_path / "first", *arguments)
    assert {kill.point.partition(".")[0] for kill in kills} >= set(least)
    must = [kill for kill in kills if kill.point.startswith(least)]
    others = [kill for kill in kills if kill not in must]
    rng = Random(SEED)
    chosen = [*rng.sample(must, min(len(must), count)), *rng.sample(others, min(len(others), count // 2))]
    found = []
    for number, kill in enumerate(chosen):
        directory = tmp_path / str(number)
        shutil.copytree(before, directory)
        crashes = Crashes(directory / "crashes")
        crashes.arm(kill)
        assert call(directory, crashes, *arguments).returncode == -signal.SIGKILL, kill
        found.append((kill, directory))
    return found


def check_making(before: Path, tmp_path: Path, count: int) -> None:
    least = ("backup-claim", "backup-files", "backup-manifest", "backup")
    for kill, directory in killed(before, tmp_path, "create", "file:kept", "state", "c", count=count, least=least):
        store = open_store(f"file:{directory}/kept")
        names = [listed.name for listed in known_backups(store).backups]
        assert names[:2] == ["a", "b"], kill
        assert ("c" in names) or kill.point != "backup.after"
        for listed in known_backups(store).backups:
            assert not list(verify_backup(store, listed)), kill
        backups = claimed(store, directory)
        backups.create("d", keep=2)
        needed = {key.rpartition("/")[2] for key in store.keys("manifests/")}
        assert "d.json" in needed
        assert len(needed) == 2
        shutil.rmtree(directory / "state")
        restored(store, directory, outputs="back")
        check_the_flow(directory)


def check_restoring(before: Path, tmp_path: Path, count: int) -> None:
    least = ("savepoint", "restoring", "move")
    arguments = ("restore", "file:kept", "state", "b", "--yes", "--outputs", "back")
    (tmp_path / "lost").mkdir()
    shutil.copytree(before, tmp_path / "lost" / "before")
    shutil.rmtree(tmp_path / "lost" / "before" / "state")
    for _, directory in killed(tmp_path / "lost" / "before", tmp_path, *arguments, count=count, least=least):
        restored(open_store(f"file:{directory}/kept"), directory, outputs="back")
        assert claimed(open_store(f"file:{directory}/kept"), directory).create().events == 40
        check_the_flow(directory)


def check_the_flow(directory: Path) -> None:
    keep(directory, SEEN, PARTS, drain=True)
    assert outputs(directory) == given_alone(SEEN, PARTS)


def test_making_one_is_killed(before: Path, tmp_path: Path) -> None:
    check_making(before, tmp_path, 3)


def test_restoring_one_is_killed(before: Path, tmp_path: Path) -> None:
    check_restoring(before, tmp_path, 3)


@pytest.mark.soak
def test_making_one_is_killed_everywhere(before: Path, tmp_path: Path) -> None:
    check_making(before, tmp_path, 60)


@pytest.mark.soak
def test_restoring_one_is_killed_everywhere(before: Path, tmp_path: Path) -> None:
    check_restoring(before, tmp_path, 60)
