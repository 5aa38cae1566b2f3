"""A change of a flow, or of its key groups, that is killed anywhere: the old form or the new one, and nothing lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.evolve_harness import BOTH, PARTS, SEEN, Shape, flow_of, given_alone, keep, options, outputs, part, write
from tests.kills_harness import chance_of

from headway.proving.crashes import Crashes, Kill
from headway.runtime.directory import StateDirectory
from headway.runtime.opening import rescale
from headway.runtime.run import run_flow
from headway.state.manifest import Manifest

CHILD = """
import pathlib, sys
from tests import evolve_harness as t
from headway.runtime import opening
from headway.runtime.directory import StateDirectory

directory = pathlib.Path(sys.argv[2])
if sys.argv[1] == "rescale":
    opening.rescale(StateDirectory(directory / "state"), key_groups=3, slots=None)
else:
    t.run_flow(t.flow_of(t.BOTH, directory), t.options(directory, drain=False))
"""

CHANGES = [
    Kill("database.before", 1),
    Kill("database.after", 4),
    Kill("database.after", 10),
    Kill("positions.before"),
    Kill("positions.after"),
    Kill("manifest.before"),
    Kill("manifest.after"),
    Kill("cleaning.before"),
    Kill("cleaning.after"),
    Kill("database.after", 15),
]
MOVES = [
    Kill("database.before", 3),
    Kill("database.after", 9),
    Kill("positions.after"),
    Kill("manifest.after"),
    Kill("move.before"),
    Kill("move.after"),
    Kill("manifest.before", 2),
    Kill("manifest.after", 2),
]


def points(all_: list[Kill]) -> list[Any]:
    """Every second one is for the tests that take long."""
    return [
        pytest.param(where, id=f"{where.point}-{where.nth}", marks=[pytest.mark.soak] if number % 2 else [])
        for number, where in enumerate(all_)
    ]


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flow that has been stopped in the midst of its input."""
    directory = tmp_path_factory.mktemp("before")
    keep(directory, SEEN, part(0, 60))
    return directory


def killed(directory: Path, what: str, where: Kill) -> None:
    """Killed there; then the power is lost, too."""
    crashes = Crashes(directory / "crashes")
    crashes.arm(where)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, what, str(directory)],
        env={**crashes.environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, (where, done.returncode, done.stderr)
    crashes.lose_power(chance_of("changes"))


def copy_of(before: Path, directory: Path) -> Path:
    shutil.copytree(before, directory, dirs_exist_ok=True)
    write(directory, PARTS)
    return directory


def check(directory: Path, shape: Shape) -> None:
    run_flow(flow_of(shape, directory), options(directory, drain=True, groups=found_groups(directory)))
    assert outputs(directory)["seen"] == given_alone(SEEN, PARTS)["seen"]


def found_groups(directory: Path) -> int:
    found = Manifest.load(directory / "state")
    assert found is not None
    return found.key_groups


@pytest.mark.parametrize("where", points(CHANGES))
def test_a_change_that_is_killed(before: Path, tmp_path: Path, where: Kill) -> None:
    """The new flow goes on, and so does the old one: where the change had not come through, as if nothing had been."""
    for shape in (BOTH, SEEN):
        directory = copy_of(before, tmp_path / shape.operators[0])
        killed(directory, "change", where)
        check(directory, shape)


@pytest.mark.parametrize("where", points(MOVES))
def test_moving_key_groups_that_is_killed(before: Path, tmp_path: Path, where: Kill) -> None:
    for again in (False, True):
        directory = copy_of(before, tmp_path / str(again))
        killed(directory, "rescale", where)
        if again:
            rescale(StateDirectory(directory / "state"), key_groups=3, slots=None)
        check(directory, SEEN)
        assert not (directory / "state" / "rescaled").exists()
        assert not (directory / "state" / "groups.old").exists()
