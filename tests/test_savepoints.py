"""A flow that goes on from a savepoint gives what a flow gives that never stopped."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.evolve_harness import (
    BOTH,
    PARTS,
    SEEN,
    Lines,
    Shape,
    flow_of,
    given_alone,
    keep,
    logs,
    outputs,
    part,
    shapes,
    write,
)
from tests.operator_harness import SLOW
from tests.savepoints_harness import found_in, run_and_save, whereabouts

import headway as hw
from headway.errors import IncompatibleStateError, LockedStateError, OutputError, UsageError
from headway.runtime.directory import StateDirectory
from headway.runtime.opening import rescale
from headway.runtime.run import run_flow
from headway.savepoints.archive import export_savepoint, import_savepoint
from headway.savepoints.create import create_savepoint
from headway.savepoints.restore import restore_savepoint
from headway.savepoints.shelf import Shelf
from headway.state.reader import StateReader

DRAWN = given(
    shape=shapes(),
    parts=logs(),
    share=st.floats(0, 1),
    running=st.booleans(),
    polls=st.integers(0, 40),
    epoch_ms=st.sampled_from([1, 3, 20]),
    threads=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    goes_on=st.booleans(),
    elsewhere=st.sampled_from(["", "linked", "archive"]),
    groups=st.sampled_from([0, 1, 3]),
    bound=st.sampled_from([1, 50_000]),
)


def check_that_a_savepoint_goes_on(
    shape: Shape,
    parts: list[Lines],
    share: float,
    running: bool,
    polls: int,
    epoch_ms: int,
    threads: tuple[int, int],
    goes_on: bool,
    elsewhere: str,
    groups: int,
    bound: int,
) -> None:
    """A savepoint of a flow over the log A, perhaps of a running one; then on over A+B from it, wherever that is."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        write(directory, [lines[: int(share * len(lines))] for lines in parts])
        before = whereabouts(directory, "state", threads[0], epoch_ms, bound)
        if running:
            info = run_and_save(directory, shape, before, polls, "a")
        else:
            run_flow(flow_of(shape, directory), replace(before, drain=False))
            info = create_savepoint(StateDirectory(before.state_dir), "a")
        assert (info.name, info.flow, info.key_groups) == ("a", "changing", 2)
        write(directory, parts)
        if goes_on:
            run_flow(flow_of(shape, directory), replace(before, drain=False))
        after = whereabouts(directory, "other" if elsewhere else "state", threads[1], epoch_ms, bound, groups=2)
        savepoint = Shelf(before.state_dir).path("a")
        if elsewhere == "archive":
            export_savepoint(savepoint, directory / "a.tar")
            import_savepoint(directory / "a.tar", after.state_dir)
            savepoint = Shelf(after.state_dir).path("a")
        restore_savepoint(savepoint, StateDirectory(after.state_dir), outputs="back", sync=False)
        if groups:
            rescale(StateDirectory(after.state_dir), key_groups=groups, slots=None, sync=False)
        run_flow(flow_of(shape, directory), replace(after, key_groups=None))
        assert outputs(directory) == given_alone(shape, parts)


@settings(SLOW, max_examples=12)
@DRAWN
def test_a_savepoint_goes_on(**drawn: Any) -> None:
    check_that_a_savepoint_goes_on(**drawn)


@pytest.mark.soak
@settings(SLOW, max_examples=600)
@DRAWN
def test_a_savepoint_goes_on_for_long(**drawn: Any) -> None:
    check_that_a_savepoint_goes_on(**drawn)


def at(directory: Path) -> StateDirectory:
    return StateDirectory(directory / "state")


def test_a_savepoint_of_a_changed_flow(tmp_path: Path) -> None:
    """What may be changed in a flow between two runs may be changed between a savepoint and its restoring."""
    keep(tmp_path, SEEN, part(0, 40))
    create_savepoint(at(tmp_path), "a")
    keep(tmp_path, BOTH, part(0, 60))
    restore_savepoint(Shelf(tmp_path / "state").path("a"), at(tmp_path))
    keep(tmp_path, BOTH, PARTS, drain=True)
    assert outputs(tmp_path)["seen"] == given_alone(SEEN, PARTS)["seen"]


def test_a_savepoint_may_be_restored_again_and_again(tmp_path: Path) -> None:
    keep(tmp_path, SEEN, part(0, 40))
    create_savepoint(at(tmp_path), "a")
    for _ in range(3):
        keep(tmp_path, SEEN, PARTS)
        assert outputs(tmp_path)["seen"] != b""
        restore_savepoint(Shelf(tmp_path / "state").path("a"), at(tmp_path))
    keep(tmp_path, SEEN, PARTS, drain=True)
    assert outputs(tmp_path) == given_alone(SEEN, PARTS)


def test_outputs_begin_anew(tmp_path: Path) -> None:
    """In another directory the flow may write new files: what the savepoint had, and the new ones, are the whole."""
    keep(tmp_path, SEEN, part(0, 40))
    had = outputs(tmp_path)["seen"]
    create_savepoint(at(tmp_path), "a")
    savepoint = Shelf(tmp_path / "state").path("a")
    other = StateDirectory(tmp_path / "other")
    with pytest.raises(UsageError, match=r"knows where files of the flow ended: seen-out; say .* --outputs back"):
        restore_savepoint(savepoint, other)
    restore_savepoint(savepoint, other, outputs="new")
    write(tmp_path, PARTS)
    result = run_flow(flow_of(SEEN, tmp_path), whereabouts(tmp_path, "other", 1, 1, 50_000))
    assert had + outputs(tmp_path)["seen"] == given_alone(SEEN, PARTS)["seen"]
    assert (tmp_path / "seen.jsonl.1").read_bytes() == had
    assert any("was moved to" in notice for notice in result.notices)


def test_a_file_that_is_not_there_is_missed(tmp_path: Path) -> None:
    keep(tmp_path, SEEN, part(0, 40))
    create_savepoint(at(tmp_path), "a")
    (tmp_path / "seen.jsonl").unlink()
    restore_savepoint(Shelf(tmp_path / "state").path("a"), at(tmp_path))
    with pytest.raises(OutputError, match="shorter than what was written"):
        keep(tmp_path, SEEN, PARTS)


def test_a_savepoint_can_be_read_like_a_state_directory(tmp_path: Path) -> None:
    write(tmp_path, PARTS)
    run_and_save(tmp_path, SEEN, whereabouts(tmp_path, "state", 1, 5, 50_000), 60, "a")
    savepoint = Shelf(tmp_path / "state").path("a")
    before = {path: path.read_bytes() for path in savepoint.rglob("*") if path.is_file()}
    with StateReader(savepoint) as reader:
        read = {row.key: row.state for row in reader.rows("seen")}
    assert {path: path.read_bytes() for path in savepoint.rglob("*") if path.is_file()} == before
    restore_savepoint(savepoint, at(tmp_path))
    with StateReader(tmp_path / "state") as reader:
        assert {row.key: row.state for row in reader.rows("seen")} == read


def test_names(tmp_path: Path) -> None:
    keep(tmp_path, SEEN, part(0, 10))
    shelf = Shelf(tmp_path / "state")
    create_savepoint(at(tmp_path), "a")
    with pytest.raises(UsageError, match="has a savepoint 'a' already"):
        create_savepoint(at(tmp_path), "a")
    for name in ("", ".hidden", "a/b", "..", "ä", "x" * 101, "-a"):
        with pytest.raises(UsageError, match="is no name for a savepoint"):
            create_savepoint(at(tmp_path), name or "/")
    times = iter(range(1_000, 9_000, 1_000))
    for _ in range(4):
        create_savepoint(at(tmp_path), prefix="auto-", wall_ms=lambda: next(times))
    assert shelf.prune(2) == ["auto-19700101T000001.000Z", "auto-19700101T000002.000Z"]
    assert shelf.names() == ["a", "auto-19700101T000003.000Z", "auto-19700101T000004.000Z"]
    with pytest.raises(UsageError, match="has no savepoint 'b': expected one of a, auto-"):
        shelf.delete("b")
    for name in shelf.names():
        shelf.delete(name)
    assert found_in(tmp_path / "state") == [".lock"]


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(IncompatibleStateError, match="holds no state: run the flow first"):
        create_savepoint(at(tmp_path), "a")
    keep(tmp_path, SEEN, part(0, 10))
    create_savepoint(at(tmp_path), "a")
    flow = hw.Flow("another")
    flow.source("events", hw.Json, hw.items([{"at": 1}]), time="at").to("list", hw.to_list([]))
    run_flow(flow, whereabouts(tmp_path, "another", 1, 1, 50_000))
    with pytest.raises(IncompatibleStateError, match="belongs to the flow 'another', and the savepoint to 'changing'"):
        restore_savepoint(Shelf(tmp_path / "state").path("a"), StateDirectory(tmp_path / "another"), outputs="new")
    with at(tmp_path).locked(), pytest.raises(LockedStateError):
        restore_savepoint(Shelf(tmp_path / "state").path("a"), at(tmp_path))


def test_a_savepoint_repairs_a_damaged_directory(tmp_path: Path) -> None:
    keep(tmp_path, SEEN, part(0, 40))
    create_savepoint(at(tmp_path), "a")
    keep(tmp_path, SEEN, part(0, 60))
    (tmp_path / "state" / "flow.json").write_bytes(b"{")
    for path in (tmp_path / "state" / "groups").rglob("CURRENT"):
        path.write_bytes(b"nothing\n")
    restore_savepoint(Shelf(tmp_path / "state").path("a"), at(tmp_path))
    keep(tmp_path, SEEN, PARTS, drain=True)
    assert outputs(tmp_path) == given_alone(SEEN, PARTS)
