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

from headway.runtime.directory import StateDirectory
from headway.runtime.opening import rescale
from headway.runtime.run import run_flow
from headway.state.manifest import Manifest

CHILD = """
import os, pathlib, signal, sys
from unittest import mock
from tests import evolve_harness as t
from headway.runtime import opening
from headway.runtime.directory import StateDirectory
from headway.state import rescale as moved
from headway.state.database import Database
from headway.state.manifest import Manifest
from headway.state.positions import Positions

owners = {"write": Database, "create": Manifest, "store": Positions, "remove_other_generations": StateDirectory,
          "finish_move": opening, "rename": pathlib.Path}
kind, name, after, what = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
directory = pathlib.Path(sys.argv[5])
inner, left = getattr(owners[name], name), after

def wrapped(*args, **kwargs):
    global left
    left -= 1
    if left == -1 and kind == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = inner(*args, **kwargs)
    if left == -1:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(owners[name], name, wrapped)
if what == "rescale":
    opening.rescale(StateDirectory(directory / "state"), key_groups=3, slots=None)
else:
    t.run_flow(t.flow_of(t.BOTH, directory), t.options(directory, drain=False))
"""

CHANGES = [
    ("before", "write", 0),
    ("after", "write", 3),
    ("after", "write", 9),
    ("before", "store", 0),
    ("after", "store", 0),
    ("before", "create", 0),
    ("after", "create", 0),
    ("after", "remove_other_generations", 0),
    ("after", "write", 14),
]
MOVES = [
    ("before", "write", 2),
    ("after", "write", 8),
    ("after", "store", 0),
    ("after", "create", 0),
    ("before", "rename", 0),
    ("after", "rename", 0),
    ("after", "rename", 1),
    ("after", "finish_move", 0),
    ("before", "create", 1),
]


def points(all_: list[tuple[str, str, int]]) -> list[Any]:
    """Every second one is for the tests that take long."""
    return [
        pytest.param(where, id="-".join(map(str, where)), marks=[pytest.mark.soak] if number % 2 else [])
        for number, where in enumerate(all_)
    ]


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flow that has been stopped in the midst of its input."""
    directory = tmp_path_factory.mktemp("before")
    keep(directory, SEEN, part(0, 60))
    return directory


def killed(directory: Path, what: str, where: tuple[str, str, int]) -> None:
    kind, name, after = where
    arguments = [kind, name, str(after), what, str(directory)]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, (where, done.returncode, done.stderr)


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
def test_a_change_that_is_killed(before: Path, tmp_path: Path, where: tuple[str, str, int]) -> None:
    """The new flow goes on, and so does the old one: where the change had not come through, as if nothing had been."""
    for shape in (BOTH, SEEN):
        directory = copy_of(before, tmp_path / shape.operators[0])
        killed(directory, "change", where)
        check(directory, shape)


@pytest.mark.parametrize("where", points(MOVES))
def test_moving_key_groups_that_is_killed(before: Path, tmp_path: Path, where: tuple[str, str, int]) -> None:
    for again in (False, True):
        directory = copy_of(before, tmp_path / str(again))
        killed(directory, "rescale", where)
        if again:
            rescale(StateDirectory(directory / "state"), key_groups=3, slots=None)
        check(directory, SEEN)
        assert not (directory / "state" / "rescaled").exists()
        assert not (directory / "state" / "groups.old").exists()
