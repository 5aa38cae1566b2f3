"""A state directory, as those see it who run on it: what is kept is found again, and only one may write."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.operator_harness import SLOW

from headway.errors import CorruptStateError, LockedStateError
from headway.runtime.directory import StateDirectory
from headway.runtime.stats import total
from headway.state.manifest import Drain, Manifest
from headway.state.positions import Positions, SourcePosition


def manifest(generation: int = 1) -> Manifest:
    return Manifest(flow="f", key_groups=2, generation=generation, sources={}, operators={}, stages=[], outputs={})


def of_generation(number: int) -> set[str]:
    return {f"positions-{number}.json", f"engine-{number}", f"engine-{number}.new", f"engine-{number}.sum"}


@SLOW
@given(generations=st.sets(st.integers(1, 12)), ours=st.integers(1, 12))
def test_what_only_other_generations_need_is_removed(generations: set[int], ours: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = StateDirectory(Path(folder))
        directory.keep_manifest(manifest(ours))
        for number in generations:
            directory.keep_positions(Positions(), number)
            for name in (f"engine-{number}", f"engine-{number}.new"):
                (directory.path / name).mkdir()
                (directory.path / name / "part-0.sqlite3").write_bytes(b"")
            (directory.path / f"engine-{number}.sum").write_bytes(b"")
        directory.remove_other_generations(ours)
        expected = of_generation(ours) if ours in generations else set()
        assert {path.name for path in directory.path.iterdir()} == {"flow.json", *expected}


@given(
    positions=st.dictionaries(st.text(max_size=5), st.integers(0, 9).map(lambda number: SourcePosition(id=number))),
    notices=st.lists(st.text(max_size=20)),
    generation=st.integers(1, 99),
)
@SLOW
def test_what_is_kept_is_found_again(positions: dict[str, SourcePosition], notices: list[str], generation: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = StateDirectory(Path(folder) / "state")
        assert directory.manifest() is None and directory.open_manifest() is None
        assert directory.positions(generation) == Positions() and directory.last_run() is None
        directory.keep_manifest(manifest(generation))
        directory.keep_positions(Positions(sources=positions), generation)
        directory.keep_last_run(total([]))
        directory.note_drain(Drain(step=1, to_ms=5))
        for notice in notices:
            directory.add_notice(notice)
        again = StateDirectory(directory.path)
        found = again.manifest()
        assert found is not None and (found.generation, found.drain) == (generation, Drain(step=1, to_ms=5))
        assert again.positions(generation).sources == positions
        assert again.positions(generation + 1).sources == {}
        assert again.last_run() == total([])
        assert again.take_notices() == list(dict.fromkeys(notices))
        assert again.take_notices() == []


def test_one_at_a_time_holds_the_lock(tmp_path: Path) -> None:
    directory = StateDirectory(tmp_path / "state")
    for _ in range(2):
        with directory.locked(), pytest.raises(LockedStateError, match="is in use by process"), directory.locked():
            pass


def test_the_engine_log_of_a_generation_is_made_once_and_checked_from_then_on(tmp_path: Path) -> None:
    directory = StateDirectory(tmp_path)
    log, other = directory.engine_log(3), directory.engine_log(4)
    assert not log.is_prepared()
    log.prepare()
    assert log.is_prepared() and not other.is_prepared()
    log.prepare()
    with log.summed():
        pass
    log.prepare()
    with log.summed():
        pass
    with closing(sqlite3.connect(log.path / "part-0.sqlite3")) as database:
        database.execute("PRAGMA user_version = 7")
    with pytest.raises(CorruptStateError, match=r"not as the last run left it: part-0\.sqlite3 differs"):
        log.prepare()
