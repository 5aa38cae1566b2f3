"""What becomes of a store when RocksDB cannot read what it has written."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headway.errors import CorruptStateError, StateError
from headway.state.database import ROWS, TIMERS, Database
from headway.state.group import GroupStore
from headway.state.inputs import InputCodec
from headway.state.options import StoreOptions
from headway.state.stage import OperatorSpec, StageStore

OPTIONS = StoreOptions(sync=False, cache_bytes=1, timer_window=10)
ROWS_STORED = 2_000
CORRUPT = r"corrupt state in .*, key group 000, Corruption: block checksum mismatch.*; restore the whole "


def stage_of(group: GroupStore) -> StageStore:
    return group.stage("s", [OperatorSpec("op", dict)], [InputCodec()])


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A group with rows and timers in files of their own."""
    with GroupStore.open(tmp_path, 0, OPTIONS) as group:
        stage = stage_of(group)
        stage.resume(None)
        table = stage.tables[0]
        for number in range(ROWS_STORED):
            row = table.fetch(f"k{number:04d}")
            row.state["note"] = f"{number}" * 20
            table.set_timer(row, "t", number)
        stage.commit(None)
        stage.settle()
    database = Database(tmp_path, 0, OPTIONS)
    for family in (ROWS, TIMERS):
        database.family(family).flush()
    database.close()
    return tmp_path


def spoil(directory: Path, family: str, at: float) -> None:
    """Turn a few bytes of the file whose properties name a family, `at` a part of the way into its data."""
    for path in directory.rglob("*.sst"):
        content = bytearray(path.read_bytes())
        if family.encode() in content:
            place = int(len(content) * at)
            content[place : place + 8] = bytes(255 - byte for byte in content[place : place + 8])
            path.write_bytes(content)
            return
    pytest.fail(f"no file of {family} in {directory}")


@pytest.fixture
def reopened(stored: Path) -> Iterator[Callable[[str, float], StageStore]]:
    """The stage again, after a file has been spoilt."""
    held: list[GroupStore] = []

    def reopen(family: str, at: float) -> StageStore:
        spoil(stored, family, at)
        group = GroupStore.open(stored, 0, OPTIONS)
        held.append(group)
        stage = stage_of(group)
        stage.resume(1)
        return stage

    yield reopen
    for group in held:
        group.close()


def fetch_all(stage: StageStore) -> None:
    for number in range(ROWS_STORED):
        assert stage.tables[0].fetch(f"k{number:04d}").state == {"note": f"{number}" * 20}


def pop_all(stage: StageStore) -> None:
    for number in range(ROWS_STORED):
        assert stage.timers.pop_due(number) == (number, f"k{number:04d}", 0, "t")


@pytest.mark.parametrize("at", [0.01, 0.3])
@pytest.mark.parametrize(
    ("family", "read"),
    [(ROWS, fetch_all), (ROWS, StageStore.max_due_ms), (TIMERS, pop_all)],
    ids=["single rows", "all rows", "timers"],
)
def test_what_cannot_be_read_is_not_taken_for_absent(
    reopened: Callable[[str, float], StageStore], family: str, read: Callable[[StageStore], object], at: float
) -> None:
    stage = reopened(family, at)
    with pytest.raises(CorruptStateError, match=CORRUPT):
        read(stage)


def test_the_last_key_is_not_taken_to_be_none_where_it_cannot_be_read(stored: Path) -> None:
    spoil(stored, ROWS, 0.01)
    database = Database(stored, 0, OPTIONS)
    with pytest.raises(CorruptStateError, match=CORRUPT):
        database.last_key(ROWS, b"\0\0", b"\0\0k0003")
    database.close()


OPEN_ALL = """
import sys
from pathlib import Path
from headway.state.database import Database
from headway.state.options import StoreOptions
held = []
try:
    for group in range(50):
        held.append(Database(Path(sys.argv[1]), group, StoreOptions()))
except Exception as error:
    print(type(error).__name__, error)
    sys.exit(3)
"""


def test_a_process_that_may_open_no_more_files(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", OPEN_ALL, str(tmp_path)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (120, 120)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 3, child.stderr
    assert child.stdout.startswith(f"{StateError.__name__} cannot open {tmp_path}/groups/")
    assert "this process may have no more open files" in child.stdout
    assert "ulimit -n" in child.stdout
