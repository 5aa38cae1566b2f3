"""A state directory of each format that was ever kept can be opened by this version, and the flow goes on with it.

The fixtures hold a flow that was stopped two thirds through its input, with its input and outputs. A new one is made
whenever the format gets a new number; none is ever changed.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.evolve_harness import BOTH, PARTS, SEEN, Shape, flow_of, given_alone, options, outputs, write

from headway.runtime.directory import StateDirectory
from headway.runtime.opening import rescale
from headway.runtime.run import run_flow
from headway.state.reader import StateReader

FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("state-*.tar.gz"))

# Older Pythons do not know it, newer ones want it.
FILTER: Any = {"filter": "data"} if sys.version_info >= (3, 12) else {}


@pytest.fixture(params=FIXTURES, ids=lambda path: path.name.partition(".")[0])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    directory = tmp_path / "kept"
    directory.mkdir()
    shutil.unpack_archive(request.param, directory, **FILTER)
    return directory


def test_there_are_some() -> None:
    assert FIXTURES


@pytest.mark.parametrize("shape", [BOTH, SEEN, BOTH._replace(own_keys=frozenset({"seen"}))])
def test_the_flow_goes_on(kept: Path, shape: Shape) -> None:
    write(kept, PARTS)
    result = run_flow(flow_of(shape, kept), options(kept, drain=True))
    assert result.resumed_events == 60
    whole = given_alone(BOTH, PARTS)
    found = outputs(kept)
    for name in shape.operators:
        assert found[name] == whole[name], name


def test_its_key_groups_can_be_changed(kept: Path) -> None:
    rescale(StateDirectory(kept / "state"), key_groups=5, slots=None)
    write(kept, PARTS)
    run_flow(flow_of(BOTH, kept), options(kept, drain=True, groups=5))
    assert outputs(kept) == given_alone(BOTH, PARTS)


def test_what_it_keeps_is_read(kept: Path) -> None:
    with StateReader(kept / "state") as reader:
        rows = {operator: [row.key for row in reader.rows(operator)] for operator in ("total", "seen", "after")}
    assert rows == {operator: ["u0", "u1", "u2"] for operator in ("total", "seen", "after")}
