"""A copy of an open database by hard links is what the database was at one moment, whatever goes on meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from headway.state.database import CONTROL, ROWS, TIMERS, Database, group_path
from headway.state.linking import link_open
from headway.state.options import StoreOptions

KEYS = 500
COPIES = 15


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(tmp_path / "state", 0, StoreOptions())) as found:
        yield found


def put(database: Database, number: int, *, sync: bool = True) -> None:
    """Say a number in three families, at one of many keys, so that files are written and merged all the time."""
    batch = database.batch()
    value = b"\x01" + number.to_bytes(8, "big")
    for family in (ROWS, TIMERS):
        batch.put(family, f"{number % KEYS:03d}".encode(), value + bytes(2_000))
    batch.put(CONTROL, b"last", value)
    database.write(batch, sync=sync)


def last_of(directory: Path, group: int = 0) -> int:
    """The number that a copy stands at, once all that was said before is found to be there, and nothing else."""
    with closing(Database(directory, group, StoreOptions())) as found:
        last = int.from_bytes(found.get(CONTROL, b"last") or b"", "big")
        said = {f"{number % KEYS:03d}".encode(): number for number in range(max(1, last - KEYS + 1), last + 1)}
        for family in (ROWS, TIMERS):
            stored = {key: int.from_bytes(value[1:9], "big") for key, value in found.scan(family, b"", b"\xff")}
            assert stored == said
        return last


def test_copies_of_a_database_that_is_written_to(tmp_path: Path, database: Database) -> None:
    """As of an output's dispatcher, which writes from a thread of its own."""
    said = 0
    ends = threading.Event()

    def write() -> None:
        nonlocal said
        while not ends.is_set():
            put(database, said + 1, sync=said % 50 == 0)
            said += 1

    writer = threading.Thread(target=write)
    writer.start()
    bounds = []
    try:
        for number in range(COPIES):
            reached = said + 300
            while said < reached and writer.is_alive():
                ends.wait(0.001)
            before = said
            copy = tmp_path / "copies" / "groups" / f"{number:03d}"
            database.checkpoint(copy)
            bounds.append((before, said + 1))
    finally:
        ends.set()
        writer.join()
    assert said > COPIES * 300
    for number, (least, most) in enumerate(bounds):
        assert least <= last_of(tmp_path / "copies", number) <= most
    assert last_of_open(database) == said


def last_of_open(database: Database) -> int:
    return int.from_bytes(database.get(CONTROL, b"last") or b"", "big")


def test_files_of_rows_are_the_same_ones_and_nothing_is_written_out(tmp_path: Path, database: Database) -> None:
    for number in range(1, 100):
        put(database, number, sync=False)
    for family in (ROWS, TIMERS):
        database.family(family).flush()
    for number in range(100, 200):  # Less than what is written out by itself, so that nothing is under way.
        put(database, number, sync=False)
    before = sorted(path.name for path in database.path.glob("*.sst"))
    assert before
    database.checkpoint(tmp_path / "copy" / "groups" / "000")
    assert sorted(path.name for path in database.path.glob("*.sst")) == before
    copy = group_path(tmp_path / "copy", 0)
    assert {path.stat().st_ino for path in copy.glob("*.sst")} <= {
        path.stat().st_ino for path in database.path.iterdir()
    }
    assert list(copy.glob("*.log"))
    assert last_of(tmp_path / "copy") == 199


def test_a_copy_over_which_files_change_is_none(tmp_path: Path, database: Database) -> None:
    put(database, 1)

    def changing() -> list[str]:
        found = database._living()
        database.family(ROWS).flush()
        return found

    assert not link_open(database.path, tmp_path / "a", changing)
    assert link_open(database.path, tmp_path / "c", database._living)


def test_a_file_that_counts_before_the_database_lists_it_is_in_the_copy(tmp_path: Path, database: Database) -> None:
    """The manifest on the disk has it first; in between the list is that of before."""
    put(database, 1)
    before = database._living()
    database.family(ROWS).flush()
    assert set(before) < {path.name for path in database.path.glob("*.sst")}
    (tmp_path / "copy" / "groups").mkdir(parents=True)
    assert link_open(database.path, group_path(tmp_path / "copy", 0), lambda: before)
    assert last_of(tmp_path / "copy") == 1


def test_what_never_stands_still_is_copied_too(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(database, 1)
    monkeypatch.setattr("headway.state.database.link_open", lambda source, target, living: bool(target.mkdir()))
    (tmp_path / "copy" / "groups").mkdir(parents=True)
    database.checkpoint(tmp_path / "copy" / "groups" / "000")
    assert last_of(tmp_path / "copy") == 1
