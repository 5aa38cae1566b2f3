"""What is committed can be read from outside, on a stopped directory and while a run writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from headway.errors import CorruptStateError, StateError, UsageError
from headway.state.database import ROWS, Database
from headway.state.group import GroupStore
from headway.state.groups import group_of
from headway.state.keys import id_bytes
from headway.state.manifest import Manifest, OperatorEntry, StageEntry
from headway.state.options import StoreOptions
from headway.state.reader import StateReader, StoredRow
from headway.state.stage import OperatorSpec, StageStore
from headway.state.typeschema import state_schema

GROUPS = 3
OPTIONS = StoreOptions(sync=False)


class Cart(msgspec.Struct):
    items: dict[str, int] = {}


SPECS = [OperatorSpec("cart", Cart, id=1), OperatorSpec("seen", dict, id=2)]


class Run:
    """A run that writes: each `put` is an epoch."""

    def __init__(self, directory: Path) -> None:
        self.groups = [GroupStore.open(directory, group, OPTIONS) for group in range(GROUPS)]
        self.stages: list[StageStore] = [group.stage("s", SPECS, []) for group in self.groups]
        for stage in self.stages:
            stage.resume(None)

    def put(self, key: str, count: int) -> None:
        stage = self.stages[group_of(key, GROUPS)]
        row = stage.tables[0].fetch(key)
        row.state.items["x"] = count
        row.touched_ms = count
        stage.tables[0].set_timer(row, "idle", count + 10)
        stage.commit(None)

    def settle(self) -> None:
        for stage in self.stages:
            stage.settle()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    operators = {spec.name: OperatorEntry(id=spec.id, state=state_schema(spec.state_type)) for spec in SPECS}
    stages = [StageEntry(name="s", operators=list(operators))]
    made = Manifest(flow="f", key_groups=GROUPS, sources={}, operators=operators, stages=stages, outputs={})
    made.create(tmp_path)
    return tmp_path


@pytest.fixture
def run(directory: Path) -> Iterator[Run]:
    run = Run(directory)
    yield run
    for group in run.groups:
        group.close()


KEYS = ["", "\0", "a", "a\0", "ab", "b", "é", "😀"]


def stored(key: str, count: int) -> StoredRow:
    return StoredRow(key, {"items": {"x": count}}, {"idle": count + 10}, count, group_of(key, GROUPS), 1)


def test_rows_come_in_order_of_their_keys(directory: Path, run: Run) -> None:
    for count, key in enumerate(reversed(KEYS)):
        run.put(key, count)
    run.settle()
    with StateReader(directory) as reader:
        expected = [stored(key, len(KEYS) - 1 - count) for count, key in enumerate(KEYS)]
        assert reader.operators() == ["cart", "seen"]
        assert list(reader.rows("cart")) == expected
        assert list(reader.rows("seen")) == []
        assert [row.key for row in reader.rows("cart", prefix="a")] == ["a", "a\0", "ab"]
        assert [row.key for row in reader.rows("cart", limit=2)] == KEYS[:2]
        assert [reader.get("cart", key) for key in KEYS] == expected
        assert reader.get("cart", "nobody") is None
        assert reader.get("seen", "a") is None


def test_what_is_not_committed_everywhere_is_not_seen(directory: Path, run: Run) -> None:
    with StateReader(directory) as reader:
        run.put("a", 1)
        assert reader.get("cart", "a") is None
        run.put("a", 2)
        assert reader.get("cart", "a") is None
        reader.refresh()
        assert reader.get("cart", "a") == stored("a", 1)
        run.settle()
        reader.refresh()
        assert list(reader.rows("cart")) == [stored("a", 2)]


def test_reading_goes_on_while_files_come_and_go(directory: Path, run: Run) -> None:
    # Each put is an epoch of its group, so only the last of each group is not yet committed everywhere.
    last = {group_of(key, GROUPS): key for key in KEYS}.values()
    with StateReader(directory) as reader:
        for count in range(1, 200):
            for key in KEYS:
                run.put(key, count)
            if count % 20 == 0:
                for stage in run.stages:
                    stage._database.family(ROWS).flush()
                    stage._database.family(ROWS).compact_range(None, None)
                reader.refresh()
                assert list(reader.rows("cart")) == [stored(key, count - (key in last)) for key in KEYS]


def test_what_is_refreshed_is_new_also_behind_a_flush(directory: Path, run: Run) -> None:
    """A secondary that has read a log in part goes on answering with it, in front of newer files."""
    with StateReader(directory) as reader:
        for count in range(1, 60):
            run.put("a", count)
            run.settle()
            if count % 3 == 0:
                for family in (ROWS, "default", "pending"):
                    run.stages[group_of("a", GROUPS)]._database.family(family).flush()
            if count % 2 == 0:
                reader.refresh()
                assert reader.get("cart", "a") == stored("a", count)


def test_a_listing_that_has_begun_shows_what_was_there_then(directory: Path, run: Run) -> None:
    for key in KEYS:
        run.put(key, 1)
    run.settle()
    with StateReader(directory) as reader:
        rows = reader.rows("cart")
        found = [next(rows)]
        for key in (*KEYS, *(f"{key}~" for key in KEYS)):
            run.put(key, 2)
        run.settle()
        reader.refresh()
        assert [*found, *rows] == [stored(key, 1) for key in KEYS]
        assert {row.key for row in reader.rows("cart")} > set(KEYS)


def test_a_stopped_directory_and_one_without_all_groups(directory: Path) -> None:
    with StateReader(directory) as reader:
        assert list(reader.rows("cart")) == []
        assert reader.get("cart", "a") is None
    run = Run(directory)
    run.put("a", 1)
    run.settle()
    for group in run.groups:
        group.close()
    with StateReader(directory) as reader:
        assert list(reader.rows("cart")) == [stored("a", 1)]


def test_unknown_things_are_refused(tmp_path: Path, directory: Path) -> None:
    with (
        StateReader(directory) as reader,
        pytest.raises(UsageError, match=r"flow 'f' has no operator 'carts': expected one of cart, seen"),
    ):
        reader.rows("carts")
    with pytest.raises(StateError, match=r"nowhere holds no flow.json: expected the state directory of a flow"):
        StateReader(tmp_path / "nowhere")


def test_a_row_that_cannot_be_read_is_named(directory: Path, run: Run) -> None:
    run.put("a", 1)
    run.settle()
    for group in run.groups:
        group.close()
    database = Database(directory, group_of("a", GROUPS), OPTIONS)
    batch = database.batch()
    batch.put(ROWS, id_bytes(1) + b"a", b"\x01\x93")
    database.write(batch, sync=False)
    database.close()
    with StateReader(directory) as reader, pytest.raises(CorruptStateError, match=r"not a row of operator 'cart'"):
        reader.get("cart", "a")
